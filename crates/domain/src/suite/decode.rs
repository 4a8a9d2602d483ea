//! `decode`: token after token, pipelined (headline) and with a wait after each (latencies).

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[Metric::DecodeTps, Metric::DecodeTpsAtDepth, Metric::ItlMs];

/// `[suite.decode]` in a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "default_new")]
    new_tokens: Span<Vec<u64>>,
    /// Tokens already in the cache when decoding starts; 0 stands for a prompt of one token.
    #[serde(default = "default_depths")]
    depths: Span<Vec<u64>>,
}

fn default_new() -> Span<Vec<u64>> {
    unwritten(vec![128])
}

fn default_depths() -> Span<Vec<u64>> {
    unwritten(vec![0])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub new_tokens: u64,
    pub depth: u64,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let counts = Problem::check_numbers(&self.new_tokens, 2..=131_072, "new_tokens", problems);
        let depths = Problem::check_numbers(&self.depths, 0..=1_048_576, "depths", problems);
        let mut cases = Vec::new();
        for &depth in depths {
            for &new_tokens in counts {
                cases.push(Case { new_tokens, depth });
            }
        }
        cases
    }
}

impl Case {
    pub fn key(&self) -> String {
        format!("new={},depth={}", self.new_tokens, self.depth)
    }

    pub fn context_tokens(&self) -> u64 {
        self.depth + 1 + self.new_tokens
    }
}
