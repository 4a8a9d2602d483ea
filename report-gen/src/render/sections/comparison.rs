//! Machines against each other: geometric means over the cases that may be compared, then case by case.

use super::tables;
use crate::number;
use crate::render::document::{
    Block, Cell, Chart, Column, Doubt, Plot, Point, PointState, Section, Table,
};
use crate::report::{Comparison, Pair, Report, Score};
use crate::stats::MARGIN;
use crate::titles;

pub fn section(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if report.comparison.scores.is_empty() {
        blocks.push(Block::Note(
            "There is no geometric mean: no headline metric has cases that may be compared, or none \
             was measured validly."
                .to_owned(),
        ));
    } else {
        blocks.push(Block::Table(scores(&report.comparison)));
        blocks.extend(left_out(&report.comparison.scores));
    }
    match &report.comparison.baseline {
        None => blocks.push(Block::Note(
            "A comparison needs two machines with counted launches; this run has fewer.".to_owned(),
        )),
        Some(baseline) => {
            blocks.extend(chart(report, baseline));
            blocks.push(Block::Heading("Case by case".to_owned()));
            blocks.push(if report.comparison.pairs.is_empty() {
                Block::Note(format!(
                    "No machine measured a headline metric of a case that {baseline} measured too."
                ))
            } else {
                Block::Table(pairs(baseline, &report.comparison.pairs))
            });
            blocks.extend(differing(baseline, &report.comparison.pairs));
        }
    }
    Section {
        id: "comparison",
        title: "Comparison of machines",
        blocks,
    }
}

fn scores(comparison: &Comparison) -> Table {
    let baseline = comparison.baseline.as_deref();
    let mut columns = vec![
        Column::text("Metric"),
        Column::text("Machine"),
        Column::number("Geometric mean", ""),
    ];
    columns.extend(baseline.map(|baseline| Column::number(&format!("Of {baseline}"), "")));
    columns.extend([Column::text("Unit"), Column::number("Cases", "")]);
    if baseline.is_some() {
        columns.extend([
            Column::number("Ratio", ""),
            Column::text("Verdict"),
            Column::number("p (margin, Holm)", ""),
        ]);
    }
    let rows = comparison
        .scores
        .iter()
        .map(|score| score_row(comparison, score))
        .collect();
    let caption = match baseline {
        Some(baseline) => format!(
            "Geometric means over the cases that a machine and {baseline} have in common and that may \
             be compared, with 95 % intervals over blocks of launches"
        ),
        None => {
            "Geometric means over each machine's valid cases, with 95 % intervals over blocks of \
                 launches"
                .to_owned()
        }
    };
    Table {
        caption,
        columns,
        rows,
    }
}

fn score_row(comparison: &Comparison, score: &Score) -> Vec<Cell> {
    let means = [Some(score.geometric_mean), score.baseline_mean];
    let largest = means.into_iter().flatten().map(|mean| mean.value);
    let scale = number::Scale::fitting(&score.unit, largest);
    let doubt = Doubt::of(score);
    let cases = match score.single_launch_cases {
        0 => score.cases.to_string(),
        n => format!("{} of {}", score.cases, score.cases + n),
    };
    let mut row = vec![
        Cell::Text(comparison.title(score)),
        Cell::Text(score.machine.clone()),
        Cell::located(&score.geometric_mean, &scale, doubt.clone()),
    ];
    row.extend(
        score
            .baseline_mean
            .map(|mean| Cell::located(&mean, &scale, None)),
    );
    row.extend([Cell::Text(scale.unit), Cell::plain(cases)]);
    if comparison.baseline.is_some() {
        row.extend([
            Cell::ratio(score.ratio.as_ref(), doubt),
            score.verdict.map_or(Cell::Missing, Cell::Verdict),
            p_value(score.p_holm),
        ]);
    }
    row
}

fn p_value(p: Option<f64>) -> Cell {
    p.map_or(Cell::Missing, |p| Cell::plain(number::p_value(p)))
}

/// Cases that one launch leaves without a spread are not in the means.
fn left_out(scores: &[Score]) -> Option<Block> {
    let any = scores.iter().any(|score| score.single_launch_cases > 0);
    any.then(|| {
        Block::Note(
            "Where the table counts cases as n of m, the others rest on one launch: they have no \
             spread and are left out of the means."
                .to_owned(),
        )
    })
}

fn chart(report: &Report, baseline: &str) -> Option<Block> {
    let comparison = &report.comparison;
    let compared: Vec<(&Score, Point)> = comparison
        .scores
        .iter()
        .filter_map(|score| {
            let ratio = score.ratio?;
            let point = Point {
                value: ratio.value,
                interval: ratio.interval,
                n: None,
                state: PointState::of(score),
            };
            Some((score, point))
        })
        .collect();
    if compared.is_empty() {
        return None;
    }
    let plot = if tables::is_fleet(report.machines.len()) {
        dots(report, &compared)
    } else {
        let row = |(score, point): (&Score, Point)| {
            let name = format!("{}\n{}", score.machine, comparison.title(score));
            (name, point, score.verdict)
        };
        Plot::Ratios {
            rows: compared.into_iter().map(row).collect(),
            margin: MARGIN,
        }
    };
    Some(Block::Chart(Chart {
        title: format!("Ratio to {baseline}, with 95 % interval and the 2 % margin"),
        unit: "times".to_owned(),
        plot,
        of: None,
    }))
}

/// Of a fleet: a row for each metric.
fn dots(report: &Report, compared: &[(&Score, Point)]) -> Plot {
    let mut rows: Vec<String> = Vec::new();
    let mut spots = Vec::new();
    for (score, point) in compared {
        let title = report.comparison.title(score);
        let row = rows
            .iter()
            .position(|row| *row == title)
            .unwrap_or_else(|| {
                rows.push(title);
                rows.len() - 1
            });
        let mut machines = report.machines.iter();
        let machine = machines.find(|machine| machine.machine == score.machine);
        spots.extend(machine.map(|machine| (machine, row, *point)));
    }
    tables::strips(rows, spots.into_iter(), Some(MARGIN))
}

fn pairs(baseline: &str, pairs: &[Pair]) -> Table {
    let rows = pairs
        .iter()
        .map(|pair| {
            vec![
                Cell::Text(pair.machine.clone()),
                Cell::Text(titles::metric_title(&pair.metric).to_owned()),
                Cell::Text(pair.variant.to_string()),
                Cell::Text(pair.case_key.words()),
                Cell::ratio(pair.ratio.as_ref(), Doubt::of(pair)),
                match (pair.verdict, pair.differences.is_empty()) {
                    (Some(verdict), _) => Cell::Verdict(verdict),
                    (None, true) => Cell::Missing,
                    (None, false) => {
                        Cell::Text(format!("not comparable: {}", pair.differences.join(", ")))
                    }
                },
                p_value(pair.p_holm),
                p_value(pair.p_rank),
            ]
        })
        .collect();
    Table {
        caption: format!(
            "Each case's value over that of {baseline}; a verdict other than equivalent or \
             inconclusive means by more than 2 %"
        ),
        columns: vec![
            Column::text("Machine"),
            Column::text("Metric"),
            Column::text("Model"),
            Column::text("Case"),
            Column::number("Ratio", ""),
            Column::text("Verdict"),
            Column::number("p (margin, Holm)", ""),
            Column::number("p (Mann-Whitney)", ""),
        ],
        rows,
    }
}

/// Which conditions stood in the way, by machine.
fn differing(baseline: &str, pairs: &[Pair]) -> Option<Block> {
    let mut lines: Vec<String> = pairs
        .iter()
        .filter(|pair| !pair.differences.is_empty())
        .map(|pair| {
            format!(
                "{} and {baseline}: {}",
                pair.machine,
                pair.differences.join(", ")
            )
        })
        .collect();
    lines.sort();
    lines.dedup();
    (!lines.is_empty()).then(|| {
        Block::Note(format!(
            "Not compared, because the numbers would not mean the same. {}.",
            lines.join("; ")
        ))
    })
}
