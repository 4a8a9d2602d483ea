//! Whether the machine is quiet enough to measure, and what to doubt about a launch when it was not.
//!
//! What time can mend (foreign load, heat, memory pressure) is waited for, within the plan's limit
//! for the job; what it cannot (a battery, low-power mode) only marks the launch. A machine that
//! stays busy must not make every launch wait: a gate that failed is remembered, longer each time.

mod outlook;

pub use outlook::Outlook;

use std::time::{Duration, Instant};

use domain::reason::Reason;
use tokio::time::timeout;

use crate::sensors::{
    BACKUP_CPU_RATIO, FOREIGN_CPU_RATIO, FOREIGN_GPU_RATIO, INDEXING_CPU_RATIO, INTERVAL,
    MEM_PRESSURE_LEVEL, PowerSource, Readout, SWAP_USED_BYTES, Sampler, THERMAL_LEVEL,
    THERMAL_STATE, Tick,
};

/// Of all cores, by processes that are not ours.
pub const FOREIGN_CPU_LIMIT: f64 = 0.10;

/// P4 of the protocol: of the time.
pub const FOREIGN_GPU_LIMIT: f64 = 0.03;

/// P4 of the protocol: of one core, by backups or by indexing.
pub const CHORES_LIMIT: f64 = 0.05;

/// Quiet for so long is quiet.
pub const WINDOW: Duration = Duration::from_secs(5);

/// Swap moves a little on an idle machine; so much is a launch that did not fit.
pub const SWAP_LIMIT_BYTES: f64 = 1e6;

/// P9 of the metric dictionary: a hole of more than two intervals taints.
const GAP: Duration = INTERVAL.saturating_mul(2);

/// How long a failed gate is remembered at first, and at most.
const REMEMBERED: Duration = Duration::from_mins(1);
const REMEMBERED_MAX: Duration = Duration::from_mins(16);

/// What keeps a machine from being quiet, of what waiting can mend.
pub fn unquiet(ticks: &[Tick]) -> Vec<Reason> {
    let mut reasons = foreign(ticks);
    let last = ticks.last().map_or(&[][..], std::slice::from_ref);
    if last.iter().any(|tick| is_hot(&tick.readout)) {
        reasons.push(Reason::ThermalPressure);
    }
    if is_short_of_memory(last) {
        reasons.push(Reason::MemoryPressure);
    }
    if swap_growth(ticks) > SWAP_LIMIT_BYTES {
        reasons.push(Reason::Swap);
    }
    reasons
}

/// What to doubt about a launch, from the ticks since it began and the last one before.
pub fn doubts(ticks: &[Tick], started: Instant, ended: Instant) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut doubt = |is: bool, reason| {
        if is {
            reasons.push(reason);
        }
    };
    let within = match ticks.iter().position(|tick| tick.at >= started) {
        Some(first) => &ticks[first..],
        // Shorter than an interval: what was before it is all that is known.
        None => ticks,
    };
    let on_battery = |tick: &Tick| tick.readout.power_source == Some(PowerSource::Battery);
    let low_power = |tick: &Tick| tick.readout.low_power_mode == Some(true);
    let hot = within.iter().any(|tick| is_hot(&tick.readout));
    doubt(hot, Reason::ThermalPressure);
    doubt(within.iter().any(on_battery), Reason::OnBattery);
    doubt(within.iter().any(low_power), Reason::LowPowerMode);
    for reason in foreign(within) {
        doubt(true, reason);
    }
    doubt(is_short_of_memory(within), Reason::MemoryPressure);
    doubt(swap_growth(ticks) > SWAP_LIMIT_BYTES, Reason::Swap);
    doubt(
        longest_gap(ticks, started, ended) > GAP,
        Reason::TelemetryGap,
    );
    reasons
}

/// What others did to the machine, by the mean over the ticks.
fn foreign(ticks: &[Tick]) -> Vec<Reason> {
    let limits = [
        (FOREIGN_CPU_RATIO, FOREIGN_CPU_LIMIT, Reason::ForeignCpu),
        (FOREIGN_GPU_RATIO, FOREIGN_GPU_LIMIT, Reason::ForeignGpu),
        (BACKUP_CPU_RATIO, CHORES_LIMIT, Reason::Housekeeping),
        (INDEXING_CPU_RATIO, CHORES_LIMIT, Reason::Housekeeping),
    ];
    let over = limits
        .into_iter()
        .filter(|&(sensor, limit, _)| mean(ticks, sensor).is_some_and(|mean| mean >= limit));
    let mut reasons: Vec<Reason> = over.map(|(_, _, reason)| reason).collect();
    reasons.dedup();
    reasons
}

fn values(ticks: &[Tick], sensor: &'static str) -> impl Iterator<Item = f64> {
    ticks
        .iter()
        .filter_map(move |tick| tick.readout.value(sensor))
}

/// None where the sensor was silent.
pub fn mean(ticks: &[Tick], sensor: &'static str) -> Option<f64> {
    let (count, sum) = values(ticks, sensor).fold((0, 0.0), |(n, sum), v| (n + 1, sum + v));
    (count > 0).then(|| sum / f64::from(count))
}

/// Whether the system says that it is hot.
pub fn is_hot(readout: &Readout) -> bool {
    let hot = |sensor| readout.value(sensor).is_some_and(|level| level > 0.0);
    hot(THERMAL_LEVEL) || hot(THERMAL_STATE)
}

fn is_short_of_memory(ticks: &[Tick]) -> bool {
    values(ticks, MEM_PRESSURE_LEVEL).any(|level| level > 1.0)
}

/// From the first reading to the largest, in bytes.
pub fn swap_growth(ticks: &[Tick]) -> f64 {
    let first = values(ticks, SWAP_USED_BYTES).next();
    let most = values(ticks, SWAP_USED_BYTES).reduce(f64::max);
    most.zip(first).map_or(0.0, |(most, first)| most - first)
}

/// The longest that sensors were silent.
pub fn longest_gap(ticks: &[Tick], started: Instant, ended: Instant) -> Duration {
    let mut longest = Duration::ZERO;
    let mut before = ticks.first().map_or(started, |tick| tick.at.min(started));
    for at in ticks.iter().map(|tick| tick.at).chain([ended]) {
        longest = longest.max(at.saturating_duration_since(before));
        before = at;
    }
    longest
}

/// Remembers over all jobs whether waiting is worth its time, and what the last launch saw.
#[derive(Debug, Default)]
pub struct Gate {
    failed: Option<(Instant, Duration)>,
    recent: Vec<Tick>,
}

impl Gate {
    /// Waits until the machine was quiet for [`WINDOW`] and returns true, or false when `budget` is used
    /// up or the gate failed not long ago. What was waited is taken off the budget; of a budget that is
    /// shorter than the window, so much quiet is enough.
    pub async fn pass(&mut self, sampler: &Sampler, budget: &mut Duration) -> bool {
        let began = Instant::now();
        let wanted = WINDOW.min(*budget);
        let mut ticked = sampler.ticked();
        loop {
            let now = Instant::now();
            let since = now.checked_sub(WINDOW).unwrap_or(now);
            let window = joined(&self.recent, sampler.since(since), since);
            let waited = now - began;
            let obstacles = unquiet(&window);
            // Before its first tick nothing is known; that tick is near. A plan that gives no time starts
            // without: the launch's own ticks say what to doubt.
            let blind = window.is_empty() && waited < INTERVAL && !wanted.is_zero();
            let seen = window.first().map_or(waited, |first| now - first.at);
            if !blind && obstacles.is_empty() && seen >= wanted {
                self.failed = None;
                *budget = budget.saturating_sub(waited);
                return true;
            }
            let is_over = waited >= *budget || self.is_remembered(now);
            if !blind && !obstacles.is_empty() && is_over {
                if !self.is_remembered(now) {
                    self.remember(now);
                    tracing::warn!(?obstacles, ?waited, "the machine does not become quiet");
                }
                *budget = budget.saturating_sub(waited);
                return false;
            }
            let patience = budget.saturating_sub(waited).max(INTERVAL);
            // A thread that is gone ticks no more: the time-out alone goes on.
            if let Ok(Err(_)) = timeout(patience, ticked.changed()).await {
                *budget = Duration::ZERO;
                return true;
            }
        }
    }

    /// Takes a launch's ticks, so that the next job need not look at the same time again.
    pub fn learn(&mut self, ticks: &[Tick]) {
        let last = ticks.last().map(|tick| tick.at);
        let since = last.and_then(|last| last.checked_sub(WINDOW));
        // With the one before them, as a sampler tells it.
        let first = ticks.partition_point(|tick| since.is_some_and(|since| tick.at < since));
        self.recent = ticks[first.saturating_sub(1)..].to_vec();
    }

    fn is_remembered(&self, now: Instant) -> bool {
        self.failed
            .is_some_and(|(at, remembered)| now.saturating_duration_since(at) < remembered)
    }

    fn remember(&mut self, now: Instant) {
        let longer = self.failed.map_or(REMEMBERED, |(_, last)| last * 2);
        self.failed = Some((now, longer.min(REMEMBERED_MAX)));
    }
}

/// What was seen since a time, by a sampler and, right before it, by another.
fn joined(recent: &[Tick], latest: Vec<Tick>, since: Instant) -> Vec<Tick> {
    let starts = latest.first().map_or_else(Instant::now, |tick| tick.at);
    let mut before: Vec<Tick> = recent
        .iter()
        .filter(|tick| tick.at < starts)
        .cloned()
        .collect();
    let is_gap = before.last().is_none_or(|last| starts - last.at > GAP);
    let first = before.partition_point(|tick| tick.at < since);
    before.drain(
        ..if is_gap {
            before.len()
        } else {
            first.saturating_sub(1)
        },
    );
    before.extend(latest);
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensors::Sensors;

    struct Stuck(f64);

    impl Sensors for Stuck {
        fn look(&mut self, _: Option<u32>) -> Readout {
            Readout {
                values: vec![(FOREIGN_CPU_RATIO, self.0)],
                ..Readout::default()
            }
        }
    }

    const MOMENT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_busy_machine_is_waited_for_as_long_as_the_budget_lasts_and_no_longer() {
        let busy = Sampler::start(|| Box::new(Stuck(0.5)), None);
        let (mut gate, mut budget) = (Gate::default(), MOMENT);
        let began = Instant::now();
        assert!(!gate.pass(&busy, &mut budget).await);
        assert!(began.elapsed() >= MOMENT);
        assert_eq!(budget, Duration::ZERO);
        // Waiting was in vain not long ago: the next job does not wait.
        let mut budget = WINDOW * 100;
        assert!(!gate.pass(&busy, &mut budget).await);
        assert!(budget > WINDOW * 90, "{budget:?}");
    }

    #[tokio::test]
    async fn a_quiet_machine_is_looked_at_for_as_long_as_there_is_time() {
        let quiet = Sampler::start(|| Box::new(Stuck(0.0)), None);
        let (mut gate, mut budget) = (Gate::default(), MOMENT);
        let began = Instant::now();
        assert!(gate.pass(&quiet, &mut budget).await);
        assert!(began.elapsed() >= MOMENT, "{:?}", began.elapsed());
        // The plan gives no time at all.
        let blind = Sampler::start(|| Box::new(Stuck(0.0)), None);
        let (began, mut none) = (Instant::now(), Duration::ZERO);
        assert!(Gate::default().pass(&blind, &mut none).await);
        assert!(blind.since(began).is_empty(), "no tick was waited for");
    }

    #[test]
    fn what_the_job_before_saw_counts_when_no_time_lies_between() {
        let start = Instant::now();
        let at = |intervals: u32| start + INTERVAL * intervals;
        let of = |range: std::ops::Range<u32>| -> Vec<Tick> {
            let tick = |interval| Tick {
                at: at(interval),
                readout: Readout::default(),
            };
            range.map(tick).collect()
        };
        let when = |ticks: Vec<Tick>| -> Vec<Instant> { ticks.iter().map(|it| it.at).collect() };
        // Since the fourth: with the one before, each once.
        let all = joined(&of(0..7), of(6..9), at(4));
        assert_eq!(when(all), (3..9).map(at).collect::<Vec<_>>());
        let apart = joined(&of(0..3), of(6..9), at(1));
        assert_eq!(when(apart), (6..9).map(at).collect::<Vec<_>>());
        assert_eq!(when(joined(&[], of(6..9), at(1))).len(), 3);
    }

    fn ticks(start: Instant, values: &[&[(&'static str, f64)]]) -> Vec<Tick> {
        let tick = |(index, values): (u32, &&[(&'static str, f64)])| Tick {
            at: start + INTERVAL * index,
            readout: Readout {
                values: values.to_vec(),
                ..Readout::default()
            },
        };
        (0..).zip(values).map(tick).collect()
    }

    #[test]
    fn a_quiet_machine_leaves_no_doubt() {
        let start = Instant::now();
        let calm: &[_] = &[
            (FOREIGN_CPU_RATIO, 0.02),
            (THERMAL_LEVEL, 0.0),
            (MEM_PRESSURE_LEVEL, 1.0),
        ];
        let ticks = ticks(start, &[calm; 4]);
        assert_eq!(unquiet(&ticks), []);
        let began = start + INTERVAL / 2;
        assert_eq!(doubts(&ticks, began, start + INTERVAL * 4), []);
    }

    #[test]
    fn each_condition_gives_its_reason() {
        let start = Instant::now();
        let reason = |before: &[_], after: &[_]| {
            doubts(&ticks(start, &[before, after]), start, start + INTERVAL * 2)
        };
        assert_eq!(
            reason(&[(FOREIGN_CPU_RATIO, 0.05)], &[(FOREIGN_CPU_RATIO, 0.2)]),
            [Reason::ForeignCpu]
        );
        assert_eq!(
            reason(&[], &[(FOREIGN_GPU_RATIO, 0.04)]),
            [Reason::ForeignGpu]
        );
        assert_eq!(
            reason(&[], &[(BACKUP_CPU_RATIO, 0.9), (INDEXING_CPU_RATIO, 0.9)]),
            [Reason::Housekeeping]
        );
        assert_eq!(reason(&[], &[(INDEXING_CPU_RATIO, 0.04)]), []);
        assert_eq!(
            reason(&[(THERMAL_STATE, 1.0)], &[]),
            [Reason::ThermalPressure]
        );
        assert_eq!(
            reason(&[(MEM_PRESSURE_LEVEL, 2.0)], &[]),
            [Reason::MemoryPressure]
        );
        assert_eq!(
            reason(&[(SWAP_USED_BYTES, 0.0)], &[(SWAP_USED_BYTES, 2e9)]),
            [Reason::Swap]
        );
        assert_eq!(
            reason(&[(SWAP_USED_BYTES, 2e9)], &[(SWAP_USED_BYTES, 0.0)]),
            []
        );
    }

    #[test]
    fn battery_and_low_power_mode_taint_and_are_not_waited_for() {
        let start = Instant::now();
        let mut ticks = ticks(start, &[&[], &[]]);
        ticks[1].readout.power_source = Some(PowerSource::Battery);
        ticks[1].readout.low_power_mode = Some(true);
        assert_eq!(
            doubts(&ticks, start, start + INTERVAL),
            [Reason::OnBattery, Reason::LowPowerMode]
        );
        assert_eq!(unquiet(&ticks), []);
    }

    #[test]
    fn silence_of_more_than_two_intervals_is_a_gap() {
        let start = Instant::now();
        let ticks = ticks(start, &[&[], &[]]);
        let at = |intervals: u32| start + INTERVAL * intervals;
        assert_eq!(doubts(&ticks, start, at(3)), []);
        assert_eq!(doubts(&ticks, start, at(4)), [Reason::TelemetryGap]);
        assert_eq!(doubts(&[], start, at(3)), [Reason::TelemetryGap]);
        assert_eq!(doubts(&[], start, at(1)), []);
    }

    #[test]
    fn a_gate_that_fails_again_is_remembered_longer() {
        let mut gate = Gate::default();
        let mut now = Instant::now();
        for minutes in [1, 2, 4, 8, 16, 16] {
            gate.remember(now);
            let end = now + Duration::from_secs(60 * minutes);
            assert!(gate.is_remembered(now + Duration::from_secs(60 * minutes - 1)));
            assert!(!gate.is_remembered(end));
            now = end;
        }
    }
}
