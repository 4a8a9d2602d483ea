//! What became of the drafts, counted over rounds.

use domain::metric::Metric;
use domain::suite::speculative::{ACCEPT_BY_POS, MAX_DRAFT_TOKENS};
use domain::worker::Sample;

use crate::generate::speculative::Round;

const PLACES: usize = MAX_DRAFT_TOKENS as usize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    rounds: u64,
    offered: u64,
    accepted: u64,
    emitted: u64,
    /// By place in the draft: how often all before it were accepted, and how often it was too.
    reached: [u64; PLACES],
    passed: [u64; PLACES],
}

impl Tally {
    pub(super) fn of(rounds: &[Round]) -> Self {
        let mut tally = Self::default();
        for &Round {
            offered,
            accepted,
            emitted,
        } in rounds
        {
            tally.rounds += 1;
            tally.offered += offered as u64;
            tally.accepted += accepted as u64;
            tally.emitted += emitted as u64;
            for place in 0..offered.min(accepted + 1) {
                tally.reached[place] += 1;
            }
            for place in 0..accepted {
                tally.passed[place] += 1;
            }
        }
        tally
    }

    /// The chance that a drafted token is accepted when those before it were. Those after a refused
    /// one were never looked at, so this is more than the share of all that were offered.
    pub(super) fn alpha(&self) -> f64 {
        let compared: u64 = self.reached.iter().sum();
        ratio(self.accepted, compared)
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        let whole = [
            (Metric::SpecAcceptRate, ratio(self.accepted, self.offered)),
            (
                Metric::SpecFromDraftShare,
                ratio(self.accepted, self.emitted),
            ),
            (Metric::SpecTokensPerRound, ratio(self.emitted, self.rounds)),
        ];
        // A place that was never reached has no share, which is another thing than none accepted.
        let counts = self.passed.into_iter().zip(self.reached);
        let by_place = ACCEPT_BY_POS
            .into_iter()
            .zip(counts)
            .filter(|(_, (_, reached))| *reached > 0)
            .map(|(metric, (passed, reached))| (metric, ratio(passed, reached)));
        whole
            .into_iter()
            .chain(by_place)
            .map(|(metric, value)| Sample { metric, value })
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(offered: usize, accepted: usize, emitted: usize) -> Round {
        Round {
            offered,
            accepted,
            emitted,
        }
    }

    #[test]
    fn a_place_counts_only_where_all_before_it_were_accepted() {
        // Of three rounds of three: all, one and none accepted; then two wanted and both drafted.
        let rounds = [
            round(3, 3, 4),
            round(3, 1, 2),
            round(3, 0, 1),
            round(2, 2, 2),
        ];
        let tally = Tally::of(&rounds);
        let samples: Vec<(Metric, f64)> = tally
            .samples()
            .map(|sample| (sample.metric, sample.value))
            .collect();
        assert_eq!(
            samples,
            [
                (Metric::SpecAcceptRate, 6.0 / 11.0),
                (Metric::SpecFromDraftShare, 6.0 / 9.0),
                (Metric::SpecTokensPerRound, 9.0 / 4.0),
                (Metric::SpecAcceptPos1, 3.0 / 4.0),
                (Metric::SpecAcceptPos2, 2.0 / 3.0),
                (Metric::SpecAcceptPos3, 1.0),
            ]
        );
        let alpha = tally.alpha();
        assert!((alpha - 6.0 / 8.0).abs() < 1e-12, "two refused: {alpha}");
    }
}
