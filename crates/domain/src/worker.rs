//! What an agent asks of a worker and what the worker tells: the nouns of their pipe.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::model::{ModelIdentity, ModelRef};
use crate::plan::Protocol;
use crate::reason::Reason;
use crate::suite::Case;

/// One launch: one case of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// None for a suite whose subject is the machine.
    pub model: Option<ModelRef>,
    pub case: Case,
    pub protocol: Protocol,
    /// Where synthetic weights are kept.
    pub cache_dir: String,
    pub memory_limit_bytes: u64,
    /// Differs between launches of a case, so that no launch repeats another's accidents.
    pub launch_seed: u64,
}

/// What a worker says, each frame as soon as it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Started(Started),
    Model(ModelIdentity),
    Iteration(Iteration),
    Finished(Finished),
    Failed(Failed),
}

/// The software environment as the worker sees it, before any weight is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Started {
    pub pid: u32,
    pub suite_version: String,
    /// The commit that the worker was built from; `-modified` where files differed, `unknown` without git.
    pub suite_commit: String,
    pub mlx_version: String,
    /// Of the library's file; builds of one version differ. Empty: not found.
    pub mlx_sha256: String,
    pub mlx_device: String,
    pub mlx_architecture: String,
    pub blas: String,
    pub debug_build: bool,
    /// Whether the metallib holds the M5's matrix kernels; None where there is no metallib.
    pub nax_built: Option<bool>,
    pub metallib_sha256: String,
    /// None where there is no metallib.
    pub metallib_bytes: Option<u64>,
    /// Every `MLX_*` variable that the worker runs with.
    pub mlx_env: BTreeMap<String, String>,
    pub recommended_working_set_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Warmup,
    Measured,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Measured => "measured",
        }
    }
}

/// One value of one metric from one iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub metric: Metric,
    pub value: f64,
}

/// One pass of the timed region: the raw work and time, and the samples computed from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Iteration {
    pub ordinal: u32,
    pub phase: Phase,
    /// The suite's own label: `cold`, `warm`, `prefill`, `pipelined`, `per_token`.
    pub mode: String,
    /// Since the worker started.
    pub started: Duration,
    pub duration: Duration,
    /// Tokens, or bytes for `load`.
    pub work: u64,
    /// When each token's value was known, since the region began.
    pub token_times: Vec<Duration>,
    pub samples: Vec<Sample>,
    pub reasons: Vec<Reason>,
    pub token_ids_sha256: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Whether warm-up ended by agreement rather than by its limit.
    pub steady: bool,
    pub warmup_iterations: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub kind: FailureKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The weights or their files are at fault: another launch would fail alike.
    Model,
    /// The parameters make no sense for this model.
    Case,
    /// Would not fit in this machine's memory, or the suite is not for such a model.
    Skipped,
    /// Anything else: another launch may succeed.
    Internal,
}

impl FailureKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Case => "case",
            Self::Skipped => "skipped",
            Self::Internal => "internal",
        }
    }
}
