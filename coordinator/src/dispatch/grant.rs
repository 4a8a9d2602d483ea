//! Handing a job to a machine.

use domain::ids::{LeaseId, MachineId};
use domain::lease::{self as terms, Epoch, Grant};

use super::changes::Changes;
use super::{Dispatch, Result};
use crate::store::event::{Event, Kind};
use crate::store::{self, job, lease};

/// The index that holds promise 2 for machines; the one for jobs cannot fail under the job's lock.
const ONE_PER_MACHINE: &str = "one_live_lease_per_machine";

impl Dispatch {
    /// The machine's next job, if there is one and the machine holds none. The lease is committed before
    /// anybody hears of it.
    pub async fn grant(&self, machine_id: MachineId) -> Result<Option<Grant>> {
        let mut tx = store::begin(&self.pool).await?;
        let Some(queued) = job::take_queued(&mut *tx, machine_id).await? else {
            return Ok(None);
        };
        let job::Queued {
            job_id,
            run_id,
            epoch,
            failures,
            model,
            cases,
            protocol,
        } = queued;
        let epoch = Epoch(epoch.0 + 1);
        let lease_id = LeaseId::new();
        job::lease(&mut *tx, job_id, epoch).await?;
        let ttl = terms::TTL;
        let granted = lease::insert(
            &mut *tx,
            lease_id,
            job_id,
            machine_id,
            epoch,
            ttl.as_secs_f64(),
        )
        .await;
        match granted {
            // Another session of this machine was faster.
            Err(refused) if refused.violates(ONE_PER_MACHINE) => return Ok(None),
            other => other?,
        }
        let headline = match protocol.precision {
            Some(_) => cases[0].suite().headline(),
            None => &[],
        };
        let finished = job::finished_launches(&mut *tx, job_id, headline).await?;
        let detail = format!("epoch {}, {} launches kept", epoch.0, finished.len());
        let event = Event::new(Kind::JobGranted, detail);
        let mut changes = Changes::default();
        changes.events.push(
            event
                .of_job(run_id, job_id)
                .machine(machine_id)
                .lease(lease_id),
        );
        changes.runs.insert(run_id);
        changes.commit(tx).await?;
        self.counts.jobs_granted.inc();
        tracing::info!(%run_id, %job_id, %lease_id, epoch = epoch.0, "granted");
        Ok(Some(Grant {
            lease_id,
            job_id,
            run_id,
            epoch,
            ttl,
            model,
            cases,
            protocol,
            finished,
            failures,
        }))
    }
}
