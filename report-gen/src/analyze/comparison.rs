//! Machine against machine, or run against run on one machine (P27, P30): each case against the
//! baseline's, and geometric means over the cases of a suite that both share.

use std::collections::{BTreeMap, HashMap};

use super::family;
use super::measurements::{Samples, distinct};
use crate::report::{CaseKey, Comparison, Direction, Measurement, Pair, Score};
use crate::rows::{CaseRow, DifferenceRow};
use crate::stats::{self, Ratio, Verdict};

/// What is said of a pair that the database says nothing of.
const NOT_ESTABLISHED: &str = "not_established";

/// The same case on whatever machine, as the plan asks for it. What was loaded there may differ, and
/// is then a difference.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Point<'a> {
    suite: &'a str,
    source: Option<&'a str>,
    dtype: Option<&'a str>,
    case_key: &'a CaseKey,
    metric: &'a str,
}

fn point(m: &Measurement) -> Point<'_> {
    Point {
        suite: &m.suite,
        source: m.variant.source.as_deref(),
        dtype: m.variant.dtype.as_deref(),
        case_key: &m.case_key,
        metric: &m.metric,
    }
}

/// A pair with the measurements that it is of.
struct Matched<'a> {
    arm: &'a Measurement,
    baseline: &'a Measurement,
    pair: Pair,
}

/// Metrics that many suites report, each with the suite that is about it: only there they are compared,
/// since the others would only repeat it.
const HOMES: [(&str, &str); 3] = [
    ("mem_weights_bytes", "load"),
    ("mem_peak_bytes", "memory"),
    ("ttft_ms", "prefill"),
];

pub fn is_at_home(suite: &str, metric: &str) -> bool {
    let home = HOMES.iter().find(|(of, _)| *of == metric);
    home.is_none_or(|(_, home)| *home == suite)
}

/// What was measured on one side, or in the run that has both.
#[derive(Clone, Copy)]
pub struct Measured<'a> {
    pub measurements: &'a [Measurement],
    pub samples: &'a Samples,
}

impl<'a> Measured<'a> {
    /// What of it is compared.
    pub fn headline(self, metrics: &[String]) -> Vec<&'a Measurement> {
        self.measurements
            .iter()
            .filter(|m| m.direction != Direction::Neutral && metrics.contains(&m.metric))
            .filter(|m| is_at_home(&m.suite, &m.metric))
            .collect()
    }
}

/// The machines of a run against one of them.
pub fn compare(
    baseline: Option<String>,
    of: Measured<'_>,
    differences: &[DifferenceRow],
    headline: &[String],
) -> Comparison {
    let headline = of.headline(headline);
    let Some(baseline) = baseline else {
        return compared(None, Vec::new(), scores_alone(&headline));
    };
    let (on_baseline, arms): (Vec<_>, Vec<_>) =
        headline.into_iter().partition(|m| m.machine == baseline);
    let sides = [(arms, of.samples), (on_baseline, of.samples)];
    let matched = matched(sides, |_| None, differences);
    let scores = scores_against_baseline(&matched);
    compared(Some(baseline), matched, scores)
}

/// A run against another, each machine against itself.
pub fn compare_runs(
    [(run, of_run), (baseline, of_baseline)]: [(&str, Measured<'_>); 2],
    differences: &[DifferenceRow],
    headline: &[String],
) -> Comparison {
    debug_assert_ne!(run, baseline);
    let sides = [of_run, of_baseline].map(|side| (side.headline(headline), side.samples));
    let matched = matched(sides, |m| Some(&m.machine), differences);
    let scores = scores_against_baseline(&matched);
    let mut comparison = compared(Some(baseline.to_owned()), matched, scores);
    family::correct(&mut comparison, &mut [], &mut [], &mut []);
    comparison
}

/// Before Holm's correction.
fn compared(baseline: Option<String>, matched: Vec<Matched<'_>>, scores: Vec<Score>) -> Comparison {
    let pairs: Vec<Pair> = matched.into_iter().map(|matched| matched.pair).collect();
    Comparison {
        baseline,
        scores,
        pairs,
    }
}

/// Each of the arms' measurements with the baseline's of the same point, where it has one. `place` says
/// what else must be the same.
fn matched<'a>(
    [(arms, arm_samples), (on_baseline, baseline_samples)]: [(Vec<&'a Measurement>, &Samples); 2],
    place: impl Fn(&Measurement) -> Option<&str>,
    differences: &[DifferenceRow],
) -> Vec<Matched<'a>> {
    let mut by_point: HashMap<_, Vec<&'a Measurement>> = HashMap::new();
    for m in on_baseline {
        by_point.entry((place(m), point(m))).or_default().push(m);
    }
    let rows: HashMap<_, &DifferenceRow> = differences
        .iter()
        .map(|row| {
            let point = Point {
                suite: &row.suite,
                source: row.model_source.as_deref(),
                dtype: row.dtype.as_deref(),
                case_key: &row.case_key,
                metric: &row.metric,
            };
            let digests = (row.model_digest.as_deref(), row.baseline_digest.as_deref());
            ((row.machine.as_str(), point, digests), row)
        })
        .collect();
    arms.into_iter()
        .filter_map(|arm| {
            let others = by_point.get(&(place(arm), point(arm)))?;
            let same = |other: &&&Measurement| other.variant.digest == arm.variant.digest;
            let baseline = *others.iter().find(same).or(others.first())?;
            let digests = (
                arm.variant.digest.as_deref(),
                baseline.variant.digest.as_deref(),
            );
            let differences = match rows.get(&(arm.machine.as_str(), point(arm), digests)) {
                Some(row) => row.differences.clone(),
                None => vec![NOT_ESTABLISHED.to_owned()],
            };
            let pair = pair(
                (arm, arm_samples),
                (baseline, baseline_samples),
                differences,
            );
            Some(Matched {
                arm,
                baseline,
                pair,
            })
        })
        .collect()
}

fn pair(
    (arm, arm_samples): (&Measurement, &Samples),
    (baseline, baseline_samples): (&Measurement, &Samples),
    differences: Vec<String>,
) -> Pair {
    let comparable = differences.is_empty();
    let ratio = comparable
        .then(|| stats::welch_ratio(&arm.medians(), &baseline.medians()))
        .flatten()
        .map(|by_t| {
            let launches = enough(arm, arm_samples).zip(enough(baseline, baseline_samples));
            let interval = launches.and_then(|(arm, baseline)| {
                stats::bootstrap_ratio(arm, baseline, stats::RESAMPLES, stats::SEED)
            });
            Ratio {
                interval: interval.or(by_t.interval),
                ..by_t
            }
        });
    Pair {
        machine: arm.machine.clone(),
        suite: arm.suite.clone(),
        variant: arm.variant.clone(),
        baseline_variant: baseline.variant.clone(),
        case_key: arm.case_key.clone(),
        metric: arm.metric.clone(),
        unit: arm.unit.clone(),
        direction: arm.direction,
        ratio,
        p_holm: None,
        p_rank: ratio.and_then(|_| stats::mann_whitney(&arm.medians(), &baseline.medians())),
        verdict: ratio.map(|ratio| verdict(&ratio, arm)),
        differences,
        tainted: arm.tainted || baseline.tainted,
        reasons: distinct(arm.reasons.iter().chain(&baseline.reasons)),
    }
}

pub fn verdict(ratio: &Ratio, of: &Measurement) -> Verdict {
    verdict_of(ratio, of.direction, &of.unit)
}

pub fn verdict_of(ratio: &Ratio, direction: Direction, unit: &str) -> Verdict {
    stats::verdict(ratio.interval, direction == Direction::Higher, unit)
}

/// Each launch's iterations, of so many launches that the bootstrap is better than t.
fn enough<'a>(m: &Measurement, samples: &'a Samples) -> Option<&'a [Vec<f64>]> {
    let case = CaseRow {
        machine: m.machine.clone(),
        suite: m.suite.clone(),
        variant: m.variant.clone(),
        case_key: m.case_key.clone(),
    };
    samples
        .get(&(case, m.metric.clone()))
        .map(Vec::as_slice)
        .filter(|launches| launches.len() >= stats::BOOTSTRAP_LAUNCHES)
}

/// Per suite and metric, in the measurements' order, what each machine has of it.
fn grouped<T>(
    all: impl Iterator<Item = T>,
    of: impl Fn(&T) -> &Measurement,
) -> Vec<BTreeMap<String, Vec<T>>> {
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    let mut groups: Vec<BTreeMap<String, Vec<T>>> = Vec::new();
    for item in all {
        let m = of(&item);
        let key = (m.suite.clone(), m.metric.clone());
        let machine = m.machine.clone();
        let place = *places.entry(key).or_insert(groups.len());
        if place == groups.len() {
            groups.push(BTreeMap::new());
        }
        groups[place].entry(machine).or_default().push(item);
    }
    groups
}

/// A machine's mean and the baseline's over the cases that may be compared: over others, the means
/// would be of other work.
fn scores_against_baseline(matched: &[Matched<'_>]) -> Vec<Score> {
    let comparable = matched.iter().filter(|one| one.pair.ratio.is_some());
    grouped(comparable, |one| one.arm)
        .into_iter()
        .flat_map(BTreeMap::into_values)
        .filter_map(|cases| {
            let (cases, left_out) = with_spread(cases, |one| {
                one.pair.ratio.is_some_and(|ratio| ratio.interval.is_some())
            });
            let arms: Vec<&Measurement> = cases.iter().map(|one| one.arm).collect();
            let baselines: Vec<&Measurement> = cases.iter().map(|one| one.baseline).collect();
            let mean = mean_of(&arms)?;
            let baseline_mean = mean_of(&baselines)?;
            let ratio = stats::quotient(&mean, &baseline_mean);
            Some(Score {
                single_launch_cases: left_out,
                baseline_mean: Some(baseline_mean),
                ratio: Some(ratio),
                verdict: Some(verdict(&ratio, arms[0])),
                tainted: cases.iter().any(|one| one.pair.tainted),
                reasons: distinct(cases.iter().flat_map(|one| &one.pair.reasons)),
                ..score(&arms, mean)
            })
        })
        .collect()
}

/// Each machine's mean over its own valid cases, where there is nothing to compare it with.
fn scores_alone(headline: &[&Measurement]) -> Vec<Score> {
    let valid = headline.iter().copied().filter(|m| m.valid);
    grouped(valid, |m| m)
        .into_iter()
        .flat_map(BTreeMap::into_values)
        .filter_map(|cases| {
            let (cases, left_out) = with_spread(cases, |m| m.launches.len() > 1);
            Some(Score {
                single_launch_cases: left_out,
                ..score(&cases, mean_of(&cases)?)
            })
        })
        .collect()
}

/// The cases that have a spread, and how many have not: one of those would take the interval from all.
/// All of them where none has.
fn with_spread<T>(cases: Vec<T>, has: impl Fn(&T) -> bool) -> (Vec<T>, usize) {
    let (known, single): (Vec<T>, Vec<T>) = cases.into_iter().partition(has);
    if known.is_empty() {
        (single, 0)
    } else {
        (known, single.len())
    }
}

fn score(cases: &[&Measurement], geometric_mean: Ratio) -> Score {
    let first = cases[0];
    Score {
        machine: first.machine.clone(),
        suite: first.suite.clone(),
        metric: first.metric.clone(),
        unit: first.unit.clone(),
        direction: first.direction,
        cases: cases.len(),
        single_launch_cases: 0,
        geometric_mean,
        baseline_mean: None,
        ratio: None,
        p_holm: None,
        verdict: None,
        tainted: cases.iter().any(|m| m.tainted),
        reasons: distinct(cases.iter().flat_map(|m| &m.reasons)),
    }
}

fn mean_of(cases: &[&Measurement]) -> Option<Ratio> {
    let cases: Vec<stats::Case> = cases
        .iter()
        .map(|m| m.launches.iter().map(|l| (l.launch, l.median)).collect())
        .collect();
    stats::mean_of_cases(&cases)
}
