//! `training`: optimizer steps on one batch, of all parameters or of adapters beside frozen ones.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[
    Metric::TrainTps,
    Metric::TrainStepMs,
    Metric::TrainPeakBytes,
];

/// What a step changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every parameter of the model.
    Full,
    /// Two narrow matrices beside some of the projections (arXiv 2106.09685); the model is frozen.
    Lora,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Lora => "lora",
        })
    }
}

/// `[suite.training]` in a plan: every mode with every batch and every length.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "both")]
    modes: Span<Vec<Mode>>,
    /// Examples in one step.
    #[serde(default = "default_batches")]
    batch_sizes: Span<Vec<u64>>,
    /// Positions of each example, every one of which predicts the next token.
    #[serde(default = "default_lengths")]
    sequence_tokens: Span<Vec<u64>>,
}

fn both() -> Span<Vec<Mode>> {
    Span::new(0..0, vec![Mode::Full, Mode::Lora])
}

fn default_batches() -> Span<Vec<u64>> {
    Span::new(0..0, vec![4])
}

fn default_lengths() -> Span<Vec<u64>> {
    Span::new(0..0, vec![512])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub mode: Mode,
    pub batch_size: u64,
    pub sequence_tokens: u64,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let modes = Problem::check_list(&self.modes, "modes", problems);
        let batches = Problem::check_numbers(&self.batch_sizes, 1..=1024, "batch_sizes", problems);
        let lengths = Problem::check_numbers(
            &self.sequence_tokens,
            2..=131_072,
            "sequence_tokens",
            problems,
        );
        let mut cases = Vec::new();
        for &mode in modes {
            for &batch_size in batches {
                for &sequence_tokens in lengths {
                    cases.push(Case {
                        mode,
                        batch_size,
                        sequence_tokens,
                    });
                }
            }
        }
        cases
    }
}

impl Case {
    pub fn key(&self) -> String {
        format!(
            "mode={},batch={},sequence={}",
            self.mode, self.batch_size, self.sequence_tokens
        )
    }

    /// A step keeps no cache.
    pub fn context_tokens(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(text: &str) -> (Vec<Case>, Vec<Problem>) {
        let mut problems = Vec::new();
        let cases = toml::from_str::<Params>(text).unwrap().cases(&mut problems);
        (cases, problems)
    }

    #[test]
    fn modes_are_both_unless_the_plan_says_which() {
        let keys = |text: &str| -> Vec<String> {
            let (cases, problems) = cases(text);
            assert!(problems.is_empty(), "{problems:?}");
            cases.iter().map(Case::key).collect()
        };
        let (full, lora) = (
            "mode=full,batch=4,sequence=512",
            "mode=lora,batch=4,sequence=512",
        );
        assert_eq!(keys(""), [full, lora]);
        assert_eq!(keys("modes = [\"lora\"]"), [lora]);
        assert_eq!(keys("modes = [\"lora\", \"full\"]"), [lora, full]);
    }

    #[test]
    fn a_mode_that_is_unknown_absent_or_named_twice_is_refused() {
        let unknown = toml::from_str::<Params>("modes = [\"qlora\"]").unwrap_err();
        assert!(unknown.message().contains("`full` or `lora`"), "{unknown}");
        // Case matters, as it does everywhere in a plan.
        assert!(toml::from_str::<Params>("modes = [\"Full\"]").is_err());
        for text in ["modes = []", "modes = [\"full\", \"full\"]"] {
            let (_, problems) = cases(text);
            assert_eq!(problems.len(), 1, "{text}");
            assert!(problems[0].message.contains("`modes`"), "{problems:?}");
        }
    }
}
