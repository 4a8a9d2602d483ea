//! `attention`: one attention layer alone, MLX's fused kernel against softmax(QKᵀ)V written out, with
//! the heads of published models. No weights are read.

use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::metric::Metric;
use crate::model::Dtype;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Machine;

pub const HEADLINE: &[Metric] = &[
    Metric::AttnSpeedup,
    Metric::AttnUsFused,
    Metric::AttnUsStandard,
];

/// How many queries meet the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Regime {
    /// One query after all keys, as when a token is generated.
    Decode,
    /// As many queries as keys, each seeing those before it.
    Prefill,
}

impl Regime {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
        }
    }
}

/// `[suite.attention]` in a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Models of the catalogue, for the number and the width of their heads.
    #[serde(default = "default_shapes")]
    shapes: Span<Vec<String>>,
    #[serde(default = "default_regimes")]
    regimes: Span<Vec<Regime>>,
    /// Keys.
    #[serde(default = "default_lengths")]
    lengths: Span<Vec<u64>>,
    #[serde(default = "default_dtypes")]
    dtypes: Span<Vec<Dtype>>,
}

fn default_shapes() -> Span<Vec<String>> {
    unwritten(vec!["llama-3.1-8b".to_owned()])
}

fn default_regimes() -> Span<Vec<Regime>> {
    unwritten(vec![Regime::Decode, Regime::Prefill])
}

fn default_lengths() -> Span<Vec<u64>> {
    unwritten(vec![128, 512, 2048, 8192, 32_768])
}

fn default_dtypes() -> Span<Vec<Dtype>> {
    unwritten(vec![Dtype::Bf16])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    /// Whose heads these are.
    pub shape: String,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    pub regime: Regime,
    pub length: u64,
    pub dtype: Dtype,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let shapes = Problem::check_list(&self.shapes, "shapes", problems);
        let regimes = Problem::check_list(&self.regimes, "regimes", problems);
        let lengths = Problem::check_numbers(&self.lengths, 2..=1_048_576, "lengths", problems);
        let dtypes = Problem::check_list(&self.dtypes, "dtypes", problems);
        let mut cases = Vec::new();
        for name in shapes {
            let Some(model) = catalogue::find(name) else {
                let span = self.shapes.span();
                problems.push(Problem::unknown(span, "shape", name, catalogue::names()));
                continue;
            };
            for &regime in regimes {
                for &length in lengths {
                    cases.extend(dtypes.iter().map(|&dtype| Case {
                        shape: name.clone(),
                        heads: model.heads,
                        kv_heads: model.kv_heads,
                        head_dim: model.head_dim,
                        regime,
                        length,
                        dtype,
                    }));
                }
            }
        }
        cases
    }
}

impl Case {
    pub fn key(&self) -> String {
        let Self {
            shape,
            heads,
            kv_heads,
            head_dim,
            regime,
            length,
            dtype,
        } = self;
        format!(
            "shape={shape},heads={heads}/{kv_heads}x{head_dim},regime={},length={length},dtype={dtype}",
            regime.as_str()
        )
    }

    pub fn queries(&self) -> u64 {
        match self.regime {
            Regime::Decode => 1,
            Regime::Prefill => self.length,
        }
    }

    /// Floating-point operations of one call: two products of two operations each; half of them
    /// where queries see only the keys before them.
    pub fn flops(&self) -> u64 {
        let all = 4 * self.heads * self.queries() * self.length * self.head_dim;
        match self.regime {
            Regime::Decode => all,
            Regime::Prefill => all / 2,
        }
    }

    /// Bytes that one call must read and write: queries, keys, values and the result.
    pub fn bytes(&self) -> u64 {
        let rows = 2 * self.heads * self.queries() + 2 * self.kv_heads * self.length;
        rows * self.head_dim * self.dtype.bytes()
    }

    pub fn context_tokens(&self) -> u64 {
        0
    }
}
