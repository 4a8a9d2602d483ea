//! `sustained`: decoding for minutes without a pause, to see what is left of the first rate once the
//! machine is warm.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[Metric::SustainedTps, Metric::TrendPct];

/// `[suite.sustained]` in a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// How long each launch decodes.
    #[serde(default = "default_seconds")]
    seconds: Span<Vec<u64>>,
    /// Where each stretch begins: tokens already in the cache.
    #[serde(default = "default_depth")]
    depth: Span<u64>,
}

fn default_seconds() -> Span<Vec<u64>> {
    unwritten(vec![180])
}

fn default_depth() -> Span<u64> {
    unwritten(0)
}

/// Tokens of one stretch; after it the cache returns to its depth, so that every stretch is the same
/// work and a trend is the machine's.
pub const STRETCH_TOKENS: u64 = 64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub seconds: u64,
    pub depth: u64,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let depth = Problem::check_one(&self.depth, 0..=1_048_576, "depth", problems);
        Problem::check_numbers(&self.seconds, 1..=7200, "seconds", problems)
            .iter()
            .map(|&seconds| Case { seconds, depth })
            .collect()
    }
}

impl Case {
    pub fn key(&self) -> String {
        format!("seconds={},depth={}", self.seconds, self.depth)
    }

    pub fn context_tokens(&self) -> u64 {
        self.depth + 1 + STRETCH_TOKENS
    }
}
