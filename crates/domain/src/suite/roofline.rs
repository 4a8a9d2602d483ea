//! `roofline`: what the machine itself can do, the ceilings that models are held against: bytes per
//! second through its memory, floating-point operations per second, and the cost of one dispatch.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::model::Dtype;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Machine;

pub const HEADLINE: &[Metric] = &[
    Metric::StreamGbps,
    Metric::GemmTflopsBf16,
    Metric::GemmTflopsF16,
    Metric::GemmTflopsF32,
    Metric::DispatchUs,
];

/// `[suite.roofline]` in a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Size of each array that is streamed, in 10⁶ bytes; well beyond every cache.
    #[serde(default = "default_stream")]
    stream_mb: Span<u64>,
    /// Rows and columns of the matrices that are multiplied.
    #[serde(default = "default_gemm")]
    gemm_size: Span<u64>,
    #[serde(default = "default_dtypes")]
    gemm_dtypes: Span<Vec<Dtype>>,
}

fn default_stream() -> Span<u64> {
    unwritten(1000)
}

fn default_gemm() -> Span<u64> {
    unwritten(4096)
}

fn default_dtypes() -> Span<Vec<Dtype>> {
    unwritten(vec![Dtype::Bf16, Dtype::F16, Dtype::F32])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "ceiling", rename_all = "lowercase")]
pub enum Case {
    /// One array in, one out; and two in, one out.
    Stream {
        megabytes: u64,
    },
    /// Square matrices.
    Gemm {
        size: u64,
        dtype: Dtype,
    },
    Dispatch,
    /// Products and streams of a fixed size: how fast the machine is now. The agent asks for it beside
    /// launches; no plan does.
    Canary,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let megabytes = Problem::check_one(&self.stream_mb, 1..=100_000, "stream_mb", problems);
        let size = Problem::check_one(&self.gemm_size, 16..=32_768, "gemm_size", problems);
        let dtypes = Problem::check_list(&self.gemm_dtypes, "gemm_dtypes", problems);
        let gemms = dtypes.iter().map(|&dtype| Case::Gemm { size, dtype });
        [Case::Stream { megabytes }]
            .into_iter()
            .chain(gemms)
            .chain([Case::Dispatch])
            .collect()
    }
}

impl Case {
    pub fn key(&self) -> String {
        match self {
            Self::Stream { megabytes } => format!("stream,mb={megabytes}"),
            Self::Gemm { size, dtype } => format!("gemm,n={size},dtype={dtype}"),
            Self::Dispatch => "dispatch".to_owned(),
            Self::Canary => "canary".to_owned(),
        }
    }

    pub fn context_tokens(&self) -> u64 {
        0
    }
}
