//! What the run's own measurements recommend, machine by machine.

use crate::render::document::{Block, Section};
use crate::report::Report;

/// None where no technique was measured.
pub fn section(report: &Report) -> Option<Section> {
    let texts: Vec<String> = report
        .recommendations
        .iter()
        .map(|advice| {
            format!("{} {}", advice.text, advice.detail)
                .trim_end()
                .to_owned()
        })
        .collect();
    (!texts.is_empty()).then(|| Section {
        id: "recommendations",
        title: "Recommendations",
        blocks: vec![
            Block::Text(
                "From the ratios that this run measured in one process and in turn, each held against \
                 the 2 % margin after Holm's correction. What was not measured is not recommended."
                    .to_owned(),
            ),
            Block::List(texts),
        ],
    })
}
