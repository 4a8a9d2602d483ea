//! What an agent keeps of its work and uploads: records, numbered in batches under a lease.
//!
//! A batch is the unit of acknowledgement: written to the agent's disk before it is sent, forgotten
//! when the coordinator has committed it, ignored when it comes twice.

use time::OffsetDateTime;

use crate::ids::{LaunchId, LeaseId};
use crate::job::{JobOutcome, LaunchOutcome};
use crate::model::ModelIdentity;
use crate::reason::Reason;
use crate::worker::{Iteration, Started};

/// Most records in one batch.
pub const MAX_BATCH_RECORDS: usize = 1000;

#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub lease_id: LeaseId,
    /// Counts from 0 within the lease, without gaps.
    pub seq: u64,
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large ones come once a launch, and not in bulk"
)]
pub enum Record {
    LaunchStarted(LaunchStarted),
    LaunchModel(LaunchModel),
    Iteration {
        launch_id: LaunchId,
        iteration: Iteration,
    },
    LaunchFinished(LaunchFinished),
    Reading(Reading),
    /// The last record of a lease.
    JobFinished(JobFinished),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchStarted {
    pub launch_id: LaunchId,
    pub case_key: String,
    /// Which repetition of the case.
    pub ordinal: u32,
    /// Where it stood in the interleaved order of the job.
    pub position: u32,
    pub started_at: OffsetDateTime,
    pub seed: u64,
}

/// What a launch loaded and where it ran, once the worker has told it.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchModel {
    pub launch_id: LaunchId,
    /// None for a suite about the machine itself.
    pub model: Option<ModelIdentity>,
    pub environment: Environment,
}

/// The conditions of a launch; equal conditions are one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment {
    pub worker: Started,
    pub os: String,
    pub os_version: String,
    pub os_build: String,
    pub kernel: String,
    pub boot_id: String,
    pub agent_version: String,
    /// The commit that the agent was built from, in the words of `Started::suite_commit`.
    pub agent_commit: String,
    /// What the GPU may keep resident, where the system was told so.
    pub wired_limit_bytes: Option<u64>,
    /// `ac` or `battery`; None where the system does not say.
    pub power_source: Option<String>,
    pub low_power_mode: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchFinished {
    pub launch_id: LaunchId,
    pub outcome: LaunchOutcome,
    /// Why it did not succeed.
    pub message: String,
    pub finished_at: OffsetDateTime,
    pub steady: bool,
    pub warmup_iterations: u32,
    /// Doubts about the whole launch.
    pub reasons: Vec<Reason>,
    /// The end of what the worker wrote to its standard error.
    pub stderr_tail: String,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
}

/// A sensor's value at a time. A sensor that cannot be read gives none.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub at: OffsetDateTime,
    pub sensor: String,
    pub value: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFinished {
    pub outcome: JobOutcome,
    pub reason: String,
}
