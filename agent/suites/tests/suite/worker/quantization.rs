//! `quantization` as the agent runs it.

use domain::suite::quantization;
use suites::suites::quantization::TEXT;

use super::*;
use crate::checkpoints;

fn case(bits: u64, prompt_tokens: u64, new_tokens: u64) -> Case {
    Case::Quantization(quantization::Case {
        bits,
        group_size: 32,
        prompt_tokens,
        new_tokens,
    })
}

#[test]
fn both_models_take_turns_and_their_ratio_is_that_of_their_rates() {
    let request = request("nano-llama", Dtype::Bf16, case(4, 24, 12));
    let launch = Worker::start(&request).finish();
    assert_sound(&launch, &request);
    for iteration in launch.iterations() {
        let times = &iteration.token_times;
        assert_eq!((times.len(), iteration.work), (48, 48), "four turns");
        // Even launches: unquantised, quantised, quantised, unquantised.
        let turn = |place: usize| {
            let (first, last) = (times[12 * place], times[12 * place + 11]);
            last.saturating_sub(first).as_secs_f64()
        };
        let (plain, packed) = (turn(0) + turn(3), turn(1) + turn(2));
        let value = |metric| sample(iteration, metric);
        assert_close(value(Metric::QuantBaselineDecodeTps), 22.0 / plain);
        assert_close(value(Metric::QuantDecodeTps), 22.0 / packed);
        assert_close(value(Metric::QuantSpeedupDecode), plain / packed);
        assert_close(
            value(Metric::QuantSpeedupPrefill),
            value(Metric::QuantPrefillTps) / value(Metric::QuantBaselinePrefillTps),
        );
        // Every matrix of this model has rows that the group divides: 4 bits, and two 16-bit
        // numbers for 32 values.
        assert_close(value(Metric::QuantBpw), 5.0);
        let ratio = value(Metric::QuantMemRatio);
        assert!(ratio > 5.0 / 16.0 && ratio < 0.32, "norms stay: {ratio}");
        assert!(value(Metric::QuantTimeMs) > 0.0);
        assert!(!has(iteration, Metric::QuantPpl), "the weights are random");
    }
}

#[test]
fn what_is_lost_is_told_for_weights_that_are_not_synthetic() {
    let mut request = request("nano-llama", Dtype::Bf16, case(8, 8, 4));
    let checkpoint = checkpoints::case("llama-untied-bf16").folder;
    request.model.as_mut().unwrap().source = checkpoint.to_str().unwrap().parse().unwrap();
    let launch = Worker::start(&request).finish();
    assert_eq!(launch.exit, Some(0), "{}", launch.log);
    for iteration in launch.iterations() {
        let plain = sample(iteration, Metric::QuantBaselinePpl);
        let packed = sample(iteration, Metric::QuantPpl);
        // Random weights guess: about one of the 619 tokens.
        assert!((300.0..1500.0).contains(&plain), "{plain}");
        let delta = sample(iteration, Metric::QuantPplDelta);
        assert!((delta - (packed / plain - 1.0) * 100.0).abs() < 1e-9);
        assert!(delta.abs() < 1.0, "8 bits lose little: {delta}");
        assert!((0.0..0.01).contains(&sample(iteration, Metric::QuantKlMean)));
        assert!(sample(iteration, Metric::QuantTop1Agree) > 0.8);
    }
}

#[test]
fn a_model_that_is_quantised_already_is_skipped_with_the_reason() {
    let mut request = request("nano-llama", Dtype::Bf16, case(4, 8, 4));
    let model = request.model.as_mut().unwrap();
    let checkpoint = checkpoints::case("llama-tied-q4").folder;
    model.source = checkpoint.to_str().unwrap().parse().unwrap();
    model.dtype = None;
    let launch = Worker::start(&request).finish();
    let words = ["already quantised (affine 4-bit g64)", "`suites`"];
    assert_failed(&launch, FailureKind::Skipped, 5, &words);
}

#[test]
fn the_text_is_long_enough_to_fill_what_is_read_of_it() {
    // About three words make four tokens.
    assert!(TEXT.split_whitespace().count() > 600);
}
