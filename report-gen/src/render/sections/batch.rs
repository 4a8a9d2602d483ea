//! Several sequences at once.

use super::tables::{self, Plain};
use crate::number::Scale;
use crate::render::document::{Block, Cell, Column, Doubt, Number, Section, Table};
use crate::report::{Knee, Measurement, Report};

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
    if !report.knees.is_empty() {
        section.blocks.push(Block::Table(knees(&report.knees)));
    }
    Some(section)
}

fn knees(knees: &[Knee]) -> Table {
    let row = |knee: &Knee| {
        let between = match (knee.below_size, knee.clear) {
            (Some(below), true) => format!("{} and {below}", knee.above_size),
            (Some(below), false) => {
                format!("{} and {below}, within the noise", knee.above_size)
            }
            (None, _) => format!("beyond {}", knee.above_size),
        };
        let number = |value: f64| {
            Cell::Number(Number {
                value: Scale::fitting("", []).value(value),
                interval: None,
                n: None,
                doubt: Doubt::of(knee),
                best: false,
            })
        };
        vec![
            Cell::Text(knee.variant.to_string()),
            Cell::Text(knee.case_key.words()),
            Cell::Text(knee.machine.clone()),
            knee.batch_knee.map_or(Cell::Missing, number),
            Cell::Text(between),
        ]
    };
    Table {
        caption:
            "From how many sequences on each gets less than half of what it gets alone; between \
                  two measured sizes the gain is taken as a straight line"
                .to_owned(),
        columns: vec![
            Column::text("Model"),
            Column::text("Case"),
            Column::text("Machine"),
            Column::number("Knee", "sequences"),
            Column::text("Between"),
        ],
        rows: knees.iter().map(row).collect(),
    }
}
