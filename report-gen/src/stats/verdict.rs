//! What an interval says against a margin that matters in practice.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::interval::Interval;

/// Differences below 2 % are of no practical weight (P27).
pub const MARGIN: f64 = 0.02;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Faster,
    Slower,
    Equivalent,
    Inconclusive,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Equivalent => "equivalent",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// The verdict on a ratio by its whole interval. The margin is taken on the log scale, so that the
/// baseline's verdict on the arm is the mirror of the arm's on the baseline.
pub fn verdict(interval: Option<Interval>, higher_is_better: bool) -> Verdict {
    let Some(Interval { low, high }) = interval else {
        return Verdict::Inconclusive;
    };
    let (low, high) = if higher_is_better {
        (low.ln(), high.ln())
    } else {
        (-high.ln(), -low.ln())
    };
    let margin = (1.0 + MARGIN).ln();
    if low > margin {
        Verdict::Faster
    } else if high < -margin {
        Verdict::Slower
    } else if low >= -margin && high <= margin {
        Verdict::Equivalent
    } else {
        Verdict::Inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(low: f64, high: f64, higher_is_better: bool) -> Verdict {
        verdict(Some(Interval { low, high }), higher_is_better)
    }

    #[test]
    fn the_whole_interval_must_pass_the_margin() {
        assert_eq!(of(1.03, 1.09, true), Verdict::Faster);
        assert_eq!(of(1.01, 1.09, true), Verdict::Inconclusive);
        assert_eq!(of(0.99, 1.01, true), Verdict::Equivalent);
        assert_eq!(of(0.90, 0.97, true), Verdict::Slower);
        assert_eq!(verdict(None, true), Verdict::Inconclusive);
    }

    #[test]
    fn less_time_is_faster() {
        assert_eq!(of(0.90, 0.97, false), Verdict::Faster);
        assert_eq!(of(1.03, 1.09, false), Verdict::Slower);
    }
}
