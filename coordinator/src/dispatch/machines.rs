//! The list of machines.

use domain::lease::HEARTBEAT;

use super::{Dispatch, Error, Result};
use crate::store::machine::{self, Summary};

/// Without a heartbeat for so many of their intervals a machine is offline.
const MISSED_HEARTBEATS: u32 = 3;

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineState {
    Idle,
    Busy,
    Offline,
}

impl MachineState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }

    pub fn of(machine: &Summary) -> Self {
        match (machine.online, &machine.current_job) {
            (false, _) => Self::Offline,
            (true, Some(_)) => Self::Busy,
            (true, None) => Self::Idle,
        }
    }
}

impl Dispatch {
    /// All machines, or the one of this name or id.
    pub async fn list_machines(&self, machine: &str) -> Result<Vec<Summary>> {
        let wanted = (!machine.is_empty()).then_some(machine);
        let within = HEARTBEAT * MISSED_HEARTBEATS;
        let found = machine::summaries(&self.pool, wanted, within.as_secs_f64()).await?;
        if found.is_empty() && wanted.is_some() {
            return Err(Error::NotFound {
                noun: "machine",
                name: machine.to_owned(),
                help: ": `mlx-fleet machine list` shows them",
            });
        }
        Ok(found)
    }
}
