//! `sustained`: one pass of minutes that decodes stretch after stretch, all of them the same work, so
//! that what changes over the pass is the machine and not the depth of its cache.

use std::time::Duration;

use domain::metric::Metric;
use domain::reason::Reason;
use domain::suite::sustained::{Case, STRETCH_TOKENS};
use domain::worker::Finished;

use super::prefill::{depth_step, reach_depth, return_to};
use super::{Bench, Demand, Ready, tokens};
use crate::generate::Decoder;
use crate::harness::clock::{Mark, Region, Watch, rate};
use crate::harness::{Observation, Shape, Trial, TrialError};
use crate::models::KvCache;

/// No model decodes faster; room for so many marks is reserved.
const MOST_TOKENS_PER_SECOND: u64 = 2000;

pub fn demand(case: &Case) -> Demand {
    Demand {
        positions: case.depth + STRETCH_TOKENS,
        step_tokens: depth_step(case.depth),
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let ready = bench.load()?;
    let vocab = ready.loaded.model.dims().vocab as u32;
    let trial = Sustained {
        prompt: tokens::random(bench.request.protocol.seed, case.depth as usize + 1, vocab),
        cache: ready.loaded.model.new_cache(),
        ready: &ready,
        case,
        ids: Vec::new(),
        is_steady_output: true,
    };
    bench.measure(&mut [trial])
}

struct Sustained<'a> {
    ready: &'a Ready,
    case: &'a Case,
    prompt: Vec<u32>,
    cache: Vec<KvCache>,
    /// Of the first stretch.
    ids: Vec<u32>,
    /// Whether every stretch gave the ids of the first.
    is_steady_output: bool,
}

/// Tokens of one stretch but its first, and the time they took.
struct Stretch {
    at: Duration,
    took: Duration,
}

impl Trial for Sustained<'_> {
    fn mode(&self) -> &'static str {
        "decode"
    }

    fn shape(&self) -> Shape {
        Shape::Long
    }

    fn marks_per_pass(&self) -> usize {
        (self.case.seconds * MOST_TOKENS_PER_SECOND + 2 * STRETCH_TOKENS) as usize
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        let depth = self.case.depth as usize;
        let model = self.ready.loaded.model.as_ref();
        reach_depth(model, &mut self.cache, &self.prompt[..depth])?;
        self.ids.clear();
        self.ids.reserve(STRETCH_TOKENS as usize);
        Ok(())
    }

    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        let depth = self.case.depth as usize;
        let model = self.ready.loaded.model.as_ref();
        let until = Duration::from_secs(self.case.seconds);
        let mut marks = 0;
        while watch.elapsed() < until && marks + STRETCH_TOKENS as usize <= self.marks_per_pass() {
            return_to(&mut self.cache, depth);
            let mut decoder = Decoder::start(model, &mut self.cache, self.prompt[depth])?;
            for place in 0..STRETCH_TOKENS as usize {
                if place + 1 < STRETCH_TOKENS as usize {
                    decoder.submit()?;
                }
                let id = decoder.read()?;
                watch.mark(Mark::Token);
                match self.ids.get(place) {
                    None => self.ids.push(id),
                    Some(first) => self.is_steady_output &= *first == id,
                }
            }
            marks += STRETCH_TOKENS as usize;
        }
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let times: Vec<Duration> = region.times(Mark::Token).collect();
        let stretches: Vec<Stretch> = times
            .chunks_exact(STRETCH_TOKENS as usize)
            .map(|stretch| Stretch {
                at: stretch[0],
                took: stretch[stretch.len() - 1].saturating_sub(stretch[0]),
            })
            .collect();
        let mut seen = Observation {
            work: times.len() as u64,
            token_ids_sha256: tokens::sha256(&self.prompt, &self.ids),
            weight_bytes: self.ready.loaded.facts.weight_bytes,
            token_times: times,
            ..Observation::default()
        };
        seen.sample(Metric::SustainedTps, rate_of(&stretches));
        let quarter = stretches.len() / 4;
        if quarter > 0 {
            let last = rate_of(&stretches[stretches.len() - quarter..]);
            let ratio = last / rate_of(&stretches[..quarter]);
            seen.sample(Metric::SustainedRatio, ratio);
        }
        if let Some(trend) = trend_pct(&stretches) {
            seen.sample(Metric::TrendPct, trend);
        }
        seen.sample(Metric::MemWeightsBytes, self.ready.active_bytes as f64);
        if !self.is_steady_output {
            seen.reasons.push(Reason::Incorrect);
        }
        Ok(seen)
    }
}

fn rate_of(stretches: &[Stretch]) -> f64 {
    let tokens = stretches.len() as u64 * (STRETCH_TOKENS - 1);
    rate(tokens, stretches.iter().map(|stretch| stretch.took).sum())
}

/// Least squares of the stretches' rates over time: by how much the line changes from the first to the
/// last of them, in per cent of the mean. None with fewer than three.
fn trend_pct(stretches: &[Stretch]) -> Option<f64> {
    if stretches.len() < 3 {
        return None;
    }
    let n = stretches.len() as f64;
    let points: Vec<(f64, f64)> = stretches
        .iter()
        .map(|stretch| {
            let tps = rate(STRETCH_TOKENS - 1, stretch.took);
            (stretch.at.as_secs_f64(), tps)
        })
        .collect();
    let (x_mean, y_mean) = (
        points.iter().map(|(x, _)| x).sum::<f64>() / n,
        points.iter().map(|(_, y)| y).sum::<f64>() / n,
    );
    let spread: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let together: f64 = points
        .iter()
        .map(|(x, y)| (x - x_mean) * (y - y_mean))
        .sum();
    let whole = points[points.len() - 1].0 - points[0].0;
    Some(together / spread * whole / y_mean * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretches(rates: &[f64]) -> Vec<Stretch> {
        let of = |(second, rate): (u64, &f64)| Stretch {
            at: Duration::from_secs(second),
            took: Duration::from_secs_f64((STRETCH_TOKENS - 1) as f64 / rate),
        };
        (0..).zip(rates).map(of).collect()
    }

    #[test]
    fn a_machine_that_slows_down_has_a_negative_trend() {
        let falling = trend_pct(&stretches(&[100.0, 95.0, 90.0, 85.0, 80.0])).unwrap();
        assert!((falling + 100.0 * 20.0 / 90.0).abs() < 1e-6, "{falling}");
        let level = trend_pct(&stretches(&[50.0; 9])).unwrap();
        assert!(level.abs() < 1e-6, "{level}");
        assert_eq!(trend_pct(&stretches(&[50.0, 40.0])), None);
    }

    #[test]
    fn the_rate_of_stretches_is_their_tokens_over_their_time() {
        assert!((rate_of(&stretches(&[100.0, 50.0])) - 200.0 / 3.0).abs() < 1e-6);
    }
}
