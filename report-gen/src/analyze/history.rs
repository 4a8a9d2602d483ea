//! P29: the series that this run's numbers end, and where their level changed. Every place that was
//! looked for is one family for Holm's correction, over all series of the report.

use super::comparison;
use super::family::SIGNIFICANT;
use crate::report::{History, HistoryPoint, Software, Step};
use crate::rows::HistoryRow;
use crate::stats;

/// Below so many sound runs there is no telling what is usual.
pub const LEAST_RUNS: usize = 8;

/// Groups the rows, which come by series and time.
pub fn histories(rows: Vec<HistoryRow>, headline: &[String]) -> Vec<History> {
    let mut all: Vec<History> = Vec::new();
    for row in rows {
        if !headline.contains(&row.metric) || !comparison::is_at_home(&row.case.suite, &row.metric)
        {
            continue;
        }
        let HistoryRow {
            case,
            metric,
            unit,
            direction,
            point,
        } = row;
        match all.last_mut() {
            // By content: what the weights were called may have changed.
            Some(last)
                if (&last.machine, &last.suite, &last.case_key, &last.metric)
                    == (&case.machine, &case.suite, &case.case_key, &metric)
                    && last.variant.digest == case.variant.digest
                    && last.variant.dtype == case.variant.dtype =>
            {
                last.variant = case.variant;
                last.points.push(point);
            }
            _ => all.push(History {
                machine: case.machine,
                suite: case.suite,
                variant: case.variant,
                case_key: case.case_key,
                metric,
                unit,
                direction,
                points: vec![point],
                steps: Vec::new(),
            }),
        }
    }
    all.retain(|history| history.points.len() > 1);
    find_steps(&mut all);
    all
}

/// A place that was tested, within one series.
struct Tested {
    series: usize,
    at: usize,
    p: f64,
    /// The test that made its segment; None of a whole series.
    parent: Option<usize>,
}

fn find_steps(all: &mut [History]) {
    let sound: Vec<Vec<HistoryPoint>> = all
        .iter()
        .map(|history| {
            let sound = history.points.iter().filter(|point| !point.tainted);
            sound.cloned().collect()
        })
        .collect();
    let mut tested = Vec::new();
    for (series, points) in sound.iter().enumerate() {
        let logs: Vec<f64> = points.iter().map(|point| point.value.ln()).collect();
        if logs.len() >= LEAST_RUNS {
            split(&logs, 0, series, None, &mut tested);
        }
    }
    let raw: Vec<f64> = tested.iter().map(|test| test.p).collect();
    let p_holm = stats::holm(&raw);
    // A parent stands before its children.
    let mut stands: Vec<bool> = Vec::new();
    for (test, p) in tested.iter().zip(&p_holm) {
        let parent = test.parent.is_none_or(|parent| stands[parent]);
        stands.push(parent && *p < SIGNIFICANT);
    }
    for (series, (history, points)) in all.iter_mut().zip(&sound).enumerate() {
        let mut steps: Vec<(usize, f64)> = tested
            .iter()
            .zip(&p_holm)
            .zip(&stands)
            .filter(|((test, _), stands)| **stands && test.series == series)
            .map(|((test, p), _)| (test.at, *p))
            .collect();
        steps.sort_by_key(|(at, _)| *at);
        let places: Vec<usize> = steps.iter().map(|(at, _)| *at).collect();
        let steps = steps
            .into_iter()
            .enumerate()
            .filter_map(|(place, (at, p))| {
                let from = place.checked_sub(1).map_or(0, |before| places[before]);
                let to = places.get(place + 1).copied().unwrap_or(points.len());
                step(history, &points[from..at], &points[at..to], p)
            });
        history.steps = steps.collect();
    }
}

/// Splits what can be split, the more likely sides again; every test is kept.
fn split(
    logs: &[f64],
    offset: usize,
    series: usize,
    parent: Option<usize>,
    tested: &mut Vec<Tested>,
) {
    let Some(best) = stats::best_split(logs) else {
        return;
    };
    let this = tested.len();
    tested.push(Tested {
        series,
        at: offset + best.at,
        p: best.p,
        parent,
    });
    if best.p < SIGNIFICANT {
        let (before, after) = logs.split_at(best.at);
        split(before, offset, series, Some(this), tested);
        split(after, offset + best.at, series, Some(this), tested);
    }
}

fn step(
    history: &History,
    before: &[HistoryPoint],
    after: &[HistoryPoint],
    p_holm: f64,
) -> Option<Step> {
    let values = |points: &[HistoryPoint]| points.iter().map(|p| p.value).collect::<Vec<f64>>();
    let (last, first) = (before.last()?, after.first()?);
    let ratio = stats::welch_ratio(&values(after), &values(before))?;
    Some(Step {
        run_id: first.run_id,
        submitted_at: first.submitted_at,
        ratio,
        p_holm,
        verdict: comparison::verdict_of(&ratio, history.direction, &history.unit),
        changes: changes(&last.software, &first.software),
    })
}

fn changes(before: &Software, after: &Software) -> Vec<String> {
    let fields = [
        ("MLX", &before.mlx, &after.mlx),
        ("system", &before.system, &after.system),
        ("worker", &before.worker, &after.worker),
    ];
    let changed = fields
        .into_iter()
        .filter(|(_, before, after)| before != after);
    changed
        .map(|(what, before, after)| format!("{what} {before} → {after}"))
        .collect()
}
