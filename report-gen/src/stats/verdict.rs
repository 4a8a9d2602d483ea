//! What an interval says against a margin that matters in practice.

use std::fmt;

use serde::{Deserialize, Serialize};
use statrs::distribution::ContinuousCDF;

use super::interval::{Interval, Ratio, student};

/// Differences below 2 % are of no practical weight (P27).
pub const MARGIN: f64 = 0.02;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Of rates and times.
    Faster,
    Slower,
    /// Of bytes.
    Smaller,
    Larger,
    /// Of everything else.
    Better,
    Worse,
    Equivalent,
    Inconclusive,
}

impl Verdict {
    /// Whether it says that the arm is worse than the other. Fewer bytes for the same work are better,
    /// in every metric of bytes.
    pub fn is_for_the_worse(self) -> bool {
        match self {
            Self::Slower | Self::Larger | Self::Worse => true,
            Self::Faster | Self::Smaller | Self::Better | Self::Equivalent | Self::Inconclusive => {
                false
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Smaller => "smaller",
            Self::Larger => "larger",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Equivalent => "equivalent",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// The verdict on a ratio by its whole interval, in the words of the unit. The margin is taken on the
/// log scale, so that the baseline's verdict on the arm is the mirror of the arm's on the baseline.
pub fn verdict(interval: Option<Interval>, higher_is_better: bool, unit: &str) -> Verdict {
    let Some(Interval { low, high }) = interval else {
        return Verdict::Inconclusive;
    };
    let (low, high) = (low.ln(), high.ln());
    let margin = (1.0 + MARGIN).ln();
    if low > margin {
        beyond(true, higher_is_better, unit)
    } else if high < -margin {
        beyond(false, higher_is_better, unit)
    } else if low >= -margin && high <= margin {
        Verdict::Equivalent
    } else {
        Verdict::Inconclusive
    }
}

/// A rate has its time in the unit, a time is one; nothing else can be fast.
fn beyond(above: bool, higher_is_better: bool, unit: &str) -> Verdict {
    let good = above == higher_is_better;
    match unit {
        "bytes" if above => Verdict::Larger,
        "bytes" => Verdict::Smaller,
        "s" | "ms" | "µs" | "ns" if good => Verdict::Faster,
        "s" | "ms" | "µs" | "ns" => Verdict::Slower,
        rate if rate.ends_with("/s") && good => Verdict::Faster,
        rate if rate.ends_with("/s") => Verdict::Slower,
        _ if good => Verdict::Better,
        _ => Verdict::Worse,
    }
}

/// p of what the ratio's place claims, against the margin and not against 1: one-sided of lying beyond
/// the margin where it does, else of lying within it (two one-sided tests, of which the nearer end's is
/// the larger). None where the spread is not known.
pub fn p_against_margin(ratio: &Ratio) -> Option<f64> {
    let (variance, df) = ratio.log_variance.zip(ratio.df)?;
    let distance = (ratio.value.ln().abs() - (1.0 + MARGIN).ln()).abs();
    Some(if variance > 0.0 {
        student(df).sf(distance / variance.sqrt())
    } else if distance > 0.0 {
        0.0
    } else {
        0.5
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::welch_ratio;

    fn of(low: f64, high: f64, higher_is_better: bool, unit: &str) -> Verdict {
        verdict(Some(Interval { low, high }), higher_is_better, unit)
    }

    #[test]
    fn the_whole_interval_must_pass_the_margin() {
        assert_eq!(of(1.03, 1.09, true, "tok/s"), Verdict::Faster);
        assert_eq!(of(1.01, 1.09, true, "tok/s"), Verdict::Inconclusive);
        assert_eq!(of(0.99, 1.01, true, "tok/s"), Verdict::Equivalent);
        assert_eq!(of(0.90, 0.97, true, "tok/s"), Verdict::Slower);
        assert_eq!(verdict(None, true, "tok/s"), Verdict::Inconclusive);
    }

    #[test]
    fn less_time_is_faster_and_fewer_bytes_are_smaller() {
        assert_eq!(of(0.90, 0.97, false, "ms"), Verdict::Faster);
        assert_eq!(of(1.03, 1.09, false, "ms"), Verdict::Slower);
        assert_eq!(of(0.90, 0.97, false, "bytes"), Verdict::Smaller);
        assert_eq!(of(1.03, 1.09, false, "bytes"), Verdict::Larger);
        assert_eq!(of(1.03, 1.09, true, "ratio"), Verdict::Better);
        assert_eq!(of(1.03, 1.09, false, "nats"), Verdict::Worse);
    }

    /// scipy: t.sf(|abs(ln ratio) - ln 1.02| / standard error, df)
    #[test]
    fn p_is_against_the_margin() {
        let b = [96.1, 97.3, 95.2, 99.0];
        let beyond = welch_ratio(&[101.2, 99.8, 100.4, 102.1, 100.9], &b).unwrap();
        let p = p_against_margin(&beyond).unwrap();
        assert!((p - 0.043_988_465_278).abs() < 1e-9, "{p}");
        let within = welch_ratio(&[96.4, 97.0, 97.1, 96.8], &b).unwrap();
        let p = p_against_margin(&within).unwrap();
        assert!((p - 0.053_417_033_701).abs() < 1e-9, "{p}");
        assert_eq!(p_against_margin(&welch_ratio(&[1.0], &b).unwrap()), None);
        let same = welch_ratio(&[8.0, 8.0], &[8.0, 8.0]).unwrap();
        assert_eq!(p_against_margin(&same), Some(0.0));
    }
}
