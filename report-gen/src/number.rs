//! Numbers as people read them: four significant digits, units that keep them short, and the same
//! decimals for a value and the ends of its interval.

use std::fmt;

use crate::report::{Measurement, PositionEffect};
use crate::stats::{Estimate, Interval, Method, Ratio};

/// A unit to show values in, and what to divide them by.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub unit: String,
    divisor: f64,
    /// Of numbers that a source gave: at the least so many, since it will have printed 12.0 beside 20.7.
    given_decimals: usize,
}

/// More decimals than these are a program's, and nobody's print.
const MOST_PRINTED_DECIMALS: usize = 3;

impl Scale {
    /// For a column of one metric.
    pub fn of(measurements: &[&Measurement]) -> Self {
        let unit = measurements.first().map_or("", |m| m.unit.as_str());
        let mut scale = Self::fitting(unit, measurements.iter().map(|m| m.estimate.value));
        let given = measurements
            .iter()
            .filter(|m| m.estimate.method == Method::AsGiven)
            .map(|m| all_decimals(scale.apply(m.estimate.value)));
        let most = given.max().unwrap_or(0);
        if most <= MOST_PRINTED_DECIMALS {
            scale.given_decimals = most;
        }
        scale
    }

    /// The unit in which the largest of the values stays short; decimal, as 1 GB = 1e9 bytes.
    pub fn fitting(unit: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let largest = values.into_iter().map(f64::abs).fold(0.0, f64::max);
        let steps: &[(f64, f64, &str)] = match unit {
            "bytes" => &[(1e9, 1e9, "GB"), (1e6, 1e6, "MB"), (1e4, 1e3, "kB")],
            "ms" => &[(1e4, 1e3, "s")],
            "µs" => &[(1e7, 1e6, "s"), (1e4, 1e3, "ms")],
            _ => &[],
        };
        let step = steps.iter().find(|(from, _, _)| largest >= *from);
        let (divisor, unit) = step.map_or((1.0, unit), |(_, divisor, unit)| (*divisor, *unit));
        Self {
            unit: unit.to_owned(),
            divisor,
            given_decimals: 0,
        }
    }

    pub fn apply(&self, value: f64) -> f64 {
        value / self.divisor
    }

    pub fn apply_to(&self, interval: Interval) -> Interval {
        Interval {
            low: self.apply(interval.low),
            high: self.apply(interval.high),
        }
    }

    /// The value alone, without its unit.
    pub fn value(&self, value: f64) -> String {
        let value = self.apply(value);
        fixed(value, decimals(value))
    }

    /// Value and interval, all with the value's decimals.
    pub fn estimate(&self, estimate: &Estimate) -> (String, Option<String>) {
        if estimate.method == Method::AsGiven {
            let value = self.apply(estimate.value);
            let decimals = all_decimals(value).max(self.given_decimals);
            return (fixed(value, decimals), None);
        }
        self.interval(estimate.value, estimate.interval)
    }

    pub fn interval(&self, value: f64, interval: Option<Interval>) -> (String, Option<String>) {
        let value = self.apply(value);
        let decimals = decimals(value);
        let interval = interval.map(|interval| {
            let Interval { low, high } = self.apply_to(interval);
            if interval.low.total_cmp(&interval.high).is_eq() {
                return "no spread".to_owned();
            }
            format!("{} to {}", fixed(low, decimals), fixed(high, decimals))
        });
        (fixed(value, decimals), interval)
    }
}

/// Decimals for four significant digits.
fn decimals(value: f64) -> usize {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    (3 - value.abs().log10().floor() as i32).clamp(0, 8) as usize
}

/// As many as the value has.
fn all_decimals(value: f64) -> usize {
    let plain = value.to_string();
    plain
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len())
}

/// Four significant digits without idle zeros, for where there is little room.
pub fn short(value: f64) -> String {
    let full = fixed(value, decimals(value));
    if full.contains('.') {
        full.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        full
    }
}

/// With commas between thousands from five digits on.
fn fixed(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let (sign, unsigned) = plain
        .strip_prefix('-')
        .map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && whole.len() > 4 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction}")
}

/// A value with its unit, and its interval in words.
pub fn quantity(unit: &str, value: f64, interval: Option<(f64, f64)>) -> (String, Option<String>) {
    let scale = Scale::fitting(unit, [value]);
    let interval = interval.map(|(low, high)| Interval { low, high });
    let (value, interval) = scale.interval(value, interval);
    let value = match scale.unit.as_str() {
        "" | "ratio" => value,
        unit => format!("{value} {unit}"),
    };
    (value, interval)
}

/// Value, unit, interval and n in one phrase.
pub fn with_interval(m: &Measurement) -> String {
    let scale = Scale::fitting(&m.unit, [m.estimate.value]);
    let (value, interval) = scale.estimate(&m.estimate);
    let unit = match scale.unit.as_str() {
        "ratio" if m.metric.contains("speedup") => "×".to_owned(),
        "ratio" | "" => String::new(),
        unit => format!(" {unit}"),
    };
    match interval {
        Some(interval) => format!("{value}{unit} ({interval}, n = {})", m.estimate.launches),
        None if m.estimate.method == Method::AsGiven => format!("{value}{unit} (as given)"),
        None => format!("{value}{unit} (one launch)"),
    }
}

/// The same where the words say what it is: a ratio has no unit worth a word.
pub fn bare_with_interval(m: &Measurement) -> String {
    let (value, interval) = Scale::fitting("", []).estimate(&m.estimate);
    let unit = match m.unit.as_str() {
        "" | "ratio" => String::new(),
        unit => format!(" {unit}"),
    };
    match interval {
        Some(interval) => format!("{value}{unit} ({interval})"),
        None => format!("{value}{unit} (one launch)"),
    }
}

/// What a sentence says of doubtful conditions, with the mark that tables have; nothing where there are
/// none.
pub fn doubts(tainted: bool, reasons: &[String]) -> String {
    if tainted {
        format!(" († doubtful conditions: {})", reasons.join(", "))
    } else {
        String::new()
    }
}

/// The mark alone, where the conditions are told nearby.
pub fn doubt_mark(tainted: bool) -> &'static str {
    if tainted { " †" } else { "" }
}

/// What the order of launches did to a metric.
pub fn position(effect: &PositionEffect) -> String {
    let place = match effect.effect.as_str() {
        "place_in_block" => "in the last place of a block",
        _ => "in the last block",
    };
    let PositionEffect {
        machine,
        suite,
        model,
        metric,
        last_over_first,
        ..
    } = effect;
    format!(
        "{} of {model} on {machine} (suite {suite}) was {place} {} times what it was in the first",
        crate::titles::metric_title(metric),
        ratio_with_interval(last_over_first),
    )
}

/// A ratio to three decimals with its interval.
pub fn ratio_with_interval(ratio: &Ratio) -> String {
    match ratio_parts(ratio) {
        (value, Some(interval)) => format!("{value} ({interval})"),
        (value, None) => value,
    }
}

/// Its value alone.
pub fn ratio(value: f64) -> String {
    fixed(value, ratio_decimals(value))
}

fn ratio_decimals(value: f64) -> usize {
    if (0.1..100.0).contains(&value) {
        3
    } else {
        decimals(value)
    }
}

pub fn ratio_parts(ratio: &Ratio) -> (String, Option<String>) {
    let decimals = ratio_decimals(ratio.value);
    let interval = ratio.interval.map(|interval| {
        format!(
            "{} to {}",
            fixed(interval.low, decimals),
            fixed(interval.high, decimals)
        )
    });
    (fixed(ratio.value, decimals), interval)
}

/// A p-value: never 0.
pub fn p_value(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("{p:.3}")
    }
}

/// Bytes in the unit that suits them.
pub fn bytes(bytes: f64) -> String {
    let scale = Scale::fitting("bytes", [bytes]);
    format!("{} {}", scale.value(bytes), scale.unit)
}

/// A whole number.
pub fn whole(count: u64) -> String {
    fixed(count as f64, 0)
}

/// A count of parameters, as 1.1 B or 596 M.
pub fn parameters(count: i64) -> String {
    let count = count as f64;
    let (divisor, letter) = match count {
        c if c >= 1e9 => (1e9, " B"),
        c if c >= 1e6 => (1e6, " M"),
        c if c >= 1e4 => (1e3, " k"),
        _ => (1.0, ""),
    };
    let scaled = count / divisor;
    let decimals = if letter.is_empty() || scaled >= 100.0 {
        0
    } else {
        2
    };
    format!("{}{letter}", fixed(scaled, decimals))
}

/// A chip, with the number of its cores where that is known.
pub fn chip(name: &str, gpu_cores: Option<impl fmt::Display>) -> String {
    match gpu_cores {
        Some(cores) => format!("{name}, {cores} GPU cores"),
        None => name.to_owned(),
    }
}

pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

pub fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_four_significant_digits_and_a_fitting_unit() {
        for (unit, value, want) in [
            ("tok/s", 123.456, "123.5 tok/s"),
            ("tok/s", 0.012_344, "0.01234 tok/s"),
            ("tok/s", 98_765.4, "98,765 tok/s"),
            ("bytes", 2.2e9, "2.200 GB"),
            ("bytes", 512.0, "512.0 bytes"),
            ("ms", 12_345.0, "12.35 s"),
            ("ms", 0.0, "0 ms"),
        ] {
            let scale = Scale::fitting(unit, [value]);
            assert_eq!(format!("{} {}", scale.value(value), scale.unit), want);
        }
    }

    #[test]
    fn a_given_number_keeps_its_digits() {
        for (unit, value, want) in [
            ("bytes", 13_348e6, "13.348 GB"),
            ("tok/s", 358_751.0, "358,751 tok/s"),
            ("tok/s", 86.3, "86.3 tok/s"),
            ("ms", 970.0, "970 ms"),
        ] {
            let estimate = Estimate {
                value,
                interval: None,
                launches: 1,
                method: Method::AsGiven,
            };
            let scale = Scale::fitting(unit, [value]);
            let (shown, interval) = scale.estimate(&estimate);
            assert_eq!(
                (format!("{shown} {}", scale.unit), interval),
                (want.into(), None)
            );
        }
    }

    #[test]
    fn an_interval_has_its_values_decimals() {
        let estimate = Estimate {
            value: 100.04,
            interval: Some(Interval {
                low: 98.765,
                high: 101.3333,
            }),
            launches: 3,
            method: Method::TOnLogs,
        };
        let shown = Scale::fitting("tok/s", [100.0]).estimate(&estimate);
        assert_eq!(shown, ("100.0".into(), Some("98.8 to 101.3".into())));
    }

    #[test]
    fn counts_of_parameters_are_short() {
        assert_eq!(parameters(1_100_048_384), "1.10 B");
        assert_eq!(parameters(596_049_920), "596 M");
        assert_eq!(parameters(1234), "1,234".replace(',', ""));
    }

    #[test]
    fn a_small_p_is_never_shown_as_zero() {
        assert_eq!(p_value(1e-9), "< 0.001");
        assert_eq!(p_value(0.0312), "0.031");
    }
}
