//! All claims of a report are one family for Holm's correction: with many of them some interval misses by
//! chance, and a verdict that does not outlive the correction is withdrawn.

use crate::report::{Choice, Claim, Comparison, Gain, Ranking};
use crate::stats::{self, Ratio, Verdict};

/// Below this, after Holm's correction, a verdict is believed.
pub const SIGNIFICANT: f64 = 0.05;

struct Member<'a> {
    ratio: Ratio,
    p_holm: &'a mut Option<f64>,
    verdict: &'a mut Verdict,
}

pub fn correct(
    comparison: &mut Comparison,
    rankings: &mut [Ranking],
    choices: &mut [Choice],
    gains: &mut [Gain],
) {
    let pairs = comparison
        .pairs
        .iter_mut()
        .map(|pair| (pair.ratio, &mut pair.p_holm, pair.verdict.as_mut()));
    let scores = comparison
        .scores
        .iter_mut()
        .map(|score| (score.ratio, &mut score.p_holm, score.verdict.as_mut()));
    let of_machines = pairs.chain(scores).filter_map(|(ratio, p_holm, verdict)| {
        Some(Member {
            ratio: ratio?,
            p_holm,
            verdict: verdict?,
        })
    });
    let of_models = rankings.iter_mut().flat_map(ranks).map(member);
    let of_choices = choices.iter_mut().filter_map(|c| c.rival.as_mut());
    let of_choices = of_choices.map(|rival| member(&mut rival.claim));
    let of_gains = gains.iter_mut().map(|gain| member(&mut gain.claim));
    correct_all(
        of_machines
            .chain(of_models)
            .chain(of_choices)
            .chain(of_gains),
    );
}

fn ranks(ranking: &mut Ranking) -> impl Iterator<Item = &mut Claim> {
    let of_contests = ranking.contests.iter_mut().flat_map(|c| &mut c.ranks);
    let overall = ranking.overall.iter_mut().flat_map(|o| &mut o.ranks);
    of_contests
        .chain(overall)
        .filter_map(|rank| rank.over_best.as_mut())
}

fn member(claim: &mut Claim) -> Member<'_> {
    Member {
        ratio: claim.ratio,
        p_holm: &mut claim.p_holm,
        verdict: &mut claim.verdict,
    }
}

fn correct_all<'a>(claims: impl Iterator<Item = Member<'a>>) {
    let members: Vec<Member<'_>> = claims.collect();
    let adjusted = adjusted(members.iter().map(|member| &member.ratio));
    for (member, p) in members.into_iter().zip(adjusted) {
        *member.p_holm = p;
        if p.is_some_and(|p| p >= SIGNIFICANT) {
            *member.verdict = Verdict::Inconclusive;
        }
    }
}

/// One p for each ratio, after Holm's correction; `None` where a single launch gives none.
pub fn adjusted<'a>(ratios: impl Iterator<Item = &'a Ratio>) -> Vec<Option<f64>> {
    let raw: Vec<Option<f64>> = ratios.map(stats::p_against_margin).collect();
    let known: Vec<f64> = raw.iter().copied().flatten().collect();
    let mut adjusted = stats::holm(&known).into_iter();
    raw.into_iter()
        .map(|p| p.and_then(|_| adjusted.next()))
        .collect()
}
