//! `batch`: several sequences at once, as a server runs them: what all of them get together, and what
//! each has left.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[
    Metric::BatchDecodeTps,
    Metric::BatchSpeedup,
    Metric::BatchPrefillTps,
];

/// `[suite.batch]` in a plan: every size with every prompt length.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "default_sizes")]
    batch_sizes: Span<Vec<u64>>,
    #[serde(default = "default_prompts")]
    prompt_tokens: Span<Vec<u64>>,
    #[serde(default = "default_new")]
    new_tokens: Span<u64>,
}

fn default_sizes() -> Span<Vec<u64>> {
    unwritten(vec![2, 4, 8, 16])
}

fn default_prompts() -> Span<Vec<u64>> {
    unwritten(vec![512])
}

fn default_new() -> Span<u64> {
    unwritten(64)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub batch_size: u64,
    pub prompt_tokens: u64,
    pub new_tokens: u64,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        // One is measured beside each of them, in turn.
        let sizes = Problem::check_numbers(&self.batch_sizes, 2..=1024, "batch_sizes", problems);
        let lengths = 2..=131_072;
        let prompts = Problem::check_numbers(
            &self.prompt_tokens,
            lengths.clone(),
            "prompt_tokens",
            problems,
        );
        let new_tokens = Problem::check_one(&self.new_tokens, lengths, "new_tokens", problems);
        let mut cases = Vec::new();
        for &prompt_tokens in prompts {
            cases.extend(sizes.iter().map(|&batch_size| Case {
                batch_size,
                prompt_tokens,
                new_tokens,
            }));
        }
        cases
    }
}

impl Case {
    pub fn key(&self) -> String {
        let Self {
            batch_size,
            prompt_tokens,
            new_tokens,
        } = self;
        format!("batch={batch_size},prompt={prompt_tokens},new={new_tokens}")
    }

    /// Of all sequences, and of the one that is measured beside them.
    pub fn context_tokens(&self) -> u64 {
        (self.batch_size + 1) * (self.prompt_tokens + self.new_tokens)
    }
}
