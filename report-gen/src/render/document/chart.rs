//! A chart as facts: what is drawn, whoever draws it.

use super::{Doubt, Doubted, INVALID, TAINTED};
use crate::number::Scale;
use crate::report::Measurement;
use crate::stats::{Interval, Verdict};

/// A picture of numbers that a table beside it also holds.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub unit: String,
    pub plot: Plot,
    /// How many rows or lines there are where not all are drawn.
    pub of: Option<usize>,
}

impl Chart {
    /// What is left out of the picture, in words.
    pub fn left_out(&self) -> Option<String> {
        let of = self.of?;
        let (shown, what) = match &self.plot {
            Plot::Bars { categories, .. } => (categories.len(), "rows"),
            Plot::Lines { series, .. } => (series.len(), "lines"),
            Plot::Strips { rows, .. } => (rows.len(), "rows"),
            Plot::Ratios { rows, .. } => (rows.len(), "rows"),
            Plot::Scatter { clouds, .. } => (clouds.len(), "series"),
        };
        Some(format!("{shown} of {of} {what} shown"))
    }

    /// What is drawn, in words.
    pub fn drawn(&self) -> String {
        match &self.plot {
            Plot::Bars { categories, series } => {
                format!(
                    "Bars of {} rows in {} series",
                    categories.len(),
                    series.len()
                )
            }
            Plot::Strips { rows, series, .. } => {
                let dots: usize = series.iter().map(|series| series.points.len()).sum();
                format!(
                    "{dots} points in {} rows and {} series",
                    rows.len(),
                    series.len()
                )
            }
            Plot::Lines { series, .. } => format!("{} lines", series.len()),
            Plot::Scatter { clouds, .. } => {
                let dots: usize = clouds.iter().map(|cloud| cloud.dots.len()).sum();
                format!("{dots} points in {} series", clouds.len())
            }
            Plot::Ratios { rows, .. } => format!("{} ratios with their intervals", rows.len()),
        }
    }

    pub fn points(&self) -> Vec<&Point> {
        match &self.plot {
            Plot::Bars { series, .. } => {
                let points = series.iter().flat_map(|series| &series.points);
                points.flatten().collect()
            }
            Plot::Strips { series, .. } => {
                let spots = series.iter().flat_map(|series| &series.points);
                spots.map(|spot| &spot.point).collect()
            }
            Plot::Lines { series, .. } => {
                let points = series.iter().flat_map(|series| &series.points);
                points.map(|(_, point)| point).collect()
            }
            Plot::Scatter { clouds, .. } => {
                let dots = clouds.iter().flat_map(|cloud| &cloud.dots);
                dots.map(|dot| &dot.point).collect()
            }
            Plot::Ratios { rows, .. } => rows.iter().map(|(_, point, _)| point).collect(),
        }
    }
}

/// Values farther apart than this factor are drawn by their ratios, where a plot may be.
const FAR_APART: f64 = 8.0;
/// The same of ratios themselves.
const RATIOS_FAR_APART: f64 = 4.0;

impl Plot {
    /// Whether equal ratios are equal distances: of the quantity along x, or of the ratios drawn.
    pub fn is_log(&self) -> bool {
        match self {
            Self::Bars { .. } | Self::Strips { margin: None, .. } => false,
            Self::Strips { series, .. } => {
                let spots = series.iter().flat_map(|series| &series.points);
                let ends = spots.flat_map(|spot| spot.point.ends());
                spread(ends.chain([1.0])) > RATIOS_FAR_APART
            }
            Self::Lines { series, .. } => {
                let points = series.iter().flat_map(|series| &series.points);
                spread(points.map(|(x, _)| *x)) >= FAR_APART
            }
            Self::Scatter {
                by_ratio, clouds, ..
            } => {
                let dots = clouds.iter().flat_map(|cloud| &cloud.dots);
                *by_ratio && spread(dots.map(|dot| dot.x)) >= FAR_APART
            }
            Self::Ratios { rows, .. } => {
                let ends = rows.iter().flat_map(|(_, point, _)| point.ends());
                spread(ends.chain([1.0])) > RATIOS_FAR_APART
            }
        }
    }
}

/// The largest over the smallest; 0 where that is no ratio.
fn spread(values: impl Iterator<Item = f64>) -> f64 {
    let (low, high) = values.fold((f64::INFINITY, 0.0), |(low, high), value| {
        (f64::min(low, value), f64::max(high, value))
    });
    if low > 0.0 { high / low } else { 0.0 }
}

#[derive(Clone, Debug)]
pub enum Plot {
    /// Horizontal bars, grouped by category, one colour per series.
    Bars {
        categories: Vec<String>,
        series: Vec<Series<Option<Point>>>,
    },
    /// A row for each category with a dot for each machine: what bars would be of a fleet.
    Strips {
        rows: Vec<String>,
        series: Vec<Series<Spot>>,
        /// Of ratios around 1, the margin within which they do not matter.
        margin: Option<f64>,
    },
    /// Lines over a quantity.
    Lines {
        x_title: String,
        series: Vec<Series<(f64, Point)>>,
    },
    /// Points over a quantity, each with a name, and a fitted curve through them where there is one.
    Scatter {
        x_title: String,
        /// Whether equal ratios of x are equal distances, where they are far apart.
        by_ratio: bool,
        clouds: Vec<Cloud>,
    },
    /// Ratios with their intervals around 1, and the margin within which they do not matter.
    Ratios {
        rows: Vec<(String, Point, Option<Verdict>)>,
        margin: f64,
    },
}

#[derive(Clone, Debug)]
pub struct Series<P> {
    pub name: String,
    pub points: Vec<P>,
}

/// A machine's dot.
#[derive(Clone, Debug)]
pub struct Spot {
    pub row: usize,
    /// Above (less than 0) or below the row's middle, so that neighbours do not cover one another.
    pub lane: i32,
    pub label: String,
    pub point: Point,
}

/// Gives each dot its lane, going around them from the least value of a row to the largest.
pub fn spread_out(series: &mut [Series<Spot>]) {
    const LANES: [i32; 5] = [0, -1, 1, -2, 2];
    let mut spots: Vec<&mut Spot> = series.iter_mut().flat_map(|s| &mut s.points).collect();
    spots.sort_by(|a, b| {
        let by_value = a.point.value.total_cmp(&b.point.value);
        a.row.cmp(&b.row).then(by_value)
    });
    for (at, spot) in spots.into_iter().enumerate() {
        spot.lane = LANES[at % LANES.len()];
    }
}

#[derive(Clone, Debug)]
pub struct Cloud {
    pub name: String,
    pub dots: Vec<Dot>,
    /// From the first to the last of the points, and not beyond; may be empty.
    pub curve: Vec<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub struct Dot {
    pub label: String,
    pub x: f64,
    pub point: Point,
}

#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub value: f64,
    pub interval: Option<Interval>,
    pub n: Option<usize>,
    pub state: PointState,
}

/// How far a point may be trusted; each looks different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointState {
    Sound,
    Tainted,
    Invalid,
}

impl PointState {
    /// Of what is in no other doubt.
    pub fn tainted(is: bool) -> Self {
        if is { Self::Tainted } else { Self::Sound }
    }

    pub fn of(doubted: &impl Doubted) -> Self {
        match Doubt::of(doubted) {
            None => Self::Sound,
            Some(Doubt::Tainted(_)) => Self::Tainted,
            Some(Doubt::Invalid(_)) => Self::Invalid,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Tainted => "tainted",
            Self::Invalid => "invalid",
        }
    }

    /// The doubt's mark; nothing where there is none.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Sound => "",
            Self::Tainted => TAINTED,
            Self::Invalid => INVALID,
        }
    }
}

impl Point {
    pub fn of(m: &Measurement, scale: &Scale) -> Self {
        Self {
            value: scale.apply(m.estimate.value),
            interval: m.estimate.interval.map(|interval| scale.apply_to(interval)),
            n: Some(m.estimate.launches),
            state: PointState::of(m),
        }
    }

    /// The interval's ends, or the value twice.
    pub fn ends(&self) -> [f64; 2] {
        let interval = self.interval;
        interval.map_or([self.value; 2], |interval| [interval.low, interval.high])
    }
}

impl Verdict {
    /// The colour of its kind, by name.
    pub fn tone(self) -> &'static str {
        match self {
            Self::Equivalent | Self::Inconclusive => "even",
            told if told.is_for_the_worse() => "bad",
            _ => "good",
        }
    }
}
