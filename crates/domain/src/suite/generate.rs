//! `generate`: four short questions answered from beginning to end, as a person would wait for them.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[Metric::GenerateTps, Metric::ResponseMs];

/// No prompt of the suite is longer, whatever a chat template adds.
const PROMPT_TOKENS: u64 = 256;

/// `[suite.generate]` in a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Tokens of each answer.
    #[serde(default = "default_new")]
    new_tokens: Span<Vec<u64>>,
}

fn default_new() -> Span<Vec<u64>> {
    unwritten(vec![50])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub new_tokens: u64,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        Problem::check_numbers(&self.new_tokens, 2..=131_072, "new_tokens", problems)
            .iter()
            .map(|&new_tokens| Case { new_tokens })
            .collect()
    }
}

impl Case {
    pub fn key(&self) -> String {
        format!("new={}", self.new_tokens)
    }

    pub fn context_tokens(&self) -> u64 {
        PROMPT_TOKENS + self.new_tokens
    }
}
