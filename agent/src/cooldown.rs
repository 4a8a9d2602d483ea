//! Between the launches of a run the machine cools until it is as it was before the first, so that a
//! launch does not pay for the one before it.
//!
//! This waits for what our own work did, within the plan's limit for each launch; what others do to the
//! machine is the gate's, which has a time of its own ([`crate::preflight`]).

use std::time::{Duration, Instant};

use domain::ids::RunId;
use domain::plan::Protocol;
use tokio::time::timeout;

use crate::preflight;
use crate::sensors::{CPU_TEMP_C, GPU_TEMP_C, INTERVAL, Readout, Sampler, Tick};

/// P11 of the protocol: so near to the temperature before the run is cool.
const NEAR_C: f64 = 3.0;

/// The sensors of a new job tell the temperature so late, or not at all.
const BLIND: Duration = INTERVAL.saturating_mul(3);

/// Where no sensor tells a temperature and the system says that it is hot.
const PAUSE_WHEN_HOT: Duration = Duration::from_secs(30);

/// Remembers over the jobs of a run how warm the machine was before it.
#[derive(Debug, Default)]
pub struct Cooldown {
    run: Option<RunId>,
    before_c: Option<f64>,
}

impl Cooldown {
    /// Waits until the machine is cool or the plan's limit is reached, and says how long. A run's first
    /// launch waits for nothing: there is nothing yet to cool down to.
    pub async fn wait(&mut self, run: RunId, protocol: &Protocol, sampler: &Sampler) -> Duration {
        if self.run != Some(run) {
            *self = Self {
                run: Some(run),
                before_c: None,
            };
            return Duration::ZERO;
        }
        if protocol.cooldown_max.is_zero() {
            return Duration::ZERO;
        }
        let began = Instant::now();
        let mut ticked = sampler.ticked();
        let mut pause = None;
        loop {
            let waited = began.elapsed();
            let over = waited >= protocol.cooldown_max;
            let readout = sampler.latest();
            if let Some(readout) = readout.filter(|it| waited >= BLIND || self.sees(it)) {
                let least = *pause.get_or_insert_with(|| least_pause(&readout, protocol));
                let cool = self.is_cool(&readout);
                if over && !cool {
                    tracing::info!(?waited, "the machine is still warm: measuring all the same");
                }
                if over || (cool && waited >= least) {
                    return waited;
                }
            } else if over {
                return waited;
            }
            let patience = protocol.cooldown_max.saturating_sub(waited).min(INTERVAL);
            if let Ok(Err(_)) = timeout(patience, ticked.changed()).await {
                // The sensors' thread is gone: nothing will be known.
                return began.elapsed();
            }
        }
    }

    /// The first temperature of a run's first launch is the one before it: macOS tells it about a second
    /// after the sensors are opened, while the first worker still starts.
    pub fn learn(&mut self, ticks: &[Tick]) {
        if self.before_c.is_none() {
            self.before_c = ticks.iter().find_map(|tick| temperature(&tick.readout));
        }
    }

    /// Whether the sensors have told what the machine is held against.
    fn sees(&self, readout: &Readout) -> bool {
        self.before_c.is_none() || temperature(readout).is_some()
    }

    fn is_cool(&self, readout: &Readout) -> bool {
        let warmer = temperature(readout).zip(self.before_c);
        !preflight::is_hot(readout) && warmer.is_none_or(|(now, before)| now <= before + NEAR_C)
    }
}

/// Without a temperature heat is guessed from its sources: the system's level, or what the plan says.
fn least_pause(readout: &Readout, protocol: &Protocol) -> Duration {
    if temperature(readout).is_some() {
        Duration::ZERO
    } else if preflight::is_hot(readout) {
        protocol.cooldown_pause.max(PAUSE_WHEN_HOT)
    } else {
        protocol.cooldown_pause
    }
}

/// Of the GPU; of the processor where MLX works there and the GPU has no sensor.
fn temperature(readout: &Readout) -> Option<f64> {
    let value = |sensor| readout.value(sensor);
    value(GPU_TEMP_C).or_else(|| value(CPU_TEMP_C))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensors::{Sensors, THERMAL_LEVEL};

    /// Loses three degrees with every look.
    struct Cooling(f64);

    impl Sensors for Cooling {
        fn look(&mut self, _: Option<u32>) -> Readout {
            self.0 -= 3.0;
            told(&[(GPU_TEMP_C, self.0)])
        }
    }

    /// Says the same for ever.
    struct Stuck(Readout);

    impl Sensors for Stuck {
        fn look(&mut self, _: Option<u32>) -> Readout {
            self.0.clone()
        }
    }

    fn told(values: &[(&'static str, f64)]) -> Readout {
        Readout {
            values: values.to_vec(),
            ..Readout::default()
        }
    }

    /// In a run whose first launch was made at this temperature.
    fn after_first(run: RunId, before_c: Option<f64>) -> Cooldown {
        Cooldown {
            run: Some(run),
            before_c,
        }
    }

    fn protocol(max: Duration, pause: Duration) -> Protocol {
        Protocol {
            cooldown_max: max,
            cooldown_pause: pause,
            ..Protocol::default()
        }
    }

    const MOMENT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn the_first_launch_of_a_run_waits_for_nothing_and_its_temperature_is_the_measure() {
        let sampler = Sampler::start(|| Box::new(Stuck(told(&[(GPU_TEMP_C, 90.0)]))), None);
        let mut cooldown = after_first(RunId::new(), Some(30.0));
        let run = RunId::new();
        let protocol = protocol(LONG, LONG);
        assert!(cooldown.wait(run, &protocol, &sampler).await.is_zero());
        let tick = |values: &[(&'static str, f64)]| Tick {
            at: Instant::now(),
            readout: told(values),
        };
        // macOS's first tick has none.
        cooldown.learn(&[
            tick(&[]),
            tick(&[(GPU_TEMP_C, 40.0)]),
            tick(&[(GPU_TEMP_C, 70.0)]),
        ]);
        cooldown.learn(&[tick(&[(GPU_TEMP_C, 80.0)])]);
        assert_eq!(cooldown.before_c, Some(40.0));
        assert!(cooldown.is_cool(&told(&[(GPU_TEMP_C, 43.0)])));
        assert!(!cooldown.is_cool(&told(&[(GPU_TEMP_C, 43.1)])));
        assert!(!cooldown.is_cool(&told(&[(GPU_TEMP_C, 40.0), (THERMAL_LEVEL, 1.0)])));
    }

    #[tokio::test]
    async fn a_launch_waits_until_the_machine_is_as_cool_as_before_the_run() {
        let sampler = Sampler::start(|| Box::new(Cooling(50.0)), None);
        let run = RunId::new();
        let mut cooldown = after_first(run, Some(38.0));
        let waited = cooldown.wait(run, &protocol(LONG, LONG), &sampler).await;
        assert!(waited > INTERVAL && waited < LONG, "{waited:?}");
        let cool = sampler.latest().and_then(|readout| temperature(&readout));
        assert_eq!(cool, Some(41.0));
    }

    #[tokio::test]
    async fn a_machine_that_stays_hot_is_measured_after_the_plans_limit() {
        let sampler = Sampler::start(|| Box::new(Stuck(told(&[(GPU_TEMP_C, 90.0)]))), None);
        let run = RunId::new();
        let mut cooldown = after_first(run, Some(40.0));
        let limit = |max| protocol(max, Duration::ZERO);
        let waited = cooldown.wait(run, &limit(MOMENT), &sampler).await;
        assert!(waited >= MOMENT && waited < LONG, "{waited:?}");
        let waited = cooldown.wait(run, &limit(Duration::ZERO), &sampler).await;
        assert!(waited.is_zero());
    }

    #[tokio::test]
    async fn without_a_temperature_the_plans_pause_is_made() {
        let sampler = Sampler::start(|| Box::new(Stuck(Readout::default())), None);
        let run = RunId::new();
        let mut cooldown = after_first(run, None);
        let paused = protocol(LONG, MOMENT);
        let waited = cooldown.wait(run, &paused, &sampler).await;
        assert!(waited >= MOMENT && waited < LONG, "{waited:?}");
        let hot = told(&[(THERMAL_LEVEL, 1.0)]);
        assert_eq!(least_pause(&hot, &paused), PAUSE_WHEN_HOT);
        assert_eq!(least_pause(&told(&[]), &paused), MOMENT);
        assert!(least_pause(&told(&[(CPU_TEMP_C, 40.0)]), &paused).is_zero());
    }
}
