//! What lies beyond the run itself: the rest of the fleet.

use serde::Serialize;

use super::Variant;

/// A model on a machine of the fleet, by arithmetic; the machine need not be of this run.
#[derive(Clone, Debug, Serialize)]
pub struct Fit {
    pub machine: String,
    pub chip: String,
    pub gpu_cores: Option<i32>,
    pub memory_bytes: i64,
    pub variant: Variant,
    /// The most bytes that a model with its cache may take there; None where its memory is not known.
    pub limit_bytes: Option<i64>,
    /// The longest context beside the weights, in tokens; 0 where they alone are too large.
    pub context_tokens: Option<i64>,
    /// What the published bandwidth allows at the most, at context 0; None where nothing is published.
    pub decode_ceiling_tps: Option<f64>,
}
