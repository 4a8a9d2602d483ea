//! The report as flat tables, for programs that read tables: what CSV and Parquet write, column by
//! column. Numbers are unrounded, in one unit down a column, or in the one that the row names.

mod samples;
mod tables;

use time::OffsetDateTime;

pub use samples::samples;
pub use tables::all;

use crate::report::{Claim, Variant};
use crate::stats::Interval;

#[derive(Debug)]
pub struct Flat {
    /// Its file's name without an ending.
    pub name: &'static str,
    pub columns: Vec<Column>,
}

#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    /// [`OF_ROW`] where it depends; empty of what has none.
    pub unit: &'static str,
    pub values: Values,
}

/// A value for each row; what is not known is None.
#[derive(Debug)]
pub enum Values {
    Text(Vec<Option<String>>),
    Texts(Vec<Vec<String>>),
    Number(Vec<Option<f64>>),
    Whole(Vec<Option<i64>>),
    Flag(Vec<Option<bool>>),
    Time(Vec<Option<OffsetDateTime>>),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Self::Text(all) => all.len(),
            Self::Texts(all) => all.len(),
            Self::Number(all) => all.len(),
            Self::Whole(all) => all.len(),
            Self::Flag(all) => all.len(),
            Self::Time(all) => all.len(),
        }
    }
}

/// The unit of a number whose row has a column `unit`.
const OF_ROW: &str = "as unit says";
const RATIO: &str = "ratio";

/// A table in the making: each call adds a column of one value a row.
struct Of<'a, R> {
    name: &'static str,
    rows: &'a [R],
    columns: Vec<Column>,
}

impl Flat {
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }
}

impl<'a, R> Of<'a, R> {
    fn rows(name: &'static str, rows: &'a [R]) -> Self {
        Self {
            name,
            rows,
            columns: Vec::new(),
        }
    }

    fn done(self) -> Flat {
        Flat {
            name: self.name,
            columns: self.columns,
        }
    }

    fn column(mut self, name: &'static str, unit: &'static str, values: Values) -> Self {
        self.columns.push(Column { name, unit, values });
        self
    }

    fn each<T, V: Into<Option<T>>>(&self, value: impl Fn(&'a R) -> V) -> Vec<Option<T>> {
        self.rows.iter().map(|row| value(row).into()).collect()
    }

    fn text<V: Into<Option<String>>>(self, name: &'static str, value: impl Fn(&'a R) -> V) -> Self {
        let values = self.each(value);
        self.column(name, "", Values::Text(values))
    }

    fn texts(self, name: &'static str, value: impl Fn(&'a R) -> &'a [String]) -> Self {
        let values = self.rows.iter().map(|row| value(row).to_vec()).collect();
        self.column(name, "", Values::Texts(values))
    }

    fn number<V: Into<Option<f64>>>(
        self,
        name: &'static str,
        unit: &'static str,
        value: impl Fn(&'a R) -> V,
    ) -> Self {
        let values = self.each(value);
        self.column(name, unit, Values::Number(values))
    }

    fn whole<V: Into<Option<i64>>>(
        self,
        name: &'static str,
        unit: &'static str,
        value: impl Fn(&'a R) -> V,
    ) -> Self {
        let values = self.each(value);
        self.column(name, unit, Values::Whole(values))
    }

    fn flag<V: Into<Option<bool>>>(self, name: &'static str, value: impl Fn(&'a R) -> V) -> Self {
        let values = self.each(value);
        self.column(name, "", Values::Flag(values))
    }

    fn time<V: Into<Option<OffsetDateTime>>>(
        self,
        name: &'static str,
        value: impl Fn(&'a R) -> V,
    ) -> Self {
        let values = self.each(value);
        self.column(name, "", Values::Time(values))
    }

    /// What a model is, as far as it is known.
    fn variant(self, of: impl Fn(&'a R) -> &'a Variant) -> Self {
        self.text("model", |row| of(row).model.clone())
            .text("dtype", |row| of(row).dtype.clone())
            .text("quantisation", |row| of(row).quantisation.clone())
            .text("model_source", |row| of(row).source.clone())
            .text("model_digest", |row| of(row).digest.clone())
    }

    /// The ends of a 95 % interval.
    fn interval(self, unit: &'static str, of: impl Fn(&'a R) -> Option<Interval>) -> Self {
        self.ends(["ci_low", "ci_high"], unit, of)
    }

    fn ends(
        self,
        [low, high]: [&'static str; 2],
        unit: &'static str,
        of: impl Fn(&'a R) -> Option<Interval>,
    ) -> Self {
        self.number(low, unit, |row| of(row).map(|interval| interval.low))
            .number(high, unit, |row| of(row).map(|interval| interval.high))
    }

    /// A ratio that was held against the margin; its row has one or has none.
    fn claim(self, name: &'static str, of: impl Fn(&'a R) -> Option<&'a Claim>) -> Self {
        self.number(name, RATIO, |row| of(row).map(|claim| claim.ratio.value))
            .interval(RATIO, |row| of(row)?.ratio.interval)
            .text("verdict", |row| {
                of(row).map(|claim| claim.verdict.to_string())
            })
            .number("p_holm", "", |row| of(row)?.p_holm)
            .flag("tainted", |row| of(row).map(|claim| claim.tainted))
            .texts("reasons", |row| {
                of(row).map_or(&[][..], |claim| &claim.reasons)
            })
    }
}
