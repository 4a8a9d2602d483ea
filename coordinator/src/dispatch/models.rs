//! Which machine may have a model of ours, and what is told of it.

use domain::hub::HubModel;
use domain::ids::{LeaseId, MachineId};

use super::{Dispatch, Error, Result};
use crate::store::event::{self, Event, Kind};
use crate::store::job;
use crate::store::lease::{self, Lease, State};

impl Dispatch {
    /// The lease under which this machine asks for something.
    pub async fn live_lease(&self, machine: MachineId, lease_id: LeaseId) -> Result<Lease> {
        let found = lease::find(&self.pool, &[lease_id]).await?;
        let own = found.into_iter().find(|lease| lease.machine_id == machine);
        match own {
            None => Err(Error::Invalid(format!(
                "lease {lease_id} was never granted to this machine"
            ))),
            Some(lease) if lease.state != State::Live => {
                Err(Error::Precondition(format!("lease {lease_id} has ended")))
            }
            Some(lease) => Ok(lease),
        }
    }

    /// Said each time that a machine begins, or goes on after a cut.
    pub async fn model_sent(&self, lease: Lease, model: &HubModel, bytes: u64) -> Result<()> {
        let Lease {
            lease_id,
            job_id,
            machine_id,
            ..
        } = lease;
        let detail = format!("{model}, {:.1} GB", bytes as f64 / 1e9);
        let runs = job::runs_of(&self.pool, &[job_id]).await?;
        let sent = |run_id| {
            Event::new(Kind::ModelSent, detail.clone())
                .of_job(run_id, job_id)
                .machine(machine_id)
                .lease(lease_id)
        };
        let events: Vec<Event> = runs.into_iter().map(sent).collect();
        Ok(event::insert(&self.pool, "", &events).await?)
    }
}
