//! What a section is made of, whatever the format: text, tables, charts. Nothing here is markup;
//! each format escapes for itself.

mod chart;

pub use chart::{Chart, Cloud, Dot, Plot, Point, PointState, Series, Spot, spread_out};

use crate::number::{self, Scale};
use crate::report::{
    Claim, Energy, Finding, Floor, Knee, Latency, LawPoint, Measurement, MemorySlope, Pair, Score,
    Utilisation,
};
use crate::stats::{Estimate, Interval, Ratio, Verdict};

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

impl Table {
    /// The doubts of its numbers, each once, in order: they are said below the table.
    pub fn notes(&self) -> Notes<'_> {
        let mut notes: Vec<&Doubt> = Vec::new();
        for cell in self.rows.iter().flatten() {
            if let Cell::Number(Number {
                doubt: Some(doubt), ..
            }) = cell
                && !notes.contains(&doubt)
            {
                notes.push(doubt);
            }
        }
        Notes(notes)
    }
}

/// The notes below a table.
pub struct Notes<'a>(pub Vec<&'a Doubt>);

impl Notes<'_> {
    /// The number of a doubt's note, from one.
    pub fn number(&self, doubt: &Doubt) -> usize {
        let place = self.0.iter().position(|note| *note == doubt);
        place.map_or(0, |place| place + 1)
    }
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
            best: false,
        })
    }

    pub fn doubted(value: String, doubt: Option<Doubt>) -> Self {
        Self::Number(Number {
            value,
            interval: None,
            n: None,
            doubt,
            best: false,
        })
    }

    /// A number of which nothing else is known; missing where it is not known either.
    pub fn known(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, |value| {
            Self::plain(Scale::fitting("", []).value(value))
        })
    }

    /// A share in per cent, with so many decimals.
    pub fn percent(share: Option<f64>, decimals: usize, doubt: Option<Doubt>) -> Self {
        share.map_or(Self::Missing, |share| {
            Self::doubted(format!("{:.decimals$}", share * 100.0), doubt)
        })
    }

    pub fn measured(measurement: Option<&Measurement>, scale: &Scale) -> Self {
        measurement.map_or(Self::Missing, |m| {
            Self::estimated(&m.estimate, scale, Doubt::of(m))
        })
    }

    pub fn estimated(estimate: &Estimate, scale: &Scale, doubt: Option<Doubt>) -> Self {
        let (value, interval) = scale.estimate(estimate);
        Self::Number(Number {
            value,
            interval,
            n: Some(estimate.launches),
            doubt,
            best: false,
        })
    }

    /// A geometric mean of several cases, in the scale's unit.
    pub fn located(mean: &Ratio, scale: &Scale, doubt: Option<Doubt>) -> Self {
        let (value, interval) = scale.interval(mean.value, mean.interval);
        Self::Number(Number {
            value,
            interval,
            n: None,
            doubt,
            best: false,
        })
    }

    /// A number marked as the best of its row.
    #[must_use]
    pub fn best(self, best: bool) -> Self {
        match self {
            Self::Number(number) => Self::Number(Number { best, ..number }),
            other => other,
        }
    }

    /// A coefficient with its interval.
    pub fn fitted(value: f64, interval: Interval, doubt: Option<Doubt>) -> Self {
        let (value, interval) = Scale::fitting("", []).interval(value, Some(interval));
        Self::Number(Number {
            value,
            interval,
            n: None,
            doubt,
            best: false,
        })
    }

    pub fn ratio(ratio: Option<&Ratio>, doubt: Option<Doubt>) -> Self {
        let Some(ratio) = ratio else {
            return Self::Missing;
        };
        let (value, interval) = number::ratio_parts(ratio);
        Self::Number(Number {
            value,
            interval,
            n: None,
            doubt,
            best: false,
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
    /// Of those beside it none is shown to be better.
    pub best: bool,
}

const INVALID: &str = "✗";
const TAINTED: &str = "†";

/// Why a number may not be what it seems, with its reason codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    Invalid(String),
    Tainted(String),
}

impl Doubt {
    pub fn of(doubted: &impl Doubted) -> Option<Self> {
        let (valid, tainted, reasons) = doubted.judged();
        let reasons = reasons.join(", ");
        match (valid, tainted) {
            (false, _) => Some(Self::Invalid(reasons)),
            (true, true) => Some(Self::Tainted(reasons)),
            (true, false) => None,
        }
    }

    /// A mark that survives without colour.
    pub fn mark(&self) -> &'static str {
        match self {
            Self::Invalid(_) => INVALID,
            Self::Tainted(_) => TAINTED,
        }
    }

    pub fn words(&self) -> String {
        match self {
            Self::Invalid(reasons) => format!("invalid: {reasons}"),
            Self::Tainted(reasons) => format!("doubtful conditions: {reasons}"),
        }
    }
}

/// What has been judged: whether it is valid, whether it is tainted, and why.
pub trait Doubted {
    fn judged(&self) -> (bool, bool, &[String]);
}

macro_rules! doubted {
    ($($judged:ty),*) => {
        $(impl Doubted for $judged {
            fn judged(&self) -> (bool, bool, &[String]) {
                (self.valid, self.tainted, &self.reasons)
            }
        })*
    };
}

doubted!(
    Measurement,
    Latency,
    Utilisation,
    Energy,
    Knee,
    Floor,
    MemorySlope
);

/// Invalid numbers are not compared, so a comparison's are valid.
impl Doubted for Pair {
    fn judged(&self) -> (bool, bool, &[String]) {
        (true, self.tainted, &self.reasons)
    }
}

impl Doubted for Claim {
    fn judged(&self) -> (bool, bool, &[String]) {
        (true, self.tainted, &self.reasons)
    }
}

/// What is invalid enters no law.
impl Doubted for LawPoint {
    fn judged(&self) -> (bool, bool, &[String]) {
        (true, self.tainted, &self.reasons)
    }
}

impl Doubted for Score {
    fn judged(&self) -> (bool, bool, &[String]) {
        (true, self.tainted, &self.reasons)
    }
}
