//! What a launch would meet if it began now: the gate's look, for whoever asks without a job.

use std::time::Instant;

use domain::reason::Reason;
use tokio::time::sleep;

use super::{WINDOW, doubts, unquiet};
use crate::sensors::{self, INTERVAL, Sampler, Tick};

#[derive(Debug)]
pub struct Outlook {
    /// What it would wait for, as long as its plan lets it.
    pub waits_for: Vec<Reason>,
    /// What it would be marked with beside these: no waiting mends it.
    pub marks: Vec<Reason>,
    pub ticks: Vec<Tick>,
}

impl Outlook {
    /// Takes as long as the gate before a launch, and a reading more.
    pub async fn look(open: sensors::Open, virtual_machine: bool) -> Self {
        let sampler = Sampler::start(open, None);
        let began = Instant::now();
        sleep(WINDOW + INTERVAL).await;
        Self::of(sampler.since(began), began, Instant::now(), virtual_machine)
    }

    fn of(ticks: Vec<Tick>, began: Instant, ended: Instant, virtual_machine: bool) -> Self {
        let waits_for = unquiet(&ticks);
        let mut marks = doubts(&ticks, began, ended);
        marks.retain(|reason| !waits_for.contains(reason));
        if virtual_machine {
            marks.push(Reason::VirtualMachine);
        }
        Self {
            waits_for,
            marks,
            ticks,
        }
    }

    pub fn is_quiet(&self) -> bool {
        self.waits_for.is_empty() && self.marks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensors::{FOREIGN_CPU_RATIO, PowerSource, Readout};

    #[test]
    fn what_waiting_mends_is_told_from_what_it_does_not() {
        let began = Instant::now();
        let tick = |second: u32| Tick {
            at: began + INTERVAL * second,
            readout: Readout {
                values: vec![(FOREIGN_CPU_RATIO, 0.5)],
                power_source: Some(PowerSource::Battery),
                ..Readout::default()
            },
        };
        let ended = began + INTERVAL * 3;
        let outlook = Outlook::of((0..3).map(tick).collect(), began, ended, true);
        assert_eq!(outlook.waits_for, [Reason::ForeignCpu]);
        assert_eq!(outlook.marks, [Reason::OnBattery, Reason::VirtualMachine]);
        assert!(!outlook.is_quiet());
    }

    #[test]
    fn a_quiet_machine_waits_for_nothing() {
        let began = Instant::now();
        let tick = Tick {
            at: began,
            readout: Readout::default(),
        };
        assert!(Outlook::of(vec![tick], began, began + INTERVAL, false).is_quiet());
    }
}
