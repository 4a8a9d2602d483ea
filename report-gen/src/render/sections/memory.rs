//! Memory by context: what a longer prompt takes, and whether arithmetic says so too.

use super::tables::{self, Plain};
use crate::number;
use crate::render::document::{Block, Cell, Column, Doubt, Number, Section, Table};
use crate::report::{Measurement, MemorySlope, Report};

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    let mut section = tables::plain(
        report,
        &Plain {
            id: "memory",
            title: "Memory by context",
            suite: "memory",
            chart: None,
            tables: &[(
                "A prompt read into an empty cache, in a process that has done nothing else",
                &[
                    ("mem_peak_bytes", "MLX peak"),
                    ("mem_weights_bytes", "Weights"),
                    ("kv_bytes", "Cache, allocated"),
                    ("kv_used_bytes", "Cache, used"),
                    ("mem_activation_bytes", "Activations"),
                    ("mem_footprint_max_bytes", "System peak"),
                ],
            )],
            note: "The peak is weights, cache and what one step of the prompt needs beside them. \
                   The cache is allocated in steps of 256 positions.",
        },
    )?;
    let peaks: Vec<&Measurement> = report.of("memory", "mem_peak_bytes").collect();
    let chart = tables::lines(
        report,
        &peaks,
        "prompt",
        "Prompt tokens",
        "MLX's peak memory",
    );
    if let Some(chart) = chart {
        section.blocks.insert(1, Block::Chart(chart));
    }
    section.blocks.push(slopes(&report.memory_slopes));
    Some(section)
}

/// How much memory one more prompt token takes, beside what its keys and values must take.
fn slopes(slopes: &[MemorySlope]) -> Block {
    if slopes.is_empty() {
        return Block::Note(
            "No slope: a line needs three prompt lengths at the least, and this run has fewer."
                .to_owned(),
        );
    }
    let row = |slope: &MemorySlope| {
        let bytes = |value: Option<f64>, doubt: Option<Doubt>| {
            value.map_or(Cell::Missing, |value| {
                Cell::Number(Number {
                    value: number::bytes(value),
                    interval: None,
                    n: None,
                    doubt,
                    best: false,
                })
            })
        };
        vec![
            Cell::Text(slope.variant.to_string()),
            Cell::Text(slope.machine.clone()),
            bytes(slope.kv_bytes_per_token, Doubt::of(slope)),
            bytes(slope.kv_theory_bytes_per_token, None),
            bytes(slope.peak_bytes_per_token, Doubt::of(slope)),
            slope
                .peak_r_squared
                .map_or(Cell::Missing, |r| Cell::plain(format!("{r:.3}"))),
            Cell::plain(slope.lengths.to_string()),
        ]
    };
    Block::Table(Table {
        caption: "What one more token takes, by least squares over the prompt's length: the cache \
                  beside what its keys and values must take, and the peak, which has the activations \
                  in it"
            .to_owned(),
        columns: vec![
            Column::text("Model"),
            Column::text("Machine"),
            Column::number("Cache", ""),
            Column::number("By arithmetic", ""),
            Column::number("Peak", ""),
            Column::number("R² of the peak", ""),
            Column::number("Lengths", ""),
        ],
        rows: slopes.iter().map(row).collect(),
    })
}
