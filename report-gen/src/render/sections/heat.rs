//! Heat: the launches that were flagged or fell most, over time, and how noisy each machine is.

use super::tables::MOST_LINES;
use crate::render::document::{
    Block, Cell, Chart, Column, Plot, Point, PointState, Section, Series, Table,
};
use crate::report::{Noise, Report, Timeline, Track};
use crate::titles;

/// What is drawn, each by the first of its sensors that a launch has.
const TRACKS: [(&str, &[&str]); 3] = [
    ("Temperature", &["gpu_temp_c", "cpu_temp_c"]),
    ("Power", &["gpu_power_w", "cpu_power_w", "sys_power_w"]),
    ("Clock of the GPU", &["gpu_mhz"]),
];

pub fn section(report: &Report) -> Section {
    let mut blocks = vec![Block::Heading("Throttling".to_owned())];
    if report.timelines.is_empty() {
        blocks.push(Block::Note(
            "No timeline: no temperature, power or clock was read beside a counted launch of this run. \
             Sensors are read on Apple Silicon, and on Linux where the system shows them."
                .to_owned(),
        ));
    } else {
        let flagged = report.timelines.iter().filter(|t| t.throttled).count();
        blocks.push(Block::Text(match flagged {
            0 => "No launch was flagged for heat. Shown are minutes of load, then the launches whose rate \
                  fell most while it was measured."
                .to_owned(),
            _ => "Shown are launches that were flagged for heat or for what looks like it, then minutes of \
                  load, then those whose rate fell most while it was measured."
                .to_owned(),
        }));
        blocks.push(Block::Table(launches(&report.timelines)));
        let charts = TRACKS
            .iter()
            .filter_map(|(title, sensors)| chart(&report.timelines, title, sensors));
        blocks.extend(charts.map(Block::Chart));
        let without: Vec<&str> = TRACKS
            .iter()
            .filter(|(_, sensors)| report.timelines.iter().all(|t| track(t, sensors).is_none()))
            .map(|(title, _)| *title)
            .collect();
        if !without.is_empty() {
            blocks.push(Block::Note(format!(
                "Not read on these machines: {}.",
                without.join(", ").to_lowercase().replace("gpu", "GPU")
            )));
        }
    }
    blocks.push(Block::Heading("Noise by machine".to_owned()));
    if report.noise.is_empty() {
        blocks.push(Block::Note(
            "No spread: no headline metric has a valid launch.".to_owned(),
        ));
    } else {
        blocks.push(Block::Table(noise(&report.noise)));
        blocks.push(Block::Text(
            "What scatters within a launch, more iterations average away; what scatters between launches, \
             only more launches do. A machine that scatters more than its like between launches is hot, \
             busy or changing its clocks."
                .to_owned(),
        ));
    }
    Section {
        id: "heat",
        title: "Heat and noise",
        blocks,
    }
}

fn name(timeline: &Timeline) -> String {
    format!(
        "{}, {}, {} of {}",
        timeline.machine,
        timeline.variant.name(),
        timeline.case_key.words(),
        timeline.suite
    )
}

fn launches(timelines: &[Timeline]) -> Table {
    let plain = |value: Option<f64>, decimals: usize| {
        value.map_or(Cell::Missing, |value| {
            Cell::plain(format!("{value:.decimals$}"))
        })
    };
    let rows = timelines.iter().map(|timeline| {
        let peak = |sensors: &[&str]| {
            let points = track(timeline, sensors).map(|track| &track.points);
            points.map(|points| points.iter().map(|(_, value)| *value))
        };
        let hottest = peak(TRACKS[0].1).map(|values| values.fold(f64::MIN, f64::max));
        let slowest = peak(TRACKS[2].1).map(|values| values.fold(f64::MAX, f64::min));
        vec![
            Cell::Text(name(timeline)),
            Cell::plain(timeline.launch.to_string()),
            Cell::Text(if timeline.reasons.is_empty() {
                "none".to_owned()
            } else {
                timeline.reasons.join(", ")
            }),
            plain(timeline.trend_pct, 2),
            plain(timeline.cooldown_s, 1),
            plain(hottest, 1),
            plain(slowest, 0),
        ]
    });
    Table {
        caption: "Launches shown below".to_owned(),
        columns: vec![
            Column::text("Launch of"),
            Column::number("No.", ""),
            Column::text("Doubts"),
            Column::number("Trend", "%"),
            Column::number("Cooled before", "s"),
            Column::number("Hottest", "°C"),
            Column::number("Lowest clock", "MHz"),
        ],
        rows: rows.collect(),
    }
}

fn track<'a>(timeline: &'a Timeline, sensors: &[&str]) -> Option<&'a Track> {
    let of = |sensor: &&str| {
        timeline
            .tracks
            .iter()
            .find(|track| track.sensor == **sensor)
    };
    sensors.iter().find_map(of)
}

/// One line for each launch that has such a sensor; None where none has.
fn chart(timelines: &[Timeline], title: &str, sensors: &[&str]) -> Option<Chart> {
    let mut unit = String::new();
    let series: Vec<Series<(f64, Point)>> = timelines
        .iter()
        .filter_map(|timeline| {
            let track = track(timeline, sensors)?;
            unit.clone_from(&track.unit);
            let state = PointState::tainted(timeline.throttled);
            let points = track.points.iter().map(|&(at_s, value)| {
                let point = Point {
                    value,
                    interval: None,
                    n: None,
                    state,
                };
                (at_s, point)
            });
            Some(Series {
                name: format!("no. {}: {}", timeline.launch, name(timeline)),
                points: points.collect(),
            })
        })
        .take(MOST_LINES)
        .collect();
    (!series.is_empty()).then(|| Chart {
        title: format!("{title} over the life of a launch"),
        unit,
        plot: Plot::Lines {
            x_title: "seconds since the launch began".to_owned(),
            series,
        },
        of: None,
    })
}

fn noise(noise: &[Noise]) -> Table {
    let rows = noise.iter().map(|noise| {
        let percent = |cv: Option<f64>| Cell::percent(cv, 2, None);
        vec![
            Cell::Text(titles::metric_title(&noise.metric).to_owned()),
            Cell::Text(noise.suite.clone()),
            Cell::Text(noise.machine.clone()),
            percent(noise.within_cv),
            percent(noise.between_cv),
            percent(noise.worst_between_cv),
            Cell::plain(noise.cases.to_string()),
            Cell::plain(noise.launches.to_string()),
        ]
    });
    Table {
        caption: "Coefficients of variation within launches and between them, the median over a machine's \
                  cases"
            .to_owned(),
        columns: vec![
            Column::text("Metric"),
            Column::text("Suite"),
            Column::text("Machine"),
            Column::number("Within a launch", "%"),
            Column::number("Between launches", "%"),
            Column::number("Worst case", "%"),
            Column::number("Cases", ""),
            Column::number("Launches", ""),
        ],
        rows: rows.collect(),
    }
}
