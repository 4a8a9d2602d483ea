//! What the run found, in sentences, and where it stands.

use crate::number;
use crate::render::document::{Block, Cell, Column, Section, Table};
use crate::report::Report;

pub fn section(report: &Report) -> Section {
    let run = &report.run;
    let mut facts = vec![
        ("Plan", run.plan.clone()),
        ("Run", run.run_id.to_string()),
        ("State", run.state.clone()),
        ("Kind of data", run.label.clone()),
        ("Submitted", timestamp(run.submitted_at)),
        ("Duration", number::seconds(run.duration_s)),
        (
            "Jobs",
            format!("{} of {} succeeded", run.jobs_succeeded, run.jobs),
        ),
    ];
    if let Some(source) = &run.source {
        facts.insert(4, ("Source", source.clone()));
    }
    if let Some(ended_at) = run.ended_at {
        facts.insert(facts.len() - 2, ("Ended", timestamp(ended_at)));
    }
    let rows = facts
        .into_iter()
        .map(|(name, value)| vec![Cell::Text(name.to_owned()), Cell::Text(value)])
        .collect();
    Section {
        id: "summary",
        title: "Summary",
        blocks: vec![
            Block::Findings(report.findings.clone()),
            Block::Table(Table {
                caption: "The run".to_owned(),
                columns: vec![Column::text("Fact"), Column::text("Value")],
                rows,
            }),
        ],
    }
}

pub fn timestamp(at: time::OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (date, time) = (at.date(), at.time());
    format!(
        "{date} {:02}:{:02}:{:02} UTC",
        time.hour(),
        time.minute(),
        time.second()
    )
}
