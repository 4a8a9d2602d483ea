//! What is computed over several measurements of one machine: laws, rankings, choices, gains.

use serde::Serialize;

use super::{CaseKey, Direction, Variant};
use crate::stats::{Interval, Line, Power, Ratio, Verdict};

/// How a quantity grows with another on one machine, over models or over lengths.
#[derive(Clone, Debug, Serialize)]
pub struct Law {
    pub quantity: Quantity,
    pub machine: String,
    /// What its points have in common, in words: a type, a precision, or a case without its length.
    pub of: String,
    /// By x.
    pub points: Vec<LawPoint>,
    /// None of fewer than three different x.
    pub line: Option<Line>,
    pub power: Option<Power>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quantity {
    pub title: &'static str,
    pub metric: &'static str,
    /// The case that the points are of; None where each point is a case.
    pub case_key: Option<CaseKey>,
    pub x_title: &'static str,
    pub x_unit: &'static str,
    pub y_unit: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct LawPoint {
    pub label: String,
    pub x: f64,
    pub y: f64,
    pub interval: Option<Interval>,
    pub launches: usize,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// The models of one type on one machine, by each headline metric and by all of them.
#[derive(Clone, Debug, Serialize)]
pub struct Ranking {
    pub machine: String,
    pub dtype: Option<String>,
    pub contests: Vec<Contest>,
    /// None where no metric was measured of all models in one case.
    pub overall: Option<Overall>,
}

impl Ranking {
    pub fn dtype_words(&self) -> String {
        match &self.dtype {
            Some(dtype) => format!("in {dtype}"),
            None => "as stored".to_owned(),
        }
    }
}

/// Models by one metric of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Contest {
    pub suite: String,
    pub metric: String,
    pub unit: String,
    pub direction: Direction,
    pub case_key: CaseKey,
    /// Best first; at least two.
    pub ranks: Vec<Rank>,
}

/// Models by the geometric mean of their ratios to the best, over what all of them have.
#[derive(Clone, Debug, Serialize)]
pub struct Overall {
    /// Each counts once, its cases equally.
    pub metrics: Vec<String>,
    pub cases: usize,
    /// Best first; a ratio below 1 is worse, whatever the metrics' directions.
    pub ranks: Vec<Rank>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Rank {
    pub variant: Variant,
    /// Over the best; None for the best itself, and where there is no ratio.
    pub over_best: Option<Claim>,
}

/// The models that nothing shows to be worse than the best, the best among them. Where single values
/// have no interval there is nothing to show it with, and the best leads by its value alone.
pub fn leaders(ranks: &[Rank]) -> Vec<&Rank> {
    let is_level = |rank: &&Rank| {
        rank.over_best
            .as_ref()
            .is_none_or(|claim| claim.ratio.interval.is_some() && !claim.verdict.is_for_the_worse())
    };
    ranks.iter().filter(is_level).collect()
}

/// Who leads, in words: alone, or beside whom.
pub fn leaders_in_words(ranks: &[Rank]) -> String {
    match leaders(ranks).first() {
        Some(best) => best.variant.to_string() + &beside_the_first(ranks),
        None => String::new(),
    }
}

/// What stands after the name of the first: nothing where it leads alone.
pub fn beside_the_first(ranks: &[Rank]) -> String {
    let leaders = leaders(ranks);
    let others = leaders.get(1..).unwrap_or_default();
    let names: Vec<String> = others.iter().map(|r| r.variant.to_string()).collect();
    let claims = || ranks.iter().filter_map(|rank| rank.over_best.as_ref());
    if !others.is_empty() {
        let is_equal = |r: &&Rank| {
            let verdict = r.over_best.as_ref().map(|claim| claim.verdict);
            verdict == Some(Verdict::Equivalent)
        };
        let words = if others.iter().all(is_equal) {
            "level with"
        } else {
            "not told apart from"
        };
        format!(", {words} {}", names.join(" and "))
    } else if claims().any(|claim| claim.ratio.interval.is_none()) {
        ", by value alone".to_owned()
    } else {
        String::new()
    }
}

/// A ratio that has been held against the margin.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    pub ratio: Ratio,
    /// Against the margin, after Holm's correction over all claims of the report.
    pub p_holm: Option<f64>,
    pub verdict: Verdict,
    pub tainted: bool,
    pub reasons: Vec<String>,
}

/// A model on a machine, as one that might be chosen: its memory against its decode rate.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    pub machine: String,
    pub variant: Variant,
    /// Weights, and the keys and values of [`CHOICE_TOKENS`], by arithmetic.
    pub needs_bytes: i64,
    pub case_key: CaseKey,
    pub rival: Option<Rival>,
    /// The rival is faster, or as fast and smaller.
    pub is_dominated: bool,
}

/// The context that choices are compared at.
pub const CHOICE_TOKENS: i64 = 4096;

/// The fastest of the other models that need no more.
#[derive(Clone, Debug, Serialize)]
pub struct Rival {
    pub variant: Variant,
    pub needs_bytes: i64,
    /// The model's decode rate over the rival's.
    pub claim: Claim,
}

/// What a technique gains in one case: a ratio that its suite measured in one process and in turn.
#[derive(Clone, Debug, Serialize)]
pub struct Gain {
    pub machine: String,
    pub suite: String,
    pub variant: Variant,
    pub case_key: CaseKey,
    pub metric: String,
    pub claim: Claim,
}

/// What a machine's gains say of a technique.
#[derive(Clone, Debug, Serialize)]
pub struct Recommendation {
    pub machine: String,
    /// One sentence.
    pub text: String,
    /// More of them; may be empty.
    pub detail: String,
    /// False where it only says that nothing can be told.
    pub is_decided: bool,
}
