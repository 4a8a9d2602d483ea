//! What the machine's sensors say while a job runs, once a second, on a thread of their own.
//!
//! A sensor that cannot be read says nothing; 0 W in particular means that nobody knows. Each tick
//! goes to the spool as readings and into a short history, from which [`crate::preflight`] judges
//! whether the machine is quiet and what to doubt about a launch.

#[cfg(any(target_os = "macos", test))]
mod chip;
mod foreign;
#[cfg(any(target_os = "macos", test))]
mod gpu;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

pub use foreign::{Busy, Process, busiest};
#[cfg(any(target_os = "macos", test))]
pub(crate) use gpu::GpuClient;
pub use platform::{process_memory_bytes, processes};

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use domain::record::{Reading, Record};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::recorder::Recorder;

/// P5 of the protocol allows no more during timed regions.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The first tick comes earlier: the gate before the first launch waits for it.
const FIRST: Duration = Duration::from_millis(250);

/// Kept when a launch begins: what the gate before it saw, and how long its worker took to start.
const BEFORE_LAUNCH: usize = 600;

/// Kept of a launch: a day of ticks, the longest `launch_timeout` that a plan may ask for. A doubt at its
/// beginning is still one at its end.
const LAUNCH: usize = 24 * 60 * 60;

pub const CPU_RATIO: &str = "cpu_ratio";
pub const FOREIGN_CPU_RATIO: &str = "foreign_cpu_ratio";
/// Of the time, by processes that are not ours. Silent on Linux: its GPUs have no such counter in common.
pub const FOREIGN_GPU_RATIO: &str = "foreign_gpu_ratio";
/// Of one core, by Time Machine or its like, and by Spotlight or its like.
pub const BACKUP_CPU_RATIO: &str = "backup_cpu_ratio";
pub const INDEXING_CPU_RATIO: &str = "indexing_cpu_ratio";
pub const MEMORY_USED_BYTES: &str = "memory_used_bytes";
pub const SWAP_USED_BYTES: &str = "swap_used_bytes";
pub const CPU_POWER_W: &str = "cpu_power_w";
pub const GPU_POWER_W: &str = "gpu_power_w";
/// Of Apple's Neural Engine and of the memory, which only macOS tells.
pub const ANE_POWER_W: &str = "ane_power_w";
pub const RAM_POWER_W: &str = "ram_power_w";
pub const SYS_POWER_W: &str = "sys_power_w";
pub const GPU_MHZ: &str = "gpu_mhz";
pub const GPU_ACTIVE_RATIO: &str = "gpu_active_ratio";
pub const GPU_TEMP_C: &str = "gpu_temp_c";
pub const CPU_TEMP_C: &str = "cpu_temp_c";
pub const FAN_RPM: &str = "fan_rpm";
/// 0 nominal to 4 sleeping, as the system notifies it.
pub const THERMAL_LEVEL: &str = "thermal_level";
/// 0 nominal to 3 critical, as applications are told.
pub const THERMAL_STATE: &str = "thermal_state";
/// 1 normal, 2 warning, 4 critical.
pub const MEM_PRESSURE_LEVEL: &str = "mem_pressure_level";

/// What costs a process to ask, or a walk over all of them, is asked once in so many looks: once in what the
/// gate before a launch looks at.
const SLOW_LOOKS: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerSource {
    Ac,
    Battery,
}

impl PowerSource {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ac => "ac",
            Self::Battery => "battery",
        }
    }
}

/// One look at the machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readout {
    pub values: Vec<(&'static str, f64)>,
    pub power_source: Option<PowerSource>,
    pub low_power_mode: Option<bool>,
}

impl Readout {
    pub fn value(&self, sensor: &str) -> Option<f64> {
        let found = self.values.iter().find(|(name, _)| *name == sensor);
        found.map(|(_, value)| *value)
    }

    fn push_chores(&mut self, chores: Option<foreign::Chores>) {
        self.push(BACKUP_CPU_RATIO, chores.map(|it| it.backup));
        self.push(INDEXING_CPU_RATIO, chores.map(|it| it.indexing));
    }

    fn push(&mut self, sensor: &'static str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.values.push((sensor, value));
        }
    }
}

/// A machine's sensors. Made and used on one thread; rates are since the look before.
pub trait Sensors {
    /// `worker` is a process whose load is ours, beside the agent's own.
    fn look(&mut self, worker: Option<u32>) -> Readout;
}

/// How to open the sensors, on the thread that will read them.
pub type Open = fn() -> Box<dyn Sensors>;

/// The sensors of this machine.
pub fn open() -> Box<dyn Sensors> {
    Box::new(platform::Machine::new())
}

/// A readout and when it was made.
#[derive(Clone, Debug)]
pub struct Tick {
    pub at: Instant,
    pub readout: Readout,
}

/// Reads sensors as long as it lives.
#[derive(Debug)]
pub struct Sampler {
    history: Arc<Mutex<VecDeque<Tick>>>,
    worker: Arc<AtomicU32>,
    paused: Arc<AtomicBool>,
    ticked: watch::Receiver<()>,
    /// Dropped to end the thread.
    _stop: SyncSender<()>,
}

impl Sampler {
    /// Starts the thread; readings go to the recorder, when there is one.
    pub fn start(open: Open, recorder: Option<Recorder>) -> Self {
        let history = Arc::new(Mutex::new(VecDeque::new()));
        let worker = Arc::new(AtomicU32::new(0));
        let paused = Arc::new(AtomicBool::new(false));
        let (tick, ticked) = watch::channel(());
        let (stop, stopped) = sync_channel::<()>(0);
        let loop_history = Arc::clone(&history);
        let loop_worker = Arc::clone(&worker);
        let loop_paused = Arc::clone(&paused);
        let body = move || {
            let mut sensors = open();
            let mut due = Instant::now();
            sensors.look(None);
            let mut wait = FIRST;
            loop {
                due += wait;
                match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
                wait = INTERVAL;
                if loop_paused.load(Ordering::Relaxed) {
                    continue;
                }
                let pid = loop_worker.load(Ordering::Relaxed);
                let readout = sensors.look((pid != 0).then_some(pid));
                // After a sleep of the machine or a slow sensor: no burst of late ticks.
                due = due.max(Instant::now().checked_sub(INTERVAL).unwrap_or(due));
                if let Some(recorder) = &recorder {
                    record(recorder, &readout);
                }
                let mut history = loop_history.lock().unwrap_or_else(PoisonError::into_inner);
                history.push_back(Tick {
                    at: Instant::now(),
                    readout,
                });
                keep(&mut history, BEFORE_LAUNCH + LAUNCH);
                drop(history);
                tick.send_replace(());
            }
        };
        let thread = thread::Builder::new().name("sensors".to_owned());
        if let Err(error) = thread.spawn(body) {
            // Launches are then marked with a telemetry gap.
            tracing::error!(%error, "no thread for the sensors");
        }
        Self {
            history,
            worker,
            paused,
            ticked,
            _stop: stop,
        }
    }

    /// Reads nothing while it is paused: to learn what reading costs.
    pub fn pause(&self, is_paused: bool) {
        self.paused.store(is_paused, Ordering::Relaxed);
    }

    /// Whose load is ours from now on; 0 for nobody's.
    pub fn set_worker(&self, pid: u32) {
        self.worker.store(pid, Ordering::Relaxed);
        if pid != 0 {
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            keep(&mut history, BEFORE_LAUNCH);
        }
    }

    /// Ticks since a time, with the last one before it.
    pub fn since(&self, since: Instant) -> Vec<Tick> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let first = history.partition_point(|tick| tick.at < since);
        history.range(first.saturating_sub(1)..).cloned().collect()
    }

    pub fn latest(&self) -> Option<Readout> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.back().map(|tick| tick.readout.clone())
    }

    /// Changes with every tick.
    pub fn ticked(&self) -> watch::Receiver<()> {
        self.ticked.clone()
    }
}

/// Forgets all but the latest.
fn keep(history: &mut VecDeque<Tick>, latest: usize) {
    let older = history.len().saturating_sub(latest);
    history.drain(..older);
}

fn record(recorder: &Recorder, readout: &Readout) {
    let at = OffsetDateTime::now_utc();
    for &(sensor, value) in &readout.values {
        let reading = Reading {
            at,
            sensor: sensor.to_owned(),
            value,
        };
        if !recorder.try_record(Record::Reading(reading)) {
            // The disk is behind; a launch's own records go first.
            tracing::debug!(sensor, "a reading was left out");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_of_hours_keeps_its_first_tick_and_the_next_launch_forgets_it() {
        let (_tick, ticked) = watch::channel(());
        let sampler = Sampler {
            history: Arc::default(),
            worker: Arc::default(),
            paused: Arc::default(),
            ticked,
            _stop: sync_channel(0).0,
        };
        let began = Instant::now();
        let tick = |second| Tick {
            at: began + Duration::from_secs(second),
            readout: Readout::default(),
        };
        let hours = 2 * 60 * 60;
        sampler.set_worker(1);
        sampler.history.lock().unwrap().extend((0..hours).map(tick));
        sampler.set_worker(0);
        assert_eq!(sampler.since(began).len() as u64, hours);
        sampler.set_worker(2);
        assert_eq!(sampler.since(began).len(), BEFORE_LAUNCH);
    }
}
