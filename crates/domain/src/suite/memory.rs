//! `memory`: what a model takes of the machine's memory while it reads a prompt, by the prompt's length.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[
    Metric::MemPeakBytes,
    Metric::MemActivationBytes,
    Metric::MaxContextFit,
];

/// `[suite.memory]` in a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "default_prompts")]
    prompt_tokens: Span<Vec<u64>>,
    /// Also looks for the longest prompt that fits, up to so many tokens.
    max_context: Option<Span<u64>>,
}

/// The first four are those of the oldest report of this kind; the cache grows by 256 positions, so
/// that a slope needs longer ones.
fn default_prompts() -> Span<Vec<u64>> {
    unwritten(vec![32, 64, 128, 256, 1024, 2048])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum Case {
    /// What does a prompt of this length take?
    Prompt { prompt_tokens: u64 },
    /// How long may a prompt be? None longer than this is tried.
    MaxContext { up_to_tokens: u64 },
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let lengths = 2..=1_048_576;
        let prompts = Problem::check_numbers(
            &self.prompt_tokens,
            lengths.clone(),
            "prompt_tokens",
            problems,
        );
        let prompts = prompts
            .iter()
            .map(|&prompt_tokens| Case::Prompt { prompt_tokens });
        let search = self.max_context.as_ref().map(|most| Case::MaxContext {
            up_to_tokens: Problem::check_one(most, lengths, "max_context", problems),
        });
        prompts.chain(search).collect()
    }
}

impl Case {
    pub fn key(&self) -> String {
        match self {
            Self::Prompt { prompt_tokens } => format!("prompt={prompt_tokens}"),
            Self::MaxContext { up_to_tokens } => format!("max_context,up_to={up_to_tokens}"),
        }
    }

    pub fn context_tokens(&self) -> u64 {
        match *self {
            Self::Prompt { prompt_tokens } => prompt_tokens,
            // The shortest that is tried.
            Self::MaxContext { .. } => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prompt_is_looked_for_when_the_plan_says_how_far() {
        let keys = |text: &str| -> Vec<String> {
            let mut problems = Vec::new();
            let cases = toml::from_str::<Params>(text).unwrap().cases(&mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            cases.iter().map(Case::key).collect()
        };
        assert_eq!(keys("prompt_tokens = [64]"), ["prompt=64"]);
        assert_eq!(
            keys("prompt_tokens = [64]\nmax_context = 4096"),
            ["prompt=64", "max_context,up_to=4096"]
        );
    }
}
