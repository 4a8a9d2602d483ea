//! The tables and charts that several sections share: rows of cases, columns of metrics.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::number::Scale;
use crate::render::document::{
    Block, Cell, Chart, Column, Plot, Point, Section, Series, Spot, Table, spread_out,
};
use crate::report::{CaseKey, Direction, Machine, Measurement, Report, Variant};

/// More bars than these tell nobody anything; the table has them all.
const MOST_CATEGORIES: usize = 40;
/// As many lines as a reader can tell apart.
pub const MOST_LINES: usize = 8;

/// A section that is a chart and some tables of one suite.
pub struct Plain<'a> {
    pub id: &'static str,
    pub title: &'static str,
    pub suite: &'a str,
    /// A metric as bars, and what they show; one that nothing measured is left out.
    pub chart: Option<(&'a str, &'a str)>,
    /// A caption and its metrics with their titles; one without any is left out.
    pub tables: &'a [(&'a str, &'a [(&'a str, &'a str)])],
    /// How to read it; may be empty.
    pub note: &'a str,
}

/// None where the run has no such suite.
pub fn plain(report: &Report, plain: &Plain<'_>) -> Option<Section> {
    let of_suite = report.measurements.iter();
    let measured: Vec<&Measurement> = of_suite.filter(|m| m.suite == plain.suite).collect();
    if measured.is_empty() {
        return None;
    }
    let mut blocks = Vec::new();
    if !plain.note.is_empty() {
        blocks.push(Block::Text(plain.note.to_owned()));
    }
    if let Some((metric, title)) = plain.chart {
        let shown: Vec<&Measurement> = report.of(plain.suite, metric).collect();
        if !shown.is_empty() {
            blocks.push(Block::Chart(bars(report, &shown, title)));
        }
    }
    for (caption, metrics) in plain.tables {
        let has_any = |(metric, _): &(&str, &str)| measured.iter().any(|m| m.metric == *metric);
        if metrics.iter().any(has_any) {
            let table = self::measured(report, &measured, caption, metrics);
            blocks.push(Block::Table(table));
        }
    }
    Some(Section {
        id: plain.id,
        title: plain.title,
        blocks,
    })
}

/// One row per model, case and machine; one column per metric that some row has.
pub fn measured(
    report: &Report,
    measurements: &[&Measurement],
    caption: &str,
    metrics: &[(&str, &str)],
) -> Table {
    let mut rows: Vec<RowKey<'_>> = Vec::new();
    let mut cells: HashMap<(RowKey<'_>, &str), &Measurement> = HashMap::new();
    for m in measurements {
        if !metrics.iter().any(|(metric, _)| *metric == m.metric) {
            continue;
        }
        let key = RowKey {
            variant: &m.variant,
            case_key: &m.case_key,
            machine: &m.machine,
        };
        if cells.insert((key, &m.metric), m).is_none() && rows.last() != Some(&key) {
            rows.push(key);
        }
    }
    rows.dedup();
    let several_machines = report.machines.len() > 1;
    // A suite about the machine itself has neither model nor precision: its rows are its cases.
    let has_model = rows.iter().any(|row| row.variant.source.is_some());
    let several_cases = !has_model || rows.iter().any(|row| row.case_key != rows[0].case_key);

    let mut columns = Vec::new();
    if has_model {
        columns.extend([Column::text("Model"), Column::text("Precision")]);
    }
    if several_cases {
        columns.push(Column::text("Case"));
    }
    if several_machines {
        columns.push(Column::text("Machine"));
    }
    let mut shown: Vec<(&str, Scale)> = Vec::new();
    for (metric, title) in metrics {
        let of_metric: Vec<&Measurement> = measurements
            .iter()
            .filter(|m| m.metric == *metric)
            .copied()
            .collect();
        if of_metric.is_empty() {
            continue;
        }
        let scale = Scale::of(&of_metric);
        columns.push(Column::number(title, &scale.unit));
        shown.push((metric, scale));
    }
    let rows =
        rows.into_iter()
            .map(|key| {
                let mut row = Vec::new();
                if has_model {
                    row.extend([
                        Cell::Text(key.variant.name()),
                        Cell::Text(key.variant.precision()),
                    ]);
                }
                if several_cases {
                    row.push(Cell::Text(key.case_key.words()));
                }
                if several_machines {
                    row.push(Cell::Text(key.machine.to_owned()));
                }
                row.extend(shown.iter().map(|(metric, scale)| {
                    Cell::measured(cells.get(&(key, *metric)).copied(), scale)
                }));
                row
            })
            .collect();
    Table {
        caption: caption.to_owned(),
        columns,
        rows,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RowKey<'a> {
    variant: &'a Variant,
    case_key: &'a CaseKey,
    machine: &'a str,
}

/// Bars by model (and case, where there are several), one series per machine; of a fleet, dots.
pub fn bars(report: &Report, measurements: &[&Measurement], title: &str) -> Chart {
    let several_cases = measurements
        .iter()
        .any(|m| m.case_key != measurements[0].case_key);
    let label = |m: &Measurement| {
        if m.variant.source.is_none() {
            m.case_key.words()
        } else if several_cases {
            format!("{}\n{}", m.variant, m.case_key.words())
        } else {
            m.variant.to_string()
        }
    };
    let mut categories: Vec<String> = Vec::new();
    let mut rows: HashMap<String, usize> = HashMap::new();
    let mut places: Vec<(usize, &Measurement)> = Vec::new();
    for m in measurements {
        let label = label(m);
        let row = *rows.entry(label.clone()).or_insert_with(|| {
            categories.push(label);
            categories.len() - 1
        });
        places.push((row, m));
    }
    let of = cut(&mut categories, MOST_CATEGORIES);
    places.retain(|(row, _)| *row < categories.len());
    let scale = Scale::of(measurements);
    let is_measured = |machine: &&Machine| places.iter().any(|(_, m)| m.machine == machine.machine);
    let machines: Vec<&Machine> = report.machines.iter().filter(is_measured).collect();
    let plot = if is_fleet(machines.len()) {
        let spots = places.iter().filter_map(|(row, m)| {
            let machine = machines
                .iter()
                .find(|machine| machine.machine == m.machine)?;
            Some((*machine, *row, Point::of(m, &scale)))
        });
        strips(categories.clone(), spots, None)
    } else {
        let series = machines.iter().map(|machine| {
            let mut points = vec![None; categories.len()];
            for (row, m) in places.iter().filter(|(_, m)| m.machine == machine.machine) {
                points[*row] = Some(Point::of(m, &scale));
            }
            Series {
                name: format!("{} ({})", machine.machine, machine.chip),
                points,
            }
        });
        Plot::Bars {
            series: series.collect(),
            categories,
        }
    };
    Chart {
        title: better(title, measurements[0].direction, &plot),
        unit: scale.unit,
        plot,
        of,
    }
}

/// Whether so many machines are dots rather than bars.
pub fn is_fleet(machines: usize) -> bool {
    machines > MOST_LINES
}

/// A title with the way in which a bar or dot is better.
pub fn better(title: &str, direction: Direction, plot: &Plot) -> String {
    let which = match (direction, plot) {
        (Direction::Neutral, _) => return title.to_owned(),
        (Direction::Higher, Plot::Strips { .. }) => "right",
        (Direction::Lower, Plot::Strips { .. }) => "left",
        (Direction::Higher, _) => "longer",
        (Direction::Lower, _) => "shorter",
    };
    format!("{title} ({which} is better)")
}

/// A dot for each machine in its row, coloured by the generation of its chip.
pub fn strips<'a>(
    rows: Vec<String>,
    spots: impl Iterator<Item = (&'a Machine, usize, Point)>,
    margin: Option<f64>,
) -> Plot {
    let mut series: BTreeMap<&str, Vec<Spot>> = BTreeMap::new();
    for (machine, row, point) in spots {
        series
            .entry(generation(&machine.chip))
            .or_default()
            .push(Spot {
                row,
                lane: 0,
                label: machine.machine.clone(),
                point,
            });
    }
    let mut series: Vec<Series<Spot>> = series
        .into_iter()
        .map(|(name, points)| Series {
            name: name.to_owned(),
            points,
        })
        .collect();
    spread_out(&mut series);
    Plot::Strips {
        rows,
        series,
        margin,
    }
}

/// `M3` of `Apple M3 Max`; of another maker's the whole name.
fn generation(chip: &str) -> &str {
    let apple = chip.strip_prefix("Apple ");
    apple
        .and_then(|chip| chip.split(' ').next())
        .unwrap_or(chip)
}

/// Lines over a numeric parameter of the cases, one per model, machine and rest of the case; None with
/// fewer than two values of it.
pub fn lines(
    report: &Report,
    measurements: &[&Measurement],
    parameter: &str,
    x_title: &str,
    title: &str,
) -> Option<Chart> {
    let x_of = |m: &Measurement| m.case_key.number(parameter);
    let first = x_of(measurements.first()?)?;
    measurements
        .iter()
        .find(|m| x_of(m).is_some_and(|x| x != first))?;
    let several_machines = report.machines.len() > 1;
    let rest = |m: &Measurement| m.case_key.without(parameter);
    let several_rests = measurements
        .iter()
        .any(|m| rest(m) != rest(measurements[0]));
    let scale = Scale::of(measurements);
    let mut series: Vec<Series<(f64, Point)>> = Vec::new();
    for m in measurements {
        let Some(x) = x_of(m) else { continue };
        let mut name = m.variant.to_string();
        if several_machines {
            _ = write!(name, " on {}", m.machine);
        }
        if several_rests {
            _ = write!(name, ", {}", rest(m).words());
        }
        let point = (x as f64, Point::of(m, &scale));
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => series.push(Series {
                name,
                points: vec![point],
            }),
        }
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let of = cut(&mut series, MOST_LINES);
    Some(Chart {
        title: title.to_owned(),
        unit: scale.unit,
        plot: Plot::Lines {
            x_title: x_title.to_owned(),
            series,
        },
        of,
    })
}

/// Keeps as many as can be told apart; how many there were, where that is fewer.
pub fn cut<T>(all: &mut Vec<T>, most: usize) -> Option<usize> {
    let of = all.len();
    all.truncate(most);
    (of > most).then_some(of)
}
