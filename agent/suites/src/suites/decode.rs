//! `decode`: token after token from a given depth, twice and never mixed. Pipelined, the headline:
//! each step is submitted before the one before it is read, as mlx-lm generates. Per token: the host
//! waits for each, as llama-bench does, which is what latencies are.

use std::cell::RefCell;
use std::time::Duration;

use domain::metric::Metric;
use domain::suite::decode::Case;
use domain::worker::Finished;

use super::prefill::{allocated_bytes, depth_step, reach_depth};
use super::{Bench, Demand, Ready, tokens};
use crate::generate::Decoder;
use crate::harness::clock::{Mark, Region, Watch, median, ms, rate};
use crate::harness::{Observation, Shape, Trial, TrialError};
use crate::models::{CausalLm, KvCache};

pub fn demand(case: &Case) -> Demand {
    Demand {
        positions: case.depth + case.new_tokens,
        step_tokens: depth_step(case.depth),
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let ready = bench.load()?;
    let vocab = ready.loaded.model.dims().vocab as u32;
    let stage = Stage {
        model: ready.loaded.model.as_ref(),
        ready: &ready,
        case,
        prompt: tokens::random(bench.request.protocol.seed, case.depth as usize + 1, vocab),
        cache: RefCell::new(ready.loaded.model.new_cache()),
    };
    let room = Vec::with_capacity(case.new_tokens as usize);
    let mut trials = [Mode::Pipelined, Mode::PerToken].map(|mode| Decode {
        stage: &stage,
        mode,
        tokens: room.clone(),
    });
    bench.measure(&mut trials)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pipelined,
    PerToken,
}

/// What both modes share: one model, one prompt, and one cache, so that memory is counted once.
struct Stage<'a> {
    model: &'a dyn CausalLm,
    ready: &'a Ready,
    case: &'a Case,
    /// What fills the cache to the depth, and the token that the first step takes.
    prompt: Vec<u32>,
    cache: RefCell<Vec<KvCache>>,
}

struct Decode<'a> {
    stage: &'a Stage<'a>,
    mode: Mode,
    tokens: Vec<u32>,
}

fn step(decoder: &mut Decoder<'_>, watch: &mut Watch) -> Result<(), TrialError> {
    decoder.build()?;
    watch.mark(Mark::Built);
    decoder.hand_over()?;
    watch.mark(Mark::Submitted);
    Ok(())
}

impl Trial for Decode<'_> {
    fn mode(&self) -> &'static str {
        match self.mode {
            Mode::Pipelined => "pipelined",
            Mode::PerToken => "per_token",
        }
    }

    fn shape(&self) -> Shape {
        Shape::Whole
    }

    fn marks_per_pass(&self) -> usize {
        3 * self.stage.case.new_tokens as usize
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        let Stage {
            model,
            prompt,
            cache,
            case,
            ..
        } = self.stage;
        reach_depth(
            *model,
            &mut cache.borrow_mut(),
            &prompt[..case.depth as usize],
        )?;
        self.tokens.clear();
        self.tokens.reserve(case.new_tokens as usize);
        Ok(())
    }

    /// An end token is a token like any other: the budget is exact.
    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        let Stage {
            model,
            prompt,
            cache,
            case,
            ..
        } = self.stage;
        let mut cache = cache.borrow_mut();
        let mut decoder = Decoder::start(*model, &mut cache, prompt[case.depth as usize])?;
        watch.mark(Mark::Submitted);
        for remaining in (0..case.new_tokens).rev() {
            if self.mode == Mode::Pipelined && remaining > 0 {
                step(&mut decoder, watch)?;
            }
            let token = decoder.read()?;
            watch.mark(Mark::Token);
            self.tokens.push(token);
            if self.mode == Mode::PerToken && remaining > 0 {
                step(&mut decoder, watch)?;
            }
        }
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let Stage {
            ready,
            prompt,
            cache,
            case,
            ..
        } = self.stage;
        let times: Vec<Duration> = region.times(Mark::Token).collect();
        let mut seen = Observation {
            work: times.len() as u64,
            token_ids_sha256: tokens::sha256(prompt, &self.tokens),
            weight_bytes: ready.loaded.facts.weight_bytes,
            ..Observation::default()
        };
        let first_to_last = times[times.len() - 1].saturating_sub(times[0]);
        let intervals = times.len() as u64 - 1;
        let tps = rate(intervals, first_to_last);
        match self.mode {
            Mode::Pipelined => {
                let metric = if case.depth == 0 {
                    Metric::DecodeTps
                } else {
                    Metric::DecodeTpsAtDepth
                };
                seen.sample(metric, tps);
                seen.sample(Metric::DecodeTpsMlxlm, rate(intervals + 1, first_to_last));
                let built: Vec<Duration> = region.steps(Mark::Built).collect();
                // The first step waits for nothing and fills no gap.
                let handed_over = region.steps(Mark::Submitted).skip(1);
                let both = built.iter().zip(handed_over).map(|(a, b)| *a + b).collect();
                if let (Some(built), Some(both)) = (median(built), median(both)) {
                    seen.sample(Metric::HostBuildUs, ms(built) * 1e3);
                    seen.sample(Metric::HostOverheadUs, ms(both) * 1e3);
                }
            }
            Mode::PerToken => {
                seen.sample(Metric::DecodeTpsSync, tps);
                let gaps = times
                    .windows(2)
                    .map(|pair| pair[1].saturating_sub(pair[0]))
                    .collect();
                if let Some(gap) = median(gaps) {
                    seen.sample(Metric::ItlMs, ms(gap));
                }
            }
        }
        seen.sample(Metric::MemWeightsBytes, ready.active_bytes as f64);
        seen.sample(Metric::KvBytes, allocated_bytes(&cache.borrow()) as f64);
        for made in [times.len(), self.tokens.len()] {
            seen.expect_tokens(case.new_tokens, made);
        }
        seen.token_times = times;
        Ok(seen)
    }
}
