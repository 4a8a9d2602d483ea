//! `prefill`: prompt processing by prompt length and by depth of the cache below it.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[
    Metric::PrefillTps,
    Metric::PrefillTpsAtDepth,
    Metric::TtftMs,
];

/// `[suite.prefill]` in a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "default_prompts")]
    prompt_tokens: Span<Vec<u64>>,
    #[serde(default = "default_depths")]
    depths: Span<Vec<u64>>,
    /// Tokens per step, as mlx-lm's prefill_step_size.
    #[serde(default = "default_chunk")]
    chunk: Span<u64>,
}

fn default_prompts() -> Span<Vec<u64>> {
    unwritten(vec![512, 2048])
}

fn default_depths() -> Span<Vec<u64>> {
    unwritten(vec![0])
}

fn default_chunk() -> Span<u64> {
    unwritten(2048)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub prompt_tokens: u64,
    pub depth: u64,
    pub chunk: u64,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let lengths = 2..=1_048_576;
        let prompts =
            Problem::check_numbers(&self.prompt_tokens, lengths, "prompt_tokens", problems);
        let depths = Problem::check_numbers(&self.depths, 0..=1_048_576, "depths", problems);
        let chunk = Problem::check_one(&self.chunk, 1..=65_536, "chunk", problems);
        let mut cases = Vec::new();
        for &depth in depths {
            for &prompt_tokens in prompts {
                cases.push(Case {
                    prompt_tokens,
                    depth,
                    chunk,
                });
            }
        }
        cases
    }
}

impl Case {
    pub fn key(&self) -> String {
        format!(
            "prompt={},depth={},chunk={}",
            self.prompt_tokens, self.depth, self.chunk
        )
    }

    pub fn context_tokens(&self) -> u64 {
        self.depth + self.prompt_tokens + 1
    }
}
