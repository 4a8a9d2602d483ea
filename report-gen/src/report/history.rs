//! A number over the runs that measured it: the same case, weights, protocol and machine.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{CaseKey, Direction, Variant};
use crate::stats::{Interval, Ratio, Verdict};

/// A series that ends with the report's run.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    pub machine: String,
    pub suite: String,
    pub variant: Variant,
    pub case_key: CaseKey,
    pub metric: String,
    pub unit: String,
    pub direction: Direction,
    /// By time; the last is of this run.
    pub points: Vec<HistoryPoint>,
    /// Where its level changed; empty of too few sound runs, too.
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, Serialize)]
pub struct HistoryPoint {
    pub run_id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    pub submitted_at: OffsetDateTime,
    pub value: f64,
    pub interval: Option<Interval>,
    /// Measured under doubtful conditions: shown, and no part of what is judged.
    pub tainted: bool,
    /// By `report.regression`: against the run before it.
    pub verdict: String,
    /// Over the run before it, less 1.
    pub change: Option<f64>,
    /// The largest change that is usual in this series.
    pub threshold: Option<f64>,
    pub software: Software,
}

/// What ran; several versions where they changed within the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Software {
    pub mlx: String,
    pub system: String,
    pub worker: String,
}

/// A change of level between two runs that follow each other.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The first run of the new level.
    pub run_id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    pub submitted_at: OffsetDateTime,
    /// The new level over the old one, up to the steps around it.
    pub ratio: Ratio,
    /// Of a step at the best of all places, after Holm's correction over all that the report looked for.
    pub p_holm: f64,
    /// Against the margin.
    pub verdict: Verdict,
    /// What else changed there.
    pub changes: Vec<String>,
}
