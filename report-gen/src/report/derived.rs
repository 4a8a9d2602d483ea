//! What only several cases together show.

use serde::Serialize;

use super::{CaseKey, Variant};
use crate::stats::{Interval, Ratio};

/// From how many sequences on each gets less than half of what it gets alone.
#[derive(Clone, Debug, Serialize)]
pub struct Knee {
    pub machine: String,
    pub variant: Variant,
    /// What all batch sizes share.
    pub case_key: CaseKey,
    /// None where no measured size is beyond it.
    pub batch_knee: Option<f64>,
    /// The measured sizes around it; the second is missing where the knee is.
    pub above_size: i32,
    pub below_size: Option<i32>,
    /// Their intervals lie on their own sides of a half.
    pub clear: bool,
    pub sizes: i64,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// The time of a token that reads no weights, over the quantisations of one architecture.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    pub machine: String,
    pub models: Vec<String>,
    pub case_key: CaseKey,
    pub kernel_floor_ms: f64,
    pub interval: Option<Interval>,
    /// By the line's slope.
    pub gbps: Option<f64>,
    pub r_squared: f64,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// What one more position takes of memory.
#[derive(Clone, Debug, Serialize)]
pub struct MemorySlope {
    pub machine: String,
    pub variant: Variant,
    pub kv_bytes_per_token: Option<f64>,
    pub kv_theory_bytes_per_token: Option<f64>,
    pub peak_bytes_per_token: Option<f64>,
    pub peak_r_squared: Option<f64>,
    pub lengths: i64,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// What it did to a job's numbers when in the order of launches they were measured.
#[derive(Clone, Debug, Serialize)]
pub struct PositionEffect {
    pub machine: String,
    pub suite: String,
    pub model: String,
    pub metric: String,
    /// `place_in_block` or `block`.
    pub effect: String,
    pub last_over_first: Ratio,
    /// Against the margin, after Holm's correction over all of them in the report.
    pub p_holm: Option<f64>,
    /// Whether it is beyond the margin; None where the launches do not tell.
    pub moved: Option<bool>,
}
