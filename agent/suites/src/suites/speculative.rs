//! `speculative`: the model alone and the model with a draft beside it, in one process and in turn, so
//! that a machine that warms up slows both. One pass goes through both twice: A B B A.

mod pace;
pub mod pair;
mod prompt;
mod stage;
mod tally;

use std::time::Duration;

use domain::metric::Metric;
use domain::model::Dtype;
use domain::reason::Reason;
use domain::suite::speculative::Case;
use domain::worker::Finished;

use super::turns::TURNS;
use super::{Bench, Demand, tokens, turns};
use crate::generate::speculative::Round;
use crate::harness::clock::{Mark, Region, Watch, rate};
use crate::harness::{Observation, Shape, Trial, TrialError};
use pace::Pace;
use pair::Pair;
use prompt::Prompt;
pub use prompt::{CODE, PROSE};
use stage::Stage;
use tally::Tally;

/// Of the model and of its draft, each for itself.
pub fn demand(case: &Case) -> Demand {
    Demand {
        positions: case.context_tokens(),
        step_tokens: domain::suite::speculative::PROMPT_TOKENS,
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let pair = Pair::load(bench, case)?;
    let prompt = Prompt::of(
        case.prompt,
        &pair.target.loaded,
        bench.request.protocol.seed,
    )?;
    let trial = Speculative {
        case,
        order: turns::in_turn(Turn::Plain, Turn::Speculative, bench.request.launch_seed),
        stage: Stage::new(&pair, prompt),
        tokens: Vec::new(),
        rounds: Vec::new(),
        is_first: true,
    };
    bench.measure(&mut [trial])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Plain,
    Speculative,
}

struct Speculative<'a> {
    case: &'a Case,
    order: [Turn; TURNS],
    stage: Stage<'a>,
    /// Of all turns, one after another.
    tokens: Vec<u32>,
    /// Of both speculative turns.
    rounds: Vec<Round>,
    /// Whether no pass has been seen yet.
    is_first: bool,
}

/// What one way's two turns came to.
struct Rates {
    decode_tps: f64,
    /// From the prompt's last token to the last that came out, both turns together.
    seconds: f64,
}

impl Speculative<'_> {
    /// The ids of each of a way's turns.
    fn outputs(&self, turn: Turn) -> impl Iterator<Item = &[u32]> {
        let per_turn = self.case.new_tokens as usize;
        turns::outputs(&self.tokens, per_turn, self.order, turn)
    }

    fn rates(&self, turn: Turn, region: &Region) -> Rates {
        let began: Vec<_> = region.times(Mark::Filled).collect();
        let times: Vec<_> = region.times(Mark::Token).collect();
        let per_turn = self.case.new_tokens as usize;
        let (mut whole, mut first_to_last) = (Duration::ZERO, Duration::ZERO);
        for place in turns::places(self.order, turn) {
            let (first, last) = (place * per_turn, (place + 1) * per_turn - 1);
            whole += times[last].saturating_sub(began[place]);
            first_to_last += times[last].saturating_sub(times[first]);
        }
        Rates {
            decode_tps: rate(2 * (self.case.new_tokens - 1), first_to_last),
            seconds: whole.as_secs_f64(),
        }
    }

    /// How the outputs compare: each way with itself, then one with the other.
    fn compare(&self, seen: &mut Observation) {
        seen.expect_tokens(TURNS as u64 * self.case.new_tokens, self.tokens.len());
        let [plain, speculative] = [Turn::Plain, Turn::Speculative].map(|turn| {
            let mut outputs = self.outputs(turn);
            let (first, second) = (outputs.next(), outputs.next());
            if first != second {
                seen.reasons.push(Reason::Incorrect);
            }
            first.unwrap_or_default()
        });
        let divergence = plain.iter().zip(speculative).position(|(a, b)| a != b);
        let identical = if divergence.is_none() { 1.0 } else { 0.0 };
        seen.sample(Metric::SpecOutputIdentical, identical);
        if let Some(index) = divergence {
            seen.sample(Metric::SpecDivergenceIndex, index as f64);
            seen.reasons
                .push(parted(self.stage.pair.target.loaded.facts.dtype));
        }
        let of_both = [plain, speculative].concat();
        seen.token_ids_sha256 = tokens::sha256(&self.stage.prompt.ids, &of_both);
    }
}

impl Trial for Speculative<'_> {
    fn mode(&self) -> &'static str {
        self.stage.prompt.mode
    }

    fn shape(&self) -> Shape {
        Shape::Whole
    }

    fn marks_per_pass(&self) -> usize {
        TURNS * (1 + self.case.new_tokens as usize)
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        self.stage.fill()?;
        let most = TURNS * self.case.new_tokens as usize;
        self.tokens.clear();
        self.tokens.reserve(most);
        self.rounds.clear();
        self.rounds.reserve(most);
        Ok(())
    }

    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        let new_tokens = self.case.new_tokens as usize;
        for turn in self.order {
            self.stage.rewind();
            watch.mark(Mark::Filled);
            match turn {
                Turn::Plain => {
                    let mut decoder = self.stage.decoder()?;
                    for remaining in (0..new_tokens).rev() {
                        if remaining > 0 {
                            decoder.submit()?;
                        }
                        self.tokens.push(decoder.read()?);
                        watch.mark(Mark::Token);
                    }
                }
                Turn::Speculative => {
                    let mut speculator = self.stage.speculator(self.case.draft_tokens as usize);
                    let mut wanted = new_tokens;
                    while wanted > 0 {
                        speculator.draft(wanted)?;
                        let round = speculator.verify(&mut self.tokens)?;
                        for _ in 0..round.emitted {
                            watch.mark(Mark::Token);
                        }
                        wanted -= round.emitted;
                        self.rounds.push(round);
                    }
                }
            }
        }
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let plain = self.rates(Turn::Plain, region);
        let speculative = self.rates(Turn::Speculative, region);
        let [target, draft] = [&self.stage.pair.target.loaded, &self.stage.pair.draft];
        let tally = Tally::of(&self.rounds);
        let mut seen = Observation {
            work: self.tokens.len() as u64,
            token_times: region.times(Mark::Token).collect(),
            weight_bytes: target.facts.weight_bytes + draft.facts.weight_bytes,
            ..Observation::default()
        };
        let [kv_bytes, draft_kv_bytes] = self.stage.kv_bytes();
        for (metric, value) in [
            (Metric::SpecSpeedup, plain.seconds / speculative.seconds),
            (Metric::SpecDecodeTps, speculative.decode_tps),
            (Metric::SpecBaselineDecodeTps, plain.decode_tps),
            (
                Metric::SpecMemExtraBytes,
                (draft.facts.weight_bytes + draft_kv_bytes) as f64,
            ),
            (
                Metric::MemWeightsBytes,
                self.stage.pair.target.active_bytes as f64,
            ),
            (Metric::KvBytes, kv_bytes as f64),
        ] {
            seen.sample(metric, value);
        }
        seen.samples.extend(tally.samples());
        self.compare(&mut seen);
        if std::mem::take(&mut self.is_first) {
            let pace = Pace::of(&mut self.stage, self.case)?;
            seen.of_launch.extend(pace.samples(&tally, self.case));
        }
        Ok(seen)
    }
}

/// What other output than plain decoding's means. A step of several positions sums in another order,
/// which types shorter than f32 may round to another first choice; f32 has room for that.
fn parted(dtype: Dtype) -> Reason {
    match dtype {
        Dtype::F32 => Reason::Incorrect,
        Dtype::Bf16 | Dtype::F16 => Reason::OutputParted,
    }
}

#[cfg(test)]
mod tests {
    use domain::reason::Severity;

    use super::*;

    #[test]
    fn other_output_is_a_fault_in_f32_and_a_doubt_in_shorter_types() {
        let severity = |dtype| parted(dtype).severity();
        assert_eq!(severity(Dtype::F32), Severity::Invalid);
        assert_eq!(severity(Dtype::Bf16), Severity::Tainted);
        assert_eq!(severity(Dtype::F16), Severity::Tainted);
    }
}
