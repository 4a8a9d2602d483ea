//! Memory by context: what a longer prompt takes, and whether arithmetic says so too.

use super::tables::{self, Plain};
use crate::number;
use crate::render::document::{Block, Cell, Column, Section, Table};
use crate::report::{Measurement, Report};
use crate::stats;

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
    section.blocks.push(slopes(report, &peaks));
    Some(section)
}

/// How much memory one more prompt token takes, beside what its keys and values must take.
fn slopes(report: &Report, peaks: &[&Measurement]) -> Block {
    let mut groups: Vec<(&Measurement, Vec<(f64, f64)>)> = Vec::new();
    for peak in peaks {
        let Some(tokens) = peak.case_key.number("prompt") else {
            continue;
        };
        let point = (tokens as f64, peak.estimate.value);
        let found = groups
            .iter_mut()
            .find(|(first, _)| first.variant == peak.variant && first.machine == peak.machine);
        match found {
            Some((_, points)) => points.push(point),
            None => groups.push((peak, vec![point])),
        }
    }
    let rows: Vec<Vec<Cell>> = groups
        .iter()
        .filter_map(|(first, points)| {
            let line = stats::Line::through(points)?;
            let model = report
                .models
                .iter()
                .find(|model| model.variant == first.variant);
            let theory = model.map_or(Cell::Missing, |model| {
                Cell::plain(number::bytes(model.kv_bytes_per_token as f64))
            });
            Some(vec![
                Cell::Text(first.variant.to_string()),
                Cell::Text(first.machine.clone()),
                Cell::plain(number::bytes(line.slope)),
                theory,
                Cell::plain(format!("{:.3}", line.r_squared)),
                Cell::plain(points.len().to_string()),
            ])
        })
        .collect();
    if rows.is_empty() {
        return Block::Note(
            "No slope: a line needs three prompt lengths at the least, and this run has fewer."
                .to_owned(),
        );
    }
    Block::Table(Table {
        caption: "Least squares of the peak over the prompt's length: what one more token takes, \
                  activations included, beside what its keys and values must take"
            .to_owned(),
        columns: vec![
            Column::text("Model"),
            Column::text("Machine"),
            Column::number("Per token", ""),
            Column::number("Of it, cache by arithmetic", ""),
            Column::number("R²", ""),
            Column::number("Lengths", ""),
        ],
        rows,
    })
}
