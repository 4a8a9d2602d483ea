//! Typed identities, so that a job's id can never stand where a lease's is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that should have been an id and is not.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a {noun} id (a UUID such as 0192f0c1-7e3a-7bb0-8000-3f1d2c4b5a69)")]
pub struct BadId {
    noun: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, ordered by the time of its making.
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| BadId { noun: $noun, text: text.to_owned() })
            }
        }
    };
}

id!(
    /// One submission of a plan.
    RunId, "run"
);
id!(
    /// A plan that is submitted again and again.
    ScheduleId, "schedule"
);
id!(
    /// One suite with one model on one machine within a run.
    JobId, "job"
);
id!(
    /// An agent's time-limited right to a job.
    LeaseId, "lease"
);
id!(
    /// One fresh worker process for one case.
    LaunchId, "launch"
);
id!(
    /// A machine of the fleet, by stable identity.
    MachineId, "machine"
);
