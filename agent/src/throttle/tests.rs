//! Real falls are seen, noise is not taken for one.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::sensors::Readout;

/// A second each, at these rates.
fn pace_of(modes: &[(&str, &[f64])]) -> Pace {
    let mut pace = Pace::default();
    let start = Instant::now();
    let mut ordinal = 0;
    for round in 0..modes[0].1.len() {
        for (mode, rates) in modes {
            let iteration = Iteration {
                ordinal,
                phase: Phase::Measured,
                mode: (*mode).to_owned(),
                started: Duration::from_secs(u64::from(ordinal)),
                duration: Duration::from_secs(1),
                work: (rates[round] * 1e6) as u64,
                token_times: Vec::new(),
                samples: Vec::new(),
                reasons: Vec::new(),
                token_ids_sha256: String::new(),
            };
            ordinal += 1;
            pace.add(
                &iteration,
                None,
                start + Duration::from_secs(u64::from(ordinal)),
            );
        }
    }
    pace
}

fn trend(rates: &[f64]) -> Trend {
    pace_of(&[("one", rates)]).trend().unwrap()
}

/// Slope -1.5 a second over a mean of 97.2; p by the closed form of t with three degrees of freedom,
/// 1/2 + (s / (1 + s²) + atan s) / π with s = t/√3.
#[test]
fn the_line_and_its_p_are_those_of_the_textbook() {
    let Trend { percent, p } = trend(&[100.0, 98.0, 99.0, 95.0, 94.0]);
    assert!((percent - -7.716_049_382_716_05).abs() < 1e-9, "{percent}");
    assert!((p - 0.014_357_804_203_404_4).abs() < 1e-9, "{p}");
}

#[test]
fn a_fall_is_flagged_and_a_small_or_a_rising_one_is_not() {
    let line = |step: f64| -> Vec<f64> { (0..10).map(|i| 100.0 + step * f64::from(i)).collect() };
    assert!(trend(&line(-0.3)).is_falling());
    assert!(!trend(&line(-0.15)).is_falling());
    assert!(!trend(&line(0.3)).is_falling());
    assert!(!trend(&[100.0; 5]).is_falling());
    assert_eq!(pace_of(&[("one", &[100.0, 90.0])]).trend(), None);
}

#[test]
fn one_iteration_of_many_stretches_has_a_trend_of_its_own() {
    // Stretches of four tokens, a second apart, whose gaps grow from 10 ms by so much.
    let of = |growth_ms: f64| {
        let time = |place: u32| {
            let (stretch, token) = (f64::from(place / 4), f64::from(place % 4));
            Duration::from_secs_f64(stretch + token * (10.0 + growth_ms * stretch) / 1e3)
        };
        let iteration = Iteration {
            ordinal: 0,
            phase: Phase::Measured,
            mode: "decode".to_owned(),
            started: Duration::from_secs(5),
            duration: Duration::from_secs(20),
            work: 80,
            token_times: (0..80).map(time).collect(),
            samples: Vec::new(),
            reasons: Vec::new(),
            token_ids_sha256: String::new(),
        };
        let mut pace = Pace::default();
        pace.add(&iteration, Some(4), Instant::now());
        pace.trend().unwrap()
    };
    let slower = of(0.05);
    assert!(
        slower.is_falling() && (-10.0..-8.0).contains(&slower.percent),
        "{slower:?}"
    );
    assert!(!of(0.0).is_falling());
}

#[test]
fn modes_of_different_rates_share_one_line() {
    let pace =
        |slow: &[f64]| pace_of(&[("fast", &[100.0, 99.0, 98.0, 97.0, 96.0]), ("slow", slow)]);
    let both = pace(&[10.0, 9.9, 9.8, 9.7, 9.6]).trend().unwrap();
    assert!(both.is_falling(), "{both:?}");
    assert!((both.percent - -5.1).abs() < 0.1, "{both:?}");
    let one = pace(&[10.0, 10.3, 9.7, 10.3, 9.9]).trend().unwrap();
    assert!(!one.is_falling(), "{one:?}");
}

/// Sum of uniforms: near enough to normal, with this deviation.
fn noise(rng: &mut ChaCha8Rng, deviation: f64) -> f64 {
    let uniform = |rng: &mut ChaCha8Rng| f64::from(rng.next_u32()) / f64::from(u32::MAX);
    deviation * ((0..12).map(|_| uniform(rng)).sum::<f64>() - 6.0)
}

#[test]
fn noise_is_seldom_taken_for_a_fall_and_a_fall_in_noise_mostly_seen() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut flagged = |iterations: u32, deviation: f64, fall: f64| {
        let tries = 5000;
        let falls = (0..tries).filter(|_| {
            let rate = |i| 100.0 - fall * f64::from(i) / f64::from(iterations);
            let rates: Vec<f64> = (0..iterations)
                .map(|i| rate(i) + noise(&mut rng, deviation))
                .collect();
            trend(&rates).is_falling()
        });
        falls.count() as f64 / f64::from(tries)
    };
    for deviation in [0.2, 1.0, 3.0, 10.0] {
        for iterations in [5, 10] {
            let rate = flagged(iterations, deviation, 0.0);
            assert!(rate <= 0.003, "{rate} of {iterations} with {deviation} %");
        }
    }
    let seen = flagged(10, 0.5, 5.0);
    assert!(seen > 0.9, "{seen}");
}

fn ticks(start: Instant, seconds: u32, values: impl Fn(u32) -> [f64; 3]) -> Vec<Tick> {
    let readout = |second| {
        let [active, mhz, watts] = values(second);
        Readout {
            values: vec![
                (GPU_ACTIVE_RATIO, active),
                (GPU_MHZ, mhz),
                (GPU_POWER_W, watts),
            ],
            ..Readout::default()
        }
    };
    let tick = |second| Tick {
        at: start + INTERVAL * second,
        readout: readout(second),
    };
    (0..=seconds).map(tick).collect()
}

/// Of twenty steady seconds of measured time.
fn flags_of(values: impl Fn(u32) -> [f64; 3], gpu_max_mhz: Option<u32>) -> Vec<Reason> {
    let pace = pace_of(&[("one", &[100.0; 20])]);
    let (start, _) = pace.span.unwrap();
    flags(&ticks(start, 20, values), &pace, gpu_max_mhz)
}

#[test]
fn a_low_clock_counts_only_of_a_busy_gpu_whose_highest_is_known() {
    let at = |active, mhz| move |_| [active, mhz, 30.0];
    assert_eq!(
        flags_of(at(0.99, 1500.0), Some(1600)),
        [Reason::ThrottledClock]
    );
    assert_eq!(flags_of(at(0.99, 1530.0), Some(1600)), []);
    assert_eq!(flags_of(at(0.5, 800.0), Some(1600)), []);
    assert_eq!(flags_of(at(0.99, 800.0), None), []);
}

#[test]
fn power_that_falls_from_the_first_quarter_to_the_last_is_a_limit() {
    let falls = |to: f64| move |second| [0.99, 1600.0, if second > 15 { to } else { 30.0 }];
    assert_eq!(flags_of(falls(25.0), None), [Reason::ThrottledPower]);
    assert_eq!(flags_of(falls(26.0), None), []);
    // A GPU that has less to do takes less.
    let idle = |second| [if second > 15 { 0.3 } else { 0.99 }, 1600.0, 10.0];
    assert_eq!(flags_of(idle, None), []);
}

#[test]
fn what_comes_before_and_after_the_measured_time_does_not_count() {
    let pace = pace_of(&[("one", &[100.0; 20])]);
    let (start, _) = pace.span.unwrap();
    // Until and with the measured time's first instant, and after it: another clock.
    let before = start.checked_sub(INTERVAL * 10).unwrap();
    let slow = |second| {
        [
            0.99,
            if second <= 10 || second > 30 {
                400.0
            } else {
                1600.0
            },
            30.0,
        ]
    };
    assert_eq!(flags(&ticks(before, 40, slow), &pace, Some(1600)), []);
    assert_eq!(flags(&[], &pace, Some(1600)), []);
}
