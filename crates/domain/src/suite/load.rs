//! `load`: from files to evaluated parameters, with the files' pages in memory or not.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::plan::{Problem, Span, unwritten};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[
    Metric::LoadWarmMs,
    Metric::LoadColdMs,
    Metric::MemWeightsBytes,
];

/// Whether the weight files' pages are in memory when the load begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Regime {
    Cold,
    Warm,
}

/// `[suite.load]` in a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "both")]
    regimes: Span<Vec<Regime>>,
}

fn both() -> Span<Vec<Regime>> {
    unwritten(vec![Regime::Cold, Regime::Warm])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub regime: Regime,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        Problem::check_list(&self.regimes, "regimes", problems)
            .iter()
            .map(|&regime| Case { regime })
            .collect()
    }
}

impl Case {
    pub fn key(&self) -> String {
        match self.regime {
            Regime::Cold => "regime=cold".to_owned(),
            Regime::Warm => "regime=warm".to_owned(),
        }
    }

    pub fn context_tokens(&self) -> u64 {
        1
    }
}
