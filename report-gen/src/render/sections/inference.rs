//! Prompt processing and token generation: rates and latencies.

use super::tables;
use crate::number::Scale;
use crate::render::document::{Block, Cell, Column, Doubt, Number, Section, Table};
use crate::report::{Floor, Latency, Measurement, Percentile, Report};
use crate::stats;

const PREFILL: [(&str, &str); 6] = [
    ("prefill_tps", "Prefill"),
    ("prefill_tps_at_depth", "Prefill at depth"),
    ("ttft_ms", "First token"),
    ("ttft_cold_ms", "First token, cold"),
    ("prefill_tps_mlxlm", "As mlx-lm counts"),
    ("mem_peak_bytes", "Peak memory"),
];
const DECODE: [(&str, &str); 8] = [
    ("decode_tps", "Decode"),
    ("decode_tps_at_depth", "Decode at depth"),
    ("itl_ms", "Between tokens"),
    ("decode_tps_sync", "Waiting each token"),
    ("decode_tps_mlxlm", "As mlx-lm counts"),
    ("host_overhead_us", "Host per token"),
    ("mem_peak_bytes", "Peak memory"),
    ("kv_bytes", "Cache"),
];

pub fn section(report: &Report) -> Section {
    let mut blocks = Vec::new();
    blocks.extend(prefill(report));
    blocks.extend(decode(report));
    Section {
        id: "inference",
        title: "Inference",
        blocks,
    }
}

fn prefill(report: &Report) -> Vec<Block> {
    let mut blocks = vec![Block::Heading("Prefill".to_owned())];
    let measured: Vec<&Measurement> = report
        .measurements
        .iter()
        .filter(|m| m.suite == "prefill")
        .collect();
    if measured.is_empty() {
        blocks.push(Block::Note(
            "Prefill was not measured: the plan has no suite `prefill`, or none of its launches \
             counted."
                .to_owned(),
        ));
        return blocks;
    }
    let rates = of_metrics(&measured, &["prefill_tps"]);
    let by_length = tables::lines(
        report,
        &rates,
        "prompt",
        "prompt length, tokens",
        "Prefill rate by prompt length (higher is better)",
    );
    match by_length {
        Some(chart) => blocks.push(Block::Chart(chart)),
        None if rates.is_empty() => {}
        None => {
            let title = "Prefill rate";
            blocks.push(Block::Chart(tables::bars(report, &rates, title)));
        }
    }
    if measured.iter().any(|m| has_column(m, &PREFILL)) {
        blocks.push(Block::Table(tables::measured(
            report,
            &measured,
            "Prefill: all prompt tokens but the last into the cache, and the time to the first token",
            &PREFILL,
        )));
    }
    blocks.extend(attention_told_apart(&measured).map(Block::Table));
    blocks
}

fn has_column(m: &Measurement, columns: &[(&str, &str)]) -> bool {
    columns.iter().any(|(metric, _)| *metric == m.metric)
}

/// Of imports that have a rate of the whole model for either way of attention.
fn attention_told_apart(measured: &[&Measurement]) -> Option<Table> {
    let (fused, standard): (Vec<_>, Vec<_>) =
        of_metrics(measured, &["prefill_tps_fused", "prefill_tps_standard"])
            .into_iter()
            .partition(|m| m.metric == "prefill_tps_fused");
    let scale = Scale::fitting("tok/s", []);
    let rows: Vec<Vec<Cell>> = fused
        .into_iter()
        .map(|fused| {
            let other = standard.iter().find(|m| {
                m.machine == fused.machine
                    && m.variant == fused.variant
                    && m.case_key == fused.case_key
            });
            let gain = other.and_then(|m| stats::welch_ratio(&fused.medians(), &m.medians()));
            let doubts = [Some(fused), other.copied()];
            let doubt = doubts.into_iter().flatten().find_map(Doubt::of);
            vec![
                Cell::Text(fused.variant.name()),
                Cell::Text(fused.variant.precision()),
                Cell::Text(fused.case_key.words()),
                Cell::Text(fused.machine.clone()),
                Cell::measured(other.copied(), &scale),
                Cell::measured(Some(fused), &scale),
                Cell::ratio(gain.as_ref(), doubt),
            ]
        })
        .collect();
    (!rows.is_empty()).then(|| Table {
        caption: "Prefill with attention written out and fused".to_owned(),
        columns: vec![
            Column::text("Model"),
            Column::text("Precision"),
            Column::text("Case"),
            Column::text("Machine"),
            Column::number("Written out", "tok/s"),
            Column::number("Fused", "tok/s"),
            Column::number("Gain", ""),
        ],
        rows,
    })
}

fn decode(report: &Report) -> Vec<Block> {
    let mut blocks = vec![Block::Heading("Decode".to_owned())];
    let measured: Vec<&Measurement> = report
        .measurements
        .iter()
        .filter(|m| m.suite == "decode")
        .collect();
    if measured.is_empty() {
        blocks.push(Block::Note(
            "Decoding was not measured: the plan has no suite `decode`, or none of its launches \
             counted."
                .to_owned(),
        ));
        return blocks;
    }
    let shallow = of_metrics(&measured, &["decode_tps"]);
    if !shallow.is_empty() {
        let title = "Decode rate";
        blocks.push(Block::Chart(tables::bars(report, &shallow, title)));
    }
    let by_depth = tables::lines(
        report,
        &of_metrics(&measured, &["decode_tps", "decode_tps_at_depth"]),
        "depth",
        "tokens in the cache when decoding starts",
        "Decode rate by depth (higher is better)",
    );
    blocks.extend(by_depth.map(Block::Chart));
    blocks.push(Block::Table(tables::measured(
        report,
        &measured,
        "Decode: one token after another, pipelined, and with a wait after each",
        &DECODE,
    )));
    blocks.push(latency(report));
    if !report.floors.is_empty() {
        blocks.push(Block::Table(floors(&report.floors)));
    }
    blocks
}

fn of_metrics<'a>(measured: &[&'a Measurement], metrics: &[&str]) -> Vec<&'a Measurement> {
    measured
        .iter()
        .filter(|m| metrics.contains(&m.metric.as_str()))
        .copied()
        .collect()
}

fn latency(report: &Report) -> Block {
    if report.latencies.is_empty() {
        return Block::Note(
            "No percentiles of the time between tokens: no launch decoded with a wait after each \
             token."
                .to_owned(),
        );
    }
    let largest = report.latencies.iter().map(|latency| latency.max_ms);
    let scale = Scale::fitting("ms", largest);
    let rows = report
        .latencies
        .iter()
        .map(|latency| latency_row(latency, &scale))
        .collect();
    let unit = scale.unit.as_str();
    Block::Table(Table {
        caption:
            "Time between tokens with a wait after each, with 95 % intervals by order statistics; \
                  a percentile p needs 20 / (1 − p) of them and is left out below (tokens of one \
                  launch are not independent: indicative)"
                .to_owned(),
        columns: vec![
            Column::text("Machine"),
            Column::text("Model"),
            Column::text("Case"),
            Column::number("Median", unit),
            Column::number("90 %", unit),
            Column::number("95 %", unit),
            Column::number("99 %", unit),
            Column::number("Longest", unit),
            Column::number("n", "gaps"),
        ],
        rows,
    })
}

fn latency_row(latency: &Latency, scale: &Scale) -> Vec<Cell> {
    let doubted = |value: String, interval: Option<String>| {
        Cell::Number(Number {
            value,
            interval,
            n: None,
            doubt: Doubt::of(latency),
            best: false,
        })
    };
    let percentile = |percentile: Option<Percentile>| match percentile {
        Some(Percentile { value, interval }) => {
            let (value, interval) = scale.interval(value, Some(interval));
            doubted(value, interval)
        }
        None => Cell::Missing,
    };
    vec![
        Cell::Text(latency.machine.clone()),
        Cell::Text(latency.variant.to_string()),
        Cell::Text(latency.case_key.words()),
        percentile(latency.p50_ms),
        percentile(latency.p90_ms),
        percentile(latency.p95_ms),
        percentile(latency.p99_ms),
        doubted(scale.value(latency.max_ms), None),
        Cell::plain(latency.gaps.to_string()),
    ]
}

fn floors(floors: &[Floor]) -> Table {
    let scale = Scale::fitting("ms", []);
    let row = |floor: &Floor| {
        let (value, interval) = scale.interval(floor.kernel_floor_ms, floor.interval);
        vec![
            Cell::Text(floor.machine.clone()),
            Cell::Text(floor.models.join(", ")),
            Cell::Text(floor.case_key.words()),
            Cell::Number(Number {
                value,
                interval,
                n: None,
                doubt: Doubt::of(floor),
                best: false,
            }),
            floor.gbps.map_or(Cell::Missing, |gbps| {
                Cell::plain(Scale::fitting("", []).value(gbps))
            }),
            Cell::plain(format!("{:.3}", floor.r_squared)),
        ]
    };
    Table {
        caption: "What a token would take if it read no weights: the time between tokens over the \
                  bytes that each reads, drawn out to none, with the 95 % interval of that line"
            .to_owned(),
        columns: vec![
            Column::text("Machine"),
            Column::text("Models"),
            Column::text("Case"),
            Column::number("Floor", "ms"),
            Column::number("By the slope", "GB/s"),
            Column::number("R²", ""),
        ],
        rows: floors.iter().map(row).collect(),
    }
}
