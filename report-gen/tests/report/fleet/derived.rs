//! What the database derives from several cases of the small fleet, and its ceilings.

use report_gen::report::{CaseKey, Ceiling, Floor, PositionEffect, Utilisation};
use report_gen::stats::{Interval, Ratio};

use super::{MODELS, variant};

/// `mini` has a roofline of this run, `studio` only what is published.
pub fn ceilings() -> Vec<Ceiling> {
    vec![Ceiling {
        machine: "mini".into(),
        stream_gbps: Some(104.2),
        gemm_tflops_bf16: Some(3.61),
        bandwidth_gbps: Some(120.0),
        fp32_tflops: Some(4.0),
        mbu_spec: Some(0.868),
        nax_ratio: Some(0.9025),
        nax_observed: Some(false),
        nax_expected: false,
        nax_built: Some(true),
        tainted: false,
        reasons: Vec::new(),
    }]
}

pub fn utilisations() -> Vec<Utilisation> {
    let of = |machine: &str, suite: &str, case: &str, metric: &str| Utilisation {
        machine: machine.into(),
        suite: suite.into(),
        variant: variant(MODELS[0].0, MODELS[0].1),
        case_key: case.to_owned().into(),
        metric: metric.into(),
        gbps: None,
        tflops: None,
        mbu_meas: None,
        mbu_spec: None,
        mfu_meas: None,
        mfu_spec: None,
        arith_intensity: None,
        valid: true,
        tainted: false,
        reasons: Vec::new(),
    };
    vec![
        Utilisation {
            gbps: Some(96.1),
            tflops: Some(0.0957),
            mbu_meas: Some(0.9223),
            mbu_spec: Some(0.8008),
            mfu_meas: Some(0.0265),
            mfu_spec: Some(0.0239),
            arith_intensity: Some(0.996),
            ..of("mini", "decode", "new=128,depth=0", "decode_tps")
        },
        Utilisation {
            tflops: Some(3.12),
            mfu_meas: Some(0.8643),
            mfu_spec: Some(0.78),
            ..of(
                "mini",
                "prefill",
                "prompt=512,depth=0,chunk=2048",
                "prefill_tps",
            )
        },
        Utilisation {
            gbps: Some(307.5),
            mbu_spec: Some(0.3755),
            tainted: true,
            reasons: vec!["thermal".into()],
            ..of("studio", "decode", "new=128,depth=0", "decode_tps")
        },
    ]
}

pub fn floor() -> Floor {
    Floor {
        machine: "mini".into(),
        models: [
            "tinyllama-1.1b-4bit (affine 4-bit g64)",
            "tinyllama-1.1b-8bit (affine 8-bit g64)",
            "tinyllama-1.1b (none)",
        ]
        .map(str::to_owned)
        .into(),
        case_key: CaseKey::from("new=128,depth=0".to_owned()),
        kernel_floor_ms: 1.3,
        interval: Some(Interval {
            low: 0.9,
            high: 1.7,
        }),
        gbps: Some(101.5),
        r_squared: 0.9991,
        valid: true,
        tainted: false,
        reasons: Vec::new(),
    }
}

/// One that moved, one that did not, one that nobody can tell, and one of no headline metric.
pub fn position_effects() -> Vec<PositionEffect> {
    let line = |metric: &str, effect: &str, value: f64, error: f64| PositionEffect {
        machine: "mini".into(),
        suite: "decode".into(),
        model: MODELS[0].0.into(),
        metric: metric.into(),
        effect: effect.into(),
        last_over_first: Ratio {
            value,
            interval: Some(Interval {
                low: value * (1.0 - 2.1 * error),
                high: value * (1.0 + 2.1 * error),
            }),
            log_variance: Some(error * error),
            df: Some(20.0),
        },
        p_holm: None,
        moved: None,
    };
    vec![
        line("decode_tps", "place_in_block", 0.94, 0.004),
        line("decode_tps", "block", 1.001, 0.002),
        line("decode_tps_at_depth", "block", 0.97, 0.02),
        line("host_overhead_us", "block", 0.5, 0.001),
    ]
}
