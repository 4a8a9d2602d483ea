//! Why a message was refused: which field, and what is wrong with it.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use domain::text::is_plain;
use time::OffsetDateTime;

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("{field}: {why}")]
    Bad { field: &'static str, why: String },
}

impl Refusal {
    /// What is refused may be long and hostile, and stands in the refusal: its beginning is enough.
    pub(crate) fn bad(field: &'static str, why: impl Display) -> Self {
        let shown = |c| if is_plain(c) { c } else { '\u{fffd}' };
        Self::Bad {
            field,
            why: why.to_string().chars().take(150).map(shown).collect(),
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

/// Longest name: of a machine, a version, a sensor.
const MAX_NAME_BYTES: usize = 200;
/// Longest line that is no name: a path, the key of a case.
const MAX_LINE_BYTES: usize = 4096;
/// Longest text for people, such as the end of a worker's standard error.
const MAX_TEXT_BYTES: usize = 256 * 1024;

/// Names go into tables, files, pages and terminals: short, and of plain characters.
pub(crate) fn name(text: String, field: &'static str) -> Result<String, Refusal> {
    plain(at_most(text, MAX_NAME_BYTES, field)?, field)
}

pub(crate) fn line(text: String, field: &'static str) -> Result<String, Refusal> {
    plain(at_most(text, MAX_LINE_BYTES, field)?, field)
}

pub(crate) fn text(text: String, field: &'static str) -> Result<String, Refusal> {
    at_most(text, MAX_TEXT_BYTES, field)
}

fn at_most(text: String, most: usize, field: &'static str) -> Result<String, Refusal> {
    if text.len() > most {
        return Err(Refusal::bad(
            field,
            format_args!("longer than {most} bytes"),
        ));
    }
    Ok(text)
}

fn plain(text: String, field: &'static str) -> Result<String, Refusal> {
    if text.chars().all(is_plain) {
        Ok(text)
    } else {
        Err(Refusal::bad(field, "holds control characters"))
    }
}

/// A list that nobody honest makes longer.
pub(crate) fn few<T>(list: Vec<T>, most: usize, field: &'static str) -> Result<Vec<T>, Refusal> {
    if list.len() > most {
        return Err(Refusal::bad(
            field,
            format_args!("{} entries; at most {most}", list.len()),
        ));
    }
    Ok(list)
}

/// A count as Postgres keeps it.
pub(crate) fn count(number: u32, field: &'static str) -> Result<u32, Refusal> {
    i32::try_from(number)
        .map(|_| number)
        .map_err(|_| Refusal::bad(field, format_args!("{number} is too large")))
}

/// The same for bytes, tokens and times.
pub(crate) fn amount(number: u64, field: &'static str) -> Result<u64, Refusal> {
    i64::try_from(number)
        .map(|_| number)
        .map_err(|_| Refusal::bad(field, format_args!("{number} is too large")))
}

/// NaN and infinities are refused at the edge: Postgres would keep them, JSON cannot.
pub(crate) fn finite(value: f64, field: &'static str) -> Result<f64, Refusal> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Refusal::bad(field, "not a finite number"))
    }
}

/// Microseconds since 1970, UTC, before 2200: a clock may be wrong, but not by centuries.
pub(crate) fn instant(unix_us: i64, field: &'static str) -> Result<OffsetDateTime, Refusal> {
    const END_US: i64 = 7_258_118_400_000_000;
    if !(0..END_US).contains(&unix_us) {
        return Err(Refusal::bad(
            field,
            format_args!("{unix_us} is no time between 1970 and 2200"),
        ));
    }
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_us) * 1000)
        .map_err(|why| Refusal::bad(field, why))
}

pub(crate) fn unix_us(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1000) as i64
}

pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
