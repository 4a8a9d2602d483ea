//! Minutes of load: what is left of the first rate.

use super::tables::{self, Plain};
use crate::render::document::Section;
use crate::report::Report;

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    tables::plain(
        report,
        &Plain {
            id: "sustained",
            title: "Sustained load",
            suite: "sustained",
            chart: Some((
                "sustained_ratio",
                "Rate of the last quarter over that of the first",
            )),
            tables: &[(
                "Decoding without a pause, in equal stretches",
                &[
                    ("sustained_tps", "Rate"),
                    ("sustained_ratio", "Last over first quarter"),
                    ("trend_pct", "Trend"),
                ],
            )],
            note: "Every stretch is the same work at the same depth: a rate that falls is the \
                   machine's, by heat, by its power limit or by other work.",
        },
    )
}
