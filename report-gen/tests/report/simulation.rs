//! What the intervals promise, by simulation: the cells of `docs/measurement.md` 1.9 that decide the
//! method. log(rate) = launch effect (0.8 %) + iteration noise (0.4 %), two equal arms.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use report_gen::stats::{self, Interval, SEED};

const TRIALS: usize = 600;
const RESAMPLES: usize = 200;

fn normal(random: &mut ChaCha8Rng) -> f64 {
    // Box and Muller; 1 - u is never 0.
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn arm(random: &mut ChaCha8Rng, launches: usize, iterations: usize) -> Vec<Vec<f64>> {
    (0..launches)
        .map(|_| {
            let launch = 0.008 * normal(random);
            (0..iterations)
                .map(|_| (launch + 0.004 * normal(random)).exp())
                .collect()
        })
        .collect()
}

/// Share of trials whose interval holds the true ratio, 1.
fn coverage(
    launches: usize,
    iterations: usize,
    interval: impl Fn(&[Vec<f64>], &[Vec<f64>]) -> Interval,
) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let held = (0..TRIALS).filter(|_| {
        let (a, b) = (
            arm(&mut random, launches, iterations),
            arm(&mut random, launches, iterations),
        );
        let Interval { low, high } = interval(&a, &b);
        low <= 1.0 && 1.0 <= high
    });
    held.count() as f64 / TRIALS as f64
}

fn welch(a: &[Vec<f64>], b: &[Vec<f64>]) -> Interval {
    let medians = |arm: &[Vec<f64>]| -> Vec<f64> {
        arm.iter()
            .map(|launch| stats::median(launch).unwrap())
            .collect()
    };
    stats::welch_ratio(&medians(a), &medians(b))
        .unwrap()
        .interval
        .unwrap()
}

fn hierarchical(a: &[Vec<f64>], b: &[Vec<f64>]) -> Interval {
    stats::bootstrap_ratio(a, b, RESAMPLES, SEED).unwrap()
}

/// What must not be done: every iteration as if it were a launch.
fn pooled(a: &[Vec<f64>], b: &[Vec<f64>]) -> Interval {
    let pool = |arm: &[Vec<f64>]| -> Vec<Vec<f64>> {
        arm.iter().flatten().map(|&value| vec![value]).collect()
    };
    stats::bootstrap_ratio(&pool(a), &pool(b), RESAMPLES, SEED).unwrap()
}

#[test]
fn welchs_interval_holds_what_it_promises_with_few_launches() {
    for (launches, iterations) in [(3, 5), (5, 5), (10, 5)] {
        let share = coverage(launches, iterations, welch);
        assert!(
            (0.93..=0.985).contains(&share),
            "{launches} x {iterations}: {share}"
        );
    }
}

#[test]
fn the_bootstrap_holds_from_ten_launches_on_and_not_with_three() {
    let ten = coverage(10, 5, hierarchical);
    assert!((0.90..=0.97).contains(&ten), "{ten}");
    let three = coverage(3, 5, hierarchical);
    assert!((0.72..=0.88).contains(&three), "{three}");
}

#[test]
fn pooling_iterations_would_hold_half_the_time() {
    let share = coverage(3, 5, pooled);
    assert!((0.42..=0.66).contains(&share), "{share}");
}

/// Six cases whose launches share their block's heat, on two equal machines: the mean of the cases.
/// `launches` per case.
fn coverage_of_means(launches: [i32; 6]) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut machine = || {
        let blocks: Vec<f64> = (0..20).map(|_| 0.008 * normal(&mut random)).collect();
        let cases: Vec<stats::Case> = launches
            .iter()
            .map(|n| {
                let value = |launch: i32| {
                    let own = 0.003 * normal(&mut random);
                    (launch, (blocks[launch as usize] + own).exp())
                };
                (0..*n).map(value).collect()
            })
            .collect();
        stats::mean_of_cases(&cases).unwrap()
    };
    let held = (0..TRIALS).filter(|_| {
        let (a, b) = (machine(), machine());
        let Interval { low, high } = stats::quotient(&a, &b).interval.unwrap();
        low <= 1.0 && 1.0 <= high
    });
    held.count() as f64 / TRIALS as f64
}

#[test]
fn a_mean_of_cases_that_share_their_blocks_holds_what_it_promises() {
    let equal = coverage_of_means([5; 6]);
    assert!((0.93..=0.985).contains(&equal), "{equal}");
    let one_short = coverage_of_means([5, 5, 5, 5, 5, 4]);
    assert!((0.92..=0.99).contains(&one_short), "{one_short}");
    let very_unequal = coverage_of_means([10, 10, 10, 10, 10, 3]);
    assert!(very_unequal >= 0.93, "{very_unequal}");
}

#[test]
fn equal_arms_are_hardly_ever_told_apart() {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let different = (0..TRIALS).filter(|_| {
        let interval = welch(&arm(&mut random, 5, 5), &arm(&mut random, 5, 5));
        matches!(
            stats::verdict(Some(interval), true, "tok/s"),
            stats::Verdict::Faster | stats::Verdict::Slower
        )
    });
    assert!(different.count() <= TRIALS / 20);
}
