//! `memory`: a prompt read into an empty cache and one token after it, for what it takes of memory.
//! It is no timing: nothing is warmed up, since the first pass of a process is what a user meets.

mod max_context;

use domain::metric::Metric;
use domain::reason::Reason;
use domain::suite::memory::Case;
use domain::worker::Finished;

use super::prefill::allocated_bytes;
use super::{Bench, Demand, Ready, tokens};
use crate::device;
use crate::generate::{self, Decoder};
use crate::harness::clock::{Mark, Region, Watch};
use crate::harness::{Observation, Shape, Trial, TrialError};
use crate::models::{KvCache, cache};

pub use max_context::SearchError;

/// Gate G4: how far the cache may be from what arithmetic says.
const KV_TOLERANCE: f64 = 0.1;

pub fn demand(case: &Case) -> Demand {
    let positions = match *case {
        Case::Prompt { prompt_tokens } => prompt_tokens,
        // Longer ones are children's.
        Case::MaxContext { .. } => 1,
    };
    Demand {
        positions,
        step_tokens: positions.min(generate::PREFILL_CHUNK as u64),
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let prompt_tokens = match *case {
        Case::Prompt { prompt_tokens } => prompt_tokens,
        Case::MaxContext { up_to_tokens } => return max_context::measure(bench, up_to_tokens),
    };
    let ready = bench.load()?;
    let vocab = ready.loaded.model.dims().vocab as u32;
    let prompt = tokens::random(bench.request.protocol.seed, prompt_tokens as usize, vocab);
    let trial = Memory {
        cache: ready.loaded.model.new_cache(),
        ready: &ready,
        prompt,
        first: 0,
    };
    bench.measure(&mut [trial])
}

struct Memory<'a> {
    ready: &'a Ready,
    prompt: Vec<u32>,
    cache: Vec<KvCache>,
    /// The token after the prompt.
    first: u32,
}

impl Trial for Memory<'_> {
    fn mode(&self) -> &'static str {
        "prefill"
    }

    fn shape(&self) -> Shape {
        Shape::Event
    }

    fn marks_per_pass(&self) -> usize {
        1
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        self.cache = self.ready.loaded.model.new_cache();
        Ok(())
    }

    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        let model = self.ready.loaded.model.as_ref();
        let (before, last) = self.prompt.split_at(self.prompt.len() - 1);
        generate::prefill(model, &mut self.cache, before, generate::PREFILL_CHUNK)?;
        self.first = Decoder::start(model, &mut self.cache, last[0])?.read()?;
        watch.mark(Mark::Token);
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let facts = &self.ready.loaded.facts;
        let positions = self.prompt.len() as u64;
        let allocated = allocated_bytes(&self.cache);
        let theory = facts.kv_bytes_per_token * positions;
        let peak = device::memory()?.peak_bytes;
        let mut seen = Observation {
            work: positions,
            token_times: region.times(Mark::Token).collect(),
            token_ids_sha256: tokens::sha256(&self.prompt, &[self.first]),
            weight_bytes: facts.weight_bytes,
            ..Observation::default()
        };
        for (metric, bytes) in [
            (Metric::MemWeightsBytes, self.ready.active_bytes),
            (Metric::KvBytes, allocated),
            (Metric::KvTheoryBytes, theory),
            (
                Metric::MemActivationBytes,
                peak.saturating_sub(self.ready.active_bytes + allocated),
            ),
        ] {
            seen.sample(metric, bytes as f64);
        }
        if let Some(bytes) = self.ready.wired_limit_bytes {
            seen.sample(Metric::MemWiredLimitBytes, bytes as f64);
        }
        let held = self.cache.iter().map(KvCache::used_bytes).sum::<u64>();
        seen.sample(Metric::KvUsedBytes, held as f64);
        let rounded = facts.kv_bytes_per_token * positions.next_multiple_of(cache::STEP as u64);
        if (held as f64 / theory as f64 - 1.0).abs() > KV_TOLERANCE
            || allocated as f64 > rounded as f64 * (1.0 + KV_TOLERANCE)
        {
            seen.reasons.push(Reason::MemoryImpossible);
        }
        Ok(seen)
    }
}
