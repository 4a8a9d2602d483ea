//! The life of a lease after its grant.
//!
//! ```text
//!            heartbeat                        JobFinished, uploaded under the live lease
//!   live ───────────────▶ live    live ──────────────────────────────────────────────▶ released
//!     │ TTL over by the database's clock, or the agent came back without it
//!     ├───────────────────────────────────────────────────────────────────────────────▶ expired
//!     │ the run was cancelled
//!     └───────────────────────────────────────────────────────────────────────────────▶ cancelled
//! ```
//!
//! released, expired, cancelled: final. What is uploaded under such a lease is evidence and counts for
//! nothing; it cannot end, renew or fail the job, whose epoch has moved on.

use domain::ids::{LeaseId, MachineId};
use domain::job::{FAILURES_TO_PARK, JobOutcome, JobState};
use domain::lease as terms;
use domain::machine::Inventory;
use domain::record::JobFinished;
use time::OffsetDateTime;
use uuid::Uuid;

use super::changes::Changes;
use super::{Dispatch, Error, Result};
use crate::store::event::{Event, Kind};
use crate::store::lease::{Lease, State};
use crate::store::{self, job, lease, machine, wake};

/// Leases that one transaction reaps: it should be short.
const REAP_AT_ONCE: i64 = 100;

/// What a heartbeat found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    Renewed,
    Cancelled,
    Lost { reason: String },
}

/// How an agent is welcomed.
#[derive(Debug)]
pub struct Welcome {
    pub machine_name: String,
    /// Of the leases that it said it has.
    pub live_leases: Vec<LeaseId>,
}

impl Dispatch {
    /// A new session: its machine's row is brought up to date, earlier sessions are told that they are
    /// over, and its live lease is renewed, or given up at once when the agent does not know it any more.
    pub async fn welcome(
        &self,
        machine_id: MachineId,
        session: Uuid,
        inventory: &Inventory,
        unfinished: &[LeaseId],
    ) -> Result<Welcome> {
        let mut tx = store::begin(&self.pool).await?;
        let name = machine::name(&mut *tx, machine_id)
            .await?
            .unwrap_or_default();
        match machine::put(&mut *tx, machine_id, &name, inventory).await {
            Err(store::Error::RowCount { .. }) => {
                return Err(Error::Denied(
                    "this certificate was made for a machine of another identity: enrol this \
                     machine with a join token of its own"
                        .to_owned(),
                ));
            }
            done => done?,
        }
        wake::session(&mut *tx, machine_id, session).await?;
        let mut changes = Changes::default();
        let held = lease::lock_live_of_machine(&mut *tx, machine_id).await?;
        let mut live_leases = Vec::new();
        match held {
            Some(held) if unfinished.contains(&held.lease_id) => {
                let ttl_seconds = terms::TTL.as_secs_f64();
                lease::renew(&mut *tx, &[(held.lease_id, machine_id)], ttl_seconds).await?;
                live_leases.push(held.lease_id);
            }
            Some(held) => {
                let why = "the agent came back without this lease";
                give_up(&mut tx, &held, why, &mut changes).await?;
            }
            None => {}
        }
        changes.commit(tx).await?;
        Ok(Welcome {
            machine_name: name,
            live_leases,
        })
    }

    /// Where a lease of this machine stands, without renewing it; None while it is live or when it
    /// ended as it should.
    pub async fn ended_early(
        &self,
        machine_id: MachineId,
        lease_id: LeaseId,
    ) -> Result<Option<Renewal>> {
        match lease::find(&self.pool, &[lease_id])
            .await?
            .first()
            .map(|lease| lease.state)
        {
            Some(State::Live | State::Released) => Ok(None),
            Some(State::Expired | State::Cancelled) | None => {
                Ok(Some(why_lost(&self.pool, machine_id, lease_id).await?))
            }
        }
    }

    /// Ends a lease that no agent has heard of; its job is queued again, at nobody's fault.
    pub async fn take_back(&self, machine_id: MachineId, lease_id: LeaseId) -> Result<()> {
        let mut tx = store::begin(&self.pool).await?;
        let held = lease::lock_live_of_machine(&mut *tx, machine_id).await?;
        let Some(held) = held.filter(|held| held.lease_id == lease_id) else {
            return Ok(());
        };
        let told = JobFinished {
            outcome: JobOutcome::Interrupted,
            reason: "a newer session of the machine took over before it was told".to_owned(),
        };
        let mut changes = Changes::default();
        finish(&mut tx, &held, &told, &mut changes).await?;
        Ok(changes.commit(tx).await?)
    }

    /// The clock by which leases expire.
    pub async fn database_time(&self) -> Result<OffsetDateTime> {
        Ok(lease::now(&self.pool).await?)
    }

    /// Gives every live lease a whole life from now: nobody could renew while the coordinator or its
    /// database was away. Says how many.
    pub async fn spare(&self) -> Result<u64> {
        Ok(lease::lengthen_all(&self.pool, terms::TTL.as_secs_f64()).await?)
    }

    /// Ends the leases whose time is over; says how many.
    pub async fn reap(&self) -> Result<usize> {
        let mut tx = store::begin(&self.pool).await?;
        let overdue = lease::lock_overdue(&mut *tx, REAP_AT_ONCE).await?;
        if overdue.is_empty() {
            return Ok(0);
        }
        let mut changes = Changes::default();
        for held in &overdue {
            give_up(
                &mut tx,
                held,
                "its agent sent no heartbeat in time",
                &mut changes,
            )
            .await?;
            tracing::warn!(
                machine_id = %held.machine_id, job_id = %held.job_id, lease_id = %held.lease_id,
                "a lease has expired"
            );
        }
        changes.commit(tx).await?;
        self.counts.leases_expired.inc_by(overdue.len() as u64);
        Ok(overdue.len())
    }
}

/// What became of a lease that was not renewed.
pub(super) async fn why_lost(
    pool: &store::Pool,
    machine_id: MachineId,
    lease_id: LeaseId,
) -> Result<Renewal> {
    let found = lease::find(pool, &[lease_id]).await?;
    let state = found
        .first()
        .filter(|lease| lease.machine_id == machine_id)
        .map(|lease| lease.state);
    let reason = match state {
        Some(State::Cancelled) => return Ok(Renewal::Cancelled),
        // Renewed by nobody between two statements, so it is about to be.
        Some(State::Live) => return Ok(Renewal::Renewed),
        Some(State::Released) => "the job of this lease has ended",
        Some(State::Expired) => "no heartbeat arrived in time: the lease has expired",
        None => "this lease was never granted to this machine",
    };
    Ok(Renewal::Lost {
        reason: reason.to_owned(),
    })
}

/// A live lease is lost without a word from its agent: a failure of the job.
async fn give_up(
    tx: &mut store::Tx,
    held: &Lease,
    why: &str,
    changes: &mut Changes,
) -> store::Result<()> {
    lease::end(&mut **tx, &[held.lease_id], State::Expired).await?;
    let job = job::lock(&mut **tx, held.job_id).await?;
    let expired = Event::new(Kind::LeaseExpired, why).of_job(job.run_id, held.job_id);
    changes
        .events
        .push(expired.machine(held.machine_id).lease(held.lease_id));
    if job.state != JobState::Leased || job.epoch != held.epoch {
        return Ok(());
    }
    leave(tx, &job, requeue_or_park(job.failures + 1, why), changes).await
}

/// The last word of a lease. The caller holds its lock and knows that it is live.
pub(super) async fn finish(
    tx: &mut store::Tx,
    held: &Lease,
    told: &JobFinished,
    changes: &mut Changes,
) -> store::Result<()> {
    let job = job::lock(&mut **tx, held.job_id).await?;
    if job.state != JobState::Leased || job.epoch != held.epoch {
        return Ok(());
    }
    let (counts, broken_off) = lease::progress(&mut **tx, held.lease_id).await?;
    let missing = match told.outcome {
        JobOutcome::Succeeded => job::missing_launches(&mut **tx, held.job_id).await?,
        JobOutcome::Failed
        | JobOutcome::Skipped
        | JobOutcome::Parked
        | JobOutcome::Cancelled
        | JobOutcome::Released
        | JobOutcome::Interrupted => 0,
    };
    let stuck = broken_off && !counts;
    lease::end(&mut **tx, &[held.lease_id], State::Released).await?;
    let released = Event::new(Kind::LeaseReleased, told.outcome.as_str());
    changes.events.push(
        released
            .of_job(job.run_id, job.job_id)
            .machine(held.machine_id)
            .lease(held.lease_id),
    );
    leave(
        tx,
        &job,
        after_word(told, job.failures, missing, stuck),
        changes,
    )
    .await
}

/// Where a job goes from `leased`.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    state: JobState,
    reason: String,
    failures: u32,
}

/// `stuck`: a launch was broken off and none was finished. An agent that dies with its job each time
/// would otherwise be given it for ever; one that was asked to stop is not at fault.
fn after_word(told: &JobFinished, failures: u32, missing: u32, stuck: bool) -> Next {
    let JobFinished { outcome, reason } = told;
    match outcome {
        JobOutcome::Interrupted if stuck => requeue_or_park(
            failures + 1,
            &format!("given back without progress: {reason}"),
        ),
        JobOutcome::Succeeded if missing > 0 => Next {
            state: JobState::Failed,
            reason: format!("the agent says it succeeded, but {missing} launches are missing here"),
            failures,
        },
        JobOutcome::Succeeded
        | JobOutcome::Failed
        | JobOutcome::Skipped
        | JobOutcome::Parked
        | JobOutcome::Cancelled
        | JobOutcome::Released
        | JobOutcome::Interrupted => Next {
            state: outcome.state(),
            reason: reason.replace('\0', "\u{fffd}"),
            failures,
        },
    }
}

fn requeue_or_park(failures: u32, why: &str) -> Next {
    let (state, reason) = if failures >= FAILURES_TO_PARK {
        let reason = format!("{failures} launches or leases failed; the last: {why}");
        (JobState::Parked, reason)
    } else {
        (JobState::Queued, why.to_owned())
    };
    Next {
        state,
        reason,
        failures,
    }
}

async fn leave(
    tx: &mut store::Tx,
    job: &job::Held,
    next: Next,
    changes: &mut Changes,
) -> store::Result<()> {
    let Next {
        state,
        reason,
        failures,
    } = next;
    job::leave(&mut **tx, job.job_id, state, &reason, failures).await?;
    let kind = if state.is_final() {
        changes.ended_jobs_of.insert(job.run_id);
        Kind::JobEnded
    } else {
        changes.runs.insert(job.run_id);
        Kind::JobRequeued
    };
    let detail = match &*reason {
        "" => state.to_string(),
        reason => format!("{state}: {reason}"),
    };
    let event = Event::new(kind, detail).of_job(job.run_id, job.job_id);
    changes.events.push(event.machine(job.machine_id));
    changes.machines.insert(job.machine_id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(outcome: JobOutcome) -> JobFinished {
        JobFinished {
            outcome,
            reason: "why".to_owned(),
        }
    }

    #[test]
    fn the_third_failure_parks_a_job_with_its_reason() {
        for failures in 1..FAILURES_TO_PARK {
            assert_eq!(requeue_or_park(failures, "gone").state, JobState::Queued);
        }
        let parked = requeue_or_park(FAILURES_TO_PARK, "gone");
        assert_eq!(parked.state, JobState::Parked);
        assert!(parked.reason.ends_with("gone"), "{}", parked.reason);
    }

    #[test]
    fn a_killed_agent_is_a_failure_only_when_nothing_was_gained_and_a_polite_stop_is_none() {
        let killed = word(JobOutcome::Interrupted);
        assert_eq!(after_word(&killed, 2, 0, false).failures, 2);
        assert_eq!(after_word(&killed, 2, 0, false).state, JobState::Queued);
        assert_eq!(after_word(&killed, 0, 0, true).failures, 1);
        assert_eq!(after_word(&killed, 2, 0, true).state, JobState::Parked);
        let stopping = after_word(&word(JobOutcome::Released), 2, 0, true);
        assert_eq!((stopping.failures, stopping.state), (2, JobState::Queued));
    }

    #[test]
    fn success_is_believed_only_with_every_launch_in_hand() {
        let succeeded = word(JobOutcome::Succeeded);
        assert_eq!(
            after_word(&succeeded, 0, 0, false).state,
            JobState::Succeeded
        );
        let short = after_word(&succeeded, 0, 2, false);
        assert_eq!(short.state, JobState::Failed);
        assert!(
            short.reason.contains("2 launches are missing"),
            "{}",
            short.reason
        );
    }
}
