//! What techniques gain: the ratios that suites measure in one process and in turn, each held against the
//! margin.

use super::measurements::distinct;
use crate::report::{Claim, Gain, Measurement};
use crate::stats;

pub const ATTENTION: (&str, &str) = ("attention", "attn_speedup");
pub const QUANTISING: (&str, &str) = ("quantization", "quant_speedup_decode");
pub const BATCHING: (&str, &str) = ("batch", "batch_speedup");
pub const SPECULATING: (&str, &str) = ("speculative", "spec_speedup");
/// No technique: what is left of a rate after minutes.
pub const SUSTAINING: (&str, &str) = ("sustained", "sustained_ratio");

pub fn gains(measurements: &[Measurement]) -> Vec<Gain> {
    let ratios = [ATTENTION, QUANTISING, BATCHING, SPECULATING, SUSTAINING];
    measurements
        .iter()
        .filter(|m| m.valid && ratios.contains(&(m.suite.as_str(), m.metric.as_str())))
        .filter_map(gain)
        .collect()
}

fn gain(m: &Measurement) -> Option<Gain> {
    let launches = m.launches.iter().map(|l| (l.launch, l.median)).collect();
    let ratio = stats::mean_of_cases(&[launches])?;
    Some(Gain {
        machine: m.machine.clone(),
        suite: m.suite.clone(),
        variant: m.variant.clone(),
        case_key: m.case_key.clone(),
        metric: m.metric.clone(),
        claim: Claim {
            ratio,
            p_holm: None,
            verdict: stats::verdict(ratio.interval, true, &m.unit),
            tainted: m.tainted,
            reasons: distinct(m.reasons.iter()),
        },
    })
}
