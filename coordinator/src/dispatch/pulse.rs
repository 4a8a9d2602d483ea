//! Heartbeats of all agents, in a few statements a second.
//!
//! ```text
//!   sessions ──▶ queue (bounded) ──▶ one worker: what came within GATHER, together ──▶ renewals
//! ```
//!
//! A commit for each heartbeat would be most of what the database does for an idle fleet. An answer that
//! comes a little later costs nothing: a lease lives through several heartbeats.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use domain::ids::{LeaseId, MachineId};
use domain::lease as terms;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::leases::{self, Renewal};
use super::{Dispatch, Error, Result, chain};
use crate::store::{self, lease, machine};

/// How long the first heartbeat waits for others.
const GATHER: Duration = Duration::from_millis(100);
/// Of one statement: it should be short.
const MAX_TOGETHER: usize = 2000;
/// Sessions wait for a place beyond so many.
const MAX_WAITING: usize = 2 * MAX_TOGETHER;

struct Beat {
    machine_id: MachineId,
    lease_id: Option<LeaseId>,
    done: oneshot::Sender<Result<Option<Renewal>>>,
}

/// Where sessions hand in heartbeats.
#[derive(Clone)]
pub struct Pulse(mpsc::Sender<Beat>);

/// The worker's end of it.
pub struct Beats(mpsc::Receiver<Beat>);

pub fn pulse() -> (Pulse, Beats) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Pulse(sender), Beats(receiver))
}

impl Dispatch {
    /// A heartbeat: the machine was seen, and its lease, if it has one, lives longer. The answer comes
    /// when that is committed.
    pub async fn heartbeat(
        &self,
        machine_id: MachineId,
        lease_id: Option<LeaseId>,
    ) -> Result<Answer> {
        let (done, answer) = oneshot::channel();
        let beat = Beat {
            machine_id,
            lease_id,
            done,
        };
        self.pulse.0.send(beat).await.map_err(|_| closed())?;
        Ok(Answer(answer))
    }
}

/// What a heartbeat will have found.
pub struct Answer(oneshot::Receiver<Result<Option<Renewal>>>);

impl Answer {
    /// Of the lease that it named. Only once.
    pub async fn found(&mut self) -> Result<Option<Renewal>> {
        (&mut self.0).await.unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> Error {
    Error::Unavailable("the coordinator is stopping")
}

/// Runs until every session has ended.
pub async fn work(pool: store::Pool, mut beats: Beats) {
    let mut together = Vec::new();
    while beats.0.recv_many(&mut together, MAX_TOGETHER).await > 0 {
        sleep(GATHER).await;
        while together.len() < MAX_TOGETHER
            && let Ok(beat) = beats.0.try_recv()
        {
            together.push(beat);
        }
        let renewed = renew(&pool, &together).await;
        if let Err(error) = &renewed {
            tracing::warn!(error = %chain(error), "heartbeats were not taken");
        }
        for beat in together.drain(..) {
            let answer = match (&renewed, beat.lease_id) {
                (Err(_), _) => Err(Error::Unavailable(
                    "the database cannot be reached; try again",
                )),
                (Ok(_), None) => Ok(None),
                (Ok(renewed), Some(lease_id)) if renewed.contains(&(lease_id, beat.machine_id)) => {
                    Ok(Some(Renewal::Renewed))
                }
                (Ok(_), Some(lease_id)) => {
                    let why = leases::why_lost(&pool, beat.machine_id, lease_id).await;
                    why.map(Some)
                }
            };
            // An error means that its session is gone.
            drop(beat.done.send(answer));
        }
    }
}

/// Says which leases were live.
async fn renew(pool: &store::Pool, beats: &[Beat]) -> store::Result<HashSet<(LeaseId, MachineId)>> {
    let machines: BTreeSet<MachineId> = beats.iter().map(|beat| beat.machine_id).collect();
    let machines: Vec<MachineId> = machines.into_iter().collect();
    machine::touch(pool, &machines).await?;
    let leases: BTreeSet<(LeaseId, MachineId)> = beats
        .iter()
        .filter_map(|beat| Some((beat.lease_id?, beat.machine_id)))
        .collect();
    if leases.is_empty() {
        return Ok(HashSet::new());
    }
    let leases: Vec<(LeaseId, MachineId)> = leases.into_iter().collect();
    let renewed = lease::renew(pool, &leases, terms::TTL.as_secs_f64()).await?;
    Ok(renewed.into_iter().collect())
}
