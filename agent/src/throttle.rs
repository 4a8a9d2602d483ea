//! Whether a launch was slowed by heat or by a power limit: P13 of the protocol, but for the system's own
//! thermal level ([`crate::preflight`]) and the [`crate::canary`]. Flags, never filters.
//!
//! All are judged over the launch's measured time alone: loading and warming up look different.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::reason::Reason;
use domain::worker::{Iteration, Phase};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::sensors::{GPU_ACTIVE_RATIO, GPU_MHZ, GPU_POWER_W, INTERVAL, Tick};

/// Of the highest clock.
const LEAST_CLOCK: f64 = 0.95;

/// Below it the GPU waits, and a low clock or little power is thrift.
const BUSY: f64 = 0.9;

/// Of the first quarter's power.
const LEAST_POWER: f64 = 0.85;

/// Fewer readings make no mean.
const LEAST_READINGS: usize = 3;

/// Of the rate's mean, in percent.
const LEAST_TREND_PCT: f64 = -2.0;

/// How often noise alone may look like a fall.
const FALSE_ALARMS: f64 = 0.001;

/// A launch's measured iterations, as they came.
#[derive(Debug, Default)]
pub struct Pace {
    /// By mode, since a mode has a rate of its own.
    laps: BTreeMap<String, Vec<Lap>>,
    span: Option<(Instant, Instant)>,
}

/// Seconds since the worker's start.
#[derive(Clone, Copy, Debug)]
struct Lap {
    began: f64,
    ended: f64,
    rate: f64,
}

/// A straight line through the rates over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Change over the measured time, in percent of the mean.
    pub percent: f64,
    /// How often noise alone would fall so steeply.
    p: f64,
}

impl Pace {
    /// `stretch`: after so many tokens the iteration begins the same work again, and each such stretch
    /// is a lap; None: the iteration is one. `heard` is when its frame came, which is when it ended.
    pub fn add(&mut self, iteration: &Iteration, stretch: Option<u64>, heard: Instant) {
        if iteration.phase != Phase::Measured || iteration.duration.is_zero() {
            return;
        }
        let began = heard.checked_sub(iteration.duration).unwrap_or(heard);
        let first = self.span.map_or(began, |(first, _)| first);
        self.span = Some((first, heard));
        let started = iteration.started.as_secs_f64();
        let lap = |began: Duration, ended: Duration, work: u64| {
            let (began, ended) = (began.as_secs_f64(), ended.as_secs_f64());
            Lap {
                began: started + began,
                ended: started + ended,
                rate: work as f64 / (ended - began),
            }
        };
        let laps = match stretch {
            None => vec![lap(Duration::ZERO, iteration.duration, iteration.work)],
            // N tokens have N - 1 intervals.
            Some(tokens) => iteration
                .token_times
                .chunks_exact(tokens as usize)
                .filter(|times| times[0] < times[times.len() - 1])
                .map(|times| lap(times[0], times[times.len() - 1], tokens - 1))
                .collect(),
        };
        let of_mode = self.laps.entry(iteration.mode.clone()).or_default();
        of_mode.extend(laps);
    }

    /// Least squares, one slope for all modes, each held against its own mean. None where too few
    /// iterations leave no noise to judge by.
    pub fn trend(&self) -> Option<Trend> {
        let laps = || self.laps.values().flatten();
        let began = laps().map(|lap| lap.began).reduce(f64::min)?;
        let ended = laps().map(|lap| lap.ended).reduce(f64::max)?;
        // Of each lap, its middle and its rate, both from their mode's mean.
        let mut points = Vec::new();
        let mut modes = 0;
        for laps in self.laps.values() {
            let n = laps.len() as f64;
            let middle = |lap: &Lap| f64::midpoint(lap.began, lap.ended);
            let mean_x = laps.iter().map(middle).sum::<f64>() / n;
            let mean_rate = laps.iter().map(|lap| lap.rate).sum::<f64>() / n;
            // A mode that does no work has no rate.
            if mean_rate > 0.0 {
                let point = |lap: &Lap| (middle(lap) - mean_x, lap.rate / mean_rate - 1.0);
                points.extend(laps.iter().map(point));
                modes += 1;
            }
        }
        let freedom = points.len().checked_sub(modes + 1)?;
        let sum_xx: f64 = points.iter().map(|(x, _)| x * x).sum();
        if freedom == 0 || sum_xx <= 0.0 {
            return None;
        }
        let slope = points.iter().map(|(x, y)| x * y).sum::<f64>() / sum_xx;
        let noise: f64 = points.iter().map(|(x, y)| (y - slope * x).powi(2)).sum();
        let error = (noise / freedom as f64 / sum_xx).sqrt();
        let t = StudentsT::new(0.0, 1.0, freedom as f64).ok()?;
        let p = if error > 0.0 {
            t.cdf(slope / error)
        } else {
            // Without noise every slope is real.
            f64::from(slope >= 0.0)
        };
        Some(Trend {
            percent: slope * (ended - began) * 100.0,
            p,
        })
    }
}

impl Trend {
    fn is_falling(self) -> bool {
        self.percent < LEAST_TREND_PCT && self.p < FALSE_ALARMS
    }
}

/// What looks like throttling. Where a sensor is silent, or the highest clock unknown, nothing does.
pub fn flags(ticks: &[Tick], pace: &Pace, gpu_max_mhz: Option<u32>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some((began, ended)) = pace.span {
        // A reading is of the interval before it, all of which must be measured time.
        let within = |tick: &&Tick| tick.at >= began + INTERVAL && tick.at <= ended;
        let busy = |tick: &&Tick| {
            tick.readout
                .value(GPU_ACTIVE_RATIO)
                .is_some_and(|it| it > BUSY)
        };
        let ticks: Vec<&Tick> = ticks.iter().filter(within).filter(busy).collect();
        let clock = mean(&ticks, GPU_MHZ).zip(gpu_max_mhz);
        if clock.is_some_and(|(mhz, max)| mhz < LEAST_CLOCK * f64::from(max)) {
            reasons.push(Reason::ThrottledClock);
        }
        let quarter = (ended - began) / 4;
        let until = ticks.partition_point(|tick| tick.at <= began + quarter);
        let from = ticks.partition_point(|tick| tick.at < began + quarter * 3 + INTERVAL);
        let (first, last) = (&ticks[..until], &ticks[from..]);
        let power = mean(first, GPU_POWER_W).zip(mean(last, GPU_POWER_W));
        if power.is_some_and(|(first, last)| last < LEAST_POWER * first) {
            reasons.push(Reason::ThrottledPower);
        }
    }
    if pace.trend().is_some_and(Trend::is_falling) {
        reasons.push(Reason::ThrottledTrend);
    }
    reasons
}

fn mean(ticks: &[&Tick], sensor: &str) -> Option<f64> {
    let values = ticks.iter().filter_map(|tick| tick.readout.value(sensor));
    let values: Vec<f64> = values.collect();
    let enough = values.len() >= LEAST_READINGS;
    enough.then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests;
