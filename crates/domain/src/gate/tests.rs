//! The gates against numbers that were published: impossible ones, each refused by the gate that is
//! named for it, and sound ones, all let through.

use super::*;
use crate::model::Dtype;
use crate::suite::{
    attention, decode, load, prefill, quantization, roofline, speculative, training,
};
use crate::{catalogue, chip};

/// Bits per weight, scales and biases included.
const BF16: f64 = 16.0;
const Q8: f64 = 8.5;
const Q4: f64 = 4.5;

/// Norms and biases, which stay as they are when matrices are packed.
fn vectors(of: &catalogue::Architecture) -> u64 {
    let heads = match of.model_type {
        "qwen2" => (of.heads + 2 * of.kv_heads) * of.head_dim,
        "qwen3" => 2 * of.head_dim,
        _ => 0,
    };
    of.layers * (2 * of.hidden_size + heads) + of.hidden_size
}

fn model(name: &str, bits: f64) -> ModelIdentity {
    let architecture = catalogue::find(name).unwrap();
    let vectors = vectors(architecture);
    let packed = |bytes_in_bf16: u64| {
        let matrices = (bytes_in_bf16 / 2 - vectors) as f64;
        (matrices * bits / 8.0) as u64 + 2 * vectors
    };
    ModelIdentity {
        digest: String::new(),
        model_type: architecture.model_type.to_owned(),
        label: name.to_owned(),
        source: format!("synthetic:{name}"),
        dtype: Dtype::Bf16,
        quantisation: String::new(),
        parameters: architecture.parameters(),
        weight_bytes: packed(architecture.weight_bytes(2)),
        decode_bytes: packed(architecture.decode_bytes(2)),
        kv_bytes_per_token: architecture.kv_bytes_per_token(2),
        synthetic: true,
        config_json: architecture.config_json("bfloat16").to_string(),
    }
}

fn judged(
    (chip, cores): (&str, u32),
    case: &Case,
    model: Option<&ModelIdentity>,
    metric: Metric,
    value: f64,
) -> Vec<Reason> {
    let sample = Sample { metric, value };
    judge(
        case,
        model,
        Ceilings::of(chip, Some(cores), None),
        &[sample],
    )
}

fn decode_case(new_tokens: u64, prompt: u64) -> Case {
    Case::Decode(decode::Case {
        new_tokens,
        depth: prompt,
    })
}

fn prefill_case(prompt_tokens: u64) -> Case {
    Case::Prefill(prefill::Case {
        prompt_tokens,
        depth: 0,
        chunk: 2048,
    })
}

fn llama_attention() -> attention::Case {
    let shape = catalogue::find("llama-3.1-8b").unwrap();
    attention::Case {
        shape: shape.name.to_owned(),
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        regime: attention::Regime::Prefill,
        length: 2048,
        dtype: Dtype::Bf16,
    }
}

const M3_MAX: (&str, u32) = ("Apple M3 Max", 40);
const M4_MAX: (&str, u32) = ("Apple M4 Max", 40);

#[test]
fn claims_that_cannot_be_are_refused_each_by_its_gate() {
    let llama = model("llama-3.1-8b", BF16);
    let cold = Case::Load(load::Case {
        regime: Regime::Cold,
    });
    // 16.06 GB in 0.97 s, from a disk.
    let gbps = llama.weight_bytes as f64 / 1e9 / 0.97;
    assert_eq!(
        judged(M3_MAX, &cold, Some(&llama), Metric::LoadGbps, gbps),
        [Reason::LoadImpossible]
    );
    // 13,348 MB for weights of 16,061.
    for metric in [Metric::MemWeightsBytes, Metric::MemPeakBytes] {
        assert_eq!(
            judged(M3_MAX, &cold, Some(&llama), metric, 13_348e6),
            [Reason::MemoryImpossible]
        );
    }
    // "Flash attention", as rates of a whole model: all six of them.
    for (name, rates) in [
        (
            "tinyllama-1.1b",
            [52_790.0, 170_201.0, 358_751.0, 410_504.0],
        ),
        ("qwen2.5-1.5b", [48_731.0, 133_484.0, 226_544.0, 319_313.0]),
        ("llama-3.1-8b", [25_200.0, 114_244.0, 255_653.0, 399_012.0]),
    ] {
        let model = model(name, BF16);
        for tps in rates {
            let case = prefill_case(256);
            assert_eq!(
                judged(M3_MAX, &case, Some(&model), Metric::PrefillTps, tps),
                [Reason::FlopsImpossible],
                "{name} {tps}"
            );
        }
    }
    // A loop that builds graphs and evaluates one: seventeen times the bandwidth.
    let stream = Case::Roofline(roofline::Case::Stream { megabytes: 1000 });
    assert_eq!(
        judged(M3_MAX, &stream, None, Metric::StreamGbps, 17.0 * 400.0),
        [Reason::BandwidthImpossible]
    );
    let quick = judged(
        M3_MAX,
        &decode_case(50, 0),
        Some(&llama),
        Metric::DecodeTps,
        27.0,
    );
    assert_eq!(
        quick,
        [Reason::BandwidthImpossible],
        "15 GB 27 times a second"
    );
    let attention = Case::Attention(llama_attention());
    assert_eq!(
        judged(M3_MAX, &attention, None, Metric::AttnFlops, 1.8e15),
        [Reason::FlopsImpossible]
    );
}

#[test]
fn a_cold_load_is_held_against_the_disk_as_it_was_read_beside_it() {
    let judged = |regime, gbps: f64, raw: Option<f64>| {
        let raw = raw.map(|value| Sample {
            metric: Metric::SsdReadGbps,
            value,
        });
        let load = Sample {
            metric: Metric::LoadGbps,
            value: gbps,
        };
        let samples: Vec<Sample> = [load].into_iter().chain(raw).collect();
        let case = Case::Load(load::Case { regime });
        judge(
            &case,
            None,
            Ceilings::of(M3_MAX.0, Some(40), None),
            &samples,
        )
    };
    for (regime, gbps, raw, is_possible) in [
        (Regime::Cold, 6.5, Some(6.0), true),
        (Regime::Cold, 6.7, Some(6.0), false),
        // No figure of a catalogue stands above what was measured.
        (Regime::Cold, 17.0, Some(15.5), true),
        (Regime::Cold, 15.9, None, true),
        (Regime::Cold, 16.1, None, false),
        (Regime::Warm, 40.0, None, true),
        (Regime::Warm, 401.0, None, false),
    ] {
        let failed = judged(regime, gbps, raw);
        assert_eq!(
            failed.is_empty(),
            is_possible,
            "{regime:?} {gbps} {raw:?}: {failed:?}"
        );
        assert!(is_possible || failed == [Reason::LoadImpossible]);
    }
}

#[test]
fn decode_rates_that_mix_prefill_in_are_slow_and_not_impossible() {
    for (name, tps) in [
        ("tinyllama-1.1b", 86.3),
        ("qwen2.5-1.5b", 64.8),
        ("llama-3.1-8b", 13.1),
    ] {
        let case = decode_case(50, 0);
        let model = model(name, BF16);
        assert!(judged(M3_MAX, &case, Some(&model), Metric::DecodeTps, tps).is_empty());
    }
}

/// Chip, GPU cores, model, bits, prompt, new tokens, prefill and decode in tokens per second, and the
/// share of the bandwidth that decoding takes, in per cent.
type Row = (
    &'static str,
    u32,
    &'static str,
    f64,
    [u64; 2],
    [Option<f64>; 2],
    f64,
);

const PUBLISHED: &[Row] = {
    const P: [u64; 2] = [512, 128];
    const fn both(prefill: f64, decode: f64) -> [Option<f64>; 2] {
        [Some(prefill), Some(decode)]
    }
    &[
        (
            "M5 Max",
            40,
            "llama-3.1-8b",
            Q4,
            P,
            both(3185.0, 115.82),
            81.0,
        ),
        (
            "M5 Max",
            40,
            "llama-3.1-8b",
            BF16,
            P,
            both(2715.0, 33.25),
            82.0,
        ),
        (
            "M5 Max",
            40,
            "llama-3.2-1b",
            Q4,
            P,
            both(17_195.0, 537.3),
            63.0,
        ),
        (
            "M5 Max",
            40,
            "qwen2.5-0.5b",
            Q4,
            P,
            both(28_346.0, 602.2),
            28.0,
        ),
        (
            "M5 Max",
            40,
            "qwen2.5-0.5b",
            BF16,
            P,
            both(31_092.0, 391.2),
            63.0,
        ),
        (
            "M5 Max",
            40,
            "qwen2.5-1.5b",
            Q4,
            P,
            both(12_708.0, 366.1),
            53.0,
        ),
        ("M5 Max", 40, "qwen2.5-7b", Q4, P, both(3148.0, 123.7), 81.0),
        ("M5 Max", 40, "qwen2.5-7b", Q8, P, both(2915.0, 67.66), 83.0),
        (
            "M5 Max",
            40,
            "qwen3-0.6b",
            Q4,
            P,
            both(22_777.0, 570.5),
            37.0,
        ),
        (
            "M5 Max",
            40,
            "qwen3-1.7b",
            Q4,
            P,
            both(11_994.0, 365.6),
            62.0,
        ),
        ("M5 Max", 40, "qwen3-4b", Q4, P, both(5452.0, 185.95), 71.0),
        ("M5 Max", 40, "qwen3-8b", Q4, P, both(3158.0, 112.38), 80.0),
        (
            "M1 Ultra",
            64,
            "llama-3.1-8b",
            Q4,
            P,
            both(806.6, 105.78),
            57.0,
        ),
        (
            "M1 Ultra",
            64,
            "llama-3.1-8b",
            BF16,
            P,
            both(789.0, 35.48),
            67.0,
        ),
        (
            "M1 Ultra",
            48,
            "llama-3.1-8b",
            BF16,
            P,
            both(789.0, 35.48),
            67.0,
        ),
        (
            "M1 Ultra",
            64,
            "qwen2.5-1.5b",
            Q4,
            P,
            both(3373.0, 219.5),
            24.0,
        ),
        (
            "M1 Ultra",
            64,
            "qwen2.5-7b",
            Q4,
            P,
            both(831.0, 106.55),
            53.0,
        ),
        (
            "M1 Ultra",
            64,
            "qwen2.5-7b",
            Q8,
            P,
            both(830.0, 69.30),
            65.0,
        ),
        ("M1 Ultra", 64, "qwen3-4b", Q4, P, both(1001.0, 116.2), 34.0),
        (
            "M4 Max",
            40,
            "qwen3-4b",
            BF16,
            [2048, 128],
            both(1780.6, 52.47),
            80.0,
        ),
        (
            "M4 Max",
            40,
            "qwen3-4b",
            Q8,
            [2048, 128],
            both(1606.6, 86.91),
            73.0,
        ),
        (
            "M4 Max",
            40,
            "qwen3-4b",
            Q4,
            [2048, 128],
            both(1622.3, 134.52),
            63.0,
        ),
        (
            "M4 Max",
            40,
            "qwen2.5-1.5b",
            Q4,
            P,
            [None, Some(308.5)],
            50.0,
        ),
        (
            "M3 Ultra",
            60,
            "llama-3.1-8b",
            Q4,
            P,
            both(1156.0, 119.39),
            63.0,
        ),
        (
            "M3 Ultra",
            60,
            "llama-3.1-8b",
            Q4,
            [2048, 512],
            both(1194.0, 110.45),
            61.0,
        ),
        (
            "M3 Ultra",
            60,
            "qwen3-8b",
            Q4,
            P,
            both(1069.0, 112.89),
            60.0,
        ),
        (
            "M3 Pro",
            18,
            "qwen3-4b",
            Q4,
            [2048, 128],
            both(615.3, 44.62),
            77.0,
        ),
    ]
};

#[test]
fn published_measurements_pass_every_gate() {
    for &(chip, cores, name, bits, [prompt, new], [prefill_tps, decode_tps], mbu) in PUBLISHED {
        let model = model(name, bits);
        let on = (chip, cores);
        let rates = [
            (Metric::PrefillTps, prefill_case(prompt), prefill_tps),
            (Metric::DecodeTps, decode_case(new, prompt), decode_tps),
        ];
        for (metric, case, tps) in rates {
            let Some(tps) = tps else { continue };
            let failed = judged(on, &case, Some(&model), metric, tps);
            assert!(
                failed.is_empty(),
                "{chip} {name} {metric} {tps}: {failed:?}"
            );
        }
        let decode = decode_case(new, prompt);
        let work = Work::of(&decode, &model, Metric::DecodeTps).unwrap();
        let bandwidth = chip::find(chip, Some(cores)).unwrap().bandwidth_gbps;
        let share = work.bytes.unwrap() * decode_tps.unwrap() / bandwidth / 1e7;
        assert!(
            (share - mbu).abs() < 1.0,
            "{chip} {name}: {share} for {mbu}"
        );
    }
}

#[test]
fn packed_models_are_as_large_as_published_and_so_may_be_their_peaks() {
    for (name, [decode_8, decode_4], [weights_8, weights_4]) in [
        ("tinyllama-1.1b", ["1.099", "0.582"], ["1.169", "0.619"]),
        ("qwen2.5-0.5b", ["0.525", "0.278"], ["0.525", "0.278"]),
        ("qwen2.5-1.5b", ["1.640", "0.869"], ["1.640", "0.869"]),
        ("qwen2.5-7b", ["7.513", "3.978"], ["8.092", "4.284"]),
        ("llama-3.2-1b", ["1.313", "0.695"], ["1.313", "0.695"]),
        ("llama-3.1-8b", ["7.974", "4.222"], ["8.532", "4.517"]),
        ("qwen3-0.6b", ["0.633", "0.335"], ["0.633", "0.335"]),
        ("qwen3-1.7b", ["1.828", "0.968"], ["1.828", "0.968"]),
        ("qwen3-4b", ["4.274", "2.263"], ["4.274", "2.263"]),
        ("qwen3-8b", ["8.042", "4.258"], ["8.703", "4.608"]),
    ] {
        for (bits, decode, weights) in [(Q8, decode_8, weights_8), (Q4, decode_4, weights_4)] {
            let model = model(name, bits);
            let gb = |bytes: u64| format!("{:.3}", bytes as f64 / 1e9);
            assert_eq!(gb(model.decode_bytes), decode, "{name} {bits}");
            assert_eq!(gb(model.weight_bytes), weights, "{name} {bits}");
        }
    }
    for (bits, peak_gb) in [(BF16, 9.02), (Q8, 5.25), (Q4, 3.35)] {
        let model = model("qwen3-4b", bits);
        let case = decode_case(128, 2048);
        let peak = Metric::MemPeakBytes;
        let failed = judged(M4_MAX, &case, Some(&model), peak, peak_gb * 1e9);
        assert!(failed.is_empty(), "{bits} {peak_gb}: {failed:?}");
    }
}

#[test]
fn every_rate_that_implies_bytes_or_operations_is_held_against_the_chip() {
    let llama = model("llama-3.1-8b", BF16);
    let speculative = Case::Speculative(speculative::Case {
        draft_tokens: 4,
        prompt: speculative::Prompt::Code,
        new_tokens: 128,
        draft: "synthetic:llama-3.2-1b".parse().unwrap(),
    });
    let training = Case::Training(training::Case {
        mode: training::Mode::Full,
        batch_size: 4,
        sequence_tokens: 512,
    });
    let attention = llama_attention();
    let standard_us = |tflops: f64| attention.flops() as f64 / tflops / 1e6;
    let (gbps, flops) = (Reason::BandwidthImpossible, Reason::FlopsImpossible);
    for (case, metric, sound, impossible, reason) in [
        (
            &speculative,
            Metric::SpecBaselineDecodeTps,
            26.0,
            27.0,
            gbps,
        ),
        (&training, Metric::TrainFlops, 14e12, 15e12, flops),
        (
            &Case::Attention(attention.clone()),
            Metric::AttnUsStandard,
            standard_us(14.0),
            standard_us(15.0),
            flops,
        ),
    ] {
        let judged = |value| judged(M3_MAX, case, Some(&llama), metric, value);
        assert!(judged(sound).is_empty(), "{metric} {sound}");
        assert_eq!(judged(impossible), [reason], "{metric} {impossible}");
    }

    let packed = Case::Quantization(quantization::Case {
        bits: 4,
        group_size: 64,
        prompt_tokens: 512,
        new_tokens: 128,
    });
    let judged = |tps| {
        let samples = [
            (Metric::QuantDecodeTps, tps),
            (Metric::QuantWeightsBytes, 4.517e9),
        ];
        let samples = samples.map(|(metric, value)| Sample { metric, value });
        let ceilings = Ceilings::of(M3_MAX.0, Some(M3_MAX.1), None);
        judge(&packed, Some(&llama), ceilings, &samples)
    };
    // 4.222 GB a token, of 400 in a second.
    assert!(judged(94.0).is_empty());
    assert_eq!(judged(95.0), [gbps]);
}

#[test]
fn a_worker_without_kernels_for_matrix_units_has_the_ceiling_of_a_chip_without_them() {
    let gemm = Case::Roofline(roofline::Case::Gemm {
        size: 4096,
        dtype: Dtype::Bf16,
    });
    let judged = |matrix_units| {
        let sample = Sample {
            metric: Metric::GemmTflopsBf16,
            value: 40.0,
        };
        let ceilings = Ceilings::of("Apple M5 Max", Some(40), matrix_units);
        judge(&gemm, None, ceilings, &[sample])
    };
    assert!(judged(None).is_empty());
    assert!(judged(Some(true)).is_empty());
    assert_eq!(judged(Some(false)), [Reason::FlopsImpossible]);
}

#[test]
fn a_chip_that_is_not_known_has_no_ceiling() {
    let stream = Case::Roofline(roofline::Case::Stream { megabytes: 1000 });
    let epyc = ("AMD EPYC", 0);
    assert!(judged(epyc, &stream, None, Metric::StreamGbps, 9e9).is_empty());
}
