//! The worker as the agent runs it: a real process, synthetic models, frames on its pipes.

mod machine;
mod process;
mod quantization;
mod serving;
mod speculative;
mod training;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use domain::metric::Metric;
use domain::model::Dtype;
use domain::reason::{Reason, Severity};
use domain::suite::load::Regime;
use domain::suite::{Case, decode, load, prefill};
use domain::worker::{FailureKind, Frame, Iteration, Phase, Request};

use process::{Launch, Worker, request};

/// Whatever a busy machine may do to a launch; nothing else may be doubted in these.
const WEATHER: [Reason; 4] = [
    Reason::NotSteady,
    Reason::RegionShort,
    Reason::DebugBuild,
    Reason::ResidencyUnknown,
];

fn decode(new_tokens: u64, depth: u64) -> Case {
    Case::Decode(decode::Case { new_tokens, depth })
}

fn prefill(prompt_tokens: u64, depth: u64) -> Case {
    Case::Prefill(prefill::Case {
        prompt_tokens,
        depth,
        chunk: 32,
    })
}

fn load(regime: Regime) -> Case {
    Case::Load(load::Case { regime })
}

fn sample(iteration: &Iteration, metric: Metric) -> f64 {
    let found = iteration
        .samples
        .iter()
        .find(|sample| sample.metric == metric);
    found
        .unwrap_or_else(|| panic!("no {metric} in {}", iteration.mode))
        .value
}

fn has(iteration: &Iteration, metric: Metric) -> bool {
    iteration
        .samples
        .iter()
        .any(|sample| sample.metric == metric)
}

#[track_caller]
fn assert_close(value: f64, expected: f64) {
    assert!(
        (value / expected - 1.0).abs() < 1e-9,
        "{value} is not {expected}"
    );
}

/// What holds for every launch that ends well, whatever it measured.
fn assert_sound(launch: &Launch, request: &Request) {
    let Launch { frames, exit, log } = launch;
    assert_eq!(*exit, Some(0), "{log}");
    let [
        Frame::Started(started),
        Frame::Model(model),
        ..,
        Frame::Finished(finished),
    ] = frames.as_slice()
    else {
        panic!("frames out of order: {frames:?}");
    };
    assert!(started.mlx_version.starts_with("0.32."), "{started:?}");
    assert_eq!(started.debug_build, cfg!(debug_assertions));
    assert!(model.synthetic && model.digest.len() == 64, "{model:?}");
    assert_eq!(Some(model.dtype), request.model.as_ref().unwrap().dtype);

    let iterations = launch.iterations();
    assert_eq!(
        iterations.len(),
        frames.len() - 3,
        "nothing but iterations between"
    );
    for (ordinal, iteration) in iterations.iter().enumerate() {
        assert_eq!(iteration.ordinal as usize, ordinal);
        assert!(iteration.work > 0 && iteration.duration > Duration::ZERO);
        assert!(sample(iteration, Metric::MemPeakBytes) >= model.weight_bytes as f64);
        assert!(
            sample(iteration, Metric::MemPeakProcessBytes)
                >= sample(iteration, Metric::MemPeakBytes)
        );
        assert!(sample(iteration, Metric::MemWeightsBytes) >= model.weight_bytes as f64);
        assert!(sample(iteration, Metric::MemRssBytes) > 1e6);
        let doubts = iteration.reasons.iter();
        let unexpected: Vec<_> = doubts.filter(|doubt| !WEATHER.contains(doubt)).collect();
        assert!(unexpected.is_empty(), "{unexpected:?} in {iteration:?}");
    }
    assert!(iterations.is_sorted_by_key(|iteration| iteration.started));
    let is_warmup = |iteration: &&Iteration| iteration.phase == Phase::Warmup;
    let warmup = iterations.iter().copied().take_while(is_warmup).count();
    assert_eq!(
        iterations.iter().copied().filter(is_warmup).count(),
        warmup,
        "warm-up comes first"
    );
    assert_eq!(finished.warmup_iterations as usize, warmup);
    let modes: BTreeSet<_> = iterations.iter().map(|iteration| &iteration.mode).collect();
    let measured = request.protocol.iterations as usize * modes.len();
    assert_eq!(iterations.len() - warmup, measured);
    let hashes: BTreeSet<_> = iterations.iter().map(|it| &it.token_ids_sha256).collect();
    assert_eq!(
        hashes.len(),
        1,
        "greedy output is the same in every iteration"
    );
}

#[test]
fn decode_counts_every_token_and_its_rates_follow_from_the_times() {
    let request = request("nano-llama", Dtype::F32, decode(24, 0));
    let launch = Worker::start(&request).finish();
    assert_sound(&launch, &request);
    let (model, iterations) = (launch.model(), launch.iterations());
    for iteration in &iterations {
        let times = &iteration.token_times;
        assert_eq!((times.len(), iteration.work), (24, 24));
        assert!(times.is_sorted() && times[23] <= iteration.duration);
        let seconds = times[23].saturating_sub(times[0]).as_secs_f64();
        match iteration.mode.as_str() {
            "pipelined" => {
                assert_close(sample(iteration, Metric::DecodeTps), 23.0 / seconds);
                assert_close(sample(iteration, Metric::DecodeTpsMlxlm), 24.0 / seconds);
                let host_us = sample(iteration, Metric::HostOverheadUs);
                assert!(host_us > 0.0 && host_us < iteration.duration.as_secs_f64() * 1e6);
                assert!(
                    !has(iteration, Metric::DecodeTpsSync),
                    "labels are never mixed"
                );
            }
            "per_token" => {
                assert_close(sample(iteration, Metric::DecodeTpsSync), 23.0 / seconds);
                let mut gaps: Vec<Duration> = times
                    .windows(2)
                    .map(|pair| pair[1].saturating_sub(pair[0]))
                    .collect();
                gaps.sort();
                assert_close(
                    sample(iteration, Metric::ItlMs),
                    gaps[11].as_secs_f64() * 1e3,
                );
                assert!(!has(iteration, Metric::DecodeTps));
            }
            other => panic!("mode {other}"),
        }
        assert!(!has(iteration, Metric::DecodeTpsAtDepth));
        // One step of the cache holds 256 positions.
        assert_close(
            sample(iteration, Metric::KvBytes),
            256.0 * model.kv_bytes_per_token as f64,
        );
    }
    let modes: Vec<_> = iterations[iterations.len() - 4..]
        .iter()
        .map(|it| it.mode.clone())
        .collect();
    assert!(
        modes[0] != modes[1] && modes[0] == modes[3],
        "in turn, not in a row: {modes:?}"
    );
}

#[test]
fn decode_at_depth_has_a_name_of_its_own_and_keeps_its_cache() {
    let request = request("nano-qwen3", Dtype::Bf16, decode(8, 300));
    let launch = Worker::start(&request).finish();
    assert_sound(&launch, &request);
    for iteration in launch
        .iterations()
        .iter()
        .filter(|it| it.mode == "pipelined")
    {
        let times = &iteration.token_times;
        let seconds = times[7].saturating_sub(times[0]).as_secs_f64();
        assert_close(sample(iteration, Metric::DecodeTpsAtDepth), 7.0 / seconds);
        assert!(!has(iteration, Metric::DecodeTps), "that is from nothing");
        assert!(
            sample(iteration, Metric::KvBytes) >= 308.0 * launch.model().kv_bytes_per_token as f64
        );
    }
}

#[test]
fn prefill_repeats_short_work_and_divides_by_what_it_did() {
    let request = request("nano-qwen2", Dtype::Bf16, prefill(48, 0));
    let launch = Worker::start(&request).finish();
    assert_sound(&launch, &request);
    let iterations = launch.iterations();
    for iteration in &iterations {
        let passes = iteration.token_times.len() as u64;
        assert_eq!(
            (iteration.mode.as_str(), iteration.work),
            ("prefill", passes * 48)
        );
        let prefill_ms = sample(iteration, Metric::PrefillMs);
        let ttft_ms = sample(iteration, Metric::TtftMs);
        assert_close(
            sample(iteration, Metric::PrefillTps),
            47.0 / prefill_ms * 1e3,
        );
        assert_close(
            sample(iteration, Metric::PrefillTpsMlxlm),
            48.0 / ttft_ms * 1e3,
        );
        assert!(prefill_ms < ttft_ms, "the first token is a step of its own");
        // The passes fill the region but for the last fence.
        let whole_ms = iteration.token_times.last().unwrap().as_secs_f64() * 1e3 / passes as f64;
        assert!(
            (ttft_ms / whole_ms - 1.0).abs() < 1e-6,
            "{ttft_ms} {whole_ms}"
        );
    }
    let cold: Vec<u32> = iterations
        .iter()
        .filter(|iteration| has(iteration, Metric::TtftColdMs))
        .map(|iteration| iteration.ordinal)
        .collect();
    let first_measured = iterations
        .iter()
        .find(|iteration| iteration.phase == Phase::Measured);
    assert_eq!(cold, [first_measured.unwrap().ordinal]);
    assert_eq!(iterations[0].work, 48, "the first pass is alone");
    let longest = request.protocol.min_region;
    let measured = iterations.iter().filter(|it| it.phase == Phase::Measured);
    for iteration in measured {
        let is_long = iteration.duration >= longest;
        assert_eq!(is_long, !iteration.reasons.contains(&Reason::RegionShort));
    }
}

#[test]
fn prefill_at_depth_starts_where_the_filled_cache_ends() {
    let deep = request("nano-llama", Dtype::F32, prefill(16, 70));
    let flat = request("nano-llama", Dtype::F32, prefill(86, 0));
    let (deep_launch, flat_launch) = (Worker::start(&deep).finish(), Worker::start(&flat).finish());
    assert_sound(&deep_launch, &deep);
    let (deep_iterations, flat_iterations) = (deep_launch.iterations(), flat_launch.iterations());
    for iteration in &deep_iterations {
        assert!(has(iteration, Metric::PrefillTpsAtDepth));
        // The same tokens in the same places: what the model says next is the same.
        assert_eq!(
            iteration.token_ids_sha256,
            flat_iterations[0].token_ids_sha256
        );
    }
}

#[test]
fn load_tells_its_phases_and_where_the_pages_were() {
    for regime in [Regime::Cold, Regime::Warm] {
        let request = request("nano-llama", Dtype::Bf16, load(regime));
        let launch = Worker::start(&request).finish();
        // A temporary folder in memory can never be cold; then the doubt must say so.
        let is_cold = |it: &&Iteration| sample(it, Metric::CacheResidencyBefore) < 0.01;
        let iterations = launch.iterations();
        assert_eq!(
            iterations.len(),
            request.protocol.iterations as usize,
            "no warm-up"
        );
        if regime == Regime::Cold && !iterations.iter().copied().all(|it| is_cold(&it)) {
            assert!(
                iterations
                    .iter()
                    .all(|it| it.reasons.contains(&Reason::NotCold))
            );
            continue;
        }
        assert_sound(&launch, &request);
        let mut share_told: f64 = 0.0;
        for iteration in iterations {
            let (whole, mode) = match regime {
                Regime::Cold => (Metric::LoadColdMs, "cold"),
                Regime::Warm => (Metric::LoadWarmMs, "warm"),
            };
            assert_eq!(iteration.mode, mode);
            let whole_ms = sample(iteration, whole);
            assert_close(whole_ms, iteration.duration.as_secs_f64() * 1e3);
            let parts_ms: f64 = [
                Metric::LoadConfigMs,
                Metric::LoadHeaderMs,
                Metric::LoadBuildMs,
                Metric::LoadWeightsMs,
            ]
            .map(|part| sample(iteration, part))
            .iter()
            .sum();
            assert!(
                !has(iteration, Metric::LoadTokenizerMs),
                "synthetic models have none"
            );
            assert!(parts_ms <= whole_ms, "{parts_ms} of {whole_ms}");
            share_told = share_told.max(parts_ms / whole_ms);
            let weights_s = sample(iteration, Metric::LoadWeightsMs) / 1e3;
            assert_close(
                sample(iteration, Metric::LoadGbps),
                iteration.work as f64 / 1e9 / weights_s,
            );
            // Once: later loads of the process find their kernels compiled.
            let is_first = iteration.ordinal == 0;
            assert_eq!(has(iteration, Metric::FirstEvalMs), is_first);
            assert!(sample(iteration, Metric::CacheResidencyAfter) > 0.99);
        }
        // A busy machine may halt a load between two phases, but not every one.
        assert!(share_told > 0.9, "{share_told}");
    }
}

#[test]
fn another_launch_measures_the_same_tokens_of_the_same_model() {
    let mut request = request("nano-qwen2", Dtype::F32, decode(6, 0));
    let first = Worker::start(&request).finish();
    request.launch_seed += 1;
    let second = Worker::start(&request).finish();
    assert_eq!(first.model().digest, second.model().digest);
    let ids = |launch: &Launch| launch.iterations()[0].token_ids_sha256.clone();
    assert_eq!(ids(&first), ids(&second));
    let leader = |launch: &Launch| {
        let iterations = launch.iterations();
        iterations
            .into_iter()
            .find(|it| it.phase == Phase::Measured)
            .unwrap()
            .mode
            .clone()
    };
    assert_ne!(
        leader(&first),
        leader(&second),
        "no mode is always the second"
    );
    request.protocol.seed += 1;
    assert_ne!(ids(&first), ids(&Worker::start(&request).finish()));
}

#[test]
fn an_unoptimised_worker_marks_its_samples_invalid() {
    let request = request("nano-llama", Dtype::Bf16, load(Regime::Warm));
    let launch = Worker::start(&request).finish();
    let reasons = &launch.iterations()[0].reasons;
    let is_invalid = reasons
        .iter()
        .any(|reason| reason.severity() == Severity::Invalid);
    assert_eq!(is_invalid, cfg!(debug_assertions), "{reasons:?}");
}

#[test]
fn a_worker_whose_agent_is_gone_ends_at_once() {
    let mut request = request("nano-llama", Dtype::Bf16, decode(64, 0));
    request.protocol.iterations = 1000;
    let mut worker = Worker::start(&request);
    while !matches!(worker.next_frame(), Some(Frame::Iteration(_))) {}
    worker.close_input();
    // A thousand iterations take minutes; the deadline is what the test is about.
    let launch = worker.finish_within(Duration::from_secs(10));
    assert_eq!(launch.exit, Some(7), "{}", launch.log);
    assert!(launch.log.contains("nobody waits"), "{}", launch.log);
}

#[test]
fn a_worker_whose_frames_nobody_reads_ends() {
    let mut request = request("nano-llama", Dtype::Bf16, decode(64, 0));
    request.protocol.iterations = 1000;
    let mut worker = Worker::start(&request);
    while !matches!(worker.next_frame(), Some(Frame::Iteration(_))) {}
    worker.close_output();
    let launch = worker.finish_within(Duration::from_secs(30));
    assert_eq!(launch.exit, Some(7), "{}", launch.log);
}

#[test]
fn rubbish_instead_of_a_request_is_refused() {
    for (rubbish, word) in [
        (&b"POST / HTTP/1.1\r\n\r\n"[..], "no request"),
        (b"", "ended before a request"),
        (b"\x00", "request.case is missing"),
    ] {
        let launch = Worker::with_input(rubbish).finish_within(Duration::from_secs(30));
        assert_eq!(launch.exit, Some(6), "{}", launch.log);
        assert!(
            launch.frames.is_empty() && launch.log.contains(word),
            "{}",
            launch.log
        );
    }
}

#[track_caller]
fn assert_failed(launch: &Launch, kind: FailureKind, exit: i32, words: &[&str]) {
    let Some(Frame::Failed(failed)) = launch.frames.last() else {
        panic!("{:?}", launch.frames.last());
    };
    assert_eq!((failed.kind, launch.exit), (kind, Some(exit)), "{failed:?}");
    for word in words {
        assert!(failed.message.contains(word), "{}", failed.message);
        assert!(
            launch.log.contains(word),
            "the log tells it too: {}",
            launch.log
        );
    }
    assert!(matches!(launch.frames[0], Frame::Started(_)));
    assert!(launch.iterations().is_empty(), "nothing was measured");
}

/// In bf16.
fn weights_of(name: &str) -> PathBuf {
    let architecture = domain::catalogue::find(name).unwrap();
    suites::synthetic::folder(architecture, Dtype::Bf16, &process::cache_dir())
}

#[test]
fn a_damaged_weight_file_fails_the_model_by_name() {
    let good = Worker::start(&request("nano-llama", Dtype::Bf16, load(Regime::Warm))).finish();
    assert_eq!(good.exit, Some(0), "{}", good.log);
    let folder = tempfile::tempdir().unwrap();
    let written = weights_of("nano-llama");
    std::fs::copy(
        written.join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    let whole = std::fs::read(written.join("model.safetensors")).unwrap();
    std::fs::write(
        folder.path().join("model.safetensors"),
        &whole[..whole.len() / 2],
    )
    .unwrap();

    let mut broken = request("nano-llama", Dtype::Bf16, decode(8, 0));
    broken.model.as_mut().unwrap().source = folder.path().to_str().unwrap().parse().unwrap();
    let launch = Worker::start(&broken).finish();
    assert_failed(
        &launch,
        FailureKind::Model,
        3,
        &["model.safetensors", "truncated"],
    );

    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let launch = Worker::start(&broken).finish();
    assert_failed(&launch, FailureKind::Model, 3, &["no model*.safetensors"]);

    broken.model.as_mut().unwrap().source = "/no/such/folder".parse().unwrap();
    let launch = Worker::start(&broken).finish();
    assert_failed(&launch, FailureKind::Model, 3, &["/no/such/folder"]);
}

#[test]
fn more_positions_than_the_model_has_fail_the_case() {
    for case in [decode(4097, 0), decode(97, 4000), prefill(4097, 0)] {
        let launch = Worker::start(&request("nano-llama", Dtype::Bf16, case)).finish();
        assert_failed(
            &launch,
            FailureKind::Case,
            4,
            &["4097", "max_position_embeddings is 4096"],
        );
    }
}

#[test]
fn a_model_that_would_not_fit_is_skipped_before_its_weights_are_written() {
    let mut large = request("llama-3.1-8b", Dtype::Bf16, decode(128, 0));
    large.memory_limit_bytes = 8_000_000_000;
    let launch = Worker::start(&large).finish();
    let words = ["would not fit, needs 16.1 GB, has 8.0 GB"];
    assert_failed(&launch, FailureKind::Skipped, 5, &words);
    assert!(!weights_of("llama-3.1-8b").exists());
}
