//! Several sequences at once.

use super::tables::{self, Plain};
use crate::render::document::{Block, Section};
use crate::report::{Measurement, Report};

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    let mut section = tables::plain(
        report,
        &Plain {
            id: "batch",
            title: "Several sequences at once",
            suite: "batch",
            chart: None,
            tables: &[(
                "All sequences together, each one's share, and the gain over one alone in turn",
                &[
                    ("batch_decode_tps", "Decode, together"),
                    ("batch_stream_tps", "Each"),
                    ("batch_speedup", "Gain"),
                    ("batch_efficiency", "Of ideal"),
                    ("batch_prefill_tps", "Prefill, together"),
                    ("batch_ttft_ms", "First tokens"),
                    ("mem_peak_bytes", "MLX peak"),
                ],
            )],
            note: "A step reads the weights once for all sequences, so that the whole gets faster \
                   until arithmetic, and not memory, is the limit; each sequence gets slower.",
        },
    )?;
    let rates: Vec<&Measurement> = report.of("batch", "batch_decode_tps").collect();
    let title = "Decode rate of all sequences together";
    let chart = tables::lines(report, &rates, "batch", "Sequences", title);
    if let Some(chart) = chart {
        section.blocks.insert(1, Block::Chart(chart));
    }
    Some(section)
}
