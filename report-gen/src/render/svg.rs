//! Each chart as a picture that stands alone, for slides: title, unit, legend, intervals, and below
//! them where the numbers come from. Light colours on white, whatever the reader's theme.

mod axis;
mod canvas;
mod plots;

use std::fmt::Write as _;

use canvas::{Anchor, Canvas, Type, escape, leading};

use super::document::{Block, Chart, Plot, PointState};
use super::{Error, RenderedFile, sections};
use crate::report::Report;

/// The width of a slide.
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 28.0;
/// What `assets/inter` has; the others are on most machines.
const FONTS: &str = "Inter, 'Helvetica Neue', 'Segoe UI', Roboto, 'Noto Sans', Arial, sans-serif";
const STYLE: &str = include_str!("../../assets/report.css");

/// A chart's picture, and its file's name without an ending.
pub struct Picture {
    pub name: String,
    pub svg: String,
}

/// One picture a chart, in the order of the report; refused where there is none.
pub fn pictures(report: &Report) -> Result<Vec<Picture>, Error> {
    let mut pictures: Vec<Picture> = Vec::new();
    let source = source(report);
    for section in sections::all(report) {
        for block in &section.blocks {
            let Block::Chart(chart) = block else { continue };
            let stem = format!("{}-{}", section.id, slug(&chart.title));
            let alike = pictures
                .iter()
                .filter(|p| p.name.starts_with(&stem))
                .count();
            let name = match alike {
                0 => stem,
                others => format!("{stem}-{}", others + 1),
            };
            let svg = draw(chart, &source);
            pictures.push(Picture { name, svg });
        }
    }
    if pictures.is_empty() {
        return Err(Error::NothingDrawn);
    }
    Ok(pictures)
}

pub fn files(pictures: &[Picture]) -> Vec<RenderedFile> {
    let file = |Picture { name, svg }: &Picture| RenderedFile {
        name: format!("{name}.svg"),
        bytes: svg.clone().into_bytes(),
    };
    pictures.iter().map(file).collect()
}

/// Which run a picture is of: it will stand where nothing else says so.
fn source(report: &Report) -> String {
    let run = &report.run;
    let mut source = format!(
        "mlx-fleet, plan {}, run {}, {}",
        run.plan,
        run.run_id,
        run.submitted_at.date()
    );
    if run.label != "measured" {
        _ = write!(source, ", {}", run.label);
    }
    if let Some(by) = &run.source {
        _ = write!(source, " from {by}");
    }
    source
}

/// Below the plot it says where the numbers come from.
pub fn draw(chart: &Chart, source: &str) -> String {
    let mut canvas = Canvas::default();
    let mut top = MARGIN + leading(TITLE) / 2.0;
    for line in TITLE.wrap(&chart.title, WIDTH - 2.0 * MARGIN) {
        canvas.text((MARGIN, top), &line, TITLE);
        top += leading(TITLE);
    }
    let facts = [Some(chart.unit.clone()), chart.left_out()];
    let facts: Vec<String> = facts
        .into_iter()
        .flatten()
        .filter(|fact| !fact.is_empty())
        .collect();
    canvas.text((MARGIN, top), &facts.join(" · "), QUIET);
    top = legend(&mut canvas, chart, top + leading(QUIET) + 6.0);
    let bottom = match &chart.plot {
        Plot::Bars { categories, series } => plots::bars(&mut canvas, top, categories, series),
        Plot::Strips {
            rows,
            series,
            margin,
        } => plots::strips(&mut canvas, top, chart.plot.is_log(), rows, series, *margin),
        Plot::Lines { x_title, series } => {
            let traces: Vec<_> = series.iter().map(plots::Trace::of_line).collect();
            plots::over_x(&mut canvas, top, x_title, chart.plot.is_log(), &traces)
        }
        Plot::Scatter {
            x_title, clouds, ..
        } => {
            let traces: Vec<_> = clouds.iter().map(plots::Trace::of_cloud).collect();
            plots::over_x(&mut canvas, top, x_title, chart.plot.is_log(), &traces)
        }
        Plot::Ratios { rows, margin } => {
            plots::ratios(&mut canvas, top, chart.plot.is_log(), rows, *margin)
        }
    };
    let mut below = bottom + 18.0 + leading(SMALL) / 2.0;
    for note in [explained(chart), source.to_owned()] {
        for line in SMALL.wrap(&note, WIDTH - 2.0 * MARGIN) {
            canvas.text((MARGIN, below), &line, SMALL);
            below += leading(SMALL);
        }
    }
    let height = (below + MARGIN - leading(SMALL)).ceil();
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" font-family="{FONTS}">
<title>{}</title>
<desc>{}, {source}</desc>
<rect width="{WIDTH}" height="{height}" fill="{WHITE}"/>
{}</svg>
"#,
        escape(&chart.title),
        escape(&chart.drawn()),
        canvas.into_body(),
        source = escape(source),
    )
}

/// What marks and whiskers are, of those that are drawn.
fn explained(chart: &Chart) -> String {
    let points = chart.points();
    let mut words = Vec::new();
    if points.iter().any(|point| point.interval.is_some()) {
        let hidden = match chart.plot {
            Plot::Bars { .. } => "",
            _ => ", hidden where they are narrower than a dot",
        };
        words.push(format!("whiskers: 95 % intervals over launches{hidden}"));
    }
    for (state, means) in [
        (PointState::Tainted, "measured under doubtful conditions"),
        (PointState::Invalid, "invalid"),
    ] {
        if points.iter().any(|point| point.state == state) {
            words.push(format!("{} pale: {means}", state.mark()));
        }
    }
    words.join(" · ")
}

/// Names beside their colours, where there are several; where the plot begins below them.
fn legend(canvas: &mut Canvas, chart: &Chart, top: f64) -> f64 {
    const SWATCH: f64 = 12.0;
    const GAP: f64 = 24.0;
    let names: Vec<&str> = match &chart.plot {
        Plot::Bars { series, .. } => series.iter().map(|series| series.name.as_str()).collect(),
        Plot::Strips { series, .. } => series.iter().map(|series| series.name.as_str()).collect(),
        Plot::Lines { series, .. } => series.iter().map(|series| series.name.as_str()).collect(),
        Plot::Scatter { clouds, .. } => clouds.iter().map(|cloud| cloud.name.as_str()).collect(),
        Plot::Ratios { .. } => Vec::new(),
    };
    if names.len() < 2 {
        return top;
    }
    let (mut x, mut y) = (MARGIN, top);
    for (at, name) in names.into_iter().enumerate() {
        let width = SWATCH + 6.0 + LABEL.width(name) + GAP;
        if x > MARGIN && x + width - GAP > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + leading(LABEL) + 4.0);
        }
        let half = SWATCH / 2.0;
        let paint = format!(r#"fill="{}""#, series_colour(at));
        canvas.bar((x, y - half), (x + SWATCH, y + half), &paint);
        canvas.text((x + SWATCH + 6.0, y), name, LABEL);
        x += width;
    }
    y + leading(LABEL) + 6.0
}

/// A title as a part of a file's name.
fn slug(title: &str) -> String {
    const MOST: usize = 48;
    let mut slug = String::new();
    for c in title.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
        if slug.len() >= MOST {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

const WHITE: &str = "#ffffff";
const TEXT: &str = "#1d2024";
const MUTED: &str = "#63696f";
const LINE: &str = "#e2e3e1";

const TITLE: Type = Type {
    size: 22.0,
    weight: 600,
    colour: TEXT,
    anchor: Anchor::Start,
};
const QUIET: Type = Type {
    size: 14.0,
    weight: 400,
    colour: MUTED,
    anchor: Anchor::Start,
};
const LABEL: Type = Type {
    size: 13.0,
    weight: 400,
    colour: TEXT,
    anchor: Anchor::Start,
};
const TICK: Type = Type {
    size: 12.0,
    ..QUIET
};
const SMALL: Type = Type {
    size: 11.0,
    ..QUIET
};

/// A colour of the report's light theme, which comes first in its style sheet.
fn colour(name: &str) -> &'static str {
    let rule = STYLE.split_once(&format!("--{name}: "));
    let value = rule.and_then(|(_, rest)| rest.split_once(';'));
    value.map_or(TEXT, |(value, _)| value)
}

fn series_colour(at: usize) -> &'static str {
    colour(&format!("c{}", at % 8 + 1))
}

/// Attributes of a line.
fn stroke(colour: &str, width: f64) -> String {
    format!(r#"stroke="{colour}" stroke-width="{width}""#)
}

/// How far a point may be trusted, by more than its colour.
fn shade(state: PointState, colour: &str) -> String {
    match state {
        PointState::Sound => format!(r#"fill="{colour}""#),
        PointState::Tainted => {
            format!(r#"fill="{colour}" fill-opacity="0.35" stroke="{colour}" stroke-width="1.5""#)
        }
        PointState::Invalid => {
            format!(r#"fill="{WHITE}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="4 3""#)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_the_light_theme() {
        for (name, here) in [
            ("panel", WHITE),
            ("text", TEXT),
            ("muted", MUTED),
            ("line", LINE),
        ] {
            assert_eq!(colour(name), here, "{name}");
        }
        let all: Vec<&str> = (0..8).map(series_colour).collect();
        assert!(
            all.iter().all(|c| c.starts_with('#') && *c != TEXT),
            "{all:?}"
        );
    }

    #[test]
    fn a_title_makes_a_file_name() {
        assert_eq!(
            slug("Ratio to mini/../x, with 95 %"),
            "ratio-to-mini-x-with-95"
        );
        assert!(slug(&"word ".repeat(40)).len() <= 48);
    }
}
