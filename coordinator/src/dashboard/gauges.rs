//! What the sensors of machines at work have said of late: a number and a line each.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ids::MachineId;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::dispatch::Dispatch;
use crate::store::reading::Recent;

/// Between two looks: a page is sent anew for each machine whose line has moved.
const PACE: Duration = Duration::from_secs(5);
/// No page waits longer: of a thousand machines at work, a look takes a quarter of a second.
const PATIENCE: Duration = Duration::from_millis(50);
/// Readings come once a second: one minute, and each point of a line is the mean of as much as lies between
/// two looks.
const NEWEST: u32 = 60;
const STRETCH: u32 = 5;
/// Of the picture, in its own units.
const WIDTH: f64 = 60.0;
const HEIGHT: f64 = 16.0;
/// More would hide what the machine is.
const MOST: usize = 3;

/// A sensor that is shown where it can be read.
struct Kind {
    sensor: &'static str,
    name: &'static str,
    unit: &'static str,
    factor: f64,
    /// Of the line; to the largest value where there is no end.
    from: f64,
    to: Option<f64>,
}

const fn share(sensor: &'static str, name: &'static str) -> Kind {
    Kind {
        sensor,
        name,
        unit: "%",
        factor: 100.0,
        from: 0.0,
        to: Some(1.0),
    }
}

/// In the order in which they are shown. Names of sensors are the agent's.
const KINDS: &[Kind] = &[
    Kind {
        sensor: "sys_power_w",
        name: "power",
        unit: "W",
        factor: 1.0,
        from: 0.0,
        to: None,
    },
    share("gpu_active_ratio", "GPU"),
    Kind {
        sensor: "gpu_temp_c",
        name: "GPU",
        unit: "°C",
        factor: 1.0,
        from: 20.0,
        to: Some(110.0),
    },
    share("cpu_ratio", "CPU"),
    share("foreign_cpu_ratio", "CPU by others"),
];

/// A sensor's newest value, and the line to it.
pub struct Gauge {
    pub name: &'static str,
    pub value: String,
    /// As SVG.
    pub picture: String,
}

type Shown = Arc<HashMap<MachineId, Vec<Gauge>>>;

/// The gauges of the fleet, for all who look within a pace.
#[derive(Default)]
pub struct Gauges {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shown: Shown,
    looked_at: Option<Instant>,
    looking: bool,
}

impl Gauges {
    /// What the last look saw. Where it is time for the next one, that is begun, and waited for only a little.
    pub async fn shown(self: &Arc<Self>, dispatch: &Dispatch, tasks: &TaskTracker) -> Shown {
        if self.is_time() {
            let (gauges, dispatch) = (Arc::clone(self), dispatch.clone());
            let look = tasks.spawn(async move { gauges.look(&dispatch).await });
            // An elapsed timeout is no failure: the next page has it.
            let _ = timeout(PATIENCE, look).await;
        }
        Arc::clone(&self.state().shown)
    }

    fn is_time(&self) -> bool {
        let mut state = self.state();
        let due = state.looked_at.is_none_or(|at| at.elapsed() >= PACE);
        let is_time = due && !state.looking;
        state.looking |= is_time;
        is_time
    }

    async fn look(&self, dispatch: &Dispatch) {
        let sensors = KINDS.iter().map(|kind| kind.sensor.to_owned()).collect();
        let recent = dispatch.recent_readings(sensors, NEWEST, STRETCH).await;
        let shown = recent.map(|recent| Arc::new(gauges(&recent)));
        let mut state = self.state();
        state.looked_at = Some(Instant::now());
        state.looking = false;
        match shown {
            Ok(shown) => state.shown = shown,
            Err(error) => tracing::debug!(%error, "no sensors were read"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gauges(recent: &[Recent]) -> HashMap<MachineId, Vec<Gauge>> {
    let mut shown: HashMap<MachineId, Vec<Gauge>> = HashMap::new();
    for kind in KINDS {
        for of in recent.iter().filter(|of| of.sensor == kind.sensor) {
            let gauges = shown.entry(of.machine_id).or_default();
            if let Some(newest) = of.means.last()
                && gauges.len() < MOST
            {
                gauges.push(Gauge {
                    name: kind.name,
                    value: kind.words(*newest),
                    picture: kind.picture(&of.means),
                });
            }
        }
    }
    shown
}

impl Kind {
    fn words(&self, value: f64) -> String {
        let value = value * self.factor;
        let digits = usize::from(value < 10.0 && self.unit == "W");
        format!("{value:.digits$} {}", self.unit)
    }

    /// The newest is at the right end; a line that has just begun is short.
    fn picture(&self, means: &[f64]) -> String {
        let to = self
            .to
            .unwrap_or_else(|| means.iter().copied().fold(1.0, f64::max));
        let step = WIDTH / f64::from(NEWEST / STRETCH - 1);
        let mut points = String::new();
        for (back, mean) in means.iter().rev().enumerate() {
            let x = (WIDTH - back as f64 * step).max(0.0);
            let high = ((mean - self.from) / (to - self.from)).clamp(0.0, 1.0);
            let y = 1.0 + (1.0 - high) * (HEIGHT - 2.0);
            // A String takes everything.
            _ = write!(points, "{x:.0},{y:.0} ");
        }
        let points = points.trim_end();
        format!(
            "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-hidden=\"true\"><polyline points=\"{points}\"/></svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(machine_id: MachineId, sensor: &str, means: &[f64]) -> Recent {
        Recent {
            machine_id,
            sensor: sensor.to_owned(),
            means: means.to_vec(),
        }
    }

    #[test]
    fn a_gauge_says_the_newest_value_and_draws_the_line_to_it() {
        let mini = MachineId::new();
        let shown = gauges(&[
            recent(mini, "cpu_ratio", &[0.0, 1.0]),
            recent(mini, "sys_power_w", &[4.0, 8.06]),
            recent(mini, "fan_rpm", &[1200.0]),
        ]);
        let of: Vec<_> = shown[&mini].iter().map(|g| (g.name, &*g.value)).collect();
        assert_eq!(of, [("power", "8.1 W"), ("CPU", "100 %")]);
        let line = &shown[&mini][1].picture;
        assert!(line.contains("points=\"60,1 55,15\""), "{line}");
    }

    #[test]
    fn what_is_beyond_the_scale_stays_in_the_picture() {
        let hot = KINDS.iter().find(|kind| kind.unit == "°C").unwrap();
        let line = hot.picture(&[10.0, 120.0]);
        assert!(line.contains("points=\"60,1 55,15\""), "{line}");
        assert_eq!(hot.words(71.4), "71 °C");
    }
}
