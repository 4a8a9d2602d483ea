//! `quantization`: the model as it was loaded and the same one packed, in one process and in turn, so
//! that a machine that warms up slows both. One pass goes through both twice: A B B A.

mod quality;

use std::cell::RefCell;
use std::time::Duration;

use domain::metric::Metric;
use domain::reason::Reason;
use domain::suite::quantization::Case;
use domain::worker::Finished;

use super::prefill::return_to;
use super::turns::TURNS;
use super::{Bench, Demand, Ready, tokens, turns};
use crate::generate::{self, Decoder};
use crate::harness::clock::{self, Mark, Region, Watch, ms, rate};
use crate::harness::{Observation, Shape, Trial, TrialError};
use crate::load::{LoadError, parts::PackedModel};
use crate::models::weights::Packing;
use crate::models::{CausalLm, KvCache};
pub use quality::{Quality, TEXT, compare};

pub fn demand(case: &Case) -> Demand {
    Demand {
        positions: case.prompt_tokens + case.new_tokens,
        step_tokens: case.prompt_tokens.min(generate::PREFILL_CHUNK as u64),
        // Both models at once: of 16 bits that a value had, so many, and two more 16 for each group.
        extra_weights_percent: (case.bits * 100 + 3200 / case.group_size).div_ceil(16),
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let (loaded, parts) = bench.load_parts()?;
    if loaded.facts.quantisation != "none" {
        return Err(TrialError::AlreadyQuantised(loaded.facts.quantisation));
    }
    let ready = bench.settle(loaded)?;
    let packing = Packing {
        group_size: case.group_size as i32,
        bits: case.bits as i32,
    };
    let folder = bench.files()?.folder;
    let (packed, quantising) = clock::time(|| parts.packed(packing))
        .map_err(|error| LoadError::build(&folder.path, error))?;
    // Random weights say nothing about what is lost of real ones.
    let quality = match &ready.loaded.tokenizer {
        Some(tokenizer) if !folder.synthetic => {
            let ids = tokenizer.encode(TEXT).map_err(LoadError::Tokenizer)?;
            compare(ready.loaded.model.as_ref(), packed.model.as_ref(), &ids)?
        }
        _ => None,
    };
    let vocab = ready.loaded.model.dims().vocab as u32;
    let trial = Quantization {
        ready: &ready,
        packed: &packed,
        case,
        prompt: tokens::random(
            bench.request.protocol.seed,
            case.prompt_tokens as usize,
            vocab,
        ),
        order: turns::in_turn(Turn::Baseline, Turn::Quantised, bench.request.launch_seed),
        cache: RefCell::new(ready.loaded.model.new_cache()),
        tokens: Vec::new(),
        quantising,
        quality,
    };
    bench.measure(&mut [trial])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Baseline,
    Quantised,
}

struct Quantization<'a> {
    ready: &'a Ready,
    packed: &'a PackedModel,
    case: &'a Case,
    prompt: Vec<u32>,
    order: [Turn; TURNS],
    /// One for all turns, emptied before each.
    cache: RefCell<Vec<KvCache>>,
    /// Of all turns, one after another.
    tokens: Vec<u32>,
    quantising: Duration,
    quality: Option<Quality>,
}

/// What one model's two turns came to, in tokens per second.
struct Rates {
    prefill_tps: f64,
    decode_tps: f64,
}

impl Quantization<'_> {
    fn model(&self, turn: Turn) -> &dyn CausalLm {
        match turn {
            Turn::Baseline => self.ready.loaded.model.as_ref(),
            Turn::Quantised => self.packed.model.as_ref(),
        }
    }

    /// The ids of each of a model's turns.
    fn outputs(&self, turn: Turn) -> impl Iterator<Item = &[u32]> {
        let per_turn = self.case.new_tokens as usize;
        turns::outputs(&self.tokens, per_turn, self.order, turn)
    }

    fn rates(&self, turn: Turn, region: &Region) -> Rates {
        // A turn begins where the one before it ended, and its first mark is the filled cache.
        let filling: Vec<Duration> = region.steps(Mark::Filled).collect();
        let times: Vec<Duration> = region.times(Mark::Token).collect();
        let (mut prefill, mut decode) = (Duration::ZERO, Duration::ZERO);
        for place in turns::places(self.order, turn) {
            let first = place * self.case.new_tokens as usize;
            let last = first + self.case.new_tokens as usize - 1;
            prefill += filling[place];
            decode += times[last].saturating_sub(times[first]);
        }
        Rates {
            prefill_tps: rate(2 * (self.case.prompt_tokens - 1), prefill),
            decode_tps: rate(2 * (self.case.new_tokens - 1), decode),
        }
    }
}

impl Trial for Quantization<'_> {
    fn mode(&self) -> &'static str {
        "in_turn"
    }

    fn shape(&self) -> Shape {
        Shape::Whole
    }

    fn marks_per_pass(&self) -> usize {
        TURNS * (1 + self.case.new_tokens as usize)
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        return_to(&mut self.cache.borrow_mut(), 0);
        self.tokens.clear();
        self.tokens.reserve(TURNS * self.case.new_tokens as usize);
        Ok(())
    }

    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        let mut tokens = std::mem::take(&mut self.tokens);
        let (before, last) = self.prompt.split_at(self.prompt.len() - 1);
        for turn in self.order {
            let model = self.model(turn);
            let cache = &mut self.cache.borrow_mut();
            return_to(cache, 0);
            generate::prefill(model, cache, before, generate::PREFILL_CHUNK)?;
            watch.mark(Mark::Filled);
            let mut decoder = Decoder::start(model, cache, last[0])?;
            for remaining in (0..self.case.new_tokens).rev() {
                if remaining > 0 {
                    decoder.submit()?;
                }
                tokens.push(decoder.read()?);
                watch.mark(Mark::Token);
            }
        }
        self.tokens = tokens;
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let baseline = self.rates(Turn::Baseline, region);
        let quantised = self.rates(Turn::Quantised, region);
        let base_bytes = self.ready.loaded.facts.weight_bytes;
        let tally = &self.packed.tally;
        let of_both: Vec<u32> = [Turn::Baseline, Turn::Quantised]
            .into_iter()
            .flat_map(|turn| self.outputs(turn).next().unwrap_or_default())
            .copied()
            .collect();
        let mut seen = Observation {
            work: self.tokens.len() as u64,
            token_times: region.times(Mark::Token).collect(),
            token_ids_sha256: tokens::sha256(&self.prompt, &of_both),
            weight_bytes: base_bytes + tally.packed_bytes,
            ..Observation::default()
        };
        for (metric, value) in [
            (Metric::QuantDecodeTps, quantised.decode_tps),
            (Metric::QuantBaselineDecodeTps, baseline.decode_tps),
            (
                Metric::QuantSpeedupDecode,
                quantised.decode_tps / baseline.decode_tps,
            ),
            (Metric::QuantPrefillTps, quantised.prefill_tps),
            (Metric::QuantBaselinePrefillTps, baseline.prefill_tps),
            (
                Metric::QuantSpeedupPrefill,
                quantised.prefill_tps / baseline.prefill_tps,
            ),
            (Metric::QuantWeightsBytes, tally.bytes as f64),
            (
                Metric::QuantMemRatio,
                tally.bytes as f64 / base_bytes as f64,
            ),
            (Metric::QuantTimeMs, ms(self.quantising)),
            (Metric::MemWeightsBytes, self.ready.active_bytes as f64),
        ] {
            seen.sample(metric, value);
        }
        // No matrix at all was packed where the group divides none of their rows.
        if tally.packed_parameters > 0 {
            let bits = tally.packed_bytes as f64 * 8.0;
            seen.sample(Metric::QuantBpw, bits / tally.packed_parameters as f64);
        }
        if let Some(quality) = &self.quality {
            seen.samples.extend(quality.samples());
        }
        seen.expect_tokens(TURNS as u64 * self.case.new_tokens, self.tokens.len());
        let differs = |turn| {
            let mut outputs = self.outputs(turn);
            outputs.next() != outputs.next()
        };
        if differs(Turn::Baseline) || differs(Turn::Quantised) {
            seen.reasons.push(Reason::Incorrect);
        }
        Ok(seen)
    }
}
