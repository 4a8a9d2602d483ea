//! What the run's own measurements recommend on each machine: one sentence a technique, with its numbers.
//! What was not measured is not recommended.

use std::fmt::Write as _;

use super::gains::{ATTENTION, BATCHING, QUANTISING, SPECULATING, SUSTAINING};
use crate::number::{self, Scale};
use crate::report::{CaseKey, Gain, Measurement, Recommendation, Report, Variant};
use crate::stats::Verdict;

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
        let measured = TECHNIQUES.iter();
        all.extend(measured.filter_map(|technique| {
            let gains = of(technique.of);
            (!gains.is_empty()).then(|| recommend(report, machine, technique, gains))
        }));
        all.extend(sustained(machine, &of(SUSTAINING)));
    }
    all
}

fn recommend(
    report: &Report,
    machine: &str,
    technique: &Technique,
    mut gains: Vec<&Gain>,
) -> Recommendation {
    gains.sort_by(|a, b| b.claim.ratio.value.total_cmp(&a.claim.ratio.value));
    let of = |verdict: Verdict| -> Vec<&Gain> {
        let of = gains.iter().copied();
        of.filter(|gain| gain.claim.verdict == verdict).collect()
    };
    let (better, worse) = (of(Verdict::Better), of(Verdict::Worse));
    let is_even = of(Verdict::Equivalent).len() == gains.len();
    let n = number::counted(gains.len() as i64, "case", "cases");
    let lost = match worse.len() {
        0 => String::new(),
        lost => format!(" and loses in {lost}"),
    };
    let text = match (better.first(), worse.last()) {
        (Some(best), _) => format!(
            "{} on {machine}: it gains in {} of {n}{lost}, most {}{}.",
            technique.imperative,
            better.len(),
            told(best),
            beside(report, technique, best),
        ),
        (None, Some(worst)) => format!(
            "Do without {} on {machine}: it gains in none of {n}{lost}, most {}.",
            technique.noun,
            told(worst)
        ),
        (None, None) if is_even => format!(
            "On {machine}, {} makes no difference that matters in {n}; at the most {}.",
            technique.noun,
            told(gains[0])
        ),
        (None, None) => format!(
            "On {machine} it cannot be told in {n} whether {} gains or loses; at the most {}.",
            technique.noun,
            told(gains[0])
        ),
    };
    let mut detail = Vec::new();
    if let [best, .., least] = better.as_slice() {
        detail.push(format!("The least gain is {}.", told(least)));
        detail.extend(knee(report, best));
    }
    if let (false, Some(worst)) = (better.is_empty(), worse.last()) {
        detail.push(format!("The worst loss is {}.", told(worst)));
    }
    if technique.of == QUANTISING && !better.is_empty() {
        detail.push(least_loss(report, &better));
    }
    Recommendation {
        machine: machine.to_owned(),
        text,
        detail: detail.join(" "),
        is_decided: is_even || !better.is_empty() || !worse.is_empty(),
    }
}

/// How much and where; a doubtful one is marked.
fn told(gain: &Gain) -> String {
    let (times, interval) = number::ratio_parts(&gain.claim.ratio);
    format!(
        "{times} times ({}) with {}{}",
        interval.as_deref().unwrap_or("one launch"),
        place(&gain.variant, &gain.case_key),
        number::doubt_mark(gain.claim.tainted)
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

/// Where batches of the best gain's kind stop to pay.
fn knee(report: &Report, best: &Gain) -> Option<String> {
    let kind = best.case_key.without("batch");
    let knee = report.knees.iter().find(|knee| {
        let alike = knee.machine == best.machine && knee.variant == best.variant;
        alike && best.suite == BATCHING.0 && knee.case_key == kind && knee.valid
    })?;
    let noise = if knee.clear { "" } else { ", within the noise" };
    Some(format!(
        "From {} sequences on, each has less than half of the speed that it has alone (between the \
         measured {} and {}{noise}){}.",
        Scale::fitting("", []).value(knee.batch_knee?),
        knee.above_size,
        knee.below_size?,
        number::doubt_mark(knee.tainted)
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
            "Of the gains, that with the least loss has a mean KL of {}: {}.",
            number::bare_with_interval(kl),
            told(gain)
        ),
        None => "What it loses of the models was not measured.".to_owned(),
    }
}

/// A rate that does not last is no rate to plan with.
fn sustained(machine: &str, gains: &[&Gain]) -> Option<Recommendation> {
    let by_ratio = |a: &&&Gain, b: &&&Gain| a.claim.ratio.value.total_cmp(&b.claim.ratio.value);
    let worst = gains.iter().min_by(by_ratio)?;
    let lead = match worst.claim.verdict {
        Verdict::Inconclusive => format!("It cannot be told whether {machine} keeps its rate"),
        verdict if verdict.is_for_the_worse() => {
            format!("Plan with the sustained rate on {machine}")
        }
        _ => format!("{machine} keeps its rate"),
    };
    Some(Recommendation {
        machine: machine.to_owned(),
        text: format!(
            "{lead}: of its first quarter's rate, the last has {}.",
            told(worst)
        ),
        detail: String::new(),
        is_decided: worst.claim.verdict != Verdict::Inconclusive,
    })
}
