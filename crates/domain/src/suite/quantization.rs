//! `quantization`: one model twice in one process, as loaded and with its matrices packed, in turn.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[
    Metric::QuantSpeedupDecode,
    Metric::QuantSpeedupPrefill,
    Metric::QuantMemRatio,
];

/// What MLX's affine kernels know.
const BITS: [u64; 6] = [2, 3, 4, 5, 6, 8];
const GROUP_SIZES: [u64; 3] = [32, 64, 128];

/// `[suite.quantization]` in a plan: every width with every group size.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "default_bits")]
    bits: Span<Vec<u64>>,
    /// Values that share a scale and a bias.
    #[serde(default = "default_groups")]
    group_sizes: Span<Vec<u64>>,
    #[serde(default = "default_prompt")]
    prompt_tokens: Span<u64>,
    #[serde(default = "default_new")]
    new_tokens: Span<u64>,
}

fn default_bits() -> Span<Vec<u64>> {
    unwritten(vec![8, 4])
}

fn default_groups() -> Span<Vec<u64>> {
    unwritten(vec![64, 32])
}

fn default_prompt() -> Span<u64> {
    unwritten(512)
}

fn default_new() -> Span<u64> {
    unwritten(128)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub bits: u64,
    pub group_size: u64,
    pub prompt_tokens: u64,
    pub new_tokens: u64,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let bits = check_known(&self.bits, &BITS, "bits", problems);
        let groups = check_known(&self.group_sizes, &GROUP_SIZES, "group_sizes", problems);
        let lengths = 2..=131_072;
        let prompt_tokens = Problem::check_one(
            &self.prompt_tokens,
            lengths.clone(),
            "prompt_tokens",
            problems,
        );
        let new_tokens = Problem::check_one(&self.new_tokens, lengths, "new_tokens", problems);
        let mut cases = Vec::new();
        for &bits in bits {
            for &group_size in groups {
                cases.push(Case {
                    bits,
                    group_size,
                    prompt_tokens,
                    new_tokens,
                });
            }
        }
        cases
    }
}

fn check_known<'a>(
    list: &'a Span<Vec<u64>>,
    known: &[u64],
    key: &str,
    problems: &mut Vec<Problem>,
) -> &'a [u64] {
    let items = Problem::check_list(list, key, problems);
    if let Some(value) = items.iter().find(|value| !known.contains(value)) {
        let known: Vec<String> = known.iter().map(u64::to_string).collect();
        problems.push(
            Problem::at(
                list.span(),
                format!("`{key}` holds {value}, which MLX cannot pack"),
            )
            .with_help(format!("one of {}", known.join(", "))),
        );
    }
    items
}

impl Case {
    pub fn key(&self) -> String {
        format!(
            "bits={},group={},prompt={},new={}",
            self.bits, self.group_size, self.prompt_tokens, self.new_tokens
        )
    }

    pub fn context_tokens(&self) -> u64 {
        self.prompt_tokens + self.new_tokens
    }
}
