//! What a token costs in energy, in prefill and in decoding, by each power sensor.

use super::tables;
use crate::number::Scale;
use crate::render::document::{
    Block, Cell, Chart, Column, Doubt, Plot, Point, PointState, Section, Series, Table,
};
use crate::report::{CaseKey, Direction, Energy, Report};
use crate::stats::Estimate;

/// What a request is here, in tokens: the prompt and the answer.
const REQUEST: (f64, f64) = (512.0, 128.0);
/// The sensor that a chart is of: the first that was read, from what a bill has to what it leaves out.
const SENSORS: [&str; 3] = ["sys_power_w", "gpu_power_w", "cpu_power_w"];

/// None where the run has neither prefill nor decoding.
pub fn section(report: &Report) -> Option<Section> {
    let of_tokens = ["prefill", "decode"];
    let mut measurements = report.measurements.iter();
    if !measurements.any(|m| of_tokens.contains(&m.suite.as_str())) {
        return None;
    }
    let measured: Vec<&Energy> = report
        .energies
        .iter()
        .filter(|e| e.energy_j_per_token.is_some())
        .collect();
    let blocks = if measured.is_empty() {
        let mut whys = report.energies.iter().map(|e| e.reason.as_str());
        let why = whys.find(|why| !why.is_empty());
        vec![Block::Note(format!(
            "No energy per token: {}.",
            why.unwrap_or("no power sensor could be read on these machines")
        ))]
    } else {
        let splits = splits(&measured);
        let mut blocks = vec![Block::Text(
            "Joules for each token, idle power included, over the measured iterations. A prompt's tokens \
             are computed together and share the reading of the weights; a new token has it to itself. \
             Sensors differ in what they include, so compare only within one."
                .to_owned(),
        )];
        blocks.extend(chart(report, &splits).map(Block::Chart));
        blocks.push(Block::Table(split(&splits)));
        blocks.extend(missing(&splits));
        blocks.push(Block::Table(detail(&measured)));
        blocks
    };
    Some(Section {
        id: "energy",
        title: "Energy",
        blocks,
    })
}

/// A model on a machine by one sensor: its prompts and its new tokens.
struct Split<'a> {
    prefill: Option<&'a Energy>,
    decode: Option<&'a Energy>,
    of: &'a Energy,
}

impl Split<'_> {
    /// Joules of a request: in prefill and in decoding.
    fn request(&self) -> Option<(f64, f64)> {
        let joules = |energy: Option<&Energy>| Some(energy?.energy_j_per_token?.value);
        Some((
            REQUEST.0 * joules(self.prefill)?,
            REQUEST.1 * joules(self.decode)?,
        ))
    }
}

/// Each in the case that most have; pipelined decoding is the headline.
fn splits<'a>(measured: &[&'a Energy]) -> Vec<Split<'a>> {
    let of_suite = |suite: &str, mode: &str| -> Vec<&'a Energy> {
        let all = measured.iter().copied();
        let all = all
            .filter(|e| e.suite == suite && e.mode == mode)
            .collect::<Vec<_>>();
        let common = CaseKey::most_common(all.iter().map(|e| &e.case_key)).cloned();
        all.into_iter()
            .filter(|e| Some(&e.case_key) == common.as_ref())
            .collect()
    };
    let (prefill, decode) = (
        of_suite("prefill", "prefill"),
        of_suite("decode", "pipelined"),
    );
    let is_same = |a: &Energy, b: &Energy| {
        (&a.machine, &a.variant, &a.sensor) == (&b.machine, &b.variant, &b.sensor)
    };
    let mut splits: Vec<Split<'a>> = Vec::new();
    for of in prefill.iter().chain(&decode).copied() {
        if splits.iter().any(|split| is_same(split.of, of)) {
            continue;
        }
        let find = |all: &[&'a Energy]| all.iter().copied().find(|e| is_same(e, of));
        splits.push(Split {
            prefill: find(&prefill),
            decode: find(&decode),
            of,
        });
    }
    splits
}

fn chart(report: &Report, splits: &[Split<'_>]) -> Option<Chart> {
    let sensor = SENSORS
        .iter()
        .find(|sensor| splits.iter().any(|split| split.of.sensor == **sensor))?;
    let shown: Vec<&Split<'_>> = splits.iter().filter(|s| s.of.sensor == *sensor).collect();
    let plot = if tables::is_fleet(report.machines.len()) {
        dots(report, &shown)
    } else {
        bars(&shown)
    };
    let title = format!("Energy of a token, {}", sensor_words(sensor));
    Some(Chart {
        title: tables::better(&title, Direction::Lower, &plot),
        unit: "J/tok".to_owned(),
        plot,
        of: None,
    })
}

fn bars(shown: &[&Split<'_>]) -> Plot {
    let series = |name: &str, of: fn(&Split<'_>) -> Option<Point>| Series {
        name: name.to_owned(),
        points: shown.iter().map(|split| of(split)).collect(),
    };
    Plot::Bars {
        categories: shown
            .iter()
            .map(|split| format!("{}\n{}", split.of.variant, split.of.machine))
            .collect(),
        series: vec![
            series("Prefill", |split| drawn(split.prefill)),
            series("Decode", |split| drawn(split.decode)),
        ],
    }
}

/// Of a fleet: a row for each model and phase.
fn dots(report: &Report, shown: &[&Split<'_>]) -> Plot {
    let mut rows: Vec<String> = Vec::new();
    let mut spots = Vec::new();
    for split in shown {
        let machine = report
            .machines
            .iter()
            .find(|m| m.machine == split.of.machine);
        for (phase, energy) in [("prefill", split.prefill), ("decode", split.decode)] {
            let Some((machine, point)) = machine.zip(drawn(energy)) else {
                continue;
            };
            let name = format!("{}\n{phase}", split.of.variant);
            let row = rows.iter().position(|row| *row == name).unwrap_or_else(|| {
                rows.push(name);
                rows.len() - 1
            });
            spots.push((machine, row, point));
        }
    }
    tables::strips(rows, spots.into_iter(), None)
}

fn drawn(energy: Option<&Energy>) -> Option<Point> {
    let energy = energy?;
    let estimate = energy.energy_j_per_token?;
    Some(Point {
        value: estimate.value,
        interval: estimate.interval,
        n: Some(estimate.launches),
        state: PointState::of(energy),
    })
}

fn split(splits: &[Split<'_>]) -> Table {
    let rows = splits.iter().map(|split| {
        let joules = |energy: Option<&Energy>| match energy {
            Some(energy) => number(energy, energy.energy_j_per_token.as_ref()),
            None => Cell::Missing,
        };
        let case = |energy: Option<&Energy>| match energy {
            Some(energy) => Cell::Text(energy.case_key.words()),
            None => Cell::Missing,
        };
        let request = split.request();
        vec![
            Cell::Text(split.of.machine.clone()),
            Cell::Text(split.of.variant.to_string()),
            Cell::Text(sensor_words(&split.of.sensor).to_owned()),
            joules(split.prefill),
            joules(split.decode),
            Cell::known(request.map(|(prefill, decode)| prefill + decode)),
            Cell::percent(
                request.map(|(prefill, decode)| decode / (prefill + decode)),
                1,
                None,
            ),
            case(split.prefill),
            case(split.decode),
        ]
    });
    Table {
        caption: format!(
            "Energy of a token by phase, and of a request of {} prompt tokens and {} new ones",
            REQUEST.0, REQUEST.1
        ),
        columns: vec![
            Column::text("Machine"),
            Column::text("Model"),
            Column::text("Of"),
            Column::number("Prefill", "J/tok"),
            Column::number("Decode", "J/tok"),
            Column::number("Request", "J"),
            Column::number("Of it decoding", "%"),
            Column::text("Prefill in"),
            Column::text("Decode in"),
        ],
        rows: rows.collect(),
    }
}

fn missing(splits: &[Split<'_>]) -> Option<Block> {
    let phases = [
        (
            "prefill",
            splits.iter().any(|split| split.prefill.is_some()),
        ),
        (
            "decoding",
            splits.iter().any(|split| split.decode.is_some()),
        ),
    ];
    let lacking: Vec<&str> = phases
        .into_iter()
        .filter(|(_, is_there)| !is_there)
        .map(|(phase, _)| phase)
        .collect();
    (!lacking.is_empty()).then(|| {
        Block::Note(format!(
            "There is no energy of {}: it was not measured, or its iterations were shorter than 5 s \
             together.",
            lacking.join(" and of ")
        ))
    })
}

fn number(energy: &Energy, estimate: Option<&Estimate>) -> Cell {
    estimate.map_or(Cell::Missing, |estimate| {
        Cell::estimated(estimate, &Scale::fitting("", []), Doubt::of(energy))
    })
}

fn detail(measured: &[&Energy]) -> Table {
    let rows = measured.iter().map(|e| {
        vec![
            Cell::Text(e.machine.clone()),
            Cell::Text(e.suite.clone()),
            Cell::Text(e.variant.to_string()),
            Cell::Text(e.case_key.words()),
            Cell::Text(mode_words(&e.mode).to_owned()),
            Cell::Text(sensor_words(&e.sensor).to_owned()),
            number(e, e.mean_w.as_ref()),
            number(e, e.energy_j_per_token.as_ref()),
        ]
    });
    Table {
        caption: "Power and energy case by case; pipelined is the headline of decoding".to_owned(),
        columns: vec![
            Column::text("Machine"),
            Column::text("Suite"),
            Column::text("Model"),
            Column::text("Case"),
            Column::text("Mode"),
            Column::text("Of"),
            Column::number("Mean power", "W"),
            Column::number("Energy", "J/tok"),
        ],
        rows: rows.collect(),
    }
}

fn mode_words(mode: &str) -> &str {
    match mode {
        "per_token" => "waiting each token",
        other => other,
    }
}

fn sensor_words(sensor: &str) -> &str {
    match sensor {
        "gpu_power_w" => "GPU",
        "cpu_power_w" => "CPU",
        "sys_power_w" => "whole system",
        other => other,
    }
}
