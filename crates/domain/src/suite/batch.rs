//! `batch`: several sequences at once, as a server runs them: what all of them get together, and what
//! each has left.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

const MOST_TOKENS: u64 = 131_072;

pub const HEADLINE: &[Metric] = &[
    Metric::BatchDecodeTps,
    Metric::BatchSpeedup,
    Metric::BatchPrefillTps,
];

/// How long the sequences' prompts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lengths {
    /// All the same.
    Equal,
    /// From the whole length down to a quarter of it, in even steps, as requests of different users
    /// are: the shorter ones are filled up, and every step computes what fills them up too.
    Ragged,
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "equal",
            Self::Ragged => "ragged",
        })
    }
}

/// `[suite.batch]` in a plan: every size with every prompt length, equal and not.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "default_sizes")]
    batch_sizes: Span<Vec<u64>>,
    #[serde(default = "default_prompts")]
    prompt_tokens: Span<Vec<u64>>,
    #[serde(default = "both")]
    lengths: Span<Vec<Lengths>>,
    #[serde(default = "default_new")]
    new_tokens: Span<u64>,
}

fn default_sizes() -> Span<Vec<u64>> {
    unwritten(vec![2, 4, 8, 16])
}

fn default_prompts() -> Span<Vec<u64>> {
    unwritten(vec![512])
}

fn both() -> Span<Vec<Lengths>> {
    unwritten(vec![Lengths::Equal, Lengths::Ragged])
}

fn default_new() -> Span<u64> {
    unwritten(64)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub batch_size: u64,
    /// Of the longest prompt.
    pub prompt_tokens: u64,
    pub new_tokens: u64,
    pub lengths: Lengths,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        // One is measured beside each of them, in turn.
        let sizes = Problem::check_numbers(&self.batch_sizes, 2..=1024, "batch_sizes", problems);
        let lengths = Problem::check_list(&self.lengths, "lengths", problems);
        // A quarter of the shortest is two.
        let shortest = if lengths.contains(&Lengths::Ragged) {
            8
        } else {
            2
        };
        let prompts = Problem::check_numbers(
            &self.prompt_tokens,
            shortest..=MOST_TOKENS,
            "prompt_tokens",
            problems,
        );
        let new_tokens =
            Problem::check_one(&self.new_tokens, 2..=MOST_TOKENS, "new_tokens", problems);
        let mut cases = Vec::new();
        for &lengths in lengths {
            for &prompt_tokens in prompts {
                cases.extend(sizes.iter().map(|&batch_size| Case {
                    batch_size,
                    prompt_tokens,
                    new_tokens,
                    lengths,
                }));
            }
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
            lengths,
        } = self;
        format!("batch={batch_size},prompt={prompt_tokens},new={new_tokens},lengths={lengths}")
    }

    /// Tokens of each sequence's prompt, the longest first.
    pub fn prompts(&self) -> impl Iterator<Item = u64> {
        let Self {
            batch_size,
            prompt_tokens,
            ..
        } = *self;
        let less = match self.lengths {
            Lengths::Equal => 0,
            Lengths::Ragged => prompt_tokens * 3 / 4,
        };
        (0..batch_size).map(move |row| prompt_tokens - less * row / (batch_size - 1).max(1))
    }

    /// Of all sequences, what fills them up too, and of the one that is measured beside them.
    pub fn context_tokens(&self) -> u64 {
        (self.batch_size + 1) * (self.prompt_tokens + self.new_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(batch_size: u64, prompt_tokens: u64, lengths: Lengths) -> Case {
        Case {
            batch_size,
            prompt_tokens,
            new_tokens: 4,
            lengths,
        }
    }

    #[test]
    fn ragged_prompts_go_down_to_a_quarter_and_have_a_key_of_their_own() {
        let prompts = |case: Case| case.prompts().collect::<Vec<_>>();
        assert_eq!(prompts(case(3, 20, Lengths::Equal)), [20, 20, 20]);
        assert_eq!(prompts(case(4, 512, Lengths::Ragged)), [512, 384, 256, 128]);
        assert_eq!(prompts(case(2, 8, Lengths::Ragged)), [8, 2]);
        let key = case(4, 512, Lengths::Ragged).key();
        assert_eq!(key, "batch=4,prompt=512,new=4,lengths=ragged");
        assert_ne!(case(4, 512, Lengths::Equal).key(), key);
    }

    #[test]
    fn a_plan_gets_both_unless_it_says_otherwise_and_no_ragged_prompts_of_one_token() {
        let cases = |text: &str| {
            let mut problems = Vec::new();
            let cases = toml::from_str::<Params>(text).unwrap().cases(&mut problems);
            (cases, problems.len())
        };
        let (both, _) = cases("batch_sizes = [2]");
        let lengths: Vec<Lengths> = both.iter().map(|case| case.lengths).collect();
        assert_eq!(lengths, [Lengths::Equal, Lengths::Ragged]);
        assert_eq!(cases("prompt_tokens = [7]").1, 1);
        assert_eq!(cases("prompt_tokens = [7]\nlengths = [\"equal\"]").1, 0);
    }
}
