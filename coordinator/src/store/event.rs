//! What happened, for audit: a row for every change of a run, a job, a lease or a machine, with who asked
//! for it.

use domain::ids::{JobId, LeaseId, MachineId, RunId};
use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::{Result, expect_rows};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    MachineEnrolled,
    MachineRevoked,
    MachineApproved,
    MachineDrained,
    MachineResumed,
    MachineLabelled,
    MachineUpgrade,
    RunSubmitted,
    RunImported,
    RunEnded,
    RunCancelled,
    RunResumed,
    RunDeleted,
    ScheduleSet,
    SchedulePassedOver,
    ScheduleRemoved,
    JobGranted,
    JobRequeued,
    JobEnded,
    LeaseReleased,
    LeaseExpired,
    LeaseCancelled,
    ModelSent,
    TokenCreated,
    TokenRevoked,
    AuthorityRenewed,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MachineEnrolled => "machine_enrolled",
            Self::MachineRevoked => "machine_revoked",
            Self::MachineApproved => "machine_approved",
            Self::MachineDrained => "machine_drained",
            Self::MachineResumed => "machine_resumed",
            Self::MachineLabelled => "machine_labelled",
            Self::MachineUpgrade => "machine_upgrade",
            Self::RunSubmitted => "run_submitted",
            Self::RunImported => "run_imported",
            Self::RunEnded => "run_ended",
            Self::RunCancelled => "run_cancelled",
            Self::RunResumed => "run_resumed",
            Self::RunDeleted => "run_deleted",
            Self::ScheduleSet => "schedule_set",
            Self::SchedulePassedOver => "schedule_passed_over",
            Self::ScheduleRemoved => "schedule_removed",
            Self::JobGranted => "job_granted",
            Self::JobRequeued => "job_requeued",
            Self::JobEnded => "job_ended",
            Self::LeaseReleased => "lease_released",
            Self::LeaseExpired => "lease_expired",
            Self::LeaseCancelled => "lease_cancelled",
            Self::ModelSent => "model_sent",
            Self::TokenCreated => "token_created",
            Self::TokenRevoked => "token_revoked",
            Self::AuthorityRenewed => "authority_renewed",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Event {
    pub kind: Kind,
    pub run_id: Option<RunId>,
    pub job_id: Option<JobId>,
    pub machine_id: Option<MachineId>,
    pub lease_id: Option<LeaseId>,
    pub detail: String,
}

impl Event {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            run_id: None,
            job_id: None,
            machine_id: None,
            lease_id: None,
            detail: detail.into(),
        }
    }

    #[must_use]
    pub fn run(mut self, run_id: RunId) -> Self {
        self.run_id = Some(run_id);
        self
    }

    /// What happens to a job or its lease is found by the run.
    #[must_use]
    pub fn of_job(mut self, run_id: RunId, job_id: JobId) -> Self {
        (self.run_id, self.job_id) = (Some(run_id), Some(job_id));
        self
    }

    #[must_use]
    pub fn machine(mut self, machine_id: MachineId) -> Self {
        self.machine_id = Some(machine_id);
        self
    }

    #[must_use]
    pub fn lease(mut self, lease_id: LeaseId) -> Self {
        self.lease_id = Some(lease_id);
        self
    }
}

/// Touches one row per event.
pub async fn insert(executor: impl PgExecutor<'_>, actor: &str, events: &[Event]) -> Result<()> {
    let kinds: Vec<String> = events.iter().map(|e| e.kind.as_str().to_owned()).collect();
    let runs: Vec<Option<Uuid>> = events.iter().map(|e| e.run_id.map(|id| id.0)).collect();
    let jobs: Vec<Option<Uuid>> = events.iter().map(|e| e.job_id.map(|id| id.0)).collect();
    let machines: Vec<Option<Uuid>> = events.iter().map(|e| e.machine_id.map(|id| id.0)).collect();
    let leases: Vec<Option<Uuid>> = events.iter().map(|e| e.lease_id.map(|id| id.0)).collect();
    let details: Vec<String> = events.iter().map(|e| e.detail.clone()).collect();
    let done = sqlx::query!(
        "insert into fleet.event (actor, kind, run_id, job_id, machine_id, lease_id, detail)
         select $7, * from unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[])",
        &kinds,
        &runs as &[Option<Uuid>],
        &jobs as &[Option<Uuid>],
        &machines as &[Option<Uuid>],
        &leases as &[Option<Uuid>],
        &details,
        actor
    )
    .execute(executor)
    .await?;
    expect_rows("insert event", events.len(), done.rows_affected())
}

/// An event as it was stored, with the names of what it is about.
#[derive(Clone, Debug)]
pub struct Stored {
    pub at: OffsetDateTime,
    /// Of this version or of another one.
    pub kind: String,
    pub run_id: Option<Uuid>,
    pub job_id: Option<Uuid>,
    pub lease_id: Option<Uuid>,
    /// `decode nano-llama bf16`
    pub job: Option<String>,
    pub machine: Option<String>,
    pub actor: String,
    pub detail: String,
}

/// The newest of a run, a machine, both or neither; the oldest of them first.
pub async fn list(
    executor: impl PgExecutor<'_>,
    run_id: Option<RunId>,
    machine_id: Option<MachineId>,
    limit: u32,
) -> Result<Vec<Stored>> {
    let events = sqlx::query_file_as!(
        Stored,
        "src/store/event_list.sql",
        run_id.map(|id| id.0),
        machine_id.map(|id| id.0),
        i64::from(limit)
    )
    .fetch_all(executor)
    .await?;
    Ok(events)
}
