//! What the product's own comparison says of runs between which nothing changed.

use anyhow::{Result, ensure};
use report_gen::stats::{self, Interval, Ratio};
use serde::Deserialize;

use super::fleet::Fleet;

/// Gate G10: so many of all pairs show no difference.
const ALIKE: f64 = 0.95;
/// The 0.975 quantile of the normal distribution.
const Z: f64 = 1.959_964;

/// As `mlx-fleet compare --json` writes them.
#[derive(Deserialize)]
struct Compared {
    comparison: Comparison,
}

#[derive(Deserialize)]
struct Comparison {
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    suite: String,
    case_key: String,
    metric: String,
    unit: String,
    direction: String,
    ratio: Option<Ratio>,
    verdict: Option<stats::Verdict>,
    differences: Vec<String>,
}

impl Pair {
    /// By its own interval, as if nothing else had been asked.
    fn verdict_alone(&self) -> stats::Verdict {
        let interval = self.ratio.and_then(|ratio| ratio.interval);
        stats::verdict(interval, self.direction == "higher", &self.unit)
    }

    fn holds_one(&self) -> bool {
        let interval = self.ratio.and_then(|ratio| ratio.interval);
        interval.is_some_and(|interval| interval.low <= 1.0 && 1.0 <= interval.high)
    }
}

/// Compares the first run with the second, the third with the fourth, and so on: no run is in two pairs.
/// Prints what was found; whether it may be that 95 % of pairs show no difference.
pub fn tell(fleet: &Fleet, runs: &[String]) -> Result<bool> {
    let mut pairs: Vec<Pair> = Vec::new();
    for two in runs.chunks_exact(2) {
        let told = fleet.told(&["compare", &two[0], &two[1], "--json"])?;
        pairs.extend(serde_json::from_str::<Compared>(&told)?.comparison.pairs);
    }
    for pair in &pairs {
        ensure!(
            pair.differences.is_empty() && pair.verdict.is_some(),
            "{} {} {} was not compared: {:?}",
            pair.suite,
            pair.case_key,
            pair.metric,
            pair.differences
        );
    }
    println!(
        "{} pairs of a case's number in one run and the next",
        pairs.len()
    );
    let corrected = |pair: &Pair| pair.verdict.is_none_or(no_difference);
    let alone = |pair: &Pair| no_difference(pair.verdict_alone());
    let interval = share("without a difference", &pairs, corrected);
    share("the same before Holm's correction", &pairs, alone);
    share("whose 95 % interval holds 1", &pairs, Pair::holds_one);
    for pair in pairs.iter().filter(|pair| !alone(pair)) {
        let ratio = pair.ratio.map_or(f64::NAN, |ratio| ratio.value);
        println!(
            "  {} alone: {} {} {}, ratio {ratio:.3}",
            pair.verdict_alone(),
            pair.suite,
            pair.case_key,
            pair.metric
        );
    }
    Ok(interval.high >= ALIKE)
}

fn no_difference(verdict: stats::Verdict) -> bool {
    matches!(
        verdict,
        stats::Verdict::Equivalent | stats::Verdict::Inconclusive
    )
}

fn share(what: &str, pairs: &[Pair], is: impl Fn(&Pair) -> bool) -> Interval {
    let count = pairs.iter().filter(|pair| is(pair)).count();
    let interval = wilson(count, pairs.len());
    println!(
        "  {what}: {count} of {}, {:.1} to {:.1} %",
        pairs.len(),
        100.0 * interval.low,
        100.0 * interval.high
    );
    interval
}

/// Wilson's 95 % interval of a share, as if the pairs were independent.
fn wilson(count: usize, of: usize) -> Interval {
    let n = of as f64;
    let p = count as f64 / n;
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Interval {
        low: (centre - half) / scale,
        high: (centre + half) / scale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wilson 1927, worked out apart from this code.
    #[test]
    fn a_share_has_wilsons_interval() {
        for (count, of, low, high) in [
            (40, 40, 0.912_378, 1.0),
            (36, 40, 0.769_482, 0.960_420),
            (0, 10, 0.0, 0.277_533),
        ] {
            let interval = wilson(count, of);
            assert!((interval.low - low).abs() < 1e-5, "{interval:?}");
            assert!((interval.high - high).abs() < 1e-5, "{interval:?}");
        }
    }
}
