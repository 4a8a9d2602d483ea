//! Where a round's time goes, and what speed-up that and the acceptance foretell: from one pass that
//! waits after every part, which the timed passes do not.

use std::time::Duration;

use domain::metric::Metric;
use domain::suite::speculative::Case;
use domain::worker::Sample;

use super::stage::Stage;
use super::tally::Tally;
use crate::harness::TrialError;
use crate::harness::clock::{self, median, ms};

/// Enough steps of the model alone for a median.
const PLAIN_STEPS: usize = 32;

/// Medians, each with a wait after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// Of a whole draft.
    draft: Duration,
    verify: Duration,
    /// Of one step of the model by itself.
    plain_step: Duration,
}

impl Pace {
    pub(super) fn of(stage: &mut Stage<'_>, case: &Case) -> Result<Self, TrialError> {
        let (new_tokens, k) = (case.new_tokens as usize, case.draft_tokens as usize);
        let (mut drafts, mut verifications) = (Vec::new(), Vec::new());
        let mut tokens = Vec::with_capacity(new_tokens);
        stage.rewind();
        let mut speculator = stage.speculator(k);
        while tokens.len() < new_tokens {
            let ((), draft) = clock::time(|| {
                speculator.draft(new_tokens - tokens.len())?;
                speculator.settle()
            })?;
            let (round, verify) = clock::time(|| speculator.verify(&mut tokens))?;
            // The last rounds may be shorter; there is always one that is not, or none at all.
            if round.offered == k || drafts.is_empty() {
                drafts.push(draft.mul_f64(k as f64 / round.offered as f64));
                verifications.push(verify);
            }
        }
        stage.rewind();
        let mut decoder = stage.decoder()?;
        decoder.read()?;
        let mut steps = Vec::new();
        for _ in 1..new_tokens.min(PLAIN_STEPS) {
            let (_, step) = clock::time(|| {
                decoder.submit()?;
                decoder.read()
            })?;
            steps.push(step);
        }
        let of = |times| median(times).unwrap_or_default();
        Ok(Self {
            draft: of(drafts),
            verify: of(verifications),
            plain_step: of(steps),
        })
    }

    pub(super) fn samples(&self, tally: &Tally, case: &Case) -> [Sample; 3] {
        let draft_step = self.draft.as_secs_f64() / case.draft_tokens as f64;
        let cost = draft_step / self.plain_step.as_secs_f64();
        [
            (Metric::SpecDraftMs, ms(self.draft)),
            (Metric::SpecVerifyMs, ms(self.verify)),
            (
                Metric::SpecSpeedupPred,
                predicted(tally.alpha(), case.draft_tokens, cost),
            ),
        ]
        .map(|(metric, value)| Sample { metric, value })
    }
}

/// Tokens that a round is expected to give, (1 − α^(k+1)) / (1 − α), over its time in steps of the
/// model, 1 + k·c: verification as one step, each of k drafted tokens as `cost` of one.
fn predicted(alpha: f64, draft_tokens: u64, cost: f64) -> f64 {
    // The sum that the fraction stands for, which is there for α = 1 too.
    let tokens: f64 = (0..=draft_tokens)
        .map(|place| alpha.powi(place as i32))
        .sum();
    tokens / (1.0 + draft_tokens as f64 * cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_predicts(alpha: f64, draft_tokens: u64, cost: f64, speedup: f64) {
        let ours = predicted(alpha, draft_tokens, cost);
        assert!((ours - speedup).abs() < 1e-12, "{ours} is not {speedup}");
    }

    #[test]
    fn the_prediction_is_the_one_of_the_literature() {
        // Leviathan et al. 2023, theorem 3.8: (1 − α^(γ+1)) / ((1 − α)(γc + 1)).
        let formula = |alpha: f64, k: i32, cost: f64| {
            (1.0 - alpha.powi(k + 1)) / ((1.0 - alpha) * (f64::from(k) * cost + 1.0))
        };
        for (alpha, k, cost) in [(0.6, 2, 0.1), (0.9, 8, 0.05), (0.0, 4, 0.5)] {
            assert_predicts(alpha, k as u64, cost, formula(alpha, k, cost));
        }
    }

    #[test]
    fn at_its_ends_the_prediction_is_what_common_sense_says() {
        // Everything accepted and drafted for nothing; nothing accepted and as much again to pay.
        assert_predicts(1.0, 4, 0.0, 5.0);
        assert_predicts(0.0, 4, 0.25, 0.5);
    }
}
