//! Models against each other on one machine, in one type: who is best by a metric, and by all of them.
//! The machine and its software are the same for all, so what differs is the model.

use std::collections::BTreeSet;

use super::comparison::is_at_home;
use super::measurements::distinct;
use super::{claim, group_by};
use crate::report::{
    CaseKey, Claim, Contest, Direction, Measurement, Overall, Rank, Ranking, Variant,
};
use crate::stats::{self, Case};

pub fn rank(measurements: &[Measurement], headline: &[String]) -> Vec<Ranking> {
    let measured = measurements.iter().filter(|m| {
        let counts = m.valid && m.direction != Direction::Neutral && m.variant.source.is_some();
        counts && headline.contains(&m.metric) && is_at_home(&m.suite, &m.metric)
    });
    group_by(measured, |m| (m.machine.clone(), m.variant.dtype.clone()))
        .into_iter()
        .filter_map(|((machine, dtype), measured)| {
            let contests = contests(&measured, headline);
            (!contests.is_empty()).then(|| Ranking {
                machine,
                dtype,
                contests,
                overall: overall(&measured),
            })
        })
        .collect()
}

type Key<'a> = (&'a str, &'a str, &'a CaseKey);

fn key(m: &Measurement) -> Key<'_> {
    (&m.suite, &m.metric, &m.case_key)
}

fn contests(measured: &[&Measurement], headline: &[String]) -> Vec<Contest> {
    let groups = group_by(measured.iter().copied(), |m| key(m));
    let mut groups: Vec<(Key<'_>, Vec<&Measurement>)> = groups.into_iter().collect();
    // Suites as they come, in each the metrics as the plan puts them.
    groups.sort_by_key(|((suite, metric, case_key), _)| {
        let suite = measured.iter().position(|m| m.suite == *suite);
        let metric = headline.iter().position(|known| known == metric);
        (suite, metric, *case_key)
    });
    groups
        .into_iter()
        .filter(|(_, entries)| entries.len() > 1)
        .map(|((suite, metric, case_key), mut entries)| {
            let (direction, unit) = (entries[0].direction, entries[0].unit.clone());
            entries.sort_by(|a, b| {
                let (a, b) = (a.estimate.value, b.estimate.value);
                match direction {
                    Direction::Higher => b.total_cmp(&a),
                    Direction::Lower | Direction::Neutral => a.total_cmp(&b),
                }
            });
            let best = entries[0];
            let ranks = entries.iter().map(|m| Rank {
                variant: m.variant.clone(),
                over_best: (m.variant != best.variant)
                    .then(|| claim(m, best))
                    .flatten(),
            });
            Contest {
                suite: suite.to_owned(),
                metric: metric.to_owned(),
                unit,
                direction,
                case_key: case_key.clone(),
                ranks: ranks.collect(),
            }
        })
        .collect()
}

/// One model's part in what all models have.
struct Share<'a> {
    variant: &'a Variant,
    mean: stats::Ratio,
    of: Vec<&'a Measurement>,
}

fn overall(measured: &[&Measurement]) -> Option<Overall> {
    let by_variant = group_by(measured.iter().copied(), |m| m.variant.clone());
    let keys_of = |of: &Vec<&'_ Measurement>| -> BTreeSet<(String, String, CaseKey)> {
        let owned = |m: &&Measurement| (m.suite.clone(), m.metric.clone(), m.case_key.clone());
        of.iter().map(owned).collect()
    };
    let common = by_variant
        .values()
        .map(keys_of)
        .reduce(|all, here| &all & &here)?;
    let is_common = |m: &&Measurement| {
        common.contains(&(m.suite.clone(), m.metric.clone(), m.case_key.clone()))
    };
    let mut shares: Vec<Share<'_>> = by_variant
        .values()
        .map(|of| {
            let of: Vec<&Measurement> = of.iter().copied().filter(is_common).collect();
            Some(Share {
                variant: &of.first()?.variant,
                mean: mean_of(&of)?,
                of,
            })
        })
        .collect::<Option<_>>()?;
    if shares.len() < 2 {
        return None;
    }
    shares.sort_by(|a, b| b.mean.value.total_cmp(&a.mean.value));
    let best = &shares[0];
    let ranks = shares.iter().map(|share| Rank {
        variant: share.variant.clone(),
        over_best: (share.variant != best.variant).then(|| over(share, best)),
    });
    let metrics: BTreeSet<&str> = common
        .iter()
        .map(|(_, metric, _)| metric.as_str())
        .collect();
    Some(Overall {
        metrics: metrics.into_iter().map(str::to_owned).collect(),
        cases: common.len(),
        ranks: ranks.collect(),
    })
}

fn over(share: &Share<'_>, best: &Share<'_>) -> Claim {
    let ratio = stats::quotient(&share.mean, &best.mean);
    let both = || share.of.iter().chain(&best.of);
    Claim {
        ratio,
        p_holm: None,
        verdict: stats::verdict(ratio.interval, true, ""),
        tainted: both().any(|m| m.tainted),
        reasons: distinct(both().flat_map(|m| &m.reasons)),
    }
}

/// Geometric mean over metrics of each one's geometric mean over its cases, in which more is better. None
/// where a value has no log, or a metric's cases have no launch in common.
fn mean_of(of: &[&Measurement]) -> Option<stats::Ratio> {
    let by_metric = group_by(of.iter().copied(), |m| (m.suite.clone(), m.metric.clone()));
    let metrics: Option<Vec<Case>> = by_metric
        .values()
        .map(|cases| {
            let cases: Vec<Case> = cases.iter().map(|m| upwards(m)).collect();
            stats::blocks(&cases)
        })
        .collect();
    stats::mean_of_cases(&metrics?)
}

fn upwards(m: &Measurement) -> Case {
    let up = |value: f64| match m.direction {
        Direction::Lower => value.recip(),
        Direction::Higher | Direction::Neutral => value,
    };
    m.launches
        .iter()
        .map(|l| (l.launch, up(l.median)))
        .collect()
}
