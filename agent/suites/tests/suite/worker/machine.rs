//! `roofline` and `attention` as the agent runs them: no model, no files.

use domain::suite::{attention, roofline};

use super::*;

fn measured(case: Case) -> (Launch, Request) {
    let mut request = request("nano-llama", Dtype::F32, case);
    request.model = None;
    let launch = Worker::start(&request).finish();
    assert_eq!(launch.exit, Some(0), "{}", launch.log);
    let models = launch
        .frames
        .iter()
        .filter(|frame| matches!(frame, Frame::Model(_)));
    assert_eq!(models.count(), 0);
    (launch, request)
}

fn attention(regime: attention::Regime, length: u64, dtype: Dtype) -> attention::Case {
    attention::Case {
        shape: "nano-llama".to_owned(),
        heads: 8,
        kv_heads: 4,
        head_dim: 32,
        regime,
        length,
        dtype,
    }
}

#[test]
fn streams_and_products_are_rates_of_work_that_was_done() {
    for (case, metrics) in [
        (
            roofline::Case::Stream { megabytes: 64 },
            &[Metric::StreamGbps, Metric::StreamAddGbps][..],
        ),
        (
            roofline::Case::Gemm {
                size: 256,
                dtype: Dtype::F32,
            },
            &[Metric::GemmTflopsF32],
        ),
        (roofline::Case::Dispatch, &[Metric::DispatchUs]),
    ] {
        let is_chain = case != roofline::Case::Dispatch;
        let (launch, _) = measured(Case::Roofline(case));
        for metric in metrics {
            let of_metric = |iteration: &&&Iteration| has(iteration, *metric);
            let iterations = launch.iterations();
            let measured: Vec<_> = iterations
                .iter()
                .filter(of_metric)
                .filter(|iteration| iteration.phase == Phase::Measured)
                .collect();
            assert_eq!(measured.len(), 2, "{metric}");
            for iteration in measured {
                let value = sample(iteration, *metric);
                let seconds = iteration.duration.as_secs_f64();
                let expected = match metric {
                    Metric::GemmTflopsF32 => iteration.work as f64 / seconds / 1e12,
                    Metric::DispatchUs => seconds / iteration.work as f64 * 1e6,
                    _ => iteration.work as f64 / seconds / 1e9,
                };
                assert!((value / expected - 1.0).abs() < 1e-3, "{metric}: {value}");
            }
        }
        let iterations = launch.iterations();
        let doubled = iterations.iter().flat_map(|iteration| &iteration.samples);
        let doubled = doubled.filter(|sample| sample.metric == Metric::DoubledRatio);
        let modes = if is_chain { metrics.len() } else { 0 };
        assert_eq!(doubled.count(), modes, "told once for each mode");
        for iteration in iterations {
            let metrics: BTreeSet<_> = iteration.samples.iter().map(|it| it.metric).collect();
            assert_eq!(metrics.len(), iteration.samples.len(), "{iteration:?}");
        }
    }
}

/// Its values are compared over months: a change of the work needs another recipe in the agent.
#[test]
fn a_canary_does_the_same_work_every_time_and_no_more() {
    let mut request = request(
        "nano-llama",
        Dtype::F32,
        Case::Roofline(roofline::Case::Canary),
    );
    request.model = None;
    request.protocol.min_region = Duration::ZERO;
    request.protocol.warmup_max_iterations = 1;
    let launch = Worker::start(&request).finish();
    assert_eq!(launch.exit, Some(0), "{}", launch.log);
    let is_gpu = cfg!(target_os = "macos");
    let (gemm, metric, gemm_work, stream_work) = if is_gpu {
        (
            "gemm",
            Metric::GemmTflopsBf16,
            8 * 2 * 4096_u64.pow(3),
            8 * 2_000_000_000,
        )
    } else {
        (
            "gemm",
            Metric::GemmTflopsF32,
            4 * 2 * 1024_u64.pow(3),
            4 * 256_000_000,
        )
    };
    let iterations = launch.iterations();
    // One warm-up and two measured of either.
    assert_eq!(iterations.len(), 6);
    for iteration in iterations {
        let (metric, work) = match &iteration.mode {
            mode if mode == gemm => (metric, gemm_work),
            _ => (Metric::StreamGbps, stream_work),
        };
        assert!(sample(iteration, metric) > 0.0);
        assert_eq!(iteration.work, work);
        assert!(!has(iteration, Metric::DoubledRatio));
    }
}

#[test]
fn attention_is_timed_against_itself_written_out_and_agrees_with_f32() {
    for (regime, length, flops) in [
        (attention::Regime::Decode, 96, 4 * 8 * 96 * 32),
        (attention::Regime::Prefill, 96, 2 * 8 * 96 * 96 * 32),
    ] {
        let case = attention(regime, length, Dtype::F32);
        assert_eq!(case.flops(), flops);
        let (launch, _) = measured(Case::Attention(case));
        let iterations = launch.iterations();
        let first = iterations
            .iter()
            .find(|iteration| iteration.phase == Phase::Measured)
            .unwrap();
        assert!(sample(first, Metric::AttnRelErr) < 1e-5);
        assert!(sample(first, Metric::AttnPeakBytesStandard) > 0.0);
        // MLX has no fused kernel for a processor, and says so.
        let is_fused = sample(first, Metric::AttnFusedAvailable) > 0.0;
        assert_eq!(is_fused, !cfg!(target_os = "linux"));
        let library = if is_fused {
            Metric::AttnUsFused
        } else {
            Metric::AttnUsFallback
        };
        for iteration in &iterations {
            let us = sample(iteration, library);
            assert!(us > 0.0 && sample(iteration, Metric::AttnUsStandard) > 0.0);
            assert_close(
                sample(iteration, Metric::AttnFlops),
                flops as f64 / us * 1e6,
            );
            assert_eq!(has(iteration, Metric::AttnSpeedup), is_fused);
        }
    }
}

#[test]
fn bf16_attention_is_off_by_its_rounding_and_no_more() {
    let case = attention(attention::Regime::Prefill, 64, Dtype::Bf16);
    let (launch, _) = measured(Case::Attention(case));
    let error = launch
        .iterations()
        .iter()
        .filter(|iteration| has(iteration, Metric::AttnRelErr))
        .map(|iteration| sample(iteration, Metric::AttnRelErr))
        .next()
        .unwrap();
    assert!((1e-5..0.02).contains(&error), "{error}");
}

#[test]
fn an_array_larger_than_the_machines_memory_is_skipped_with_both_figures() {
    let case = Case::Roofline(roofline::Case::Stream { megabytes: 2000 });
    let mut request = request("nano-llama", Dtype::F32, case);
    request.model = None;
    request.memory_limit_bytes = 1_000_000_000;
    let launch = Worker::start(&request).finish();
    let words = ["would not fit, needs 8.0 GB, has 1.0 GB"];
    assert_failed(&launch, FailureKind::Skipped, 5, &words);
}
