//! A canary: a fixed piece of work in a process of its own, before and after each launch, that shows how
//! fast the machine is now. In the measured process it would spoil memory and first times.
//!
//! ```text
//!   before ──▶ launch ──▶ after ─┐ nothing but moments between: it is the next one's before
//!     ▲──────────────────────────┘
//! ```
//!
//! A canary that fails costs no launch: the job goes on without.

mod cost;
mod known;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::job::LaunchOutcome;
use domain::machine::Inventory;
use domain::metric::Metric;
use domain::plan::Protocol;
use domain::record::{Canary, SensorsCost};
use domain::suite::{Case, roofline};
use domain::worker::{Frame, Phase, Request, Started};
use proto::wire;

use crate::sensors::Sampler;
use crate::supervisor::{self, Ended, Limits, Listener, Suite};
use known::{Conditions, Known};

/// P12 of the protocol: less of the best known is throttled.
const LEAST_RATIO: f64 = 0.97;

/// What was seen so long ago still holds, if nothing ran since.
const FRESH: Duration = Duration::from_secs(5);

/// Some seconds on the slowest Mac; more where a processor has no fast BLAS, and not worth it there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of one process. The fastest counts: what else the machine does only ever makes one slower.
const ITERATIONS: u32 = 3;

/// Of one process for the cost of the sensors: long enough on a fast machine for a second's reading.
const COST_ITERATIONS: u32 = 10;

const PROTOCOL: Protocol = Protocol {
    launches: 1,
    precision: None,
    iterations: ITERATIONS,
    min_region: Duration::ZERO,
    warmup_max_iterations: 2,
    warmup_max: PATIENCE,
    launch_timeout: PATIENCE,
    gate_timeout: Duration::ZERO,
    canary: false,
    cooldown_max: Duration::ZERO,
    cooldown_pause: Duration::ZERO,
    seed: 0,
};

/// Whether the machine did less than it can.
pub fn is_slow(canary: &Canary) -> bool {
    canary.gemm_ratio.min(canary.stream_ratio) < LEAST_RATIO
}

/// How canaries are made and where their best are kept.
#[derive(Debug)]
pub struct Cage<'a> {
    pub suite: &'a Suite,
    pub inventory: &'a Inventory,
    pub sampler: &'a Sampler,
    /// For the worker; a canary keeps nothing there.
    pub cache_dir: &'a Path,
    pub file: PathBuf,
    /// See [`supervisor::LEAVE`].
    pub leave: Duration,
}

/// The canaries of one job.
#[derive(Debug)]
pub struct Canaries<'a> {
    cage: Cage<'a>,
    known: Known,
    last: Option<(Instant, Canary)>,
    given_up: bool,
    /// Tried once in a job.
    cost_tried: bool,
}

impl<'a> Canaries<'a> {
    pub fn new(cage: Cage<'a>) -> Self {
        Self {
            known: Known::open(&cage.file),
            cage,
            last: None,
            given_up: false,
            cost_tried: false,
        }
    }

    /// What came after the launch before, unless time has passed. The first of all on a quiet machine
    /// also learns what the sensors cost. `stop` makes futures that resolve when nothing of this is wanted any more.
    pub async fn before<S: Future<Output = ()> + Send>(
        &mut self,
        quiet: bool,
        stop: impl Fn() -> S,
    ) -> Option<Canary> {
        if let Some((at, canary)) = self.last
            && at.elapsed() < FRESH
        {
            return Some(canary);
        }
        let canary = self.after(stop()).await?;
        if !quiet || self.cost_tried || self.sensors_cost().is_some() {
            return Some(canary);
        }
        self.cost_tried = true;
        self.learn_cost(&stop).await;
        self.after(stop()).await
    }

    /// Makes one; `stop` resolves when it is not wanted any more.
    pub async fn after(&mut self, stop: impl Future<Output = ()> + Send) -> Option<Canary> {
        self.last = None;
        if self.given_up {
            return None;
        }
        let (ended, heard) = self.work(ITERATIONS, stop).await;
        let canary = match (ended.outcome, heard.seen()) {
            (LaunchOutcome::Interrupted, _) => return None,
            (LaunchOutcome::Succeeded, Some((started, gemm, stream))) => {
                let conditions = Conditions::of(&started, self.cage.inventory);
                self.known.judge(conditions, gemm, stream)
            }
            (outcome, _) => {
                self.given_up = true;
                let (message, limit) = (ended.message, PATIENCE);
                tracing::warn!(%outcome, why = message, ?limit, "no canary: the job goes on without");
                return None;
            }
        };
        tracing::debug!(?canary, "canary");
        self.last = Some((Instant::now(), canary));
        Some(canary)
    }

    /// What reading the sensors costs under the conditions of the last canary; None until it is known.
    pub fn sensors_cost(&self) -> Option<SensorsCost> {
        self.known.sensors_cost()
    }

    async fn learn_cost<S: Future<Output = ()> + Send>(&mut self, stop: &impl Fn() -> S) {
        tracing::info!("measuring what the sensors cost: once on this machine, about a minute");
        let mut blocks = Vec::new();
        for _ in 0..cost::BLOCKS {
            let mut block = [0.0; 4];
            for (is_read, seconds) in cost::BLOCK.iter().zip(&mut block) {
                self.cage.sampler.pause(!is_read);
                let (ended, heard) = self.work(COST_ITERATIONS, stop()).await;
                self.cage.sampler.pause(false);
                if ended.outcome == LaunchOutcome::Interrupted {
                    return;
                }
                if ended.outcome != LaunchOutcome::Succeeded || heard.seconds <= 0.0 {
                    let (outcome, message) = (ended.outcome, ended.message);
                    tracing::warn!(%outcome, why = message, "the cost of the sensors stays unknown");
                    return;
                }
                *seconds = heard.seconds;
            }
            blocks.push(block);
        }
        if let Some(cost) = cost::of(&blocks) {
            tracing::info!(?cost, "the cost of the sensors is known");
            self.known.set_sensors_cost(cost);
        }
    }

    async fn work(
        &self,
        iterations: u32,
        stop: impl Future<Output = ()> + Send,
    ) -> (Ended, Heard<'a>) {
        let Cage {
            suite,
            inventory,
            sampler,
            cache_dir,
            leave,
            ..
        } = self.cage;
        let request = wire::WorkerRequest::from(&Request {
            model: None,
            case: Case::Roofline(roofline::Case::Canary),
            protocol: Protocol {
                iterations,
                ..PROTOCOL
            },
            cache_dir: cache_dir.to_string_lossy().into_owned(),
            memory_limit_bytes: inventory.model_limit_bytes(),
            launch_seed: 0,
        });
        let limits = Limits {
            time: PATIENCE,
            memory_bytes: inventory.memory_bytes / 20 * 19,
            leave,
        };
        let mut heard = Heard {
            sampler,
            started: None,
            gemm: None,
            stream: None,
            seconds: 0.0,
        };
        let ended = supervisor::supervise(suite, &request, limits, &mut heard, stop).await;
        sampler.set_worker(0);
        (ended, heard)
    }
}

/// What a worker told of.
struct Heard<'a> {
    sampler: &'a Sampler,
    started: Option<Started>,
    /// The fastest.
    gemm: Option<f64>,
    stream: Option<f64>,
    /// Of all measured iterations.
    seconds: f64,
}

impl Heard<'_> {
    fn seen(self) -> Option<(Started, f64, f64)> {
        Some((self.started?, self.gemm?, self.stream?))
    }
}

impl Listener for Heard<'_> {
    fn spawned(&mut self, pid: u32) {
        self.sampler.set_worker(pid);
    }

    async fn frame(&mut self, frame: Frame) {
        match frame {
            Frame::Started(started) => self.started = Some(started),
            Frame::Iteration(iteration) if iteration.phase == Phase::Measured => {
                self.seconds += iteration.duration.as_secs_f64();
                for sample in iteration.samples.iter().filter(|it| it.value > 0.0) {
                    let best = match sample.metric {
                        Metric::GemmTflopsBf16 | Metric::GemmTflopsF32 => &mut self.gemm,
                        Metric::StreamGbps => &mut self.stream,
                        _ => continue,
                    };
                    *best = Some(best.map_or(sample.value, |best| best.max(sample.value)));
                }
            }
            Frame::Iteration(_) | Frame::Model(_) | Frame::Finished(_) | Frame::Failed(_) => {}
        }
    }
}
