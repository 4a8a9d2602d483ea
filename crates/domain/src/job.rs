//! The life of a job.
//!
//! ```text
//!   queued ──grant──▶ leased ──finished──▶ succeeded | failed | skipped | parked
//!     ▲                 │
//!     └─ lease lost ────┘          cancel, from queued or leased ──▶ cancelled
//! ```
//!
//! `failed`: the model or its files are at fault, another try would fail alike. `parked`: three
//! launches or leases failed. `skipped`: known not to fit before it ran.

use std::fmt;
use std::str::FromStr;

/// After so many failed launches or lost leases a job is parked.
pub const FAILURES_TO_PARK: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    Queued,
    Leased,
    Succeeded,
    Failed,
    Skipped,
    Parked,
    Cancelled,
}

/// A text that is no job state, outcome or run state.
#[derive(Debug, thiserror::Error)]
#[error("unknown {noun} `{text}`")]
pub struct UnknownState {
    noun: &'static str,
    text: String,
}

macro_rules! named {
    ($type:ident, $noun:literal, { $($variant:ident => $name:literal),* $(,)? }) => {
        impl $type {
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                match text {
                    $($name => Ok(Self::$variant),)*
                    other => Err(UnknownState { noun: $noun, text: other.to_owned() }),
                }
            }
        }
    };
}

named!(JobState, "job state", {
    Queued => "queued",
    Leased => "leased",
    Succeeded => "succeeded",
    Failed => "failed",
    Skipped => "skipped",
    Parked => "parked",
    Cancelled => "cancelled",
});

impl JobState {
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Leased => false,
            Self::Succeeded | Self::Failed | Self::Skipped | Self::Parked | Self::Cancelled => true,
        }
    }
}

/// How a lease's work on its job ended, as the agent tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    Succeeded,
    Failed,
    Skipped,
    Parked,
    Cancelled,
    /// The agent gives the job back unfinished: it is stopping, or has other work.
    Released,
    /// The agent was killed in the midst of the job, and gives it back now that it is there again.
    Interrupted,
}

named!(JobOutcome, "job outcome", {
    Succeeded => "succeeded",
    Failed => "failed",
    Skipped => "skipped",
    Parked => "parked",
    Cancelled => "cancelled",
    Released => "released",
    Interrupted => "interrupted",
});

impl JobOutcome {
    /// Where this leaves the job.
    pub fn state(self) -> JobState {
        match self {
            Self::Succeeded => JobState::Succeeded,
            Self::Failed => JobState::Failed,
            Self::Skipped => JobState::Skipped,
            Self::Parked => JobState::Parked,
            Self::Cancelled => JobState::Cancelled,
            Self::Released | Self::Interrupted => JobState::Queued,
        }
    }
}

/// How one worker process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchOutcome {
    Succeeded,
    /// The worker told why it could not go on.
    Failed,
    TimedOut,
    /// It ended without a word, or by a signal.
    Crashed,
    /// It wrote what is no frame, or frames out of order.
    ProtocolError,
    Skipped,
    /// The agent was stopped or restarted under it.
    Interrupted,
    Cancelled,
}

named!(LaunchOutcome, "launch outcome", {
    Succeeded => "succeeded",
    Failed => "failed",
    TimedOut => "timed_out",
    Crashed => "crashed",
    ProtocolError => "protocol_error",
    Skipped => "skipped",
    Interrupted => "interrupted",
    Cancelled => "cancelled",
});

/// Where a run stands, seen from its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    Active,
    /// Every job succeeded.
    Succeeded,
    /// All jobs ended, some failed, were parked or skipped.
    Incomplete,
    Cancelled,
}

named!(RunState, "run state", {
    Active => "active",
    Succeeded => "succeeded",
    Incomplete => "incomplete",
    Cancelled => "cancelled",
});
