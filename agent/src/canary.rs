//! A canary: a fixed piece of work in a process of its own, before and after each launch, that shows how
//! fast the machine is now. In the measured process it would spoil memory and first times.
//!
//! ```text
//!   before ──▶ launch ──▶ after ─┐ nothing but moments between: it is the next one's before
//!     ▲──────────────────────────┘
//! ```
//!
//! A canary that fails costs no launch: the job goes on without.

mod known;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::job::LaunchOutcome;
use domain::machine::Inventory;
use domain::metric::Metric;
use domain::plan::Protocol;
use domain::record::Canary;
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

/// The fastest of a few counts: what else the machine does only ever makes one slower.
const PROTOCOL: Protocol = Protocol {
    launches: 1,
    precision: None,
    iterations: 3,
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
}

impl<'a> Canaries<'a> {
    pub fn new(cage: Cage<'a>) -> Self {
        Self {
            known: Known::open(&cage.file),
            cage,
            last: None,
            given_up: false,
        }
    }

    /// What came after the launch before, unless time has passed.
    pub async fn before(&mut self, stop: impl Future<Output = ()> + Send) -> Option<Canary> {
        match self.last {
            Some((at, canary)) if at.elapsed() < FRESH => Some(canary),
            _ => self.after(stop).await,
        }
    }

    /// Makes one; `stop` resolves when it is not wanted any more.
    pub async fn after(&mut self, stop: impl Future<Output = ()> + Send) -> Option<Canary> {
        self.last = None;
        if self.given_up {
            return None;
        }
        let (ended, heard) = self.work(stop).await;
        let canary = match (ended.outcome, heard.seen()) {
            (LaunchOutcome::Interrupted, _) => return None,
            (LaunchOutcome::Succeeded, Some((started, gemm, stream))) => {
                let conditions = Conditions::of(&started, self.cage.inventory);
                self.known.judge(conditions, gemm, stream)
            }
            (outcome, _) => {
                self.given_up = true;
                let (message, limit) = (ended.message, PATIENCE);
                tracing::warn!(%outcome, message, ?limit, "no canary: the job goes on without");
                return None;
            }
        };
        tracing::debug!(?canary, "canary");
        self.last = Some((Instant::now(), canary));
        Some(canary)
    }

    async fn work(&self, stop: impl Future<Output = ()> + Send) -> (Ended, Heard<'a>) {
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
            protocol: PROTOCOL,
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
        };
        let ended = supervisor::supervise(suite, &request, limits, &mut heard, stop).await;
        sampler.set_worker(0);
        (ended, heard)
    }
}

/// The fastest that a worker told of.
struct Heard<'a> {
    sampler: &'a Sampler,
    started: Option<Started>,
    gemm: Option<f64>,
    stream: Option<f64>,
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
