//! An agent's time-limited right to a job.
//!
//! ```text
//!   granted ──heartbeat──▶ renewed ──job's last record──▶ released
//!      │                      │
//!      └──── no heartbeat ────┴──▶ expired   (database time decides; late samples become evidence)
//! ```

use std::time::Duration;

use crate::ids::{JobId, LeaseId, RunId};
use crate::model::ModelRef;
use crate::plan::Protocol;
use crate::suite::Case;

/// How long a lease lives without a heartbeat.
pub const TTL: Duration = Duration::from_secs(30);

/// How often an agent renews: several losses fit into one life.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Which grant of a job this is; it only grows, so an old holder can be told from the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A job handed to one machine for a while, with everything needed to do it.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub lease_id: LeaseId,
    pub job_id: JobId,
    pub run_id: RunId,
    pub epoch: Epoch,
    pub ttl: Duration,
    /// None for a suite whose subject is the machine.
    pub model: Option<ModelRef>,
    pub cases: Vec<Case>,
    pub protocol: Protocol,
    /// Launches kept from earlier leases of this job; they are not measured again.
    pub finished: Vec<FinishedLaunch>,
    /// Failed launches and lost leases so far.
    pub failures: u32,
}

/// One repetition of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedLaunch {
    pub case_key: String,
    pub ordinal: u32,
    /// Median of its headline metric, where the protocol has a precision to be reached.
    pub headline: Option<f64>,
}
