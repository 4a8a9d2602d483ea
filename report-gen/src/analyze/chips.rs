//! The run's chips beside what is published of them, and one chip over another: decoding follows the
//! bandwidth and prefill the arithmetic, so each gain is a product of one of the two and a rest.

use std::collections::BTreeMap;

use domain::chip::{self, ChipSpec};
use domain::llama_cpp::{self, Precision};

use crate::number;
use crate::report::{
    ChipFacts, Comparison, Generation, Machine, ReferenceGain, ReferenceRates, Score,
};
use crate::stats::Ratio;

/// Every chip has it, and its weights are nearly all that a token reads.
const COMPARED: Precision = Precision::Q8_0;

pub fn facts(machines: &[Machine]) -> Vec<ChipFacts> {
    let mut by_chip: BTreeMap<(&str, Option<i32>), Vec<&Machine>> = BTreeMap::new();
    for machine in machines {
        let key = (machine.chip.as_str(), machine.gpu_cores);
        by_chip.entry(key).or_default().push(machine);
    }
    by_chip
        .into_iter()
        .filter_map(|((name, gpu_cores), machines)| {
            let spec = spec(machines[0])?;
            Some(ChipFacts {
                chip: name.to_owned(),
                gpu_cores,
                machines: machines.iter().map(|m| m.machine.clone()).collect(),
                bandwidth_gbps: spec.bandwidth_gbps,
                bandwidth_source: spec.bandwidth_source,
                fp32_tflops: spec.fp32_tflops,
                fp32_kind: spec.fp32_kind,
                reference: reference(name, gpu_cores),
            })
        })
        .collect()
}

fn spec(machine: &Machine) -> Option<&'static ChipSpec> {
    chip::find(&machine.chip, cores(machine.gpu_cores))
}

fn cores(gpu_cores: Option<i32>) -> Option<u32> {
    gpu_cores.and_then(|cores| u32::try_from(cores).ok())
}

fn reference(name: &str, gpu_cores: Option<i32>) -> Vec<ReferenceRates> {
    let Some(row) = llama_cpp::find(name, cores(gpu_cores)) else {
        return Vec::new();
    };
    let of = |precision: Precision| {
        let rates = row.rates(precision)?;
        Some(ReferenceRates {
            precision: precision.as_str(),
            prefill_tps: rates.prefill_tps,
            decode_tps: rates.decode_tps,
            gbps: rates.decode_tps * precision.bytes() / 1e9,
            tflops: rates.prefill_tps * 2.0 * llama_cpp::PARAMETERS / 1e12,
        })
    };
    Precision::ALL.into_iter().filter_map(of).collect()
}

/// Each of the run's machines over the baseline's chip, then the generations of the kinds of chips that
/// it has, by the largest of each.
pub fn generations(machines: &[Machine], comparison: &Comparison) -> Vec<Generation> {
    let baseline = comparison
        .baseline
        .as_ref()
        .and_then(|name| machines.iter().find(|m| m.machine == *name));
    let mut all: Vec<Generation> = Vec::new();
    if let Some((baseline, from)) = baseline.and_then(|b| Some((b, spec(b)?))) {
        all.extend(machines.iter().filter_map(|machine| {
            let to = spec(machine).filter(|to| *to != from)?;
            let mean = |suite: &str, metric: &str| -> Option<Ratio> {
                let is_of = |score: &&Score| {
                    score.machine == machine.machine
                        && score.suite == suite
                        && score.metric == metric
                };
                comparison.scores.iter().find(is_of)?.ratio
            };
            Some(Generation {
                machines: Some([baseline.machine.clone(), machine.machine.clone()]),
                decode: mean("decode", "decode_tps"),
                prefill: mean("prefill", "prefill_tps"),
                ..generation(from, to)
            })
        }));
    }
    let mut kinds: Vec<&str> = machines
        .iter()
        .filter_map(|machine| Some(kind(spec(machine)?.chip)))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let line = line(kind);
        all.extend(line.windows(2).map(|pair| generation(pair[0], pair[1])));
    }
    all
}

/// `Max` of `M3 Max`; empty for the smallest kind.
fn kind(chip: &str) -> &str {
    chip.split_once(' ').map_or("", |(_, kind)| kind)
}

/// The chips of a kind, one for each generation: that with the most cores.
fn line(of: &str) -> Vec<&'static ChipSpec> {
    let mut line: Vec<&ChipSpec> = Vec::new();
    for spec in chip::all().iter().filter(|spec| kind(spec.chip) == of) {
        match line.last_mut() {
            Some(last) if last.chip == spec.chip => *last = spec,
            _ => line.push(spec),
        }
    }
    line
}

fn generation(from: &ChipSpec, to: &ChipSpec) -> Generation {
    let title = |spec: &ChipSpec| number::chip(spec.chip, Some(spec.gpu_cores));
    Generation {
        from: title(from),
        to: title(to),
        machines: None,
        bandwidth: to.bandwidth_gbps / from.bandwidth_gbps,
        compute: to
            .peak_tflops()
            .zip(from.peak_tflops())
            .map(|(to, from)| to / from),
        reference: gain(from, to),
        decode: None,
        prefill: None,
    }
}

fn gain(from: &ChipSpec, to: &ChipSpec) -> Option<ReferenceGain> {
    let rates = |spec: &ChipSpec| llama_cpp::find(spec.chip, Some(spec.gpu_cores))?.rates(COMPARED);
    let (from, to) = (rates(from)?, rates(to)?);
    let prompt = f64::from(llama_cpp::PROMPT_TOKENS);
    let new = f64::from(llama_cpp::NEW_TOKENS);
    let in_prefill = prompt / from.prefill_tps - prompt / to.prefill_tps;
    let in_decode = new / from.decode_tps - new / to.decode_tps;
    Some(ReferenceGain {
        decode: to.decode_tps / from.decode_tps,
        prefill: to.prefill_tps / from.prefill_tps,
        decode_share_of_saving: (in_prefill > 0.0 && in_decode > 0.0)
            .then(|| in_decode / (in_decode + in_prefill)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: (&str, u32), to: (&str, u32)) -> Generation {
        let find = |(name, cores)| chip::find(name, Some(cores)).unwrap();
        generation(find(from), find(to))
    }

    fn close(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 1e-9, "{got} is not {want}");
    }

    #[test]
    fn a_gain_is_bandwidth_or_compute_times_a_rest() {
        let gen4 = of(("M3 Max", 40), ("M4 Max", 40));
        close(gen4.bandwidth, 546.0 / 400.0);
        close(gen4.compute.unwrap(), 16.2 / 14.1);
        let gain = gen4.reference.unwrap();
        close(gain.decode, 54.05 / 42.75);
        close(
            gen4.beyond_bandwidth(gain.decode),
            54.05 / 42.75 * 400.0 / 546.0,
        );
        close(
            gen4.beyond_compute(gain.prefill).unwrap(),
            891.94 / 757.64 * 14.1 / 16.2,
        );
        let decode = 128.0 / 42.75 - 128.0 / 54.05;
        let prefill = 512.0 / 757.64 - 512.0 / 891.94;
        close(
            gain.decode_share_of_saving.unwrap(),
            decode / (decode + prefill),
        );
    }

    #[test]
    fn matrix_units_count_as_compute_and_what_is_not_published_is_missing() {
        let gen5 = of(("M4 Max", 40), ("M5 Max", 40));
        close(gen5.compute.unwrap(), 4.0 * 16.6 / 16.2);
        assert!(gen5.reference.is_none(), "nobody reported an M5");
        assert_eq!(of(("M4", 10), ("M5", 10)).compute, None);
        // Slower in neither, but faster in one alone: the saving has no two parts.
        let share = of(("M2 Ultra", 76), ("M3 Ultra", 80)).reference.unwrap();
        assert_eq!(share.decode_share_of_saving, None, "decoding took longer");
    }

    #[test]
    fn a_line_has_the_largest_chip_of_each_generation() {
        let largest: Vec<(&str, u32)> = line("Max").iter().map(|s| (s.chip, s.gpu_cores)).collect();
        assert_eq!(
            largest,
            [
                ("M1 Max", 32),
                ("M2 Max", 38),
                ("M3 Max", 40),
                ("M4 Max", 40),
                ("M5 Max", 40)
            ]
        );
        assert_eq!(line("").len(), 6);
    }
}
