//! The list of machines, and how one is taken off it.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::ids::MachineId;
use domain::lease::HEARTBEAT;
use uuid::Uuid;

use super::changes::Changes;
use super::{Dispatch, Error, Result};
use crate::store::event::{Event, Kind};
use crate::store::lease::State;
use crate::store::machine::{self, Summary};
use crate::store::{self, certificate, job, lease, wake};

/// A machine without a heartbeat for several of their intervals is offline.
const ONLINE_WITHIN: Duration = HEARTBEAT.saturating_mul(3);

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineState {
    Idle,
    Busy,
    Offline,
    /// Somebody else's, in imported results: it is never here.
    Imported,
}

impl MachineState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Offline => "offline",
            Self::Imported => "imported",
        }
    }

    pub fn of(machine: &Summary) -> Self {
        if machine.imported {
            return Self::Imported;
        }
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
        let found = machine::summaries(&self.pool, wanted, ONLINE_WITHIN.as_secs_f64()).await?;
        if found.is_empty() && wanted.is_some() {
            return Err(unknown(machine));
        }
        Ok(found)
    }

    /// A machine by its name or id.
    pub(super) async fn find_machine(&self, machine: &str) -> Result<(MachineId, String)> {
        let found = machine::named(&self.pool, machine).await?;
        found.ok_or_else(|| unknown(machine))
    }

    /// Takes a machine out of the fleet: its certificates are revoked, its session ends, and its jobs
    /// are skipped. Says its name and how many jobs that were; a new enrolment brings it back.
    pub async fn revoke_machine(&self, machine: &str, actor: &str) -> Result<(String, u32)> {
        let (machine_id, name) = self.find_machine(machine).await?;
        let why = "the certificate of its machine was revoked";
        let mut tx = store::begin(&self.pool).await?;
        // Leases before jobs, as everywhere; and again, for one that was granted in between.
        lease::lock_live_of_machine(&mut *tx, machine_id).await?;
        certificate::revoke_of_machine(&mut *tx, machine_id).await?;
        let jobs = job::skip_of_machine(&mut *tx, machine_id, why).await?;
        let held = lease::lock_live_of_machine(&mut *tx, machine_id).await?;
        wake::session(&mut *tx, machine_id, Uuid::now_v7()).await?;

        let mut changes = Changes::by(actor);
        let detail = format!("{name}, {} jobs skipped", jobs.len());
        changes
            .events
            .push(Event::new(Kind::MachineRevoked, detail).machine(machine_id));
        if let Some(held) = held {
            lease::end(&mut *tx, &[held.lease_id], State::Cancelled).await?;
            let job = job::lock(&mut *tx, held.job_id).await?;
            let event = Event::new(Kind::LeaseCancelled, why).of_job(job.run_id, job.job_id);
            changes
                .events
                .push(event.machine(machine_id).lease(held.lease_id));
        }
        changes.ended_jobs_of = jobs.iter().copied().collect();
        changes.commit(tx).await?;
        tracing::info!(machine = name, jobs = jobs.len(), "revoked");
        Ok((name, jobs.len() as u32))
    }
}

/// A line for each of these machines that is offline: its jobs wait for it.
pub(super) async fn notes_on(
    executor: impl store::PgExecutor<'_>,
    machines: &BTreeSet<MachineId>,
) -> Result<Vec<String>> {
    let found = machine::summaries(executor, None, ONLINE_WITHIN.as_secs_f64()).await?;
    let away = found
        .into_iter()
        .filter(|machine| !machine.online && machines.contains(&machine.machine_id));
    Ok(away
        .map(|Summary { name, .. }| {
            format!(
                "{name} is offline and its jobs wait for it; if it will not come back: \
                 `mlx-fleet machine revoke {name}`"
            )
        })
        .collect())
}

fn unknown(machine: &str) -> Error {
    Error::NotFound {
        noun: "machine",
        name: machine.to_owned(),
        help: ": `mlx-fleet machine list` shows them",
    }
}
