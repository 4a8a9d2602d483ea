//! Every result of the run in one table: what no other section shows is here.

use crate::number::{self, Scale};
use crate::render::document::{Block, Cell, Column, Section, Table};
use crate::report::Report;
use crate::stats::Method;

pub fn section(report: &Report) -> Section {
    let block = if report.measurements.is_empty() {
        Block::Note("No launch counted, so there are no results.".to_owned())
    } else {
        Block::Table(table(report))
    };
    Section {
        id: "results",
        title: "All results",
        blocks: vec![block],
    }
}

fn table(report: &Report) -> Table {
    let rows = report
        .measurements
        .iter()
        .map(|m| {
            let scale = Scale::fitting(&m.unit, [m.estimate.value]);
            vec![
                Cell::Text(m.suite.clone()),
                Cell::Text(m.variant.to_string()),
                Cell::Text(m.case_key.words()),
                Cell::Text(m.machine.clone()),
                Cell::Code(m.metric.clone()),
                Cell::measured(Some(m), &scale),
                Cell::Text(scale.unit),
                m.cv.map_or(Cell::Missing, |cv| Cell::plain(number::percent(cv))),
                Cell::plain(m.iterations.to_string()),
                Cell::Text(
                    match m.estimate.method {
                        Method::OneLaunch => "one launch",
                        Method::AsGiven => "as given",
                        Method::TOnLogs => "t on logs",
                        Method::Arithmetic => "t, arithmetic",
                        Method::Bootstrap => "bootstrap",
                    }
                    .to_owned(),
                ),
            ]
        })
        .collect();
    Table {
        caption: "Every metric of every case, with its 95 % interval over launches".to_owned(),
        columns: vec![
            Column::text("Suite"),
            Column::text("Model"),
            Column::text("Case"),
            Column::text("Machine"),
            Column::text("Metric"),
            Column::number("Estimate", ""),
            Column::text("Unit"),
            Column::number("Spread between launches", "CV"),
            Column::number("Iterations", ""),
            Column::text("Interval"),
        ],
        rows,
    }
}
