//! Whole answers: what a person waits for, prompt and all.

use super::tables::{self, Plain};
use crate::render::document::Section;
use crate::report::Report;

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    tables::plain(
        report,
        &Plain {
            id: "answers",
            title: "Whole answers",
            suite: "generate",
            chart: Some(("response_ms", "Time from question to whole answer")),
            tables: &[(
                "Four questions, each answered with so many tokens; mean over the questions",
                &[
                    ("response_ms", "Response"),
                    ("ttft_ms", "First token"),
                    ("generate_tps", "Rate, prompt included"),
                ],
            )],
            note: "The rate counts the time to read the question, so that it is lower than the \
                   decode rate above; the two answer different questions.",
        },
    )
}
