//! What the intervals promise, by simulation: how often each method's 95 % interval holds the truth.
//! log(rate) = launch effect (0.8 %) + iteration noise (0.4 %), two equal arms.

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

/// With `outliers` every twentieth iteration, on the average, is 2 % slow.
fn arm(
    random: &mut ChaCha8Rng,
    launches: usize,
    iterations: usize,
    outliers: bool,
) -> Vec<Vec<f64>> {
    (0..launches)
        .map(|_| {
            let launch = 0.008 * normal(random);
            (0..iterations)
                .map(|_| {
                    let slow = outliers && random.random::<f64>() < 0.05;
                    (launch + 0.004 * normal(random)).exp() * if slow { 0.98 } else { 1.0 }
                })
                .collect()
        })
        .collect()
}

type Method = fn(&[Vec<f64>], &[Vec<f64>]) -> Interval;

/// Share of trials whose interval holds the true ratio, 1.
fn coverage(launches: usize, iterations: usize, outliers: bool, interval: Method) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let held = (0..TRIALS).filter(|_| {
        let (a, b) = (
            arm(&mut random, launches, iterations, outliers),
            arm(&mut random, launches, iterations, outliers),
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

/// A row of the table: launches, iterations in each, whether one in twenty is slow; and what 1000 trials
/// gave there for pooled iterations, the hierarchical bootstrap and Welch's t, in per cent.
type Row = (usize, usize, bool, [f64; 3]);

const TABLE: [Row; 8] = [
    (3, 5, false, [54.7, 81.5, 96.0]),
    (5, 5, false, [57.2, 88.2, 95.3]),
    (8, 5, false, [61.7, 90.7, 95.2]),
    (10, 5, false, [64.6, 93.5, 95.6]),
    (10, 10, false, [48.5, 93.3, 95.6]),
    (20, 5, false, [62.9, 94.8, 96.1]),
    (3, 5, true, [58.4, 81.6, 94.2]),
    (10, 5, true, [66.4, 93.6, 95.2]),
];

/// The table is of another program with other random numbers, so both shares have an error of their own.
#[test]
fn intervals_hold_what_the_published_simulation_says() {
    let methods: [(&str, Method); 3] = [
        ("pooled", pooled),
        ("bootstrap", hierarchical),
        ("Welch", welch),
    ];
    std::thread::scope(|scope| {
        for (launches, iterations, outliers, published) in TABLE {
            for ((name, method), published) in methods.into_iter().zip(published) {
                scope.spawn(move || {
                    let share = coverage(launches, iterations, outliers, method);
                    let expected = published / 100.0;
                    let variance = expected * (1.0 - expected);
                    let error = (variance * (1.0 / 1000.0 + 1.0 / TRIALS as f64)).sqrt();
                    assert!(
                        (share - expected).abs() < 3.5 * error,
                        "{name} {launches} x {iterations}, outliers {outliers}: {share}, published {expected}"
                    );
                });
            }
        }
    });
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
        let interval = welch(
            &arm(&mut random, 5, 5, false),
            &arm(&mut random, 5, 5, false),
        );
        matches!(
            stats::verdict(Some(interval), true, "tok/s"),
            stats::Verdict::Faster | stats::Verdict::Slower
        )
    });
    assert!(different.count() <= TRIALS / 20);
}

/// Bonferroni's bound over the places is close for series as short as these: a step is seen in at most
/// one in twenty series without one, and one of three deviations in nearly all that have it.
#[test]
fn a_step_is_rarely_seen_where_there_is_none() {
    const RUNS: usize = 16;
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut seen = |step: f64| {
        let found = (0..TRIALS).filter(|_| {
            let level = |n: usize| if n < RUNS / 2 { 0.0 } else { step };
            let series: Vec<f64> = (0..RUNS).map(|n| level(n) + normal(&mut random)).collect();
            stats::best_split(&series).is_some_and(|split| split.p < 0.05)
        });
        found.count() as f64 / TRIALS as f64
    };
    let (without, with) = (seen(0.0), seen(3.0));
    assert!(
        without > 0.01 && without < 0.055,
        "{without} of series without a step"
    );
    assert!(with > 0.95, "{with} of series with one");
}
