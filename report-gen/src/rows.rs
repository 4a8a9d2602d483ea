//! What the views of schema `report` say about one run, as plain rows: the seam between reading and
//! analysing, and easy to write by hand in a test. Rows that need no analysis are the report's own types.

use time::OffsetDateTime;

use crate::report::{
    CaseKey, Ceiling, Coverage, Direction, Disagreement, Doubt, Environment, Fit, Floor,
    HistoryPoint, Knee, Latency, Machine, MemorySlope, MetricFacts, Model, Noise, PositionEffect,
    Run, Timeline, Utilisation, Variant,
};

/// Everything that a report is made from.
#[derive(Clone, Debug)]
pub struct Rows {
    pub run: Run,
    pub models: Vec<Model>,
    pub launches: Vec<LaunchRow>,
    /// Only of cases with enough launches for a bootstrap, and of the run's headline metrics.
    pub iterations: Vec<IterationRow>,
    /// This and all that follows is not asked for where runs are compared.
    pub machines: Vec<Machine>,
    pub environments: Vec<Environment>,
    /// The machine that the others are judged against; None with fewer than two.
    pub baseline: Option<String>,
    /// Which cases the baseline has too, and what keeps them from being compared. What has no row
    /// is not compared.
    pub differences: Vec<DifferenceRow>,
    pub latencies: Vec<Latency>,
    pub energies: Vec<EnergyRow>,
    pub ceilings: Vec<Ceiling>,
    pub utilisations: Vec<Utilisation>,
    pub knees: Vec<Knee>,
    pub floors: Vec<Floor>,
    pub memory_slopes: Vec<MemorySlope>,
    /// Of the run's headline metrics, and without a verdict.
    pub position_effects: Vec<PositionEffect>,
    pub timelines: Vec<Timeline>,
    /// Of the run's headline metrics.
    pub noise: Vec<Noise>,
    pub fits: Vec<Fit>,
    /// By series and time, up to this run.
    pub history: Vec<HistoryRow>,
    pub validity: Vec<Doubt>,
    pub disagreements: Vec<Disagreement>,
    pub coverage: Vec<Coverage>,
    pub metrics: Vec<MetricFacts>,
}

/// Two runs, and what of them may be compared.
#[derive(Clone, Debug)]
pub struct RunPair {
    pub run: Rows,
    pub baseline: Rows,
    /// By machine, each against itself.
    pub differences: Vec<DifferenceRow>,
}

/// The point of a suite that a number belongs to, on one machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseRow {
    pub machine: String,
    pub suite: String,
    pub variant: Variant,
    pub case_key: CaseKey,
}

#[derive(Clone, Debug)]
pub struct LaunchRow {
    pub case: CaseRow,
    pub metric: String,
    pub unit: String,
    pub direction: Direction,
    pub launch: i32,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub iterations: i64,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct IterationRow {
    pub case: CaseRow,
    pub metric: String,
    pub launch: i32,
    pub value: f64,
}

/// A number of a run that ends, or comes before, a series of this one's.
#[derive(Clone, Debug)]
pub struct HistoryRow {
    pub case: CaseRow,
    pub metric: String,
    pub unit: String,
    pub direction: Direction,
    pub point: HistoryPoint,
}

/// One value, as it was measured.
#[derive(Clone, Debug)]
pub struct SampleRow {
    pub case: CaseRow,
    pub launch: i32,
    pub iteration: i32,
    /// `warmup` or `measured`.
    pub phase: String,
    pub mode: String,
    pub started_at: Option<OffsetDateTime>,
    pub metric: String,
    pub unit: String,
    pub value: f64,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// One case on a machine and on the baseline: comparable where nothing differs.
#[derive(Clone, Debug)]
pub struct DifferenceRow {
    pub machine: String,
    pub suite: String,
    pub model_source: Option<String>,
    pub model_digest: Option<String>,
    pub baseline_digest: Option<String>,
    pub dtype: Option<String>,
    pub case_key: CaseKey,
    pub metric: String,
    pub differences: Vec<String>,
}

/// Energy of one launch by one power sensor.
#[derive(Clone, Debug)]
pub struct EnergyRow {
    pub case: CaseRow,
    pub mode: String,
    pub launch: i32,
    pub sensor: String,
    pub mean_w: Option<f64>,
    pub energy_j_per_token: Option<f64>,
    pub reason: String,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
}
