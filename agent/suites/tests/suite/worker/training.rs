//! `training` as the agent runs it.

use domain::suite::training::{self, Mode};

use super::*;
use crate::checkpoints;

fn case(mode: Mode, batch_size: u64, sequence_tokens: u64) -> Case {
    Case::Training(training::Case {
        mode,
        batch_size,
        sequence_tokens,
    })
}

fn of_mode<'a>(launch: &'a Launch, mode: &str) -> Vec<&'a Iteration> {
    let mut iterations = launch.iterations();
    iterations.retain(|iteration| iteration.mode == mode);
    iterations
}

#[test]
fn a_step_and_its_parts_are_timed_apart_and_the_loss_falls() {
    let request = request("nano-llama", Dtype::F32, case(Mode::Full, 2, 16));
    let launch = Worker::start(&request).finish();
    assert_sound(&launch, &request);
    let parameters = launch.model().parameters as f64;
    for iteration in of_mode(&launch, "step") {
        let passes = (iteration.work / 32) as f64;
        let seconds = iteration.duration.as_secs_f64() / passes;
        let value = |metric| sample(iteration, metric);
        assert!((value(Metric::TrainStepMs) - seconds * 1e3).abs() < 1e-3);
        assert!((value(Metric::TrainTps) * seconds / 32.0 - 1.0).abs() < 1e-3);
        assert_close(
            value(Metric::TrainExamplesPerS) * 16.0,
            value(Metric::TrainTps),
        );
        // The embedding table of this model is looked up only.
        let multiplied = parameters - 4096.0 * 256.0;
        assert_close(
            value(Metric::TrainFlops),
            6.0 * multiplied * value(Metric::TrainTps),
        );
        // Parameters, gradients and two moments.
        let weights = launch.model().weight_bytes as f64;
        assert!(value(Metric::TrainPeakBytes) > 3.0 * weights);
        assert!(!has(iteration, Metric::TrainForwardMs));
    }
    for iteration in of_mode(&launch, "forward") {
        let ms = sample(iteration, Metric::TrainForwardMs);
        assert!((sample(iteration, Metric::TrainForwardEps) * ms / 2e3 - 1.0).abs() < 1e-3);
    }
    assert!(
        of_mode(&launch, "forward_backward")
            .iter()
            .all(|iteration| sample(iteration, Metric::TrainFwdBwdMs) > 0.0)
    );
    let told: Vec<_> = launch
        .iterations()
        .into_iter()
        .filter(|iteration| has(iteration, Metric::TrainLossFirst))
        .collect();
    let [told] = told[..] else {
        panic!("the losses are told once: {}", told.len());
    };
    assert_eq!(told.phase, Phase::Measured);
    let (first, last) = (
        sample(told, Metric::TrainLossFirst),
        sample(told, Metric::TrainLossLast),
    );
    // Random weights guess among 4096 tokens: e to the 8.3.
    assert!(
        (8.0..10.0).contains(&first) && last < first - 0.5,
        "{first}, {last}"
    );
}

#[test]
fn adapters_are_trained_beside_packed_weights() {
    let mut request = request("nano-llama", Dtype::Bf16, case(Mode::Lora, 2, 16));
    let model = request.model.as_mut().unwrap();
    let checkpoint = checkpoints::case("llama-tied-q4").folder;
    model.source = checkpoint.to_str().unwrap().parse().unwrap();
    model.dtype = None;
    let launch = Worker::start(&request).finish();
    assert_eq!(launch.exit, Some(0), "{}", launch.log);
    let parameters = launch.model().parameters as f64;
    for iteration in of_mode(&launch, "step") {
        assert!(!iteration.reasons.contains(&Reason::Incorrect));
        // Rank 8 beside q (192 to 320) and v (192 to 80) of two layers.
        let trained = 2.0 * 8.0 * (192.0 + 320.0 + 192.0 + 80.0);
        assert_close(
            sample(iteration, Metric::TrainFlops),
            (4.0 * parameters + 6.0 * trained) * sample(iteration, Metric::TrainTps),
        );
    }
}

#[test]
fn what_cannot_be_trained_is_skipped_with_the_reason() {
    let mut packed = request("nano-llama", Dtype::Bf16, case(Mode::Full, 2, 16));
    let model = packed.model.as_mut().unwrap();
    let checkpoint = checkpoints::case("llama-tied-q4").folder;
    model.source = checkpoint.to_str().unwrap().parse().unwrap();
    model.dtype = None;
    let launch = Worker::start(&packed).finish();
    let words = ["quantised model (affine 4-bit g64)", "lora"];
    assert_failed(&launch, FailureKind::Skipped, 5, &words);

    let half = request("nano-llama", Dtype::F16, case(Mode::Full, 2, 16));
    let launch = Worker::start(&half).finish();
    assert_failed(&launch, FailureKind::Skipped, 5, &["f16", "bf16"]);
}

#[test]
fn a_step_that_would_not_fit_is_skipped_before_its_weights_are_read() {
    // The model itself would fit ten times.
    let mut request = request("nano-llama", Dtype::F32, case(Mode::Full, 64, 1024));
    request.memory_limit_bytes = 200_000_000;
    let launch = Worker::start(&request).finish();
    assert_failed(&launch, FailureKind::Skipped, 5, &["would not fit"]);
}
