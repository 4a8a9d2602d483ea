//! The hierarchical bootstrap: launches are drawn with replacement, then iterations within each drawn
//! launch. It needs about ten launches to cover what it says; below that the t interval does.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::interval::Interval;
use super::location::median;

/// Resamples of one interval (P26).
pub const RESAMPLES: usize = 10_000;

/// Fixed, so that a report is the same however often it is rendered.
pub const SEED: u64 = 0x6d6c_7866_6c65_6574;

/// 95 % percentile interval of the geometric mean over launches of each launch's median. Each inner
/// list is one launch's iterations. None without launches, with an empty one, or without logs.
pub fn bootstrap_location(launches: &[Vec<f64>], resamples: usize, seed: u64) -> Option<Interval> {
    let launches = logs(launches)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let draws = (0..resamples)
        .map(|_| resampled(&launches, &mut random))
        .collect();
    Some(percentile_interval(draws))
}

/// The same of the ratio of two arms, each resampled by itself.
pub fn bootstrap_ratio(
    arm: &[Vec<f64>],
    baseline: &[Vec<f64>],
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    let (arm, baseline) = (logs(arm)?, logs(baseline)?);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let draws = (0..resamples)
        .map(|_| resampled(&arm, &mut random) - resampled(&baseline, &mut random))
        .collect();
    Some(percentile_interval(draws))
}

fn logs(launches: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    if launches.is_empty() || launches.iter().any(Vec::is_empty) {
        return None;
    }
    launches
        .iter()
        .map(|launch| launch.iter().map(|&v| (v > 0.0).then(|| v.ln())).collect())
        .collect()
}

/// Mean over drawn launches of the median over drawn iterations, in logs.
fn resampled(launches: &[Vec<f64>], random: &mut ChaCha8Rng) -> f64 {
    let mut drawn = Vec::new();
    let mut total = 0.0;
    for _ in launches {
        let launch = &launches[random.random_range(0..launches.len())];
        drawn.clear();
        drawn.extend(
            launch
                .iter()
                .map(|_| launch[random.random_range(0..launch.len())]),
        );
        total += median(&drawn).expect("a launch has iterations");
    }
    total / launches.len() as f64
}

fn percentile_interval(mut draws: Vec<f64>) -> Interval {
    draws.sort_by(f64::total_cmp);
    // Linear interpolation between order statistics, as numpy's default.
    let at = |p: f64| {
        let place = p * (draws.len() - 1) as f64;
        let below = place.floor() as usize;
        let above = (below + 1).min(draws.len() - 1);
        draws[below] + (draws[above] - draws[below]) * (place - place.floor())
    };
    Interval {
        low: at(0.025).exp(),
        high: at(0.975).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ten_launches() -> Vec<Vec<f64>> {
        (0..10)
            .map(|l| {
                (0..5)
                    .map(|i| 100.0 + f64::from(l) + 0.1 * f64::from(i))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let launches = ten_launches();
        let once = bootstrap_location(&launches, 500, SEED);
        assert_eq!(once, bootstrap_location(&launches, 500, SEED));
        assert_ne!(once, bootstrap_location(&launches, 500, SEED + 1));
    }

    /// The launches' spread is known: sd of 100..109 over sqrt(10) is 0.91 (with n, not n - 1, in it).
    #[test]
    fn the_width_is_that_of_the_launches() {
        let interval = bootstrap_location(&ten_launches(), 4000, SEED).unwrap();
        assert!(
            (interval.low - (104.7 - 1.96 * 0.91)).abs() < 0.15,
            "{interval:?}"
        );
        assert!(
            (interval.high - (104.7 + 1.96 * 0.91)).abs() < 0.15,
            "{interval:?}"
        );
    }

    #[test]
    fn values_without_logs_have_no_interval() {
        assert_eq!(bootstrap_location(&[vec![1.0, 0.0]], 10, SEED), None);
        assert_eq!(bootstrap_location(&[], 10, SEED), None);
        assert_eq!(bootstrap_ratio(&ten_launches(), &[vec![]], 10, SEED), None);
    }
}
