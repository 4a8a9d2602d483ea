//! P10: whether the order of launches shows in the numbers that the plan puts first. The lines are the
//! view's; the verdicts are by the rule of comparisons, all of them one family for Holm's correction.

use super::comparison::is_at_home;
use super::family::{self, SIGNIFICANT};
use crate::report::PositionEffect;
use crate::stats::{self, Verdict};

pub fn judged(mut effects: Vec<PositionEffect>, headline: &[String]) -> Vec<PositionEffect> {
    effects.retain(|e| headline.contains(&e.metric) && is_at_home(&e.suite, &e.metric));
    let adjusted = family::adjusted(effects.iter().map(|effect| &effect.last_over_first));
    for (effect, p) in effects.iter_mut().zip(adjusted) {
        effect.p_holm = p;
        let stands = effect.p_holm.is_some_and(|p| p < SIGNIFICANT);
        // Which way is better plays no part here.
        let verdict = stats::verdict(effect.last_over_first.interval, true, "");
        effect.moved = match verdict {
            Verdict::Inconclusive => None,
            Verdict::Equivalent => stands.then_some(false),
            _ => stands.then_some(true),
        };
    }
    effects
}
