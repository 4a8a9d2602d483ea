//! What each machine can do at the most, measured and published, and how much of it the rates take.

use super::tables::{self, Plain};
use crate::number::Scale;
use crate::render::document::{Block, Cell, Column, Doubt, Section, Table};
use crate::report::{Ceiling, Report, Utilisation};
use crate::titles;

/// None where nothing is known of any ceiling.
pub fn section(report: &Report) -> Option<Section> {
    let mut blocks = measured(report).map_or_else(Vec::new, |section| section.blocks);
    if !report.ceilings.is_empty() {
        blocks.push(Block::Table(published(&report.ceilings)));
    }
    let reading = shares(
        report,
        "Decoding as reading: weights and cache per second, as shares of the memory bandwidth",
        &Share {
            unit: "GB/s",
            value: |u| u.gbps,
            of_measured: |u| u.mbu_meas,
            of_published: |u| u.mbu_spec,
        },
    );
    let computing = shares(
        report,
        "Prompts as computing: operations per second, as shares of the arithmetic rate",
        &Share {
            unit: "TFLOP/s",
            // Decoding computes little: its share would only say that it is no prompt.
            value: |u| u.tflops.filter(|_| u.gbps.is_none()),
            of_measured: |u| u.mfu_meas,
            of_published: |u| u.mfu_spec,
        },
    );
    let tables: Vec<Block> = [reading, computing].into_iter().flatten().collect();
    if !tables.is_empty() {
        blocks.push(Block::Text(
            "A share says what is left, not how fast a machine is: it stands beside its rate. The \
             measured ceiling is that of this run on the same machine under the same conditions. \
             Counted are weights and cache, and two operations for each parameter that a token \
             meets; activations and attention's own operations are not."
                .to_owned(),
        ));
        blocks.extend(tables);
    }
    (!blocks.is_empty()).then_some(Section {
        id: "ceilings",
        title: "Ceilings",
        blocks,
    })
}

fn measured(report: &Report) -> Option<Section> {
    tables::plain(
        report,
        &Plain {
            id: "ceilings",
            title: "Ceilings",
            suite: "roofline",
            chart: None,
            tables: &[
                (
                    "Memory bandwidth and dispatch",
                    &[
                        ("stream_gbps", "Scale"),
                        ("stream_add_gbps", "Add"),
                        ("dispatch_us", "One dispatch"),
                    ],
                ),
                (
                    "Products of square matrices",
                    &[
                        ("gemm_tflops_bf16", "bf16"),
                        ("gemm_tflops_fp16", "f16"),
                        ("gemm_tflops_fp32", "f32"),
                    ],
                ),
            ],
            note: "What MLX reaches on this machine with nothing else to do: decoding cannot read \
                   weights faster than the first, prefill cannot compute faster than the second.",
        },
    )
}

fn published(ceilings: &[Ceiling]) -> Table {
    let rows = ceilings
        .iter()
        .map(|c| {
            let units = match (c.nax_observed, c.nax_expected) {
                (Some(true), _) => "seen at work",
                (Some(false), true) => "expected, not seen",
                (Some(false), false) => "not seen",
                (None, true) => "expected",
                (None, false) => "–",
            };
            vec![
                Cell::Text(c.machine.clone()),
                Cell::known(c.stream_gbps),
                Cell::known(c.bandwidth_gbps),
                Cell::percent(c.mbu_spec, 1, None),
                Cell::known(c.gemm_tflops_bf16),
                Cell::known(c.fp32_tflops),
                Cell::known(c.nax_ratio),
                Cell::Text(units.to_owned()),
            ]
        })
        .collect();
    Table {
        caption: "Measured beside published; bf16 products 1.1 times as fast as the processors of \
                  general use are done by matrix units"
            .to_owned(),
        columns: vec![
            Column::text("Machine"),
            Column::number("Bandwidth, measured", "GB/s"),
            Column::number("Published", "GB/s"),
            Column::number("Share", "%"),
            Column::number("bf16 products, measured", "TFLOP/s"),
            Column::number("f32, published", "TFLOP/s"),
            Column::number("Ratio", ""),
            Column::text("Matrix units"),
        ],
        rows,
    }
}

struct Share {
    unit: &'static str,
    value: fn(&Utilisation) -> Option<f64>,
    of_measured: fn(&Utilisation) -> Option<f64>,
    of_published: fn(&Utilisation) -> Option<f64>,
}

/// One row per rate with a share of some ceiling, in the order of the measurements; None without any.
fn shares(report: &Report, caption: &str, share: &Share) -> Option<Block> {
    let mut rows = Vec::new();
    for m in &report.measurements {
        let found = report.utilisation(m);
        let Some((used, value)) = found.and_then(|u| Some((u, (share.value)(u)?))) else {
            continue;
        };
        let shares = [(share.of_measured)(used), (share.of_published)(used)];
        if shares == [None, None] {
            continue;
        }
        let doubt = Doubt::of(used);
        let mut row = vec![
            Cell::Text(m.variant.to_string()),
            Cell::Text(m.case_key.words()),
            Cell::Text(m.machine.clone()),
            Cell::Text(titles::metric_title(&m.metric).to_owned()),
            Cell::measured(Some(m), &Scale::fitting("", [])),
            Cell::known(Some(value)),
        ];
        row.extend(shares.map(|share| Cell::percent(share, 1, doubt.clone())));
        rows.push(row);
    }
    let columns = vec![
        Column::text("Model"),
        Column::text("Case"),
        Column::text("Machine"),
        Column::text("Rate"),
        Column::number("Measured", "tok/s"),
        Column::number("That is", share.unit),
        Column::number("Of the measured ceiling", "%"),
        Column::number("Of the published", "%"),
    ];
    (!rows.is_empty()).then(|| {
        Block::Table(Table {
            caption: caption.to_owned(),
            columns,
            rows,
        })
    })
}
