//! The models, and what it takes to load them: time by phase, bandwidth, memory.

use super::tables;
use crate::number;
use crate::render::document::{Block, Cell, Column, Section, Table};
use crate::report::{Measurement, Report};

/// Shown in this order, where some launch measured them.
const PHASES: [(&str, &str); 10] = [
    ("load_warm_ms", "Warm load"),
    ("load_cold_ms", "Cold load"),
    ("load_gbps", "Bandwidth"),
    ("ssd_read_gbps", "Disk"),
    ("load_config_ms", "Config"),
    ("load_tokenizer_ms", "Tokenizer"),
    ("load_header_ms", "Headers"),
    ("load_weights_ms", "Weights"),
    ("load_build_ms", "Build"),
    ("first_eval_ms", "First pass"),
];
const MEMORY: [(&str, &str); 4] = [
    ("mem_weights_bytes", "Weights"),
    ("mem_peak_bytes", "MLX peak"),
    ("mem_footprint_max_bytes", "System peak"),
    ("mem_rss_bytes", "Resident"),
];

pub fn section(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if report.models.is_empty() {
        blocks.push(Block::Note("No launch loaded a model.".to_owned()));
    } else {
        blocks.push(Block::Table(models(report)));
        if report.models.iter().any(|model| model.synthetic) {
            blocks.push(Block::Text(
                "Synthetic weights are seeded random numbers in the exact architecture: speed and \
                 memory are those of the real model, what it says is not."
                    .to_owned(),
            ));
        }
    }
    let loads: Vec<&Measurement> = report
        .measurements
        .iter()
        .filter(|m| m.suite == "load")
        .collect();
    if loads.is_empty() {
        blocks.push(Block::Note(
            "Loading was not measured: the plan has no suite `load`, or none of its launches \
             counted."
                .to_owned(),
        ));
    } else {
        blocks.push(Block::Heading("Loading".to_owned()));
        blocks.extend(load_chart(report));
        blocks.push(Block::Table(tables::measured(
            report,
            &loads,
            "Load time by phase, from opening the files to every parameter evaluated",
            &PHASES,
        )));
        blocks.push(Block::Heading("Memory after loading".to_owned()));
        blocks.push(Block::Table(tables::measured(
            report,
            &loads,
            "Memory of the load suite",
            &MEMORY,
        )));
    }
    Section {
        id: "models",
        title: "Models and loading",
        blocks,
    }
}

fn models(report: &Report) -> Table {
    // Its files nobody here has seen: sizes are those of the architecture that the source names.
    let imported = report.run.source.is_some();
    let rows = report
        .models
        .iter()
        .map(|m| {
            vec![
                Cell::Text(m.variant.name()),
                Cell::Text(m.variant.precision()),
                Cell::plain(number::parameters(m.parameters)),
                Cell::plain(number::bytes(m.weight_bytes as f64)),
                Cell::Text(
                    match (imported, m.synthetic) {
                        (true, _) => "as named",
                        (false, true) => "synthetic",
                        (false, false) => "real",
                    }
                    .to_owned(),
                ),
                match m.variant.digest.as_deref() {
                    Some(digest) if !imported => Cell::Code(digest.chars().take(12).collect()),
                    _ => Cell::Missing,
                },
            ]
        })
        .collect();
    Table {
        caption: if imported {
            "Models, by the architectures that the source names"
        } else {
            "Models, by the content of their files"
        }
        .to_owned(),
        columns: vec![
            Column::text("Model"),
            Column::text("Precision"),
            Column::number("Parameters", ""),
            Column::number("Weights", ""),
            Column::text("Kind"),
            Column::text("SHA-256"),
        ],
        rows,
    }
}

fn load_chart(report: &Report) -> Option<Block> {
    let metric = ["load_warm_ms", "load_cold_ms"]
        .into_iter()
        .find(|metric| report.of("load", metric).next().is_some())?;
    let measured: Vec<&Measurement> = report.of("load", metric).collect();
    Some(Block::Chart(tables::bars(
        report,
        &measured,
        if metric == "load_warm_ms" {
            "Warm load time"
        } else {
            "Cold load time"
        },
    )))
}
