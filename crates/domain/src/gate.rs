//! What no machine can have done: each sample against its chip's published ceilings and its model's
//! own size. One place for all suites, and a pure one, so that imported numbers meet the same gates.
//!
//! G1: bytes per second above the memory's bandwidth. G2: operations per second above the peak, with 5 %
//! for a clock that is higher than known. G4: less memory than the weights. G5: a load faster than the
//! disk, as it was read beside it, or than memory. The others need what only a worker sees, and are there.

use crate::chip;
use crate::metric::Metric;
use crate::model::ModelIdentity;
use crate::reason::Reason;
use crate::suite::load::Regime;
use crate::suite::sustained::STRETCH_TOKENS;
use crate::suite::{Case, prefill};
use crate::worker::Sample;

/// No Mac's disk reads faster, in GB/s.
const FASTEST_DISK_GBPS: f64 = 16.0;
const RAW_READ_TOLERANCE: f64 = 1.1;
const FLOPS_TOLERANCE: f64 = 1.05;

/// What a chip can do; None where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ceilings {
    pub bandwidth_gbps: Option<f64>,
    pub peak_tflops: Option<f64>,
}

impl Ceilings {
    pub fn of(chip: &str, gpu_cores: Option<u32>) -> Self {
        chip::find(chip, gpu_cores).map_or_else(Self::default, |spec| Self {
            bandwidth_gbps: Some(spec.bandwidth_gbps),
            peak_tflops: spec.peak_tflops(),
        })
    }

    fn exceeded_by(self, demand: Demand) -> Option<Reason> {
        let above = |value: f64, limit: Option<f64>| limit.is_some_and(|limit| value > limit);
        match demand {
            Demand::Gbps(gbps) => {
                above(gbps, self.bandwidth_gbps).then_some(Reason::BandwidthImpossible)
            }
            Demand::Tflops(tflops) => {
                let limit = self.peak_tflops.map(|peak| peak * FLOPS_TOLERANCE);
                above(tflops, limit).then_some(Reason::FlopsImpossible)
            }
        }
    }
}

/// What a sample says that the machine has done.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Demand {
    Gbps(f64),
    Tflops(f64),
}

/// The gates that an iteration's samples fail, each once.
pub fn judge(
    case: &Case,
    model: Option<&ModelIdentity>,
    ceilings: Ceilings,
    samples: &[Sample],
) -> Vec<Reason> {
    let mut failed = Vec::new();
    for sample in samples {
        let demand = demand(case, model, sample);
        let reasons = [
            demand.and_then(|demand| ceilings.exceeded_by(demand)),
            load_doubt(case, ceilings, sample, samples),
            model.and_then(|model| memory_doubt(model, sample)),
        ];
        for reason in reasons.into_iter().flatten() {
            if !failed.contains(&reason) {
                failed.push(reason);
            }
        }
    }
    failed
}

fn demand(case: &Case, model: Option<&ModelIdentity>, sample: &Sample) -> Option<Demand> {
    use Metric as M;
    let Sample { metric, value } = *sample;
    // Positions of all sequences, and steps.
    let read = |context: u64, per_second: f64| -> Option<Demand> {
        let model = model?;
        let cache = model.kv_bytes_per_token as f64 * context as f64;
        let bytes = model.decode_bytes as f64 + cache;
        Some(Demand::Gbps(bytes * per_second / 1e9))
    };
    let computed = |tps: f64| Some(Demand::Tflops(2.0 * linear_parameters(model?) * tps / 1e12));
    match (metric, case) {
        // Half of the new tokens are in the cache on the average.
        (M::DecodeTps | M::DecodeTpsAtDepth | M::DecodeTpsSync, Case::Decode(case)) => {
            read(case.depth + case.new_tokens / 2, value)
        }
        (M::SustainedTps, Case::Sustained(case)) => read(case.depth + STRETCH_TOKENS / 2, value),
        (M::QuantBaselineDecodeTps, Case::Quantization(case)) => {
            read(case.prompt_tokens + case.new_tokens / 2, value)
        }
        (M::GenerateTps, Case::Generate(_)) => read(0, value),
        (M::BatchStreamTps, Case::Batch(case)) => {
            let contexts = case.prompts().map(|prompt| prompt + case.new_tokens / 2);
            read(contexts.sum(), value)
        }
        (M::PrefillTps | M::PrefillTpsAtDepth, Case::Prefill(prefill::Case { .. }))
        | (M::BatchPrefillTps, Case::Batch(_))
        | (M::QuantBaselinePrefillTps | M::QuantPrefillTps, Case::Quantization(_)) => {
            computed(value)
        }
        (M::StreamGbps | M::StreamAddGbps, _) => Some(Demand::Gbps(value)),
        (M::GemmTflopsBf16 | M::GemmTflopsF16 | M::GemmTflopsF32, _) => Some(Demand::Tflops(value)),
        (M::AttnFlops, _) => Some(Demand::Tflops(value / 1e12)),
        _ => None,
    }
}

/// Parameters that every prompt token is multiplied with: all that a decode step reads but for the
/// output projection, which the last token alone goes through.
fn linear_parameters(model: &ModelIdentity) -> f64 {
    let config: serde_json::Value = serde_json::from_str(&model.config_json).unwrap_or_default();
    let size = |key: &str| config[key].as_f64().unwrap_or(0.0);
    let read = model.decode_bytes as f64 / model.weight_bytes.max(1) as f64;
    model.parameters as f64 * read - size("hidden_size") * size("vocab_size")
}

/// A cold load cannot be faster than the disk, read beside it or, where it was not, the fastest known.
fn load_doubt(
    case: &Case,
    ceilings: Ceilings,
    sample: &Sample,
    beside: &[Sample],
) -> Option<Reason> {
    let Case::Load(case) = case else { return None };
    if sample.metric != Metric::LoadGbps {
        return None;
    }
    let limit = match case.regime {
        Regime::Cold => {
            let mut raw = beside.iter().filter(|it| it.metric == Metric::SsdReadGbps);
            Some(
                raw.next()
                    .map_or(FASTEST_DISK_GBPS, |raw| raw.value * RAW_READ_TOLERANCE),
            )
        }
        Regime::Warm => ceilings.bandwidth_gbps,
    };
    limit
        .is_some_and(|limit| sample.value > limit)
        .then_some(Reason::LoadImpossible)
}

fn memory_doubt(model: &ModelIdentity, sample: &Sample) -> Option<Reason> {
    let holds_weights = matches!(
        sample.metric,
        Metric::MemWeightsBytes | Metric::MemPeakBytes | Metric::MemPeakProcessBytes
    );
    (holds_weights && sample.value < model.weight_bytes as f64).then_some(Reason::MemoryImpossible)
}

#[cfg(test)]
mod tests;
