//! Machine against machine (P27, P30): each case against the baseline's, and geometric means over
//! the cases that all machines share.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::measurements::Samples;
use crate::report::{CaseKey, Comparison, Direction, Measurement, Pair, Score};
use crate::rows::{CaseRow, DifferenceRow};
use crate::stats::{self, Ratio, Verdict};

/// Below this, after Holm's correction, a ratio other than 1 is believed.
const SIGNIFICANT: f64 = 0.05;

/// The same case on whatever machine.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Point<'a> {
    suite: &'a str,
    model: &'a str,
    dtype: Option<&'a str>,
    quantisation: Option<&'a str>,
    case_key: &'a CaseKey,
    metric: &'a str,
}

fn point(m: &Measurement) -> Point<'_> {
    Point {
        suite: &m.suite,
        model: &m.variant.model,
        dtype: m.variant.dtype.as_deref(),
        quantisation: m.variant.quantisation.as_deref(),
        case_key: &m.case_key,
        metric: &m.metric,
    }
}

pub fn compare(
    baseline: Option<String>,
    measurements: &[Measurement],
    samples: &Samples,
    differences: &[DifferenceRow],
    headline: &[String],
) -> Comparison {
    let headline: Vec<&Measurement> = measurements
        .iter()
        .filter(|m| m.direction != Direction::Neutral && headline.contains(&m.metric))
        .collect();
    let pairs = match &baseline {
        Some(baseline) => pairs(baseline, &headline, samples, differences),
        None => Vec::new(),
    };
    let scores = scores(baseline.as_deref(), &headline, &pairs);
    Comparison {
        baseline,
        scores,
        pairs,
    }
}

fn pairs(
    baseline: &str,
    headline: &[&Measurement],
    samples: &Samples,
    differences: &[DifferenceRow],
) -> Vec<Pair> {
    let on_baseline: HashMap<Point<'_>, &Measurement> = headline
        .iter()
        .filter(|m| m.machine == baseline)
        .map(|m| (point(m), *m))
        .collect();
    let differing: HashMap<_, &DifferenceRow> = differences
        .iter()
        .map(|d| {
            (
                (
                    &d.machine,
                    &d.suite,
                    &d.model,
                    &d.dtype,
                    &d.case_key,
                    &d.metric,
                ),
                d,
            )
        })
        .collect();
    let mut pairs: Vec<Pair> = headline
        .iter()
        .filter(|m| m.machine != baseline)
        .filter_map(|m| {
            let other = on_baseline.get(&point(m))?;
            let Measurement {
                machine,
                suite,
                variant,
                case_key,
                metric,
                ..
            } = m;
            let key = (
                machine,
                suite,
                &variant.model,
                &variant.dtype,
                case_key,
                metric,
            );
            let differences = differing
                .get(&key)
                .map(|row| row.differences.clone())
                .unwrap_or_default();
            Some(pair(m, other, samples, differences))
        })
        .collect();
    correct(&mut pairs);
    pairs
}

fn pair(
    arm: &Measurement,
    baseline: &Measurement,
    samples: &Samples,
    differences: Vec<String>,
) -> Pair {
    let medians = |m: &Measurement| {
        m.launches
            .iter()
            .map(|launch| launch.median)
            .collect::<Vec<f64>>()
    };
    let comparable = differences.is_empty();
    let ratio = comparable
        .then(|| stats::welch_ratio(&medians(arm), &medians(baseline)))
        .flatten()
        .map(|by_t| bootstrapped(by_t, arm, baseline, samples));
    Pair {
        machine: arm.machine.clone(),
        suite: arm.suite.clone(),
        variant: arm.variant.clone(),
        case_key: arm.case_key.clone(),
        metric: arm.metric.clone(),
        direction: arm.direction,
        ratio,
        p_holm: None,
        p_rank: ratio.and_then(|_| stats::mann_whitney(&medians(arm), &medians(baseline))),
        verdict: ratio
            .map(|ratio| stats::verdict(ratio.interval, arm.direction == Direction::Higher)),
        differences,
        tainted: arm.tainted || baseline.tainted,
    }
}

fn bootstrapped(
    by_t: Ratio,
    arm: &Measurement,
    baseline: &Measurement,
    samples: &Samples,
) -> Ratio {
    let launches = |m: &Measurement| {
        let case = CaseRow {
            machine: m.machine.clone(),
            suite: m.suite.clone(),
            model: m.variant.model.clone(),
            dtype: m.variant.dtype.clone(),
            quantisation: m.variant.quantisation.clone(),
            model_digest: m.variant.digest.clone(),
            case_key: m.case_key.clone(),
        };
        samples
            .get(&(case, m.metric.clone()))
            .filter(|launches| launches.len() >= stats::BOOTSTRAP_LAUNCHES)
    };
    let interval = launches(arm)
        .zip(launches(baseline))
        .and_then(|(arm, baseline)| {
            stats::bootstrap_ratio(arm, baseline, stats::RESAMPLES, stats::SEED)
        });
    Ratio {
        interval: interval.or(by_t.interval),
        ..by_t
    }
}

/// Holm over all pairs: with many of them some interval misses by chance, and a verdict that does not
/// outlive the correction is withdrawn.
fn correct(pairs: &mut [Pair]) {
    let raw: Vec<(usize, f64)> = pairs
        .iter()
        .enumerate()
        .filter_map(|(i, pair)| Some((i, pair.ratio?.p?)))
        .collect();
    let adjusted = stats::holm(&raw.iter().map(|(_, p)| *p).collect::<Vec<f64>>());
    for ((i, _), p) in raw.into_iter().zip(adjusted) {
        let pair = &mut pairs[i];
        pair.p_holm = Some(p);
        let differs = matches!(pair.verdict, Some(Verdict::Faster | Verdict::Slower));
        if differs && p >= SIGNIFICANT {
            pair.verdict = Some(Verdict::Inconclusive);
        }
    }
}

fn scores(baseline: Option<&str>, headline: &[&Measurement], pairs: &[Pair]) -> Vec<Score> {
    let mut by_metric: BTreeMap<(usize, &str), BTreeMap<&str, Vec<&Measurement>>> = BTreeMap::new();
    for (place, m) in headline.iter().enumerate() {
        let first = headline
            .iter()
            .position(|other| other.metric == m.metric)
            .unwrap_or(place);
        let machines = by_metric.entry((first, m.metric.as_str())).or_default();
        machines.entry(&m.machine).or_default().push(m);
    }
    let mut scores = Vec::new();
    for machines in by_metric.values() {
        let shared = shared_points(machines.values());
        for (machine, measured) in machines {
            let cases: Vec<&&Measurement> = measured
                .iter()
                .filter(|m| shared.contains(&point(m)))
                .collect();
            let locations: Option<Vec<Ratio>> = cases.iter().map(|m| location(m)).collect();
            let Some(geometric_mean) = locations.and_then(|all| stats::combine_ratios(&all)) else {
                continue;
            };
            let first = cases[0];
            let ratios: Vec<Ratio> = pairs
                .iter()
                .filter(|pair| pair.machine == **machine && pair.metric == first.metric)
                .filter_map(|pair| pair.ratio)
                .collect();
            let ratio = stats::combine_ratios(&ratios).filter(|_| Some(*machine) != baseline);
            scores.push(Score {
                machine: (*machine).to_owned(),
                metric: first.metric.clone(),
                unit: first.unit.clone(),
                direction: first.direction,
                cases: cases.len(),
                geometric_mean,
                ratio,
                ratio_cases: ratios.len(),
                verdict: ratio.map(|ratio| {
                    stats::verdict(ratio.interval, first.direction == Direction::Higher)
                }),
            });
        }
    }
    scores
}

/// Valid on every machine that has the metric: a mean over other cases would compare other work.
fn shared_points<'a>(
    machines: impl Iterator<Item = &'a Vec<&'a Measurement>>,
) -> BTreeSet<Point<'a>> {
    machines
        .map(|measured| {
            measured
                .iter()
                .filter(|m| m.valid)
                .map(|m| point(m))
                .collect::<BTreeSet<_>>()
        })
        .reduce(|all, here| &all & &here)
        .unwrap_or_default()
}

/// A measurement as a ratio to one unit, so that geometric means of cases combine like ratios.
fn location(m: &Measurement) -> Option<Ratio> {
    let logs: Option<Vec<f64>> = m
        .launches
        .iter()
        .map(|l| (l.median > 0.0).then(|| l.median.ln()))
        .collect();
    let logs = logs?;
    let n = logs.len() as f64;
    let sd = stats::sd(&logs);
    Some(Ratio {
        value: stats::mean(&logs)?.exp(),
        interval: None,
        p: None,
        log_variance: sd.map(|sd| sd.powi(2) / n),
        df: sd.map(|_| n - 1.0),
    })
}
