//! This run's numbers over the runs before it: where a level changed, and whether the last step is
//! unusual.

use std::collections::BTreeMap;

use super::summary::timestamp;
use super::tables::{MOST_LINES, cut};
use crate::analyze::LEAST_RUNS;
use crate::number::{self, Scale};
use crate::render::document::{
    Block, Cell, Chart, Column, Number, Plot, Point, PointState, Section, Series, Table,
};
use crate::report::{History, HistoryPoint, Report, Step};
use crate::titles;

const DAY_S: f64 = 86_400.0;

/// None of a run that no other could have come before: an import.
pub fn section(report: &Report) -> Option<Section> {
    if report.run.source.is_some() {
        return None;
    }
    let histories = &report.histories;
    let blocks = if histories.is_empty() {
        vec![Block::Note(
            "No history: no earlier run has a number of this one's for the same machine, case, weights \
             and protocol."
                .to_owned(),
        )]
    } else {
        let mut blocks = vec![Block::Text(format!(
            "Each number with those of earlier runs of the same machine, case, weights and protocol. A \
             step is a change of level between two runs, found by least squares and tested by the \
             largest t over all places; all places of all series are one family for Holm's correction. \
             That needs {LEAST_RUNS} sound runs. Runs under doubtful conditions are shown and not \
             judged. What is not recorded, as heat and other work, may be behind a step too."
        ))];
        blocks.extend(charts(histories).into_iter().map(Block::Chart));
        blocks.push(if histories.iter().any(|h| !h.steps.is_empty()) {
            Block::Table(steps(histories))
        } else {
            Block::Note(no_steps(histories))
        });
        blocks.push(Block::Table(series(histories)));
        blocks
    };
    Some(Section {
        id: "history",
        title: "Over time",
        blocks,
    })
}

fn sound(history: &History) -> usize {
    history.points.iter().filter(|point| !point.tainted).count()
}

fn no_steps(histories: &[History]) -> String {
    let long = histories.iter().filter(|h| sound(h) >= LEAST_RUNS).count();
    match long {
        0 => format!(
            "No series has {LEAST_RUNS} sound runs yet, so no step is looked for: the longest has {}.",
            histories.iter().map(sound).max().unwrap_or(0)
        ),
        long => format!(
            "No step: {} long enough, and the level of none has changed.",
            number::counted(long as i64, "series is", "series are")
        ),
    }
}

fn name(history: &History, several_machines: bool) -> String {
    let mut name = history.case_key.words();
    if history.variant.source.is_some() {
        name = format!("{}, {name}", history.variant);
    }
    if several_machines {
        name = format!("{} on {}", name, history.machine);
    }
    name
}

/// One for each metric; each level of a series is a line of its own, and those with steps come first.
fn charts(histories: &[History]) -> Vec<Chart> {
    let several_machines = histories.iter().any(|h| h.machine != histories[0].machine);
    let mut by_metric: BTreeMap<(&str, &str), Vec<&History>> = BTreeMap::new();
    for history in histories {
        let key = (history.suite.as_str(), history.metric.as_str());
        by_metric.entry(key).or_default().push(history);
    }
    by_metric
        .into_iter()
        .filter_map(|((_, metric), mut histories)| {
            histories.sort_by_key(|h| std::cmp::Reverse(h.steps.len()));
            let start = histories
                .iter()
                .filter_map(|h| Some(h.points.first()?.submitted_at))
                .min()?;
            let values = histories.iter().flat_map(|h| &h.points).map(|p| p.value);
            let scale = Scale::fitting(&histories[0].unit, values);
            let mut series: Vec<Series<(f64, Point)>> = Vec::new();
            for history in &histories {
                series.extend(levels(history, several_machines, |point| {
                    let days = (point.submitted_at - start).as_seconds_f64() / DAY_S;
                    (days, drawn(point, &scale))
                }));
            }
            let of = cut(&mut series, MOST_LINES);
            Some(Chart {
                title: format!("{} by run", capitalised(titles::metric_title(metric))),
                unit: scale.unit,
                plot: Plot::Lines {
                    x_title: format!("days since {}", start.date()),
                    series,
                },
                of,
            })
        })
        .collect()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

fn levels(
    history: &History,
    several_machines: bool,
    place: impl Fn(&HistoryPoint) -> (f64, Point),
) -> Vec<Series<(f64, Point)>> {
    let mut rest = history.points.as_slice();
    let mut levels = Vec::new();
    let name = name(history, several_machines);
    let mut since = None;
    for step in &history.steps {
        let at = rest
            .iter()
            .position(|p| p.run_id == step.run_id)
            .unwrap_or(0);
        let (level, after) = rest.split_at(at);
        let until = step.submitted_at.date();
        levels.push(Series {
            name: match since {
                Some(since) => format!("{since} to {until}: {name}"),
                None => format!("until {until}: {name}"),
            },
            points: level.iter().map(&place).collect(),
        });
        since = Some(until);
        rest = after;
    }
    levels.push(Series {
        name: match since {
            Some(since) => format!("since {since}: {name}"),
            None => name,
        },
        points: rest.iter().map(&place).collect(),
    });
    levels
}

fn drawn(point: &HistoryPoint, scale: &Scale) -> Point {
    Point {
        value: scale.apply(point.value),
        interval: point.interval.map(|interval| scale.apply_to(interval)),
        n: None,
        state: PointState::tainted(point.tainted),
    }
}

fn place(history: &History) -> Vec<Cell> {
    vec![
        Cell::Text(history.machine.clone()),
        Cell::Text(titles::metric_title(&history.metric).to_owned()),
        Cell::Text(if history.variant.source.is_some() {
            history.variant.to_string()
        } else {
            String::new()
        }),
        Cell::Text(history.case_key.words()),
    ]
}

fn columns(more: Vec<Column>) -> Vec<Column> {
    let mut columns = vec![
        Column::text("Machine"),
        Column::text("Metric"),
        Column::text("Model"),
        Column::text("Case"),
    ];
    columns.extend(more);
    columns
}

fn steps(histories: &[History]) -> Table {
    let rows = histories.iter().flat_map(|history| {
        history.steps.iter().map(move |step| {
            let Step {
                run_id,
                submitted_at,
                ratio,
                p_holm,
                verdict,
                changes,
            } = step;
            let mut row = place(history);
            row.extend([
                Cell::Text(timestamp(*submitted_at)),
                Cell::Code(run_id.to_string()[..8].to_owned()),
                Cell::ratio(Some(ratio), None),
                Cell::Verdict(*verdict),
                Cell::plain(number::p_value(*p_holm)),
                Cell::Text(if changes.is_empty() {
                    "nothing that is recorded".to_owned()
                } else {
                    changes.join("; ")
                }),
            ]);
            row
        })
    });
    Table {
        caption:
            "Steps: the level since a run over the level before it, with its 95 % interval and a \
                  verdict against the 2 % margin"
                .to_owned(),
        columns: columns(vec![
            Column::text("Since"),
            Column::text("Run"),
            Column::number("Ratio", ""),
            Column::text("Verdict"),
            Column::number("p (step, Holm)", ""),
            Column::text("Changed with it"),
        ]),
        rows: rows.collect(),
    }
}

fn series(histories: &[History]) -> Table {
    let rows = histories.iter().map(|history| {
        let mut row = place(history);
        let last = history.points.last();
        let scale = Scale::fitting(&history.unit, last.map(|point| point.value));
        let percent = |share: Option<f64>| Cell::percent(share, 2, None);
        row.extend([
            Cell::plain(sound(history).to_string()),
            last.map_or(Cell::Missing, |point| {
                let (value, interval) = scale.interval(point.value, point.interval);
                Cell::Number(Number {
                    value: format!("{value} {}", scale.unit),
                    interval,
                    n: None,
                    doubt: None,
                    best: false,
                })
            }),
            percent(last.and_then(|point| point.change)),
            percent(last.and_then(|point| point.threshold)),
            Cell::Text(last.map_or(String::new(), |point| {
                verdict_words(&point.verdict).to_owned()
            })),
        ]);
        row
    });
    Table {
        caption:
            "This run against the one before it; usual is what the series' own steps stay within"
                .to_owned(),
        columns: columns(vec![
            Column::number("Sound runs", ""),
            Column::number("This run", ""),
            Column::number("Change", "%"),
            Column::number("Usual up to", "%"),
            Column::text("Verdict"),
        ]),
        rows: rows.collect(),
    }
}

fn verdict_words(verdict: &str) -> &str {
    match verdict {
        "insufficient_history" => "fewer than eight runs before it",
        "tainted" => "doubtful conditions, not judged",
        other => other,
    }
}
