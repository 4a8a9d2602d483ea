//! `memory`: what a model takes of the machine's memory while it reads a prompt, by the prompt's length.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[Metric::MemPeakBytes, Metric::MemActivationBytes];

/// `[suite.memory]` in a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "default_prompts")]
    prompt_tokens: Span<Vec<u64>>,
}

/// The first four are those of the oldest report of this kind; the cache grows by 256 positions, so
/// that a slope needs longer ones.
fn default_prompts() -> Span<Vec<u64>> {
    unwritten(vec![32, 64, 128, 256, 1024, 2048])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub prompt_tokens: u64,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let lengths = 2..=1_048_576;
        Problem::check_numbers(&self.prompt_tokens, lengths, "prompt_tokens", problems)
            .iter()
            .map(|&prompt_tokens| Case { prompt_tokens })
            .collect()
    }
}

impl Case {
    pub fn key(&self) -> String {
        format!("prompt={}", self.prompt_tokens)
    }

    pub fn context_tokens(&self) -> u64 {
        self.prompt_tokens
    }
}
