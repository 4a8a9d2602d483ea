//! The run's chips beside what is published of them, and how much of a generation's gain is bandwidth
//! and how much is compute.

use domain::llama_cpp;

use crate::number::{self, Scale};
use crate::render::document::{Block, Cell, Column, Doubt, Section, Table};
use crate::report::{ChipFacts, Generation, Measurement, Report, Utilisation};

/// None where nothing is published of any chip of the run.
pub fn section(report: &Report) -> Option<Section> {
    if report.chips.is_empty() {
        return None;
    }
    let mut blocks = vec![
        Block::Text(format!(
            "Published figures, beside those of this run and never in their place. The rates of \
             llama.cpp are those that its users reported of {} with {} prompt tokens and {} new ones ({}): \
             another engine, another model, other conditions, so they are shown and not compared by any \
             verdict. Bandwidth and arithmetic rates are Apple's where their source says so.",
            llama_cpp::MODEL,
            llama_cpp::PROMPT_TOKENS,
            llama_cpp::NEW_TOKENS,
            llama_cpp::SOURCE
        )),
        Block::Table(published(&report.chips)),
    ];
    blocks.extend(both_engines(report).map(Block::Table));
    if report.generations.is_empty() {
        blocks.push(Block::Note(
            "No generation to compare: nothing is published of another chip of this kind."
                .to_owned(),
        ));
    } else {
        blocks.push(Block::Heading("Bandwidth or compute".to_owned()));
        blocks.extend(generations(&report.generations));
        blocks.push(Block::Text(
            "Decoding reads the weights for every token, so its rate follows the bandwidth; prefill \
             computes, so its rate follows the arithmetic. Each gain is therefore a product: of decoding, \
             bandwidth times a rest; of prefill, compute times a rest. A rest of 1 is a gain by that \
             ceiling alone; above 1 the newer chip uses its ceiling better, below 1 worse. The last column \
             is for a whole answer: of the seconds that the newer chip saves on prompt and answer, the \
             share that it saves in decoding."
                .to_owned(),
        ));
    }
    Some(Section {
        id: "chips",
        title: "Chips and generations",
        blocks,
    })
}

fn published(chips: &[ChipFacts]) -> Table {
    let mut columns = vec![
        Column::text("Chip"),
        Column::text("Machines"),
        Column::number("Bandwidth", "GB/s"),
        Column::text("By"),
        Column::number("f32", "TFLOP/s"),
        Column::text("By"),
    ];
    for precision in llama_cpp::Precision::ALL {
        let name = precision.as_str();
        columns.extend([
            Column::number(&format!("{name} prefill"), "tok/s"),
            Column::number(&format!("{name} decode"), "tok/s"),
        ]);
    }
    let rows = chips.iter().map(|facts| {
        let mut row = vec![
            Cell::Text(number::chip(&facts.chip, facts.gpu_cores)),
            Cell::Text(facts.machines.join(", ")),
            Cell::known(Some(facts.bandwidth_gbps)),
            Cell::Text(facts.bandwidth_source.to_owned()),
            Cell::known(facts.fp32_tflops),
            match facts.fp32_kind {
                "" => Cell::Missing,
                kind => Cell::Text(kind.to_owned()),
            },
        ];
        for precision in llama_cpp::Precision::ALL {
            let rates = facts.reference.iter();
            let rates = rates.copied().find(|r| r.precision == precision.as_str());
            row.extend(
                [rates.map(|r| r.prefill_tps), rates.map(|r| r.decode_tps)].map(Cell::known),
            );
        }
        row
    });
    Table {
        caption: format!(
            "Published of these chips, and llama.cpp's rates on them with {} ({})",
            llama_cpp::MODEL,
            llama_cpp::SOURCE
        ),
        rows: rows.collect(),
        columns,
    }
}

/// Bytes and operations per second have no model in them: on each chip, our largest model in a precision
/// beside llama.cpp's. None where the two have nothing in common.
fn both_engines(report: &Report) -> Option<Table> {
    let mut rows = Vec::new();
    for facts in &report.chips {
        for theirs in &facts.reference {
            for machine in &facts.machines {
                let of = |metric: &str, value: fn(&Utilisation) -> Option<f64>| {
                    largest(report, machine, theirs.precision, metric)
                        .and_then(|(m, used)| Some((m, used, value(used)?)))
                };
                let decode = of("decode_tps", |u| u.gbps);
                let prefill = of("prefill_tps", |u| u.tflops);
                let Some((m, ..)) = decode.or(prefill) else {
                    continue;
                };
                let share =
                    |value: f64, of: Option<f64>| Cell::percent(of.map(|of| value / of), 1, None);
                let ours = |found: Option<(&Measurement, &Utilisation, f64)>, of: Option<f64>| {
                    let Some((_, used, value)) = found else {
                        return [Cell::Missing, Cell::Missing];
                    };
                    let cell = Cell::doubted(Scale::fitting("", []).value(value), Doubt::of(used));
                    [cell, share(value, of)]
                };
                let mut row = vec![
                    Cell::Text(machine.clone()),
                    Cell::Text(theirs.precision.to_owned()),
                    Cell::Text(m.variant.to_string()),
                ];
                row.extend(ours(decode, Some(facts.bandwidth_gbps)));
                row.extend([
                    Cell::known(Some(theirs.gbps)),
                    share(theirs.gbps, Some(facts.bandwidth_gbps)),
                ]);
                row.extend(ours(prefill, facts.fp32_tflops));
                row.extend([
                    Cell::known(Some(theirs.tflops)),
                    share(theirs.tflops, facts.fp32_tflops),
                ]);
                rows.push(row);
            }
        }
    }
    let columns = vec![
        Column::text("Machine"),
        Column::text("Their precision"),
        Column::text("Our model"),
        Column::number("Decode, ours", "GB/s"),
        Column::number("Of the published", "%"),
        Column::number("Decode, llama.cpp", "GB/s"),
        Column::number("Of the published", "%"),
        Column::number("Prefill, ours", "TFLOP/s"),
        Column::number("Of the published f32", "%"),
        Column::number("Prefill, llama.cpp", "TFLOP/s"),
        Column::number("Of the published f32", "%"),
    ];
    (!rows.is_empty()).then(|| Table {
        caption:
            "What the engines make of a chip, as bytes and operations: our largest model of a like \
                  precision, and llama.cpp's of 7 B"
                .to_owned(),
        columns,
        rows,
    })
}

/// Of our largest model that is stored about as llama.cpp's is.
fn largest<'a>(
    report: &'a Report,
    machine: &str,
    precision: &str,
    metric: &str,
) -> Option<(&'a Measurement, &'a Utilisation)> {
    let like = |m: &&Measurement| {
        let quantisation = m.variant.quantisation.as_deref().unwrap_or("none");
        match precision {
            "F16" => quantisation == "none" && m.variant.dtype.as_deref() != Some("f32"),
            "Q8_0" => quantisation.contains("8-bit"),
            _ => quantisation.contains("4-bit"),
        }
    };
    let size = |m: &Measurement| {
        let model = report
            .models
            .iter()
            .find(|model| model.variant == m.variant);
        model.map_or(0, |model| model.weight_bytes)
    };
    let here = report.measurements.iter().filter(|m| {
        m.machine == machine
            && m.metric == metric
            && m.valid
            && ["decode", "prefill"].contains(&m.suite.as_str())
    });
    let best = here.filter(like).max_by_key(|m| size(m))?;
    Some((best, report.utilisation(best)?))
}

/// Two tables: the run's machines with what it measured, and what is published of their kinds.
fn generations(generations: &[Generation]) -> Vec<Block> {
    let (of_run, published): (Vec<&Generation>, Vec<&Generation>) =
        generations.iter().partition(|g| g.machines.is_some());
    let tables = [
        (
            of_run,
            "The run's chips over the baseline's, in times: published ceilings, this run's geometric means \
             over comparable cases, and llama.cpp's Q8_0",
            true,
        ),
        (
            published,
            "From generation to generation, in times, by what is published: ceilings, and llama.cpp's Q8_0",
            false,
        ),
    ];
    let tables = tables.into_iter().filter(|(rows, ..)| !rows.is_empty());
    tables
        .map(|(rows, caption, with_ours)| Block::Table(generation_table(&rows, caption, with_ours)))
        .collect()
}

fn generation_table(generations: &[&Generation], caption: &str, with_ours: bool) -> Table {
    let ratio = |value: Option<f64>| {
        value.map_or(Cell::Missing, |value| Cell::plain(format!("{value:.2}")))
    };
    let rows = generations.iter().map(|g| {
        let decode = g.reference.map(|r| r.decode);
        let prefill = g.reference.map(|r| r.prefill);
        let share = g.reference.and_then(|r| r.decode_share_of_saving);
        let mut row = vec![
            Cell::Text(match &g.machines {
                Some([from, to]) => format!("{} ({from}) → {} ({to})", g.from, g.to),
                None => format!("{} → {}", g.from, g.to),
            }),
            ratio(Some(g.bandwidth)),
            ratio(g.compute),
        ];
        if with_ours {
            row.extend([
                Cell::ratio(g.decode.as_ref(), None),
                ratio(g.decode.map(|d| g.beyond_bandwidth(d.value))),
                Cell::ratio(g.prefill.as_ref(), None),
                ratio(g.prefill.and_then(|p| g.beyond_compute(p.value))),
            ]);
        }
        row.extend([
            ratio(decode),
            ratio(decode.map(|decode| g.beyond_bandwidth(decode))),
            ratio(prefill),
            ratio(prefill.and_then(|prefill| g.beyond_compute(prefill))),
            share.map_or(Cell::Missing, |share| Cell::plain(number::percent(share))),
        ]);
        row
    });
    let mut columns = vec![
        Column::text("From → to"),
        Column::number("Bandwidth", ""),
        Column::number("Compute", ""),
    ];
    let products = |of: [&str; 2]| {
        [
            Column::number(of[0], ""),
            Column::number("Beyond bandwidth", ""),
            Column::number(of[1], ""),
            Column::number("Beyond compute", ""),
        ]
    };
    if with_ours {
        columns.extend(products(["Our decode", "Our prefill"]));
    }
    columns.extend(products(["llama.cpp's decode", "Its prefill"]));
    columns.push(Column::number("Saved in decoding", ""));
    Table {
        caption: caption.to_owned(),
        columns,
        rows: rows.collect(),
    }
}
