//! Machines against each other: geometric means over the cases they share, then case by case.

use crate::number;
use crate::render::document::{Block, Cell, Chart, Column, Plot, Point, Section, Table};
use crate::report::{Pair, Report, Score};
use crate::stats::MARGIN;

pub fn section(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if report.comparison.scores.is_empty() {
        blocks.push(Block::Note(
            "There is no geometric mean: no headline metric was measured validly on every machine \
             that ran it."
                .to_owned(),
        ));
    } else {
        blocks.push(Block::Table(scores(&report.comparison.scores)));
    }
    match &report.comparison.baseline {
        None => blocks.push(Block::Note(
            "A comparison needs two machines with counted launches; this run has fewer.".to_owned(),
        )),
        Some(baseline) => {
            blocks.extend(chart(baseline, &report.comparison.scores));
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

fn scores(scores: &[Score]) -> Table {
    let rows = scores
        .iter()
        .map(|score| {
            let scale = number::Scale::fitting(&score.unit, [score.geometric_mean.value]);
            vec![
                Cell::Text(number::metric_title(&score.metric).to_owned()),
                Cell::Text(score.machine.clone()),
                Cell::located(&score.geometric_mean, &scale),
                Cell::Text(scale.unit),
                Cell::plain(score.cases.to_string()),
                Cell::ratio(score.ratio.as_ref()),
                score.verdict.map_or(Cell::Missing, Cell::Verdict),
            ]
        })
        .collect();
    Table {
        caption: "Geometric means over the cases that every machine measured validly, with 95 % \
                  intervals over launches"
            .to_owned(),
        columns: vec![
            Column::text("Metric"),
            Column::text("Machine"),
            Column::number("Geometric mean", ""),
            Column::text("Unit"),
            Column::number("Cases", ""),
            Column::number("Ratio to baseline", ""),
            Column::text("Verdict"),
        ],
        rows,
    }
}

fn chart(baseline: &str, scores: &[Score]) -> Option<Block> {
    let rows: Vec<_> = scores
        .iter()
        .filter_map(|score| {
            let ratio = score.ratio?;
            let point = Point {
                value: ratio.value,
                interval: ratio.interval,
                n: None,
                sound: true,
            };
            let title = number::metric_title(&score.metric);
            Some((format!("{}\n{title}", score.machine), point, score.verdict))
        })
        .collect();
    (!rows.is_empty()).then(|| {
        Block::Chart(Chart {
            title: format!("Ratio to {baseline}, with 95 % interval and the 2 % margin"),
            unit: "times".to_owned(),
            plot: Plot::Ratios {
                rows,
                margin: MARGIN,
            },
        })
    })
}

fn pairs(baseline: &str, pairs: &[Pair]) -> Table {
    let rows = pairs
        .iter()
        .map(|pair| {
            let p = |p: Option<f64>| p.map_or(Cell::Missing, |p| Cell::plain(number::p_value(p)));
            vec![
                Cell::Text(pair.machine.clone()),
                Cell::Text(number::metric_title(&pair.metric).to_owned()),
                Cell::Text(pair.variant.to_string()),
                Cell::Text(pair.case_key.words()),
                Cell::ratio(pair.ratio.as_ref()),
                match (pair.verdict, pair.differences.is_empty()) {
                    (Some(verdict), _) => Cell::Verdict(verdict),
                    (None, true) => Cell::Missing,
                    (None, false) => {
                        Cell::Text(format!("not comparable: {}", pair.differences.join(", ")))
                    }
                },
                p(pair.p_holm),
                p(pair.p_rank),
            ]
        })
        .collect();
    Table {
        caption: format!(
            "Each case's value over that of {baseline}; faster and slower mean by more than 2 %"
        ),
        columns: vec![
            Column::text("Machine"),
            Column::text("Metric"),
            Column::text("Model"),
            Column::text("Case"),
            Column::number("Ratio", ""),
            Column::text("Verdict"),
            Column::number("p (Welch, Holm)", ""),
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
