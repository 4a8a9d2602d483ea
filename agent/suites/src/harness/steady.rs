//! When warm-up may end.

use std::time::Duration;

/// So many iterations in a row must agree…
const IN_A_ROW: usize = 3;
/// …so closely, the slowest over the fastest.
const SPREAD: f64 = 0.02;

/// The last iterations of a warm-up, by the time of one pass.
#[derive(Debug, Default)]
pub struct Recent {
    times: [Duration; IN_A_ROW],
    seen: usize,
}

impl Recent {
    pub fn push(&mut self, pass: Duration) {
        self.times[self.seen % IN_A_ROW] = pass;
        self.seen += 1;
    }

    /// Whether there were enough iterations, and the last ones took the same time.
    pub fn agree(&self) -> bool {
        let slowest = self.times.iter().max().map_or(0.0, Duration::as_secs_f64);
        let fastest = self.times.iter().min().map_or(0.0, Duration::as_secs_f64);
        self.seen >= IN_A_ROW && slowest <= fastest * (1.0 + SPREAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(times_ms: &[u64]) -> bool {
        let mut recent = Recent::default();
        for &ms in times_ms {
            recent.push(Duration::from_millis(ms));
        }
        recent.agree()
    }

    #[test]
    fn three_in_a_row_within_two_percent_are_steady() {
        assert!(!agree(&[100, 100]), "too few");
        assert!(agree(&[100, 102, 101]));
        assert!(!agree(&[100, 103, 101]));
        assert!(agree(&[500, 300, 100, 101, 100]), "only the last count");
        assert!(!agree(&[100, 100, 100, 140]), "unrest after rest");
    }
}
