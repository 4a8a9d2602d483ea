//! The gates against numbers that were published: impossible ones, each refused by the gate that is
//! named for it, and sound ones, all let through.

use super::*;
use crate::catalogue;
use crate::model::Dtype;
use crate::suite::{attention, decode, load, prefill, roofline};

/// Bits per weight, scales and biases included.
const BF16: f64 = 16.0;
const Q8: f64 = 8.5;
const Q4: f64 = 4.5;

fn model(name: &str, bits: f64) -> ModelIdentity {
    let architecture = catalogue::find(name).unwrap();
    let packed = |bytes_in_bf16: u64| (bytes_in_bf16 as f64 * bits / 16.0) as u64;
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
    judge(case, model, Ceilings::of(chip, Some(cores)), &[sample])
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

const M3_MAX: (&str, u32) = ("Apple M3 Max", 40);

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
    let shape = catalogue::find("llama-3.1-8b").unwrap();
    let attention = Case::Attention(attention::Case {
        shape: shape.name.to_owned(),
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        regime: attention::Regime::Prefill,
        length: 2048,
        dtype: Dtype::Bf16,
    });
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
        judge(&case, None, Ceilings::of(M3_MAX.0, Some(40)), &samples)
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

/// Chip, GPU cores, model, bits, prompt, new tokens, prefill and decode in tokens per second.
type Row = (
    &'static str,
    u32,
    &'static str,
    f64,
    [u64; 2],
    [Option<f64>; 2],
);

const PUBLISHED: &[Row] = {
    const P: [u64; 2] = [512, 128];
    const fn both(prefill: f64, decode: f64) -> [Option<f64>; 2] {
        [Some(prefill), Some(decode)]
    }
    &[
        ("M5 Max", 40, "llama-3.1-8b", Q4, P, both(3185.0, 115.82)),
        ("M5 Max", 40, "llama-3.1-8b", BF16, P, both(2715.0, 33.25)),
        ("M5 Max", 40, "llama-3.2-1b", Q4, P, both(17_195.0, 537.3)),
        ("M5 Max", 40, "qwen2.5-0.5b", Q4, P, both(28_346.0, 602.2)),
        ("M5 Max", 40, "qwen2.5-0.5b", BF16, P, both(31_092.0, 391.2)),
        ("M5 Max", 40, "qwen2.5-1.5b", Q4, P, both(12_708.0, 366.1)),
        ("M5 Max", 40, "qwen2.5-7b", Q4, P, both(3148.0, 123.7)),
        ("M5 Max", 40, "qwen2.5-7b", Q8, P, both(2915.0, 67.66)),
        ("M5 Max", 40, "qwen3-0.6b", Q4, P, both(22_777.0, 570.5)),
        ("M5 Max", 40, "qwen3-1.7b", Q4, P, both(11_994.0, 365.6)),
        ("M5 Max", 40, "qwen3-4b", Q4, P, both(5452.0, 185.95)),
        ("M5 Max", 40, "qwen3-8b", Q4, P, both(3158.0, 112.38)),
        ("M1 Ultra", 64, "llama-3.1-8b", Q4, P, both(806.6, 105.78)),
        ("M1 Ultra", 64, "llama-3.1-8b", BF16, P, both(789.0, 35.48)),
        ("M1 Ultra", 48, "llama-3.1-8b", BF16, P, both(789.0, 35.48)),
        ("M1 Ultra", 64, "qwen2.5-1.5b", Q4, P, both(3373.0, 219.5)),
        ("M1 Ultra", 64, "qwen2.5-7b", Q4, P, both(831.0, 106.55)),
        ("M1 Ultra", 64, "qwen2.5-7b", Q8, P, both(830.0, 69.30)),
        ("M1 Ultra", 64, "qwen3-4b", Q4, P, both(1001.0, 116.2)),
        (
            "M4 Max",
            40,
            "qwen3-4b",
            BF16,
            [2048, 128],
            both(1780.6, 52.47),
        ),
        (
            "M4 Max",
            40,
            "qwen3-4b",
            Q8,
            [2048, 128],
            both(1606.6, 86.91),
        ),
        (
            "M4 Max",
            40,
            "qwen3-4b",
            Q4,
            [2048, 128],
            both(1622.3, 134.52),
        ),
        ("M4 Max", 40, "qwen2.5-1.5b", Q4, P, [None, Some(308.5)]),
        ("M3 Ultra", 60, "llama-3.1-8b", Q4, P, both(1156.0, 119.39)),
        (
            "M3 Ultra",
            60,
            "llama-3.1-8b",
            Q4,
            [2048, 512],
            both(1194.0, 110.45),
        ),
        ("M3 Ultra", 60, "qwen3-8b", Q4, P, both(1069.0, 112.89)),
        (
            "M3 Pro",
            18,
            "qwen3-4b",
            Q4,
            [2048, 128],
            both(615.3, 44.62),
        ),
    ]
};

#[test]
fn published_measurements_pass_every_gate() {
    for &(chip, cores, name, bits, [prompt, new], [prefill_tps, decode_tps]) in PUBLISHED {
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
    }
}

#[test]
fn a_chip_that_is_not_known_has_no_ceiling() {
    let stream = Case::Roofline(roofline::Case::Stream { megabytes: 1000 });
    let epyc = ("AMD EPYC", 0);
    assert!(judged(epyc, &stream, None, Metric::StreamGbps, 9e9).is_empty());
}
