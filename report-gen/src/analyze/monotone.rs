//! Gate G7, which no launch can judge by itself: more work takes more time. Twice the prompt takes at the
//! least 1.5 times as long, from 512 tokens on, and a token at a greater depth is no faster than one at a
//! lesser, beyond what the launches spread.

use super::comparison::is_at_home;
use crate::number;
use crate::report::{Measurement, Report};

/// Shorter prompts are mostly dispatch.
const FROM_TOKENS: u64 = 512;
/// For each doubling of the prompt.
const LEAST_GROWTH: f64 = 1.5;

/// A sentence for each pair of cases that contradict each other.
pub fn contradictions(report: &Report) -> Vec<String> {
    let of = |metrics: &[&str]| -> Vec<&Measurement> {
        report
            .measurements
            .iter()
            .filter(|m| metrics.contains(&m.metric.as_str()) && is_at_home(&m.suite, &m.metric))
            .collect()
    };
    let mut said = Vec::new();
    for (less, more) in neighbours(&of(&["prefill_ms"]), "prompt") {
        let tokens = [less, more].map(|m| m.case_key.number("prompt").unwrap_or(0));
        if tokens[0] < FROM_TOKENS {
            continue;
        }
        let doublings = (tokens[1] as f64 / tokens[0] as f64).log2();
        let growth = more.estimate.value / less.estimate.value;
        if doublings >= 1.0 && growth < LEAST_GROWTH.powf(doublings) {
            said.push(format!(
                "{} on {}: {} prompt tokens took {growth:.2} times as long as {}, which cannot be \
                 (g7).",
                more.variant, more.machine, tokens[1], tokens[0]
            ));
        }
    }
    let rates = of(&["decode_tps", "decode_tps_at_depth"]);
    for (less, more) in neighbours(&rates, "depth") {
        let (Some(shallow), Some(deep)) = (less.estimate.interval, more.estimate.interval) else {
            continue;
        };
        if deep.low > shallow.high {
            said.push(format!(
                "{} on {}: decoding at depth {} ({}) was faster than at {} ({}), which cannot be \
                 (g7).",
                more.variant,
                more.machine,
                more.case_key.text("depth").unwrap_or("?"),
                number::with_interval(more),
                less.case_key.text("depth").unwrap_or("?"),
                number::with_interval(less),
            ));
        }
    }
    said
}

/// Measurements that differ in one parameter only, each with the next larger.
fn neighbours<'a>(
    measured: &[&'a Measurement],
    parameter: &str,
) -> Vec<(&'a Measurement, &'a Measurement)> {
    let rest = |m: &Measurement| -> Vec<(String, String)> {
        m.case_key
            .parameters()
            .filter(|(name, _)| *name != parameter)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let mut pairs = Vec::new();
    for &less in measured {
        let Some(place) = less.case_key.number(parameter) else {
            continue;
        };
        let alike = measured.iter().copied().filter(|m| {
            (&m.machine, &m.variant) == (&less.machine, &less.variant) && rest(m) == rest(less)
        });
        let next = alike
            .filter_map(|m| Some((m.case_key.number(parameter)?, m)))
            .filter(|(at, _)| *at > place)
            .min_by_key(|(at, _)| *at);
        pairs.extend(next.map(|(_, more)| (less, more)));
    }
    pairs
}
