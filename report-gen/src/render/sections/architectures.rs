//! The models side by side: their shape, and what it costs in bytes and in time to load.

use crate::number::{self, Scale};
use crate::render::document::{Block, Cell, Column, Section, Table};
use crate::report::{CaseKey, Measurement, Model, Report, Shape};

/// A fact of a shape, and its name.
type Fact = (&'static str, fn(&Shape) -> Option<u64>);

const FACTS: [Fact; 9] = [
    ("Layers", |shape| shape.layers),
    ("Width", |shape| shape.hidden_size),
    ("Inner width", |shape| shape.intermediate_size),
    ("Heads", |shape| shape.heads),
    ("Of keys and values", |shape| shape.kv_heads),
    ("Width of a head", |shape| shape.head_dim),
    ("Experts", |shape| shape.experts),
    ("Vocabulary", |shape| shape.vocabulary),
    ("Trained positions", |shape| shape.positions),
];

/// None where no model was loaded.
pub fn section(report: &Report) -> Option<Section> {
    if report.models.is_empty() {
        return None;
    }
    let mut blocks = vec![Block::Table(costs(report))];
    blocks.push(shapes(report).map_or_else(
        || {
            Block::Note(
                "No config.json says how many layers and heads these models have.".to_owned(),
            )
        },
        Block::Table,
    ));
    Some(Section {
        id: "architectures",
        title: "Architectures",
        blocks,
    })
}

fn costs(report: &Report) -> Table {
    let machine = report.reference().unwrap_or_default();
    let on = match report.machines.len() {
        0 | 1 => String::new(),
        _ => format!(" on {machine}"),
    };
    let mut columns = vec![
        Column::text("Model"),
        Column::text("Type"),
        Column::text("Precision"),
        Column::number("Parameters", ""),
        Column::number("Weights", ""),
        Column::number("Read per token", ""),
        Column::number("Cache per token", ""),
    ];
    let mut measured = Vec::new();
    for (metric, title) in [
        ("load_warm_ms", "Warm load"),
        ("load_cold_ms", "Cold load"),
        ("mem_weights_bytes", "Memory when loaded"),
    ] {
        let here = report.of("load", metric).filter(|m| m.machine == machine);
        let here: Vec<&Measurement> = here.collect();
        let Some(case) = CaseKey::most_common(here.iter().map(|m| &m.case_key)) else {
            continue;
        };
        let scale = Scale::of(&here);
        columns.push(Column::number(&format!("{title}{on}"), &scale.unit));
        measured.push((here, case, scale));
    }
    let row = |model: &Model| {
        let mut row = vec![
            Cell::Text(model.variant.name()),
            Cell::Text(model.model_type.clone()),
            Cell::Text(model.variant.precision()),
            Cell::plain(number::parameters(model.parameters)),
            Cell::plain(number::bytes(model.weight_bytes as f64)),
            Cell::plain(number::bytes(model.decode_bytes as f64)),
            Cell::plain(number::bytes(model.kv_bytes_per_token as f64)),
        ];
        row.extend(measured.iter().map(|(here, case, scale)| {
            let mut here = here.iter();
            let found = here.find(|m| m.variant == model.variant && m.case_key == **case);
            Cell::measured(found.copied(), scale)
        }));
        row
    };
    Table {
        caption: "What each model takes: bytes by arithmetic from its weights and shape, time and \
                  memory as measured"
            .to_owned(),
        columns,
        rows: report.models.iter().map(row).collect(),
    }
}

/// Only facts that some config says; None where none says any.
fn shapes(report: &Report) -> Option<Table> {
    let known = |(_, fact): &&Fact| report.models.iter().any(|m| fact(&m.shape).is_some());
    let facts: Vec<&Fact> = FACTS.iter().filter(known).collect();
    if facts.is_empty() {
        return None;
    }
    let mut columns = vec![Column::text("Model"), Column::text("Precision")];
    columns.extend(facts.iter().map(|(title, _)| Column::number(title, "")));
    let rows = report.models.iter().map(|model| {
        let mut row = vec![
            Cell::Text(model.variant.name()),
            Cell::Text(model.variant.precision()),
        ];
        row.extend(facts.iter().map(|(_, fact)| {
            let value = fact(&model.shape);
            value.map_or(Cell::Missing, |v| Cell::plain(number::whole(v)))
        }));
        row
    });
    Some(Table {
        caption: "Their shape, as config.json says it".to_owned(),
        columns,
        rows: rows.collect(),
    })
}
