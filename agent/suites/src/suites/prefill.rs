//! `prefill`: all of the prompt but its last token into the cache, then that token as a step of its
//! own, which gives the time to the first token. The way of mlx-lm, so that the numbers compare.

use std::time::Duration;

use domain::metric::Metric;
use domain::reason::Reason;
use domain::suite::prefill::Case;
use domain::worker::{Finished, Sample};

use super::{Bench, Demand, Ready, tokens};
use crate::generate::{self, Decoder};
use crate::harness::clock::{Mark, Region, Watch, ms, rate};
use crate::harness::{Observation, Shape, Trial, TrialError};
use crate::models::{CausalLm, KvCache};

pub fn demand(case: &Case) -> Demand {
    let step_tokens = case
        .chunk
        .min(case.prompt_tokens)
        .max(depth_step(case.depth));
    Demand {
        positions: case.depth + case.prompt_tokens,
        step_tokens,
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let ready = bench.load()?;
    let vocab = ready.loaded.model.dims().vocab as u32;
    let count = (case.depth + case.prompt_tokens) as usize;
    let trial = Prefill {
        model: ready.loaded.model.as_ref(),
        ready: &ready,
        case,
        ids: tokens::random(bench.request.protocol.seed, count, vocab),
        cache: ready.loaded.model.new_cache(),
        first_tokens: Vec::new(),
        is_first: true,
    };
    bench.measure(&mut [trial])
}

struct Prefill<'a> {
    model: &'a dyn CausalLm,
    ready: &'a Ready,
    case: &'a Case,
    /// What fills the cache to the depth, then the prompt.
    ids: Vec<u32>,
    cache: Vec<KvCache>,
    /// What the model said after each pass's prompt.
    first_tokens: Vec<u32>,
    /// Whether the process has not seen a prompt yet.
    is_first: bool,
}

impl Trial for Prefill<'_> {
    fn mode(&self) -> &'static str {
        "prefill"
    }

    fn shape(&self) -> Shape {
        Shape::Repeatable
    }

    fn marks_per_pass(&self) -> usize {
        2
    }

    fn prepare(&mut self, passes: u32) -> Result<(), TrialError> {
        reach_depth(
            self.model,
            &mut self.cache,
            &self.ids[..self.case.depth as usize],
        )?;
        self.first_tokens.clear();
        self.first_tokens.reserve(passes as usize);
        Ok(())
    }

    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        let depth = self.case.depth as usize;
        // Every pass after the first begins where the first one did.
        return_to(&mut self.cache, depth);
        let last = self.ids.len() - 1;
        let (before, last) = (&self.ids[depth..last], self.ids[last]);
        generate::prefill(
            self.model,
            &mut self.cache,
            before,
            self.case.chunk as usize,
        )?;
        watch.mark(Mark::Filled);
        let first = Decoder::start(self.model, &mut self.cache, last)?.read()?;
        watch.mark(Mark::Token);
        self.first_tokens.push(first);
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let Case {
            prompt_tokens,
            depth,
            chunk: _,
        } = *self.case;
        // The passes follow each other without a pause, so each step begins at the mark before it.
        let filling: Duration = region.steps(Mark::Filled).sum::<Duration>() / region.passes;
        let last_step: Duration = region.steps(Mark::Token).sum::<Duration>() / region.passes;
        let ttft = filling + last_step;
        let tps = rate(prompt_tokens - 1, filling);
        let mut seen = Observation {
            work: prompt_tokens * u64::from(region.passes),
            token_times: region.times(Mark::Token).collect(),
            token_ids_sha256: tokens::sha256(&self.ids, &self.first_tokens[..1]),
            weight_bytes: self.ready.loaded.facts.weight_bytes,
            ..Observation::default()
        };
        seen.sample(Metric::PrefillMs, ms(filling));
        if depth == 0 {
            seen.sample(Metric::PrefillTps, tps);
            seen.sample(Metric::PrefillTpsMlxlm, rate(prompt_tokens, ttft));
        } else {
            seen.sample(Metric::PrefillTpsAtDepth, tps);
        }
        seen.sample(Metric::TtftMs, ms(ttft));
        if std::mem::take(&mut self.is_first) {
            seen.of_launch.push(Sample {
                metric: Metric::TtftColdMs,
                value: ms(ttft),
            });
        }
        seen.sample(Metric::MemWeightsBytes, self.ready.active_bytes as f64);
        seen.sample(Metric::KvBytes, allocated_bytes(&self.cache) as f64);
        seen.expect_tokens(region.passes.into(), self.first_tokens.len());
        if self
            .first_tokens
            .iter()
            .any(|token| *token != self.first_tokens[0])
        {
            seen.reasons.push(Reason::Incorrect);
        }
        Ok(seen)
    }
}

/// Most tokens of a step while the cache is filled to a depth.
pub(super) fn depth_step(depth: u64) -> u64 {
    depth.clamp(1, generate::PREFILL_CHUNK as u64)
}

/// Puts `ids` into the cache, or what is already there back to them.
pub(super) fn reach_depth(
    model: &dyn CausalLm,
    cache: &mut [KvCache],
    ids: &[u32],
) -> Result<(), TrialError> {
    return_to(cache, ids.len());
    if cache.iter().any(|layer| (layer.len() as usize) < ids.len()) {
        return_to(cache, 0);
        generate::prefill(model, cache, ids, generate::PREFILL_CHUNK)?;
    }
    Ok(())
}

/// Forgets what came after `depth`. An empty cache has no buffers, as that of a new conversation; a
/// filled one keeps those that it has grown, for filling it again would take longer than the region.
pub(super) fn return_to(cache: &mut [KvCache], depth: usize) {
    for layer in cache {
        if depth == 0 {
            *layer = KvCache::default();
        } else {
            layer.trim((layer.len() - depth as i32).max(0));
        }
    }
}

pub(super) fn allocated_bytes(cache: &[KvCache]) -> u64 {
    cache.iter().map(KvCache::allocated_bytes).sum()
}
