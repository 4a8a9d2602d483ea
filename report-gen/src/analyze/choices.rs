//! Memory against speed: which models on a machine another one makes pointless.

use super::{claim, group_by};
use crate::report::{CHOICE_TOKENS, CaseKey, Choice, Measurement, Model, Rival};
use crate::stats::Verdict;

struct Candidate<'a> {
    rate: &'a Measurement,
    needs_bytes: i64,
}

/// Each model against the fastest of those that need no more than it: one claim for each.
pub fn choices(models: &[Model], measurements: &[Measurement]) -> Vec<Choice> {
    let rates = || {
        let valid = measurements.iter().filter(|m| m.valid);
        valid.filter(|m| m.suite == "decode" && m.metric == "decode_tps")
    };
    let Some(case) = CaseKey::most_common(rates().map(|m| &m.case_key)) else {
        return Vec::new();
    };
    let candidates = rates().filter(|m| m.case_key == *case).filter_map(|rate| {
        let model = models.iter().find(|model| model.variant == rate.variant)?;
        Some(Candidate {
            rate,
            needs_bytes: model.needs_bytes(CHOICE_TOKENS),
        })
    });
    group_by(candidates, |candidate| candidate.rate.machine.clone())
        .into_values()
        .flat_map(|mut candidates| {
            candidates.sort_by_key(|candidate| candidate.needs_bytes);
            let choices: Vec<Choice> = candidates
                .iter()
                .map(|candidate| choice(candidate, &candidates))
                .collect();
            choices
        })
        .collect()
}

fn choice(of: &Candidate<'_>, all: &[Candidate<'_>]) -> Choice {
    let no_larger = all.iter().filter(|other| {
        other.rate.variant != of.rate.variant && other.needs_bytes <= of.needs_bytes
    });
    let fastest = no_larger.max_by(|a, b| a.rate.estimate.value.total_cmp(&b.rate.estimate.value));
    Choice {
        machine: of.rate.machine.clone(),
        variant: of.rate.variant.clone(),
        needs_bytes: of.needs_bytes,
        case_key: of.rate.case_key.clone(),
        rival: fastest.and_then(|rival| {
            Some(Rival {
                variant: rival.rate.variant.clone(),
                needs_bytes: rival.needs_bytes,
                claim: claim(of.rate, rival.rate)?,
            })
        }),
        is_dominated: false,
    }
}

/// Once the verdicts have outlived Holm's correction.
pub fn judge(choices: &mut [Choice]) {
    for choice in choices {
        choice.is_dominated = choice.rival.as_ref().is_some_and(|rival| {
            let is_smaller = rival.needs_bytes < choice.needs_bytes;
            rival.claim.verdict == Verdict::Slower
                || (rival.claim.verdict == Verdict::Equivalent && is_smaller)
        });
    }
}
