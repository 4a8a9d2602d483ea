//! What a section is made of, whatever the format: text, tables, charts. Nothing here is markup;
//! each format escapes for itself.

use crate::number::{self, Scale};
use crate::report::{Finding, Measurement};
use crate::stats::{Interval, Ratio, Verdict};

#[derive(Clone, Debug)]
pub struct Section {
    /// Anchor of the section; its tables and charts derive theirs from it.
    pub id: &'static str,
    pub title: &'static str,
    pub blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
pub enum Block {
    Heading(String),
    Text(String),
    /// What is missing, or what to beware of.
    Note(String),
    Findings(Vec<Finding>),
    List(Vec<String>),
    Table(Table),
    Chart(Chart),
}

#[derive(Clone, Debug)]
pub struct Table {
    pub caption: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub title: String,
    /// Of the column's numbers; empty where they have none or the cells say it.
    pub unit: String,
    pub numeric: bool,
}

impl Column {
    pub fn text(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            unit: String::new(),
            numeric: false,
        }
    }

    pub fn number(title: &str, unit: &str) -> Self {
        Self {
            title: title.to_owned(),
            unit: unit.to_owned(),
            numeric: true,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Cell {
    Text(String),
    Code(String),
    Number(Number),
    Verdict(Verdict),
    /// Not measured, or it cannot be known.
    Missing,
}

impl Cell {
    pub fn plain(value: impl Into<String>) -> Self {
        Self::Number(Number {
            value: value.into(),
            interval: None,
            n: None,
            doubt: None,
        })
    }

    pub fn measured(measurement: Option<&Measurement>, scale: &Scale) -> Self {
        let Some(m) = measurement else {
            return Self::Missing;
        };
        let (value, interval) = scale.estimate(&m.estimate);
        Self::Number(Number {
            value,
            interval,
            n: Some(m.estimate.launches),
            doubt: Doubt::of(m),
        })
    }

    /// A geometric mean of several cases, in the scale's unit.
    pub fn located(mean: &Ratio, scale: &Scale) -> Self {
        let (value, interval) = scale.interval(mean.value, mean.interval);
        Self::Number(Number {
            value,
            interval,
            n: None,
            doubt: None,
        })
    }

    pub fn ratio(ratio: Option<&Ratio>) -> Self {
        let Some(ratio) = ratio else {
            return Self::Missing;
        };
        let (value, interval) = number::ratio_parts(ratio);
        Self::Number(Number {
            value,
            interval,
            n: None,
            doubt: None,
        })
    }
}

/// A number with its interval, and the launches that it rests on where it was measured.
#[derive(Clone, Debug)]
pub struct Number {
    pub value: String,
    pub interval: Option<String>,
    pub n: Option<usize>,
    pub doubt: Option<Doubt>,
}

/// Why a number may not be what it seems, with its reason codes.
#[derive(Clone, Debug)]
pub enum Doubt {
    Invalid(String),
    Tainted(String),
}

impl Doubt {
    pub fn of(m: &Measurement) -> Option<Self> {
        let reasons = m.reasons.join(", ");
        match (m.valid, m.tainted) {
            (false, _) => Some(Self::Invalid(reasons)),
            (true, true) => Some(Self::Tainted(reasons)),
            (true, false) => None,
        }
    }

    /// A mark that survives without colour.
    pub fn mark(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "✗",
            Self::Tainted(_) => "†",
        }
    }

    pub fn words(&self) -> String {
        match self {
            Self::Invalid(reasons) => format!("invalid: {reasons}"),
            Self::Tainted(reasons) => format!("doubtful conditions: {reasons}"),
        }
    }
}

/// A picture of numbers that a table beside it also holds.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub unit: String,
    pub plot: Plot,
}

#[derive(Clone, Debug)]
pub enum Plot {
    /// Horizontal bars, grouped by category, one colour per series.
    Bars {
        categories: Vec<String>,
        series: Vec<Series<Option<Point>>>,
    },
    /// Lines over a quantity.
    Lines {
        x_title: String,
        series: Vec<Series<(f64, Point)>>,
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

#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub value: f64,
    pub interval: Option<Interval>,
    pub n: Option<usize>,
    pub sound: bool,
}

impl Point {
    pub fn of(m: &Measurement, scale: &Scale) -> Self {
        Self {
            value: scale.apply(m.estimate.value),
            interval: m.estimate.interval.map(|interval| Interval {
                low: scale.apply(interval.low),
                high: scale.apply(interval.high),
            }),
            n: Some(m.estimate.launches),
            sound: m.valid && !m.tainted,
        }
    }
}
