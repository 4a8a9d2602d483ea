//! `batch`: several sequences at once and the first of them alone, in turn (A B B A), from prompt to
//! last token. One step serves all sequences, so that the weights are read once for all of them. Of
//! different lengths, too, only their own tokens are counted, and not what fills them up.

use std::time::Duration;

use domain::metric::Metric;
use domain::reason::Reason;
use domain::suite::batch::{Case, Lengths};
use domain::worker::Finished;

use super::turns::TURNS;
use super::{Bench, Demand, Ready, tokens, turns};
use crate::generate::{self, batch as together};
use crate::harness::clock::{Mark, Region, Watch, ms, rate};
use crate::harness::{Observation, Shape, Trial, TrialError};

pub fn demand(case: &Case) -> Demand {
    Demand {
        positions: case.prompt_tokens + case.new_tokens,
        step_tokens: case.batch_size * case.prompt_tokens.min(generate::PREFILL_CHUNK as u64),
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let ready = bench.load()?;
    let vocab = ready.loaded.model.dims().vocab as u32;
    let (batch, length) = (case.batch_size as usize, case.prompt_tokens as usize);
    // Each sequence has a prompt of its own, the first that of the one alone.
    let ids = tokens::random(bench.request.protocol.seed, batch * length, vocab);
    let rows = ids.chunks(length).zip(case.prompts());
    let trial = Batch {
        prompts: rows.map(|(row, own)| &row[..own as usize]).collect(),
        order: turns::in_turn(1, batch, bench.request.launch_seed),
        ids: Vec::new(),
        ready: &ready,
        case,
    };
    bench.measure(&mut [trial])
}

struct Batch<'a> {
    ready: &'a Ready,
    case: &'a Case,
    /// The longest first.
    prompts: Vec<&'a [u32]>,
    /// How many sequences each turn has.
    order: [usize; TURNS],
    /// Of all turns: a step's ids of every sequence, step after step.
    ids: Vec<u32>,
}

impl Batch<'_> {
    fn turn(&self, batch: usize, ids: &mut Vec<u32>, watch: &mut Watch) -> Result<(), TrialError> {
        let model = self.ready.loaded.model.as_ref();
        let mut steps = together::Batch::fill(model, &self.prompts[..batch])?;
        watch.mark(Mark::Filled);
        let mut pending = steps.submit()?;
        for remaining in (0..self.case.new_tokens).rev() {
            let next = if remaining > 0 {
                Some(steps.submit()?)
            } else {
                None
            };
            let step = together::read(&pending)?;
            watch.mark(Mark::Token);
            ids.extend(step);
            let Some(next) = next else { break };
            pending = next;
        }
        Ok(())
    }

    /// Of the turns with so many sequences: time to fill their caches, to their first tokens, and from
    /// the first to the last.
    fn times(&self, batch: usize, region: &Region) -> [Duration; 3] {
        let filling: Vec<Duration> = region.steps(Mark::Filled).collect();
        let firsts: Vec<Duration> = region.steps(Mark::Token).collect();
        let tokens: Vec<Duration> = region.times(Mark::Token).collect();
        let steps = self.case.new_tokens as usize;
        let mut times = [Duration::ZERO; 3];
        for place in turns::places(self.order, batch) {
            let (first, last) = (place * steps, (place + 1) * steps - 1);
            times[0] += filling[place];
            times[1] += filling[place] + firsts[first];
            times[2] += tokens[last].saturating_sub(tokens[first]);
        }
        times
    }

    /// The first sequence's ids in each turn: alone or among others, it is the same sequence.
    fn first_sequence(&self) -> Vec<Vec<u32>> {
        let steps = self.case.new_tokens as usize;
        let mut rest = self.ids.as_slice();
        let mut turns = Vec::new();
        for batch in self.order {
            let (turn, after) = rest.split_at((batch * steps).min(rest.len()));
            turns.push(turn.iter().step_by(batch).copied().collect());
            rest = after;
        }
        turns
    }
}

impl Trial for Batch<'_> {
    fn mode(&self) -> &'static str {
        match self.case.lengths {
            Lengths::Equal => "equal_lengths",
            Lengths::Ragged => "ragged",
        }
    }

    fn shape(&self) -> Shape {
        Shape::Whole
    }

    fn marks_per_pass(&self) -> usize {
        TURNS * (1 + self.case.new_tokens as usize)
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        self.ids.clear();
        let sequences: usize = self.order.iter().sum();
        self.ids.reserve(sequences * self.case.new_tokens as usize);
        Ok(())
    }

    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        let mut ids = std::mem::take(&mut self.ids);
        for batch in self.order {
            self.turn(batch, &mut ids, watch)?;
        }
        self.ids = ids;
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let Case {
            batch_size,
            new_tokens,
            ..
        } = *self.case;
        let filled: u64 = self.case.prompts().map(|prompt| prompt - 1).sum();
        let [filling, to_first, decoding] = self.times(batch_size as usize, region);
        let [_, _, alone] = self.times(1, region);
        // Two turns of each.
        let decode_tps = rate(2 * batch_size * (new_tokens - 1), decoding);
        let speedup = decode_tps / rate(2 * (new_tokens - 1), alone);
        let turns = self.first_sequence();
        // Whichever way leads in this launch, the same text in all of them.
        let together = turns::places(self.order, batch_size as usize)
            .next()
            .map_or(&[][..], |place| &turns[place]);
        let mut seen = Observation {
            work: self.ids.len() as u64,
            token_times: region.times(Mark::Token).collect(),
            token_ids_sha256: tokens::sha256(&self.prompts.concat(), together),
            weight_bytes: self.ready.loaded.facts.weight_bytes,
            ..Observation::default()
        };
        for (metric, value) in [
            (Metric::BatchDecodeTps, decode_tps),
            (Metric::BatchStreamTps, decode_tps / batch_size as f64),
            (Metric::BatchSpeedup, speedup),
            (Metric::BatchEfficiency, speedup / batch_size as f64),
            (Metric::BatchPrefillTps, rate(2 * filled, filling)),
            (Metric::BatchTtftMs, ms(to_first / 2)),
            (Metric::MemWeightsBytes, self.ready.active_bytes as f64),
        ] {
            seen.sample(metric, value);
        }
        let sequences: usize = self.order.iter().sum();
        seen.expect_tokens(sequences as u64 * new_tokens, self.ids.len());
        // Turns of the same size compute the same; others round otherwise and may part.
        let same = |a: usize, b: usize| turns[a] == turns[b];
        if !same(0, 3) || !same(1, 2) {
            seen.reasons.push(Reason::Incorrect);
        }
        Ok(seen)
    }
}
