//! The suites and their cases. One suite, one file: its parameters in a plan, the cases they expand
//! to, and its headline metrics.
//!
//! To add a suite: a file here, its lines in this registry, and its measuring side in
//! `agent/suites/src/suites/`.

pub mod attention;
pub mod batch;
pub mod decode;
pub mod generate;
pub mod load;
pub mod memory;
pub mod prefill;
pub mod quantization;
pub mod roofline;
pub mod speculative;
pub mod sustained;
pub mod training;

mod key;

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::model::{Dtype, ModelRef};
use crate::plan::Problem;

/// What a suite's jobs are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One job for each model and precision of the plan.
    Model,
    /// One job for each machine: no weights are loaded.
    Machine,
}

macro_rules! suites {
    ($($variant:ident $module:ident $name:literal;)*) => {
        /// What is measured; the word is the same in plans, on the wire, in SQL and in reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Suite {
            $($variant,)*
        }

        impl Suite {
            pub const ALL: &'static [Suite] = &[$(Suite::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub fn subject(self) -> Subject {
                match self { $(Self::$variant => $module::SUBJECT,)* }
            }

            /// The metrics that stand for this suite in summaries, the first before the others.
            pub fn headline(self) -> &'static [Metric] {
                match self { $(Self::$variant => $module::HEADLINE,)* }
            }
        }

        impl std::str::FromStr for Suite {
            type Err = UnknownSuite;

            fn from_str(name: &str) -> Result<Self, UnknownSuite> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    other => Err(UnknownSuite(other.to_owned())),
                }
            }
        }

        /// One point of a suite's parameters.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(tag = "suite")]
        pub enum Case {
            $(#[serde(rename = $name)] $variant($module::Case),)*
        }

        impl Case {
            pub fn suite(&self) -> Suite {
                match self { $(Self::$variant(_) => Suite::$variant,)* }
            }

            /// The case's parameters as text: equal on every machine and in every run.
            pub fn key(&self) -> String {
                match self { $(Self::$variant(case) => case.key(),)* }
            }

            /// Most positions that the key and value cache must hold.
            pub fn context_tokens(&self) -> u64 {
                match self { $(Self::$variant(case) => case.context_tokens(),)* }
            }
        }

        /// The `[suite]` tables of a plan: a suite runs when its table is there.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Tables {
            $(pub $module: Option<$module::Params>,)*
        }

        impl Tables {
            /// The cases of each suite that the plan names, in the registry's order.
            pub fn expand(&self, problems: &mut Vec<Problem>) -> Vec<(Suite, Vec<Case>)> {
                let mut suites = Vec::new();
                $(if let Some(params) = &self.$module {
                    let cases = params.cases(problems).into_iter().map(Case::$variant).collect();
                    suites.push((Suite::$variant, cases));
                })*
                suites
            }
        }
    };
}

suites! {
    Roofline roofline "roofline";
    Load load "load";
    Prefill prefill "prefill";
    Decode decode "decode";
    Generate generate "generate";
    Memory memory "memory";
    Attention attention "attention";
    Batch batch "batch";
    Quantization quantization "quantization";
    Speculative speculative "speculative";
    Sustained sustained "sustained";
    Training training "training";
}

impl Case {
    /// The second model that a case loads beside its own, which computes in `dtype`.
    pub fn draft_beside(&self, dtype: Dtype) -> Option<ModelRef> {
        match self {
            Self::Speculative(case) => Some(case.draft_beside(dtype)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown suite `{0}`")]
pub struct UnknownSuite(pub String);
