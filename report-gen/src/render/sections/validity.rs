//! Every doubt that was raised: which numbers to distrust, and why. Nothing is dropped for them.

use crate::number;
use crate::render::document::{Block, Cell, Column, Section, Table};
use crate::report::{PositionEffect, Report};
use crate::stats::{MARGIN, OUTLIER_LAUNCHES};
use crate::titles;

pub fn section(report: &Report) -> Section {
    let mut blocks = vec![Block::Text(verdict(report))];
    if !report.doubts.is_empty() {
        blocks.push(Block::Table(doubts(report)));
    }
    blocks.extend(outliers(report));
    blocks.extend(positions(&report.position_effects));
    Section {
        id: "validity",
        title: "Validity",
        blocks,
    }
}

fn verdict(report: &Report) -> String {
    let total = report.measurements.len();
    if total == 0 {
        return "There is nothing to judge: no launch counted.".to_owned();
    }
    let invalid = report.measurements.iter().filter(|m| !m.valid).count();
    let tainted = report
        .measurements
        .iter()
        .filter(|m| m.valid && m.tainted)
        .count();
    let clean = total - invalid - tainted;
    format!(
        "Of {}, {clean} have no doubt, {tainted} were measured under doubtful conditions \
         (marked †) and {invalid} are invalid (marked ✗).",
        number::counted(total as i64, "result", "results")
    )
}

fn doubts(report: &Report) -> Table {
    let rows = report
        .doubts
        .iter()
        .map(|doubt| {
            vec![
                Cell::Code(doubt.reason.clone()),
                Cell::Text(doubt.severity.clone()),
                Cell::Text(doubt.machine.clone()),
                Cell::Text(doubt.suite.clone()),
                Cell::plain(format!("{} of {}", doubt.launches, doubt.of_launches)),
                Cell::Text(doubt.description.clone()),
            ]
        })
        .collect();
    Table {
        caption: "Doubts, by machine and suite".to_owned(),
        columns: vec![
            Column::text("Code"),
            Column::text("Severity"),
            Column::text("Machine"),
            Column::text("Suite"),
            Column::number("Launches", ""),
            Column::text("Meaning"),
        ],
        rows,
    }
}

/// Launches far from the others of their case, for the metrics that the plan puts first.
fn outliers(report: &Report) -> Vec<Block> {
    let lines: Vec<String> = report
        .measurements
        .iter()
        .filter(|m| report.run.headline.contains(&m.metric))
        .flat_map(|m| {
            m.launches
                .iter()
                .filter(|launch| launch.outlier)
                .map(move |l| (m, l))
        })
        .map(|(m, launch)| {
            let scale = number::Scale::fitting(&m.unit, [m.estimate.value]);
            format!(
                "{} of {} on {}, {}: launch {} gave {} {} where the estimate is {}",
                titles::metric_title(&m.metric),
                m.variant,
                m.machine,
                m.case_key.words(),
                launch.launch,
                scale.value(launch.median),
                scale.unit,
                scale.value(m.estimate.value),
            )
        })
        .collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let caption = format!(
        "Outliers: launches more than 3.5 modified z-scores from the median of their case, where it has at \
         least {OUTLIER_LAUNCHES}. They are in every estimate."
    );
    vec![Block::Text(caption), Block::List(lines)]
}

/// Whether the order of launches shows in the numbers.
fn positions(effects: &[PositionEffect]) -> Vec<Block> {
    if effects.is_empty() {
        return Vec::new();
    }
    let with = |moved: Option<bool>| effects.iter().filter(move |e| e.moved == moved);
    let summary = format!(
        "The order of launches: every block holds each case once, in an order of its own. Lines \
         through the headline metrics, over the place within the block and over the blocks: {} of {} \
         show no change of more than {:.0} % from first to last, {} show one, and {} leave it open.",
        with(Some(false)).count(),
        effects.len(),
        MARGIN * 100.0,
        with(Some(true)).count(),
        with(None).count(),
    );
    let moved: Vec<String> = with(Some(true)).map(number::position).collect();
    let list = (!moved.is_empty()).then_some(Block::List(moved));
    std::iter::once(Block::Text(summary)).chain(list).collect()
}
