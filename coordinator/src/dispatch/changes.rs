//! What one transaction changed, so that its end is always the same: events written, runs ended whose
//! last job ended, waiters woken.

use std::collections::BTreeSet;

use domain::ids::{MachineId, RunId};
use domain::job::RunState;

use crate::store::event::{Event, Kind};
use crate::store::{self, event, job, run, wake};

#[derive(Debug, Default)]
pub struct Changes {
    /// Who asked for them; empty where nobody did.
    pub actor: String,
    pub events: Vec<Event>,
    /// Machines whose queue or lease changed.
    pub machines: BTreeSet<MachineId>,
    /// Runs whose figures changed.
    pub runs: BTreeSet<RunId>,
    /// Runs of which a job ended.
    pub ended_jobs_of: BTreeSet<RunId>,
}

impl Changes {
    pub fn by(actor: &str) -> Self {
        Self {
            actor: actor.to_owned(),
            ..Self::default()
        }
    }

    /// Locks are taken in the order leases, jobs, runs, and by id among runs: this comes last.
    pub async fn commit(mut self, mut tx: store::Tx) -> store::Result<()> {
        for &run_id in &self.ended_jobs_of {
            if run::lock(&mut *tx, run_id).await? != RunState::Active {
                continue;
            }
            let (unfinished, not_well) = job::tally(&mut *tx, run_id).await?;
            if unfinished > 0 {
                continue;
            }
            let state = if not_well == 0 {
                RunState::Succeeded
            } else {
                RunState::Incomplete
            };
            run::end(&mut *tx, run_id, state).await?;
            self.events
                .push(Event::new(Kind::RunEnded, state.as_str()).run(run_id));
        }
        self.runs.append(&mut self.ended_jobs_of);
        if !self.events.is_empty() {
            event::insert(&mut *tx, &self.actor, &self.events).await?;
        }
        if !self.machines.is_empty() {
            let machines: Vec<MachineId> = self.machines.into_iter().collect();
            wake::machines(&mut *tx, &machines).await?;
        }
        if !self.runs.is_empty() {
            let runs: Vec<RunId> = self.runs.into_iter().collect();
            wake::runs(&mut *tx, &runs).await?;
        }
        store::commit(tx).await
    }
}
