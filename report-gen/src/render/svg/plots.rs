//! The kinds of plot. Each draws below `top` and says where it ends.

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, Place, leading};
use super::{
    LABEL, LINE, MARGIN, MUTED, QUIET, TEXT, TICK, WHITE, WIDTH, colour, series_colour, shade,
    stroke,
};
use crate::number;
use crate::render::document::{Cloud, Point, PointState, Series, Spot};
use crate::stats::Verdict;

const BAR: f64 = 18.0;
const BAR_GAP: f64 = 4.0;
const ROW_GAP: f64 = 16.0;
/// As much of the width as names of rows may take.
const MOST_NAME: f64 = 300.0;
/// What a value beside the longest bar takes, and a ratio with its verdict.
const VALUE: f64 = 72.0;
const RATIO: f64 = 150.0;
const OVER_X_HEIGHT: f64 = 380.0;
const DOT: f64 = 5.5;
const SPOT: f64 = 4.0;
/// Between the dots of a row that lie side by side.
const LANE: f64 = 7.0;
/// A machine's name beside the last dot of a row.
const NAME: f64 = 96.0;
/// More names than these would cover one another.
const MOST_NAMED: usize = 12;

const WHISKER: f64 = 1.25;

/// Horizontal bars from zero, grouped by category.
pub fn bars(
    canvas: &mut Canvas,
    top: f64,
    categories: &[String],
    series: &[Series<Option<Point>>],
) -> f64 {
    let group = series.len() as f64 * (BAR + BAR_GAP) - BAR_GAP;
    let rows = Rows::of(categories, group, top);
    let points = series.iter().flat_map(|series| &series.points).flatten();
    let values = points.flat_map(|point| [point.ends(), [point.value, 0.0]]);
    let axis = Axis::of(values.flatten(), false, (rows.left, WIDTH - MARGIN - VALUE));
    x_grid(canvas, &axis, top, rows.bottom());
    for (row, middle) in rows.draw_names(canvas).into_iter().enumerate() {
        for (k, series) in series.iter().enumerate() {
            let Some(Some(point)) = series.points.get(row) else {
                continue;
            };
            let y = middle - group / 2.0 + k as f64 * (BAR + BAR_GAP) + BAR / 2.0;
            let half = BAR / 2.0;
            let paint = shade(point.state, series_colour(k));
            canvas.bar(
                (axis.at(0.0), y - half),
                (axis.at(point.value), y + half),
                &paint,
            );
            let [low, high] = point.ends().map(|end| axis.at(end));
            if point.interval.is_some() {
                canvas.whisker((low, y), (high, y), &stroke(TEXT, WHISKER));
            }
            let x = high.max(axis.at(point.value)) + 8.0;
            canvas.text((x, y), &with_mark(number::short(point.value), point), LABEL);
        }
    }
    rows.bottom() + leading(TICK)
}

fn with_mark(value: String, point: &Point) -> String {
    match point.state.mark() {
        "" => value,
        mark => format!("{value} {mark}"),
    }
}

/// Points over a quantity, of one line or cloud.
pub struct Trace<'a> {
    points: Vec<(f64, &'a Point, Option<&'a str>)>,
    /// Drawn through them.
    curve: Vec<Place>,
    dashes: &'static str,
}

impl<'a> Trace<'a> {
    pub fn of_line(series: &'a Series<(f64, Point)>) -> Self {
        let points = &series.points;
        Self {
            points: points.iter().map(|(x, point)| (*x, point, None)).collect(),
            curve: points.iter().map(|(x, point)| (*x, point.value)).collect(),
            dashes: "",
        }
    }

    pub fn of_cloud(cloud: &'a Cloud) -> Self {
        let dots = cloud.dots.iter();
        Self {
            points: dots
                .map(|dot| (dot.x, &dot.point, name_of(&dot.label)))
                .collect(),
            curve: cloud.curve.clone(),
            dashes: r#"stroke-dasharray="6 4""#,
        }
    }
}

fn name_of(label: &str) -> Option<&str> {
    (!label.is_empty()).then_some(label)
}

pub fn over_x(
    canvas: &mut Canvas,
    top: f64,
    x_title: &str,
    log: bool,
    traces: &[Trace<'_>],
) -> f64 {
    let bottom = top + OVER_X_HEIGHT;
    let points = || traces.iter().flat_map(|trace| &trace.points);
    let of_curves = traces
        .iter()
        .flat_map(|trace| &trace.curve)
        .map(|(_, y)| *y);
    let values = points().flat_map(|(_, point, _)| point.ends());
    let y = Axis::of(values.chain(of_curves).chain([0.0]), false, (bottom, top));
    let ticks: Vec<(f64, String)> = y
        .ticks()
        .into_iter()
        .map(|v| (v, number::short(v)))
        .collect();
    let widest = ticks
        .iter()
        .map(|(_, label)| TICK.width(label))
        .fold(0.0, f64::max);
    let left = MARGIN + widest + 10.0;
    let zero = (!log).then_some(0.0);
    let x = Axis::of(
        points().map(|(x, ..)| *x).chain(zero),
        log,
        (left, WIDTH - MARGIN - 24.0),
    );
    for (value, label) in &ticks {
        let at = y.at(*value);
        canvas.line(&[(left, at), (WIDTH - MARGIN, at)], &stroke(LINE, 1.0));
        canvas.text((left - 10.0, at), label, TICK.anchored(Anchor::End));
    }
    for value in x.ticks() {
        let place = (x.at(value), bottom + leading(TICK));
        canvas.text(place, &number::short(value), TICK.anchored(Anchor::Middle));
    }
    let title = ((left + WIDTH - MARGIN) / 2.0, bottom + 2.4 * leading(TICK));
    canvas.text(title, x_title, QUIET.anchored(Anchor::Middle));
    for (k, trace) in traces.iter().enumerate() {
        let colour = series_colour(k);
        let curve: Vec<Place> = trace
            .curve
            .iter()
            .map(|(cx, cy)| (x.at(*cx), y.at(*cy)))
            .collect();
        if curve.len() > 1 {
            canvas.line(&curve, &format!("{} {}", stroke(colour, 2.0), trace.dashes));
        }
        for (at, point, _) in &trace.points {
            let [low, high] = point.ends().map(|end| (x.at(*at), y.at(end)));
            if point.interval.is_some() {
                canvas.whisker(low, high, &stroke(TEXT, WHISKER));
            }
            // An opaque ground, so that no line shows through a pale dot.
            let place = (x.at(*at), y.at(point.value));
            canvas.dot(place, DOT, &shade(PointState::Sound, WHITE));
            canvas.dot(place, DOT, &shade(point.state, colour));
        }
    }
    write_names(canvas, traces, &x, &y, f64::midpoint(left, WIDTH - MARGIN));
    bottom + 3.0 * leading(TICK)
}

/// Names beside their points, below what is in the way.
fn write_names(canvas: &mut Canvas, traces: &[Trace<'_>], x: &Axis, y: &Axis, middle: f64) {
    let mut names = names(traces);
    // From the top, so that those below make way.
    names.sort_by(|a, b| b.point.value.total_cmp(&a.point.value));
    let dots = traces
        .iter()
        .flat_map(|trace| &trace.points)
        .map(|(at, point, _)| (x.at(*at), y.at(point.value)));
    let mut taken: Vec<[Place; 2]> = dots
        .map(|(cx, cy)| [(cx - DOT, cy - DOT), (cx + DOT, cy + DOT)])
        .collect();
    for Name {
        at,
        point,
        name,
        rises,
    } in names
    {
        let (anchor, away) = if x.at(at) > middle {
            (Anchor::End, -1.0)
        } else {
            (Anchor::Start, 1.0)
        };
        // On the side of the curve that is free.
        let below = match rises {
            None => 0.0,
            Some(true) => away,
            Some(false) => -away,
        };
        let name = with_mark(name.to_owned(), point);
        let (near, mut middle_y) = (x.at(at) + 11.0 * away, y.at(point.value) + 11.0 * below);
        let far = near + LABEL.width(&name) * away;
        let (x_low, x_high) = (near.min(far), near.max(far));
        let half = leading(LABEL) / 2.0;
        let below_what_is_there = |middle_y: f64| {
            let there = taken.iter().filter(|[(low, top), (high, bottom)]| {
                x_low < *high
                    && x_high > *low
                    && middle_y + half > *top
                    && middle_y - half < *bottom
            });
            there
                .map(|[_, (_, bottom)]| bottom + half + 0.5)
                .reduce(f64::max)
        };
        while let Some(lower) = below_what_is_there(middle_y) {
            middle_y = lower;
        }
        taken.push([(x_low, middle_y - half), (x_high, middle_y + half)]);
        canvas.text((near, middle_y), &name, LABEL.anchored(anchor));
    }
}

struct Name<'a> {
    at: f64,
    point: &'a Point,
    name: &'a str,
    /// Whether the curve by its point does; None where there is none.
    rises: Option<bool>,
}

/// One name stands for the same point of several clouds, at the highest of them.
fn names<'a>(traces: &[Trace<'a>]) -> Vec<Name<'a>> {
    let mut names: Vec<Name<'_>> = Vec::new();
    for trace in traces {
        let ends = trace.curve.first().zip(trace.curve.last());
        let rises = ends.map(|((_, first), (_, last))| last > first);
        for (at, point, name) in &trace.points {
            let Some(name) = *name else { continue };
            let here = Name {
                at: *at,
                point,
                name,
                rises,
            };
            match names.iter_mut().find(|known| known.name == name) {
                Some(known) if known.point.value < point.value => *known = here,
                Some(_) => {}
                None => names.push(here),
            }
        }
    }
    if names.len() > MOST_NAMED {
        names.clear();
    }
    names
}

/// Rows of dots, one a machine, the largest of a row with its name; from zero, or around 1.
pub fn strips(
    canvas: &mut Canvas,
    top: f64,
    log: bool,
    rows: &[String],
    series: &[Series<Spot>],
    margin: Option<f64>,
) -> f64 {
    let drawn = Rows::of(rows, 5.0 * LANE, top);
    let bottom = drawn.bottom();
    let spots = || series.iter().flat_map(|series| &series.points);
    let values = spots().flat_map(|spot| spot.point.ends());
    let around = match margin {
        Some(margin) => [1.0 - 2.0 * margin, 1.0 + 2.0 * margin],
        None => [0.0, 0.0],
    };
    let axis = Axis::of(
        values.chain(around),
        log,
        (drawn.left, WIDTH - MARGIN - NAME),
    );
    x_grid(canvas, &axis, top, bottom);
    if let Some(margin) = margin {
        around_one(canvas, &axis, margin, (top, bottom));
    }
    let middles = drawn.draw_names(canvas);
    for (k, series) in series.iter().enumerate() {
        for spot in &series.points {
            let y = middles[spot.row] + f64::from(spot.lane) * LANE;
            if spot.point.interval.is_some() {
                let [low, high] = spot.point.ends().map(|end| (axis.at(end), y));
                canvas.line(&[low, high], &stroke(series_colour(k), WHISKER));
            }
            let place = (axis.at(spot.point.value), y);
            canvas.dot(place, SPOT, &shade(PointState::Sound, WHITE));
            canvas.dot(place, SPOT, &shade(spot.point.state, series_colour(k)));
        }
    }
    for (row, middle) in middles.into_iter().enumerate() {
        let of_row = spots().filter(|spot| spot.row == row);
        let largest = of_row.max_by(|a, b| a.point.value.total_cmp(&b.point.value));
        if let Some(spot) = largest {
            let x = spot.point.ends().map(|end| axis.at(end))[1] + 10.0;
            let name = with_mark(spot.label.clone(), &spot.point);
            canvas.text((x, middle + f64::from(spot.lane) * LANE), &name, TICK);
        }
    }
    bottom + leading(TICK)
}

/// The line where nothing differs, and the band within which differences do not matter.
fn around_one(canvas: &mut Canvas, axis: &Axis, margin: f64, (top, bottom): (f64, f64)) {
    let [low, high] = [1.0 / (1.0 + margin), 1.0 + margin].map(|end| axis.at(end));
    let band = format!(r#"fill="{MUTED}" fill-opacity="0.14""#);
    canvas.bar((low, top), (high, bottom), &band);
    let one = axis.at(1.0);
    canvas.line(&[(one, top), (one, bottom)], &stroke(MUTED, 1.0));
}

/// Ratios around 1, and the margin within which they do not matter.
pub fn ratios(
    canvas: &mut Canvas,
    top: f64,
    log: bool,
    rows: &[(String, Point, Option<Verdict>)],
    margin: f64,
) -> f64 {
    let names: Vec<String> = rows.iter().map(|(name, ..)| name.clone()).collect();
    let drawn = Rows::of(&names, BAR, top);
    let bottom = drawn.bottom();
    let values = rows.iter().flat_map(|(_, point, _)| point.ends());
    let around = [1.0 - 2.0 * margin, 1.0 + 2.0 * margin];
    let right = WIDTH - MARGIN - RATIO;
    let axis = Axis::of(values.chain(around), log, (drawn.left, right));
    x_grid(canvas, &axis, top, bottom);
    around_one(canvas, &axis, margin, (top, bottom));
    let places = drawn.draw_names(canvas);
    for ((_, point, verdict), y) in rows.iter().zip(places) {
        let tone = match verdict.map_or("even", Verdict::tone) {
            "even" => "muted",
            tone => tone,
        };
        if point.interval.is_some() {
            let [low, high] = point.ends().map(|end| axis.at(end));
            canvas.whisker((low, y), (high, y), &stroke(TEXT, WHISKER));
        }
        let place = (axis.at(point.value), y);
        canvas.dot(place, DOT, &shade(PointState::Sound, WHITE));
        canvas.dot(place, DOT, &shade(point.state, colour(tone)));
        let verdict = verdict.map(|verdict| format!(", {verdict}"));
        let value = with_mark(number::ratio(point.value), point);
        let text = value + &verdict.unwrap_or_default();
        canvas.text((right + 14.0, y), &text, LABEL);
    }
    bottom + leading(TICK)
}

fn x_grid(canvas: &mut Canvas, axis: &Axis, top: f64, bottom: f64) {
    for value in axis.ticks() {
        let x = axis.at(value);
        canvas.line(&[(x, top), (x, bottom)], &stroke(LINE, 1.0));
        let place = (x, bottom + leading(TICK) * 0.8);
        canvas.text(place, &number::short(value), TICK.anchored(Anchor::Middle));
    }
}

/// Rows with their names at the left.
struct Rows {
    names: Vec<Vec<String>>,
    heights: Vec<f64>,
    top: f64,
    /// Where names end.
    left: f64,
}

impl Rows {
    fn of(names: &[String], content: f64, top: f64) -> Self {
        let names: Vec<Vec<String>> = names.iter().map(|n| LABEL.wrap(n, MOST_NAME)).collect();
        let widths = names.iter().flatten().map(|line| LABEL.width(line));
        let left = MARGIN + widths.fold(0.0, f64::max) + 12.0;
        let height = |name: &Vec<String>| content.max(name.len() as f64 * leading(LABEL)) + ROW_GAP;
        let heights = names.iter().map(height).collect();
        Self {
            names,
            heights,
            top,
            left,
        }
    }

    fn bottom(&self) -> f64 {
        self.top + self.heights.iter().sum::<f64>()
    }

    /// The middles of the rows.
    fn draw_names(&self, canvas: &mut Canvas) -> Vec<f64> {
        let mut middles = Vec::new();
        let mut top = self.top;
        for (name, height) in self.names.iter().zip(&self.heights) {
            let middle = top + height / 2.0;
            let place = (self.left - 12.0, middle);
            canvas.lines_of_text(place, name, LABEL.anchored(Anchor::End));
            middles.push(middle);
            top += height;
        }
        middles
    }
}
