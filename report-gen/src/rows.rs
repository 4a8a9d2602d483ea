//! What the views of schema `report` say about one run, as plain rows: the seam between reading and
//! analysing, and easy to write by hand in a test. Rows that need no analysis are the report's own types.

use crate::report::{
    CaseKey, Coverage, Direction, Doubt, Environment, Latency, Machine, MetricFacts, Run,
};

/// Everything that a report is made from.
#[derive(Clone, Debug)]
pub struct Rows {
    pub run: Run,
    pub machines: Vec<Machine>,
    pub environments: Vec<Environment>,
    pub models: Vec<ModelRow>,
    pub launches: Vec<LaunchRow>,
    /// Only of cases with enough launches for a bootstrap, and of the run's headline metrics.
    pub iterations: Vec<IterationRow>,
    /// The machine that the others are judged against; None with fewer than two.
    pub baseline: Option<String>,
    /// What keeps machines from being compared with the baseline, where something does.
    pub differences: Vec<DifferenceRow>,
    pub latencies: Vec<Latency>,
    pub energies: Vec<EnergyRow>,
    pub validity: Vec<Doubt>,
    pub coverage: Vec<Coverage>,
    pub metrics: Vec<MetricFacts>,
}

/// Weights that some launch of the run loaded.
#[derive(Clone, Debug)]
pub struct ModelRow {
    pub model: String,
    pub model_source: String,
    pub model_digest: String,
    pub model_type: String,
    pub dtype: String,
    pub quantisation: String,
    pub parameters: i64,
    pub weight_bytes: i64,
    pub decode_bytes: i64,
    pub kv_bytes_per_token: i64,
    pub synthetic: bool,
}

/// The point of a suite that a number belongs to, on one machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseRow {
    pub machine: String,
    pub suite: String,
    pub model: String,
    pub dtype: Option<String>,
    pub quantisation: Option<String>,
    pub model_digest: Option<String>,
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

#[derive(Clone, Debug)]
pub struct DifferenceRow {
    pub machine: String,
    pub suite: String,
    pub model: String,
    pub dtype: Option<String>,
    pub case_key: CaseKey,
    pub metric: String,
    pub differences: Vec<String>,
}

/// Energy of one launch by one power sensor.
#[derive(Clone, Debug)]
pub struct EnergyRow {
    pub machine: String,
    pub suite: String,
    pub model: String,
    pub dtype: Option<String>,
    pub case_key: CaseKey,
    pub launch: i32,
    pub sensor: String,
    pub mean_w: Option<f64>,
    pub energy_j_per_token: Option<f64>,
    pub reason: String,
}
