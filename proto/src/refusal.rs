//! Why a message was refused: which field, and what is wrong with it.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("{field}: {why}")]
    Bad { field: &'static str, why: String },
}

impl Refusal {
    pub(crate) fn bad(field: &'static str, why: impl Display) -> Self {
        Self::Bad {
            field,
            why: why.to_string(),
        }
    }
}

/// A message field that proto3 makes optional and we need.
pub(crate) fn need<T>(value: Option<T>, field: &'static str) -> Result<T, Refusal> {
    value.ok_or(Refusal::Missing { field })
}

/// A text that stands for a typed value.
pub(crate) fn parse<T>(text: &str, field: &'static str) -> Result<T, Refusal>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|why| Refusal::bad(field, why))
}

pub(crate) fn parse_all<T>(texts: &[String], field: &'static str) -> Result<Vec<T>, Refusal>
where
    T: FromStr,
    T::Err: Display,
{
    texts.iter().map(|text| parse(text, field)).collect()
}

/// NaN and infinities are refused at the edge: Postgres would keep them, JSON cannot.
pub(crate) fn finite(value: f64, field: &'static str) -> Result<f64, Refusal> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Refusal::bad(field, "not a finite number"))
    }
}

/// Microseconds since 1970, UTC.
pub(crate) fn instant(unix_us: i64, field: &'static str) -> Result<OffsetDateTime, Refusal> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_us) * 1000)
        .map_err(|why| Refusal::bad(field, why))
}

pub(crate) fn unix_us(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1000) as i64
}

pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
