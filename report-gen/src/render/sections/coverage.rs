//! Who ran what, and who did not and why: no machine or job leaves a run silently.

use std::collections::BTreeMap;

use crate::number;
use crate::render::document::{Block, Cell, Column, Section, Table};
use crate::report::{Coverage, Report};

pub fn section(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if report.coverage.is_empty() {
        blocks.push(Block::Note(
            "The run has no jobs and left out no machine.".to_owned(),
        ));
    } else {
        blocks.push(Block::Table(by_machine(report)));
    }
    let unmeasured: Vec<&Coverage> = report
        .coverage
        .iter()
        .filter(|c| c.state != "succeeded")
        .collect();
    blocks.push(if unmeasured.is_empty() {
        Block::Text("Every job of the plan was measured on every machine it means.".to_owned())
    } else {
        Block::Table(not_measured(&unmeasured))
    });
    Section {
        id: "coverage",
        title: "Coverage",
        blocks,
    }
}

fn by_machine(report: &Report) -> Table {
    let mut machines: BTreeMap<&str, Vec<&Coverage>> = BTreeMap::new();
    for line in &report.coverage {
        machines.entry(&line.machine).or_default().push(line);
    }
    let rows = machines
        .into_iter()
        .map(|(machine, lines)| {
            let jobs = lines.iter().filter(|line| line.state != "excluded").count();
            let done = lines
                .iter()
                .filter(|line| line.state == "succeeded")
                .count();
            let counted: i64 = lines.iter().map(|line| line.launches_counted).sum();
            let total: i64 = lines
                .iter()
                .map(|line| i64::from(line.launches_total))
                .sum();
            let failed: i64 = lines.iter().map(|line| line.launches_failed).sum();
            vec![
                Cell::Text(machine.to_owned()),
                Cell::plain(format!("{done} of {jobs}")),
                Cell::plain(format!("{counted} of {total}")),
                Cell::plain(failed.to_string()),
                match total {
                    0 => Cell::Missing,
                    _ => Cell::plain(number::percent(counted as f64 / total as f64)),
                },
            ]
        })
        .collect();
    Table {
        caption: "What each machine measured of what the plan asks for".to_owned(),
        columns: vec![
            Column::text("Machine"),
            Column::number("Jobs", "succeeded"),
            Column::number("Launches", "counted"),
            Column::number("Launches", "failed"),
            Column::number("Covered", ""),
        ],
        rows,
    }
}

fn not_measured(lines: &[&Coverage]) -> Table {
    let rows = lines
        .iter()
        .map(|line| {
            let or_all = |text: &Option<String>| match text {
                Some(text) => Cell::Text(text.clone()),
                None => Cell::Text("all".to_owned()),
            };
            vec![
                Cell::Text(line.machine.clone()),
                or_all(&line.suite),
                or_all(&line.model),
                Cell::Text(line.dtype.clone().unwrap_or_else(|| "as stored".to_owned())),
                Cell::Text(line.state.clone()),
                Cell::Text(line.reason.clone()),
            ]
        })
        .collect();
    Table {
        caption: "What was not measured, and why".to_owned(),
        columns: vec![
            Column::text("Machine"),
            Column::text("Suite"),
            Column::text("Model"),
            Column::text("Precision"),
            Column::text("State"),
            Column::text("Reason"),
        ],
        rows,
    }
}
