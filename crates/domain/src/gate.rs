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
use crate::suite::Case;
use crate::suite::load::Regime;
use crate::work::Work;
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
    /// `matrix_units`: whether the kernels in use know a GPU's units for matrices; None where nobody
    /// says so, and then what the chip has counts.
    pub fn of(chip: &str, gpu_cores: Option<u32>, matrix_units: Option<bool>) -> Self {
        chip::find(chip, gpu_cores).map_or_else(Self::default, |spec| Self {
            bandwidth_gbps: Some(spec.bandwidth_gbps),
            peak_tflops: match matrix_units {
                Some(false) => spec.fp32_tflops,
                Some(true) | None => spec.peak_tflops(),
            },
        })
    }

    /// G1 and G2 of so much work in a second.
    fn exceeded_by(self, gbps: Option<f64>, tflops: Option<f64>) -> [Option<Reason>; 2] {
        let above = |value: Option<f64>, limit: Option<f64>| {
            value.zip(limit).is_some_and(|(value, limit)| value > limit)
        };
        let peak = self.peak_tflops.map(|peak| peak * FLOPS_TOLERANCE);
        [
            above(gbps, self.bandwidth_gbps).then_some(Reason::BandwidthImpossible),
            above(tflops, peak).then_some(Reason::FlopsImpossible),
        ]
    }
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
        let [gbps, tflops] = demand(case, model, sample, samples);
        let [bandwidth, flops] = ceilings.exceeded_by(gbps, tflops);
        let reasons = [
            bandwidth,
            flops,
            load_doubt(case, model, ceilings, sample, samples),
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

/// What a sample says that the machine has done in a second: 10⁹ bytes, 10¹² operations.
fn demand(
    case: &Case,
    model: Option<&ModelIdentity>,
    sample: &Sample,
    beside: &[Sample],
) -> [Option<f64>; 2] {
    use Metric as M;
    let Sample { metric, value } = *sample;
    match metric {
        M::StreamGbps | M::StreamAddGbps => [Some(value), None],
        M::GemmTflopsBf16 | M::GemmTflopsF16 | M::GemmTflopsF32 => [None, Some(value)],
        M::AttnFlops | M::TrainFlops => [None, Some(value / 1e12)],
        M::AttnUsStandard => match case {
            Case::Attention(case) => [None, Some(case.flops() as f64 / value / 1e6)],
            _ => [None, None],
        },
        // The model's identity tells the size that it had before.
        M::QuantDecodeTps => {
            let packed = beside.iter().find(|it| it.metric == M::QuantWeightsBytes);
            let share = model.map(|m| m.decode_bytes as f64 / m.weight_bytes.max(1) as f64);
            let bytes = packed
                .zip(share)
                .map(|(packed, share)| packed.value * share);
            [bytes.map(|bytes| bytes * value / 1e9), None]
        }
        _ => {
            // Counted as mlx-lm does: all tokens over the time of all but one.
            let (metric, value) = match (metric, case) {
                (M::PrefillTpsMlxlm, _) => (M::PrefillTps, value),
                (M::DecodeTpsMlxlm, Case::Decode(case)) => {
                    let new_tokens = case.new_tokens as f64;
                    (M::DecodeTps, value * (new_tokens - 1.0) / new_tokens)
                }
                _ => (metric, value),
            };
            let work = model.and_then(|model| Work::of(case, model, metric));
            [
                work.and_then(|work| work.bytes).map(|b| b * value / 1e9),
                work.and_then(|work| work.flops).map(|f| f * value / 1e12),
            ]
        }
    }
}

/// A cold load cannot be faster than the disk, read beside it or, where it was not, the fastest known.
/// Where somebody gives the time alone, the weights are the bytes.
fn load_doubt(
    case: &Case,
    model: Option<&ModelIdentity>,
    ceilings: Ceilings,
    sample: &Sample,
    beside: &[Sample],
) -> Option<Reason> {
    let Case::Load(case) = case else { return None };
    let has_rate = beside.iter().any(|it| it.metric == Metric::LoadGbps);
    let gbps = match sample.metric {
        Metric::LoadGbps => sample.value,
        Metric::LoadColdMs | Metric::LoadWarmMs if !has_rate => {
            model?.weight_bytes as f64 / 1e6 / sample.value
        }
        _ => return None,
    };
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
        .is_some_and(|limit| gbps > limit)
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
