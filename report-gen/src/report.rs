//! The report as data: everything that a renderer shows, computed once. JSON is this, written out.

mod beyond;
mod case_key;
mod chips;
mod derived;
mod heat;
mod history;
mod judged;
mod shape;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

pub use beyond::Fit;
pub use case_key::CaseKey;
pub use chips::{ChipFacts, Generation, ReferenceGain, ReferenceRates};
pub use derived::{Floor, Knee, MemorySlope, PositionEffect};
pub use heat::{Noise, Timeline, Track};
pub use history::{History, HistoryPoint, Software, Step};
pub use judged::{
    CHOICE_TOKENS, Choice, Claim, Contest, Gain, Law, LawPoint, Overall, Quantity, Rank, Ranking,
    Recommendation, Rival, beside_the_first, leaders, leaders_in_words,
};
pub use shape::Shape;

use crate::stats::{Estimate, Interval, Ratio, Verdict};
use crate::titles;

/// Version of the JSON's shape; it grows when a reader of the old shape would be misled.
pub const FORMAT_VERSION: u32 = 2;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub format_version: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub generated_at: OffsetDateTime,
    pub run: Run,
    pub findings: Vec<Finding>,
    pub machines: Vec<Machine>,
    pub environments: Vec<Environment>,
    pub models: Vec<Model>,
    pub measurements: Vec<Measurement>,
    pub latencies: Vec<Latency>,
    pub energies: Vec<Energy>,
    pub ceilings: Vec<Ceiling>,
    pub utilisations: Vec<Utilisation>,
    pub knees: Vec<Knee>,
    pub floors: Vec<Floor>,
    pub memory_slopes: Vec<MemorySlope>,
    pub position_effects: Vec<PositionEffect>,
    pub timelines: Vec<Timeline>,
    pub noise: Vec<Noise>,
    pub comparison: Comparison,
    pub chips: Vec<ChipFacts>,
    pub generations: Vec<Generation>,
    pub laws: Vec<Law>,
    pub rankings: Vec<Ranking>,
    pub choices: Vec<Choice>,
    /// Of the run's models on all machines of the fleet.
    pub fits: Vec<Fit>,
    /// Series that end with this run.
    pub histories: Vec<History>,
    pub gains: Vec<Gain>,
    pub recommendations: Vec<Recommendation>,
    pub doubts: Vec<Doubt>,
    pub disagreements: Vec<Disagreement>,
    pub coverage: Vec<Coverage>,
    pub metrics: Vec<MetricFacts>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub run_id: Uuid,
    pub plan: String,
    pub plan_file: String,
    pub plan_sha256: String,
    /// `measured`, `simulated` or `imported`.
    pub label: String,
    /// Who measured, with what, where it was not this fleet.
    pub source: Option<String>,
    pub state: String,
    #[serde(with = "time::serde::rfc3339")]
    pub submitted_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    pub duration_s: f64,
    pub jobs: i64,
    pub jobs_succeeded: i64,
    pub jobs_unfinished: i64,
    /// Metrics that the plan puts first.
    pub headline: Vec<String>,
    pub protocol: Value,
}

/// A run against an earlier one, on every machine that both used.
#[derive(Clone, Debug, Serialize)]
pub struct RunComparison {
    pub format_version: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub generated_at: OffsetDateTime,
    pub run: Run,
    pub baseline: Run,
    /// What may differ between the two, because it is what is compared.
    pub across: Vec<String>,
    pub comparison: Comparison,
    /// Numbers of a headline metric that only one of the runs has.
    pub unmatched: usize,
}

/// One computed sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: FindingKind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    Result,
    /// Something that the reader should know before he trusts a number.
    Caution,
}

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub machine: String,
    pub chip: String,
    pub gpu_cores: Option<i32>,
    pub cpu_cores: i32,
    pub memory_bytes: i64,
    pub hardware_model: String,
    pub os: String,
    pub os_version: String,
    pub virtual_machine: bool,
    pub simulated: bool,
    /// Somebody else's, as a file tells of it: 0 and empty where it does not.
    pub imported: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    pub machine: String,
    pub launches: i64,
    pub os: String,
    pub os_version: String,
    pub os_build: String,
    pub kernel: String,
    pub agent_version: String,
    pub agent_commit: String,
    pub suite_version: String,
    pub suite_commit: String,
    pub mlx_version: String,
    /// Of its library, in hexadecimal digits.
    pub mlx_sha256: Option<String>,
    pub mlx_device: String,
    pub mlx_architecture: String,
    pub blas: String,
    pub debug_build: bool,
    pub nax_built: Option<bool>,
    pub nax_expected: bool,
    pub mlx_env: Value,
    pub power_source: Option<String>,
    pub low_power_mode: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Model {
    pub variant: Variant,
    pub model_type: String,
    pub shape: Shape,
    pub parameters: i64,
    pub weight_bytes: i64,
    pub decode_bytes: i64,
    pub kv_bytes_per_token: i64,
    pub synthetic: bool,
}

impl Model {
    /// Weights, and keys and values of so many tokens.
    pub fn needs_bytes(&self, tokens: i64) -> i64 {
        self.weight_bytes + tokens * self.kv_bytes_per_token
    }
}

/// A model in one precision. What makes two of them one is the content, not the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Variant {
    pub model: String,
    pub dtype: Option<String>,
    /// `none`, or such as `affine 4-bit g64`; None where no launch got as far as to know.
    pub quantisation: Option<String>,
    /// Where the plan takes it from; None for a suite about the machine itself.
    pub source: Option<String>,
    pub digest: Option<String>,
    /// What tells it from another of the same words: its source, or the beginning of its digest. None
    /// where the words are enough.
    pub mark: Option<String>,
}

impl Variant {
    /// The model's name, told from another's.
    pub fn name(&self) -> String {
        match &self.mark {
            Some(mark) => format!("{} [{mark}]", self.model),
            None => self.model.clone(),
        }
    }

    /// The precision in words: the quantisation where there is one, else the type.
    pub fn precision(&self) -> String {
        match (self.quantisation.as_deref(), &self.dtype) {
            (None | Some("none" | ""), Some(dtype)) => dtype.clone(),
            (None | Some("none" | ""), None) => "as stored".to_owned(),
            (Some(quantisation), Some(dtype)) => format!("{quantisation}, {dtype}"),
            (Some(quantisation), None) => quantisation.to_owned(),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.precision())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Higher,
    Lower,
    Neutral,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Neutral => "neutral",
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown direction `{0}` of a metric")]
pub struct UnknownDirection(String);

impl FromStr for Direction {
    type Err = UnknownDirection;

    fn from_str(text: &str) -> Result<Self, UnknownDirection> {
        match text {
            "higher" => Ok(Self::Higher),
            "lower" => Ok(Self::Lower),
            "neutral" => Ok(Self::Neutral),
            other => Err(UnknownDirection(other.to_owned())),
        }
    }
}

/// One metric of one case on one machine, over its launches.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    pub machine: String,
    pub suite: String,
    pub variant: Variant,
    pub case_key: CaseKey,
    pub metric: String,
    pub unit: String,
    pub direction: Direction,
    pub estimate: Estimate,
    pub iterations: i64,
    pub min: f64,
    pub max: f64,
    /// Standard deviation over mean of the launch medians; None with one launch or a mean of zero.
    pub cv: Option<f64>,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
    pub launches: Vec<LaunchPoint>,
}

impl Measurement {
    pub fn medians(&self) -> Vec<f64> {
        self.launches.iter().map(|launch| launch.median).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LaunchPoint {
    pub launch: i32,
    pub median: f64,
    /// More than 3.5 modified z-scores from the launches' median, of enough launches to tell.
    pub outlier: bool,
}

/// Percentiles of the time between tokens; None where there are too few for one.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    pub machine: String,
    pub variant: Variant,
    pub case_key: CaseKey,
    pub gaps: i32,
    pub p50_ms: Option<Percentile>,
    pub p90_ms: Option<Percentile>,
    pub p95_ms: Option<Percentile>,
    pub p99_ms: Option<Percentile>,
    pub max_ms: f64,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// A percentile with its 95 % order-statistic interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentile {
    pub value: f64,
    pub interval: Interval,
}

/// Energy by one power sensor over the launches of a case, in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct Energy {
    pub machine: String,
    pub suite: String,
    pub variant: Variant,
    pub case_key: CaseKey,
    /// How the suite ran the pass; `pipelined` is the headline of decoding.
    pub mode: String,
    pub sensor: String,
    pub mean_w: Option<Estimate>,
    pub energy_j_per_token: Option<Estimate>,
    /// Why there is no number, where there is none.
    pub reason: String,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// What a machine reaches at the most under one set of conditions: measured, and published for its chip.
#[derive(Clone, Debug, Serialize)]
pub struct Ceiling {
    pub machine: String,
    pub stream_gbps: Option<f64>,
    pub gemm_tflops_bf16: Option<f64>,
    pub bandwidth_gbps: Option<f64>,
    pub fp32_tflops: Option<f64>,
    /// The measured bandwidth over the published.
    pub mbu_spec: Option<f64>,
    /// Products in bf16 over what the GPU does without matrix units.
    pub nax_ratio: Option<f64>,
    pub nax_observed: Option<bool>,
    pub nax_expected: bool,
    pub nax_built: Option<bool>,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// How much of a machine a measured rate takes; None where it cannot be known.
#[derive(Clone, Debug, Serialize)]
pub struct Utilisation {
    pub machine: String,
    pub suite: String,
    pub variant: Variant,
    pub case_key: CaseKey,
    pub metric: String,
    /// Bytes of weights and cache in a second, in 10⁹.
    pub gbps: Option<f64>,
    /// Operations in a second, in 10¹².
    pub tflops: Option<f64>,
    /// Of the run's own ceilings, and of those that are published.
    pub mbu_meas: Option<f64>,
    pub mbu_spec: Option<f64>,
    pub mfu_meas: Option<f64>,
    pub mfu_spec: Option<f64>,
    /// Operations for each byte.
    pub arith_intensity: Option<f64>,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// The machine that the others are judged against; None with fewer than two.
    pub baseline: Option<String>,
    pub scores: Vec<Score>,
    pub pairs: Vec<Pair>,
}

impl Comparison {
    /// A score's metric in words, with its suite where several have that metric.
    pub fn title(&self, score: &Score) -> String {
        let title = titles::metric_title(&score.metric);
        let elsewhere = |other: &Score| other.metric == score.metric && other.suite != score.suite;
        if self.scores.iter().any(elsewhere) {
            format!("{title} of {}", score.suite)
        } else {
            title.to_owned()
        }
    }
}

/// A suite's metric in one number: its geometric mean over the cases that may be compared with the
/// baseline's, or over all of them where there is no baseline.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    pub machine: String,
    pub suite: String,
    pub metric: String,
    pub unit: String,
    pub direction: Direction,
    pub cases: usize,
    /// Comparable cases that one launch leaves without a spread: not in the means.
    pub single_launch_cases: usize,
    pub geometric_mean: Ratio,
    /// The baseline's mean over the same cases; None where there is no baseline.
    pub baseline_mean: Option<Ratio>,
    pub ratio: Option<Ratio>,
    /// Against the margin, after Holm's correction over all claims of the report.
    pub p_holm: Option<f64>,
    pub verdict: Option<Verdict>,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// One case on a machine against the same case on the baseline.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    pub machine: String,
    pub suite: String,
    pub variant: Variant,
    pub baseline_variant: Variant,
    pub case_key: CaseKey,
    pub metric: String,
    pub unit: String,
    pub direction: Direction,
    /// None where something differs that must not.
    pub ratio: Option<Ratio>,
    /// Against the margin, after Holm's correction over all claims of the report.
    pub p_holm: Option<f64>,
    /// Mann-Whitney's p, uncorrected.
    pub p_rank: Option<f64>,
    pub verdict: Option<Verdict>,
    pub differences: Vec<String>,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// Two machines of one family, or one with itself, that wrote different texts where there is one: the
/// same case, seed, weights, type and MLX. One of them need not be of this run.
#[derive(Clone, Debug, Serialize)]
pub struct Disagreement {
    pub machine: String,
    pub other: String,
    pub chip_family: String,
    pub cases: i64,
    /// One of the cases, for people.
    pub example: String,
}

/// A reason code raised on one machine and suite.
#[derive(Clone, Debug, Serialize)]
pub struct Doubt {
    pub machine: String,
    pub suite: String,
    pub reason: String,
    /// `invalid` or `tainted`.
    pub severity: String,
    pub description: String,
    pub launches: i64,
    pub of_launches: i64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    pub machine: String,
    /// None for a machine that the plan left out.
    pub suite: Option<String>,
    pub model: Option<String>,
    pub dtype: Option<String>,
    pub state: String,
    pub reason: String,
    pub launches_total: i32,
    pub launches_counted: i64,
    pub launches_failed: i64,
}

#[derive(Clone, Debug, Serialize)]
pub struct MetricFacts {
    pub metric: String,
    pub unit: String,
    pub direction: Direction,
    pub description: String,
}

impl Report {
    /// The measurements of a suite's metric, in order of machine, model and case.
    pub fn of<'a>(
        &'a self,
        suite: &'a str,
        metric: &'a str,
    ) -> impl Iterator<Item = &'a Measurement> {
        self.measurements
            .iter()
            .filter(move |m| m.suite == suite && m.metric == metric)
    }

    /// Another metric of the same case on the same machine.
    pub fn beside(&self, measurement: &Measurement, metric: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|m| {
            m.metric == metric
                && m.machine == measurement.machine
                && m.suite == measurement.suite
                && m.variant == measurement.variant
                && m.case_key == measurement.case_key
        })
    }

    /// What it makes of its machine.
    pub fn utilisation(&self, measurement: &Measurement) -> Option<&Utilisation> {
        self.utilisations.iter().find(|u| {
            (&u.machine, &u.suite, &u.case_key, &u.metric)
                == (
                    &measurement.machine,
                    &measurement.suite,
                    &measurement.case_key,
                    &measurement.metric,
                )
                && u.variant == measurement.variant
        })
    }

    /// The machine that sentences are about where all of them would be too many: the one that the
    /// others are judged against, or the first.
    pub fn reference(&self) -> Option<&str> {
        let first = self
            .machines
            .first()
            .map(|machine| machine.machine.as_str());
        self.comparison.baseline.as_deref().or(first)
    }

    pub fn metric(&self, name: &str) -> Option<&MetricFacts> {
        self.metrics.iter().find(|m| m.metric == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_the_quantisation_where_there_is_one() {
        let variant = |quantisation: Option<&str>, dtype: Option<&str>| Variant {
            model: "m".into(),
            dtype: dtype.map(Into::into),
            quantisation: quantisation.map(Into::into),
            source: None,
            mark: None,
            digest: None,
        };
        assert_eq!(variant(Some("none"), Some("bf16")).precision(), "bf16");
        assert_eq!(
            variant(Some("affine 4-bit g64"), Some("bf16")).precision(),
            "affine 4-bit g64, bf16"
        );
        assert_eq!(variant(None, None).precision(), "as stored");
    }
}
