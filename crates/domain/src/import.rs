//! Others' results as values of our metrics: the text of a file in, jobs with launches out, or every
//! problem with its place. Nothing is measured here, and nothing is taken on trust: each value meets
//! the [`gate`]s, and each launch carries the doubt `imported`.
//!
//! ```text
//!   file ──detect──▶ csv | exo_bench | llama_bench | mlx_lm ──values──▶ assemble: machines, jobs, launches, gates
//! ```
//!
//! A file is one source's. A format's own words become ours where they mean the same, and
//! `docs/import.md` says where they mean a little less.

mod assemble;
mod csv;
mod exo_bench;
mod llama_bench;
mod mlx_lm;
mod model;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;

use crate::catalogue::Architecture;
use crate::metric::Metric;
use crate::model::Dtype;
use crate::plan::Problem;
use crate::reason::Reason;
use crate::suite::{Case, Suite};

pub use csv::{instant, memory_bytes};
pub use model::Model;

/// Some ten thousand results: a file larger than this is no report of anybody's.
pub const MAX_IMPORT_BYTES: usize = 4 * 1024 * 1024;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own, for results that stand in no machine's file.
    Csv,
    /// `exo_bench.py --json-out`.
    ExoBench,
    /// `llama-bench -o json` or `-o jsonl`.
    LlamaBench,
    /// What `mlx_lm.benchmark` prints.
    MlxLm,
}

#[derive(Debug, thiserror::Error)]
#[error("unknown format `{0}`, expected csv, exo-bench, llama-bench or mlx-lm")]
pub struct UnknownFormat(pub String);

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::ExoBench => "exo-bench",
            Self::LlamaBench => "llama-bench",
            Self::MlxLm => "mlx-lm",
        }
    }

    /// By what no other format holds.
    fn detect(text: &str) -> Option<Self> {
        let first = text.trim_start().chars().next()?;
        if text.trim_start().starts_with(csv::TITLE) {
            Some(Self::Csv)
        } else if matches!(first, '[' | '{') && text.contains("\"avg_ts\"") {
            Some(Self::LlamaBench)
        } else if matches!(first, '[' | '{') && text.contains("\"placement_sharding\"") {
            Some(Self::ExoBench)
        } else if text.contains("prompt_tps=") && text.contains("generation_tps=") {
            Some(Self::MlxLm)
        } else {
            None
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        [Self::Csv, Self::ExoBench, Self::LlamaBench, Self::MlxLm]
            .into_iter()
            .find(|format| format.as_str() == name)
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// What whoever imports knows beside the file; of a file that says it itself, nothing is needed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    pub machine: Option<String>,
    pub chip: Option<String>,
    pub gpu_cores: Option<u32>,
    pub memory_bytes: Option<u64>,
    /// When it was measured.
    pub at: Option<OffsetDateTime>,
    pub engine_version: Option<String>,
    pub model: Option<String>,
    pub architecture: Option<&'static Architecture>,
    pub dtype: Option<Dtype>,
    /// `none`, or such as `affine 4-bit g64`.
    pub quantisation: Option<String>,
}

impl Given {
    /// Of a file that does not say it: the chip and the time, or what is missing.
    fn chip_and_time(
        &self,
        problems: &mut Vec<Problem>,
    ) -> (Option<String>, Option<OffsetDateTime>) {
        let chip = needed(
            self.chip.as_ref(),
            "which chip it ran on",
            "--chip",
            problems,
        );
        let at = needed(self.at.as_ref(), "when it was measured", "--date", problems);
        (chip, at)
    }

    /// With a chip that the file or whoever imports has told.
    fn machine(&self, chip: String) -> Machine {
        Machine {
            name: self.machine.clone().unwrap_or_else(|| chip.clone()),
            chip,
            gpu_cores: self.gpu_cores,
            memory_bytes: self.memory_bytes,
            ..Machine::default()
        }
    }

    /// An engine of a file that does not tell its version.
    fn source(&self, engine: &str) -> String {
        match &self.engine_version {
            Some(version) => format!("{engine} {version}"),
            None => engine.to_owned(),
        }
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// Who measured, with what: one for the whole file.
    pub source: String,
    pub machines: Vec<Machine>,
    pub jobs: Vec<Job>,
    /// What was left out, and which gates could not look.
    pub notes: Vec<String>,
}

/// As much of a machine as the file tells. None and empty: it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub name: String,
    pub chip: String,
    pub gpu_cores: Option<u32>,
    pub cpu_cores: Option<u32>,
    pub memory_bytes: Option<u64>,
    pub os: String,
    pub os_version: String,
}

/// The results of one suite with one model on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Name of the machine.
    pub machine: String,
    pub suite: Suite,
    /// None for a suite about the machine itself.
    pub model: Option<Model>,
    pub launches: Vec<Launch>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub case_key: String,
    pub ordinal: u32,
    pub at: OffsetDateTime,
    pub values: Vec<Judged>,
    /// What the file says of its values beside them.
    pub message: String,
}

/// A value with the doubts of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub metric: Metric,
    pub value: f64,
    /// Zero: the file does not say.
    pub duration: Duration,
    pub work: u64,
    pub reasons: Vec<Reason>,
}

/// One number of a file, with all that it is of.
#[derive(Clone, Debug)]
struct Value {
    span: Range<usize>,
    source: String,
    machine: Machine,
    at: OffsetDateTime,
    suite: Suite,
    model: Option<Model>,
    case: Case,
    /// The case's key, with what the file does not say as `?`, and what only its engine has.
    case_key: String,
    launch: u32,
    metric: Metric,
    value: f64,
    /// How far the value may lie from what was measured, by the digits that were written.
    rounding: f64,
    duration: Duration,
    work: u64,
    /// Of a mean whose single values are not known: what is known of them.
    mean_of: Option<String>,
}

/// Reads a file whole, or says everything that keeps it from being read.
pub fn read(text: &str, format: Option<Format>, given: &Given) -> Result<Import, Vec<Problem>> {
    if text.len() > MAX_IMPORT_BYTES {
        let bytes = text.len();
        let why = format!("the file has {bytes} bytes; {MAX_IMPORT_BYTES} are allowed");
        return Err(vec![Problem::at(0..0, why).with_help("split it")]);
    }
    let Some(format) = format.or_else(|| Format::detect(text)) else {
        let problem = Problem::at(0..0, "the file is of no format that is known here");
        return Err(vec![problem.with_help(format!(
            "a file of ours begins with `{}`; the others are the output of `llama-bench -o json` or \
             jsonl, of `mlx_lm.benchmark`, and of `exo_bench.py --json-out`",
            csv::TITLE
        ))]);
    };
    let (values, notes) = match format {
        Format::Csv => (csv::read(text, given)?, Vec::new()),
        Format::ExoBench => exo_bench::read(text, given)?,
        Format::LlamaBench => llama_bench::read(text, given)?,
        Format::MlxLm => (mlx_lm::read(text, given)?, Vec::new()),
    };
    assemble::assemble(values, notes)
}

/// The value, or what is missing and which flag gives it.
fn needed<T: Clone>(
    value: Option<&T>,
    what: &str,
    flag: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    if value.is_none() {
        let problem = Problem::at(0..0, format!("the file does not say {what}"));
        problems.push(problem.with_help(format!("say it with {flag}")));
    }
    value.cloned()
}

/// Serde's line and column as a place in the text.
fn json_place(text: &str, error: &serde_json::Error) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let mut at = (before + error.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests;
