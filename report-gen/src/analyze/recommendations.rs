//! What the run's own measurements recommend on each machine: one sentence a technique, with its numbers.
//! What was not measured is not recommended.

use std::fmt::Write as _;

use super::gains::{ATTENTION, BATCHING, QUANTISING, SPECULATING, SUSTAINING};
use crate::number;
use crate::report::{CaseKey, Gain, Measurement, Recommendation, Report, Variant};
use crate::stats::Verdict;

/// Below this share of what it has alone, a sequence in a batch waits for the others.
const KNEE_EFFICIENCY: f64 = 0.5;

struct Technique {
    of: (&'static str, &'static str),
    imperative: &'static str,
    noun: &'static str,
    /// What belongs beside the gain: metrics of the same case, and words for them.
    beside: &'static [(&'static str, &'static str)],
}

const TECHNIQUES: [Technique; 4] = [
    Technique {
        of: ATTENTION,
        imperative: "Use MLX's fused attention",
        noun: "fused attention",
        beside: &[],
    },
    Technique {
        of: QUANTISING,
        imperative: "Quantise for speed of decoding",
        noun: "quantising",
        beside: &[
            ("quant_mem_ratio", "size"),
            ("quant_kl_mean", "mean KL"),
            ("quant_ppl_delta", "perplexity, change"),
        ],
    },
    Technique {
        of: BATCHING,
        imperative: "Decode several sequences together",
        noun: "a batch",
        beside: &[("batch_efficiency", "of the ideal")],
    },
    Technique {
        of: SPECULATING,
        imperative: "Decode speculatively",
        noun: "speculative decoding",
        beside: &[("spec_accept_rate", "accepted")],
    },
];

pub fn recommendations(report: &Report) -> Vec<Recommendation> {
    let mut all = Vec::new();
    for machine in report.machines.iter().map(|m| m.machine.as_str()) {
        let of = |(suite, metric): (&str, &str)| -> Vec<&Gain> {
            let gains = report.gains.iter();
            let of_metric = gains.filter(|g| g.suite == suite && g.metric == metric);
            of_metric.filter(|g| g.machine == machine).collect()
        };
        let texts = TECHNIQUES
            .iter()
            .filter_map(|technique| sentence(report, machine, technique, &of(technique.of)))
            .chain(sustained(machine, &of(SUSTAINING)));
        all.extend(texts.map(|text| Recommendation {
            machine: machine.to_owned(),
            text,
        }));
    }
    all
}

fn sentence(
    report: &Report,
    machine: &str,
    technique: &Technique,
    gains: &[&Gain],
) -> Option<String> {
    let of = |verdict: Verdict| -> Vec<&Gain> {
        let mut of: Vec<&Gain> = gains
            .iter()
            .copied()
            .filter(|gain| gain.claim.verdict == verdict)
            .collect();
        of.sort_by(|a, b| b.claim.ratio.value.total_cmp(&a.claim.ratio.value));
        of
    };
    let n = number::counted(gains.len() as i64, "case", "cases");
    let (better, worse) = (of(Verdict::Better), of(Verdict::Worse));
    let mut text = match better.as_slice() {
        [] if worse.is_empty() => {
            let first = gains.first()?;
            return Some(format!(
                "On {machine}, {} neither gains nor loses in {n} as far as can be told; {}.",
                technique.noun,
                told(first)
            ));
        }
        [] => format!("Do without {} on {machine}.", technique.noun),
        [best, rest @ ..] => {
            let least = rest.last().map(|least| format!("; least: {}", told(least)));
            format!(
                "{} on {machine}: it gains in {} of {n}. Most: {}{}{}{}.",
                technique.imperative,
                better.len(),
                told(best),
                beside(report, technique, best),
                least.unwrap_or_default(),
                knee(report, best).unwrap_or_default(),
            )
        }
    };
    if let Some(worst) = worse.last() {
        let (lost, told) = (worse.len(), told(worst));
        _ = write!(text, " It loses in {lost} of {n}; most: {told}.");
    }
    if technique.of == QUANTISING && !better.is_empty() {
        text += &least_loss(report, &better);
    }
    Some(text)
}

/// Where, how much, and under which doubts.
fn told(gain: &Gain) -> String {
    format!(
        "{} times ({}){}",
        number::ratio_with_interval(&gain.claim.ratio),
        place(&gain.variant, &gain.case_key),
        number::doubts(gain.claim.tainted, &gain.claim.reasons)
    )
}

/// A suite without a model has all of its place in the case.
fn place(variant: &Variant, case_key: &CaseKey) -> String {
    match variant.source {
        Some(_) => format!("{variant}, {}", case_key.words()),
        None => case_key.words(),
    }
}

/// Another metric of the gain's case.
fn other<'a>(report: &'a Report, gain: &Gain, metric: &str) -> Option<&'a Measurement> {
    report.measurements.iter().find(|m| {
        (&m.machine, &m.suite, &m.case_key) == (&gain.machine, &gain.suite, &gain.case_key)
            && m.metric == metric
            && m.variant == gain.variant
            && m.valid
    })
}

fn beside(report: &Report, technique: &Technique, gain: &Gain) -> String {
    let mut text = String::new();
    for (metric, words) in technique.beside {
        if let Some(m) = other(report, gain, metric) {
            _ = write!(text, ", {words} {}", number::bare_with_interval(m));
        }
    }
    text
}

/// The first batch in which a sequence has less than half of the speed that it has alone.
fn knee(report: &Report, best: &Gain) -> Option<String> {
    let slow = report.of("batch", "batch_efficiency").filter(|m| {
        let alike = m.machine == best.machine && m.variant == best.variant && m.valid;
        alike && best.suite == "batch" && m.estimate.value < KNEE_EFFICIENCY
    });
    let (batch, m) = slow
        .filter_map(|m| Some((m.case_key.number("batch")?, m)))
        .min_by_key(|(batch, _)| *batch)?;
    Some(format!(
        "; from {batch} sequences on each has less than half of the speed that it has alone \
         (efficiency {})",
        number::bare_with_interval(m)
    ))
}

/// Of the quantisations that gain, the one that keeps most of the model.
fn least_loss(report: &Report, better: &[&Gain]) -> String {
    let closest = better
        .iter()
        .filter_map(|gain| Some((gain, other(report, gain, "quant_kl_mean")?)))
        .min_by(|(_, a), (_, b)| a.estimate.value.total_cmp(&b.estimate.value));
    match closest {
        Some((gain, kl)) => format!(
            " Of those, least is lost at a mean KL of {}: {}.",
            number::bare_with_interval(kl),
            told(gain)
        ),
        None => " What it loses of the models was not measured.".to_owned(),
    }
}

/// A rate that does not last is no rate to plan with.
fn sustained(machine: &str, gains: &[&Gain]) -> Option<String> {
    let by_ratio = |a: &&&Gain, b: &&&Gain| a.claim.ratio.value.total_cmp(&b.claim.ratio.value);
    let worst = gains.iter().min_by(by_ratio)?;
    Some(match worst.claim.verdict {
        Verdict::Worse => format!(
            "Plan with the sustained rate on {machine}: the last quarter of the load ran at {} the \
             rate of the first.",
            told(worst)
        ),
        _ => format!(
            "{machine} shows no loss of rate under load: the last quarter ran at {} the rate of the \
             first.",
            told(worst)
        ),
    })
}
