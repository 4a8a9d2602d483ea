//! What the sensors say of a run: heat beside launches, and how noisy each machine is.

use serde::Serialize;

use super::{CaseKey, Variant};

/// A launch with what the sensors read beside it.
#[derive(Clone, Debug, Serialize)]
pub struct Timeline {
    pub machine: String,
    pub suite: String,
    pub variant: Variant,
    pub case_key: CaseKey,
    pub launch: i32,
    /// Flagged for heat, or for what looks like it.
    pub throttled: bool,
    /// Change of the rate over the measured iterations, in percent; None of too few of them.
    pub trend_pct: Option<f64>,
    /// How long the machine was left to cool before it.
    pub cooldown_s: Option<f64>,
    pub reasons: Vec<String>,
    pub tracks: Vec<Track>,
}

/// One sensor over the life of the launch.
#[derive(Clone, Debug, Serialize)]
pub struct Track {
    pub sensor: String,
    pub unit: String,
    /// Seconds since the launch began, and the value; of a long launch, means.
    pub points: Vec<(f64, f64)>,
}

/// How much a metric scatters on a machine: coefficients of variation, each the median over cases.
#[derive(Clone, Debug, Serialize)]
pub struct Noise {
    pub machine: String,
    pub suite: String,
    pub metric: String,
    pub cases: i64,
    pub launches: i64,
    /// Of the iterations of one launch; None with one iteration.
    pub within_cv: Option<f64>,
    /// Of the medians of a case's launches; None with one launch.
    pub between_cv: Option<f64>,
    pub worst_between_cv: Option<f64>,
}
