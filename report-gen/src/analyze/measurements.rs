//! Launches grouped into cases, each with its estimate (P25, P26) and its outliers flagged (P28).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::report::{Energy, LaunchPoint, Measurement, Model, Run};
use crate::rows::{CaseRow, EnergyRow, IterationRow, LaunchRow};
use crate::stats::{self, Estimate, Method};

/// Per case and metric, each launch's iterations.
pub type Samples = HashMap<(CaseRow, String), Vec<Vec<f64>>>;

pub fn group_iterations(rows: Vec<IterationRow>) -> Samples {
    let mut launches: HashMap<(CaseRow, String), BTreeMap<i32, Vec<f64>>> = HashMap::new();
    for IterationRow {
        case,
        metric,
        launch,
        value,
    } in rows
    {
        launches
            .entry((case, metric))
            .or_default()
            .entry(launch)
            .or_default()
            .push(value);
    }
    launches
        .into_iter()
        .map(|(case, launches)| {
            let mut launches: Vec<Vec<f64>> = launches.into_values().collect();
            // The resampling walks them by index: their order must not depend on the database's.
            for launch in &mut launches {
                launch.sort_by(f64::total_cmp);
            }
            (case, launches)
        })
        .collect()
}

pub fn measurements(
    run: &Run,
    launches: Vec<LaunchRow>,
    samples: &Samples,
    models: &[Model],
) -> Vec<Measurement> {
    let mut groups: HashMap<(CaseRow, String), Vec<LaunchRow>> = HashMap::new();
    for launch in launches {
        groups
            .entry((launch.case.clone(), launch.metric.clone()))
            .or_default()
            .push(launch);
    }
    let mut measurements: Vec<Measurement> = groups
        .into_iter()
        .filter_map(|(key, mut launches)| {
            launches.sort_by_key(|launch| launch.launch);
            let mut measured = measurement(key.0.clone(), &launches, samples.get(&key))?;
            // One number, that nobody here has computed.
            if run.source.is_some() && measured.iterations == 1 {
                measured.estimate.method = Method::AsGiven;
            }
            Some(measured)
        })
        .collect();
    // By content: one checkpoint may have been taken from two places.
    let size_of: HashMap<Option<&str>, i64> = models
        .iter()
        .map(|model| (model.variant.digest.as_deref(), model.parameters))
        .collect();
    // Small models before large ones, as every table wants them.
    measurements.sort_by_cached_key(|m| {
        (
            suite_order(&m.suite),
            size_of
                .get(&m.variant.digest.as_deref())
                .copied()
                .unwrap_or(i64::MAX),
            m.variant.clone(),
            m.case_key.clone(),
            m.machine.clone(),
            m.metric.clone(),
        )
    });
    measurements
}

/// Loading comes before what needs a loaded model; unknown suites follow by name.
fn suite_order(suite: &str) -> (usize, String) {
    let place = ["load", "prefill", "decode", "quantization"]
        .iter()
        .position(|known| *known == suite);
    (place.unwrap_or(usize::MAX), suite.to_owned())
}

fn measurement(
    case: CaseRow,
    launches: &[LaunchRow],
    samples: Option<&Vec<Vec<f64>>>,
) -> Option<Measurement> {
    let first = launches.first()?;
    let medians: Vec<f64> = launches.iter().map(|launch| launch.median).collect();
    let outliers = stats::mad_outliers(&medians);
    let reasons = distinct(launches.iter().flat_map(|launch| &launch.reasons));
    let CaseRow {
        machine,
        suite,
        variant,
        case_key,
    } = case;
    let spread = stats::sd(&medians).zip(stats::mean(&medians));
    Some(Measurement {
        machine,
        suite,
        variant,
        case_key,
        metric: first.metric.clone(),
        unit: first.unit.clone(),
        direction: first.direction,
        estimate: estimate(&medians, samples)?,
        iterations: launches.iter().map(|launch| launch.iterations).sum(),
        min: launches
            .iter()
            .map(|launch| launch.min)
            .fold(f64::INFINITY, f64::min),
        max: launches
            .iter()
            .map(|launch| launch.max)
            .fold(f64::NEG_INFINITY, f64::max),
        cv: spread
            .filter(|(_, mean)| *mean != 0.0)
            .map(|(sd, mean)| sd / mean.abs()),
        valid: launches.iter().all(|launch| launch.valid),
        tainted: launches.iter().any(|launch| launch.tainted),
        reasons,
        launches: launches
            .iter()
            .zip(outliers)
            .map(|(launch, outlier)| LaunchPoint {
                launch: launch.launch,
                median: launch.median,
                outlier,
            })
            .collect(),
    })
}

/// The t interval, or the bootstrap's where there are the launches for it and their iterations.
fn estimate(medians: &[f64], samples: Option<&Vec<Vec<f64>>>) -> Option<Estimate> {
    let by_t = stats::estimate(medians)?;
    let bootstrapped = samples
        .filter(|launches| launches.len() >= stats::BOOTSTRAP_LAUNCHES)
        .and_then(|launches| stats::bootstrap_location(launches, stats::RESAMPLES, stats::SEED));
    Some(match bootstrapped {
        Some(interval) => Estimate {
            interval: Some(interval),
            method: Method::Bootstrap,
            ..by_t
        },
        None => by_t,
    })
}

/// Each reason once, in order.
pub fn distinct<'a>(reasons: impl Iterator<Item = &'a String>) -> Vec<String> {
    let distinct: BTreeSet<&String> = reasons.collect();
    distinct.into_iter().cloned().collect()
}

/// Power and energy over the launches of each case, one mode at a time; pipelined decoding before
/// decoding with a wait after each token.
pub fn energies(rows: Vec<EnergyRow>) -> Vec<Energy> {
    type Key = (CaseRow, bool, String, String);
    let mut groups: BTreeMap<Key, Vec<EnergyRow>> = BTreeMap::new();
    for row in rows {
        let key = (
            row.case.clone(),
            row.mode == "per_token",
            row.mode.clone(),
            row.sensor.clone(),
        );
        groups.entry(key).or_default().push(row);
    }
    groups
        .into_iter()
        .map(|((case, _, mode, sensor), rows)| energy(case, mode, sensor, &rows))
        .collect()
}

fn energy(case: CaseRow, mode: String, sensor: String, rows: &[EnergyRow]) -> Energy {
    let over_launches = |value: fn(&EnergyRow) -> Option<f64>| {
        stats::estimate(&rows.iter().filter_map(value).collect::<Vec<f64>>())
    };
    let mean_w = over_launches(|row| row.mean_w);
    let reason = match mean_w {
        Some(_) => "",
        None => rows
            .iter()
            .map(|row| row.reason.as_str())
            .max()
            .unwrap_or(""),
    };
    let CaseRow {
        machine,
        suite,
        variant,
        case_key,
    } = case;
    Energy {
        machine,
        suite,
        variant,
        case_key,
        mode,
        sensor,
        mean_w,
        energy_j_per_token: over_launches(|row| row.energy_j_per_token),
        reason: reason.to_owned(),
        valid: rows.iter().all(|row| row.valid),
        tainted: rows.iter().any(|row| row.tainted),
        reasons: distinct(rows.iter().flat_map(|row| &row.reasons)),
    }
}
