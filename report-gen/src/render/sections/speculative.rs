//! Speculative decoding: what a small model's guesses are worth to a large one.

use super::tables::{self, Plain};
use crate::render::document::Section;
use crate::report::Report;

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    tables::plain(
        report,
        &Plain {
            id: "speculative",
            title: "Speculative decoding",
            suite: "speculative",
            chart: Some((
                "spec_speedup",
                "Time of plain decoding over time of speculative",
            )),
            tables: &[
                (
                    "Against plain decoding of the same prompt, in one process and in turn",
                    &[
                        ("spec_speedup", "Gain"),
                        ("spec_speedup_pred", "Predicted"),
                        ("spec_decode_tps", "Speculative"),
                        ("spec_baseline_decode_tps", "Plain"),
                        ("spec_accept_rate", "Accepted"),
                        ("spec_tokens_per_round", "Per round"),
                        ("spec_output_identical", "Same output"),
                        ("spec_mem_extra_bytes", "Draft's memory"),
                    ],
                ),
                (
                    "Share of guesses accepted by their position in a round, given that it was \
                     reached, and the time of a round's two halves",
                    &[
                        ("spec_accept_pos_1", "1st"),
                        ("spec_accept_pos_2", "2nd"),
                        ("spec_accept_pos_3", "3rd"),
                        ("spec_accept_pos_4", "4th"),
                        ("spec_accept_pos_5", "5th"),
                        ("spec_accept_pos_6", "6th"),
                        ("spec_accept_pos_7", "7th"),
                        ("spec_accept_pos_8", "8th"),
                        ("spec_draft_ms", "Drafting"),
                        ("spec_verify_ms", "Verifying"),
                    ],
                ),
            ],
            note: "A gain below 1 is a loss: guesses that are rejected cost what they took. How \
                   often they are accepted depends on the text, so that a gain is one for its \
                   prompt.",
        },
    )
}
