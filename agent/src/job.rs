//! One grant, from its first launch to its last record.
//!
//! ```text
//!   for each slot of the order:   host lock ─▶ cool-down ─▶ gate ─▶ canary ─▶ LaunchStarted
//!                                    ▲                                            │
//!                                    │                                          worker ─▶ canary
//!                                    │                                                      │
//!                                    └── failed: the same slot again ◀── LaunchFinished ◀───┘
//!   at the end, unless the lease is lost:  JobFinished
//! ```
//!
//! Once the job has the host's lock for the first time, a model that is not here is got from the
//! coordinator ([`crate::models`]). What a worker's end means for the job is [`mod@verdict`]. A failed
//! launch is made again as a new launch of the same slot, until so many have failed that the job is
//! parked. A case that this machine or this model cannot do costs that case and no other.

mod scribe;
mod verdict;
mod walk;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ids::LaunchId;
use domain::job::{JobOutcome, LaunchOutcome};
use domain::lease::Grant;
use domain::machine::Inventory;
use domain::reason::Reason;
use domain::record::{LaunchFinished, LaunchHeat, LaunchStarted, Record};
use domain::worker::{FailureKind, Request};
use proto::wire;
use time::OffsetDateTime;
use tokio::sync::{Mutex, mpsc, watch};

use crate::awake::Awake;
use crate::canary::{self, Cage, Canaries};
use crate::cooldown::Cooldown;
use crate::host_lock::HostLock;
use crate::incident::{self, WatchMemory};
use crate::models::{Far, Models};
use crate::order::Slot;
use crate::precision::Precision;
use crate::preflight::{self, Gate};
use crate::recorder::Recorder;
use crate::sensors::{self, Sampler};
use crate::session::{Progress, Stop};
use crate::spool::Writer;
use crate::supervisor::{self, Ended, Limits, Suite};
use crate::throttle;
use scribe::Scribe;

pub(crate) use verdict::{Verdict, verdict};
pub(crate) use walk::{Launches, Walk};

/// What all jobs of this agent share.
#[derive(Debug)]
pub struct Bench {
    pub suite: Suite,
    pub inventory: Inventory,
    pub kernel: String,
    /// Where workers keep synthetic weights.
    pub cache_dir: PathBuf,
    pub models: Models,
    pub host_lock: PathBuf,
    pub sensors: sensors::Open,
    pub watch_memory: WatchMemory,
    /// Read again for each job, since people change it while agents run.
    pub wired_limit_bytes: fn() -> Option<u64>,
    pub gate: Mutex<Gate>,
    pub cooldown: Mutex<Cooldown>,
    /// Where the best canaries are kept.
    pub canary_file: PathBuf,
    /// See [`supervisor::LEAVE`].
    pub leave: Duration,
}

/// Where jobs are worked on.
pub trait Workshop: std::fmt::Debug + Send + Sync + 'static {
    /// Told with every Hello.
    fn inventory(&self) -> &Inventory;

    /// Works on a grant until its end, or until `stop` says why not.
    fn work(
        self: Arc<Self>,
        grant: Grant,
        writer: Writer,
        stop: watch::Receiver<Option<Stop>>,
        progress: mpsc::Sender<Progress>,
    ) -> impl Future<Output = Left> + Send + 'static;
}

impl Workshop for Bench {
    fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    fn work(
        self: Arc<Self>,
        grant: Grant,
        writer: Writer,
        stop: watch::Receiver<Option<Stop>>,
        progress: mpsc::Sender<Progress>,
    ) -> impl Future<Output = Left> + Send + 'static {
        run(self, grant, writer, stop, progress)
    }
}

/// How a job left the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Its last record is on the disk.
    Recorded,
    /// The lease is dead, or the disk takes nothing: the coordinator learns it from silence.
    Unrecorded,
}

async fn run(
    bench: Arc<Bench>,
    grant: Grant,
    writer: Writer,
    stop: watch::Receiver<Option<Stop>>,
    progress: mpsc::Sender<Progress>,
) -> Left {
    let _awake = Awake::hold();
    let inventory = Inventory {
        wired_limit_bytes: (bench.wired_limit_bytes)(),
        ..bench.inventory.clone()
    };
    let (recorder, task) = Recorder::start(writer);
    let sampler = Sampler::start(bench.sensors, Some(recorder.clone()));
    let cage = Cage {
        suite: &bench.suite,
        inventory: &inventory,
        sampler: &sampler,
        cache_dir: &bench.cache_dir,
        file: bench.canary_file.clone(),
        leave: bench.leave,
    };
    let mut job = Job {
        canaries: grant.protocol.canary.then(|| Canaries::new(cage)),
        failures: grant.failures,
        gate_budget: grant.protocol.gate_timeout,
        precision: Precision::new(&grant),
        models_sought: false,
        progress: progress.clone(),
        bench: &bench,
        inventory: &inventory,
        grant: &grant,
        recorder: &recorder,
        sampler: &sampler,
        stop: stop.clone(),
    };
    let walk = Walk {
        grant: &grant,
        recorder: &recorder,
        stop,
        progress,
    };
    let left = walk.through(&mut job).await;
    drop(job);
    drop(walk);
    drop(sampler);
    drop(recorder);
    if let Err(panic) = task.await {
        tracing::error!(%panic, "the recorder failed");
    }
    left
}

struct Job<'a> {
    bench: &'a Bench,
    /// As it is in this job.
    inventory: &'a Inventory,
    grant: &'a Grant,
    recorder: &'a Recorder,
    sampler: &'a Sampler,
    stop: watch::Receiver<Option<Stop>>,
    failures: u32,
    /// What is left of the plan's `gate_timeout`, which is for the whole job.
    gate_budget: Duration,
    precision: Precision,
    models_sought: bool,
    progress: mpsc::Sender<Progress>,
    /// None: the plan wants none.
    canaries: Option<Canaries<'a>>,
}

/// A launch that has ended, and what is told of it.
struct Measured {
    ended: Ended,
    ended_at: OffsetDateTime,
    headline: Option<f64>,
    reasons: Vec<Reason>,
    heat: LaunchHeat,
}

impl Launches for Job<'_> {
    fn is_precise(&self, case_key: &str) -> bool {
        self.precision.is_reached(case_key)
    }

    async fn launch(&mut self, slot: &Slot) -> Verdict {
        let lease = self.grant.lease_id;
        let waits = || tracing::info!(%lease, "waiting: another agent measures on this host");
        let lock = tokio::select! {
            lock = HostLock::take(&self.bench.host_lock, waits) => lock,
            () = stopped(self.stop.clone()) => return as_stopped(&self.stop),
        };
        let _lock = match lock {
            Ok(lock) => lock,
            Err(error) => return Verdict::End(JobOutcome::Parked, error.to_string()),
        };
        if let Some(end) = self.bring_models().await {
            return end;
        }
        let bench = self.bench;
        let Grant {
            run_id, protocol, ..
        } = self.grant;
        let cool = async {
            let mut cooldown = bench.cooldown.lock().await;
            cooldown.wait(*run_id, protocol, self.sampler).await
        };
        let cooldown = tokio::select! {
            waited = cool => waited,
            () = stopped(self.stop.clone()) => return as_stopped(&self.stop),
        };
        let gate = async {
            let mut gate = bench.gate.lock().await;
            gate.pass(self.sampler, &mut self.gate_budget).await
        };
        let quiet = tokio::select! {
            quiet = gate => quiet,
            () = stopped(self.stop.clone()) => return as_stopped(&self.stop),
        };
        let canary_before = match &mut self.canaries {
            Some(canaries) => canaries.before(quiet, || stopped(self.stop.clone())).await,
            None => None,
        };
        if self.stop.borrow().is_some() {
            return as_stopped(&self.stop);
        }
        let launch_id = LaunchId::new();
        let started = LaunchStarted {
            launch_id,
            case_key: slot.case.key(),
            ordinal: slot.ordinal,
            position: slot.position,
            started_at: OffsetDateTime::now_utc(),
            seed: slot.seed,
        };
        self.recorder.record(Record::LaunchStarted(started)).await;
        let mut measured = self.measure(launch_id, slot, quiet).await;
        measured.heat.cooldown = cooldown;
        measured.heat.canary_before = canary_before;
        measured.ended = self.cancelled(measured.ended);
        let ended = &measured.ended;
        tracing::info!(
            %lease, case = slot.case.key(), ordinal = slot.ordinal, outcome = %ended.outcome,
            why = ended.message, "launch ended"
        );
        if ended.outcome == LaunchOutcome::Succeeded
            && let Some(canaries) = &mut self.canaries
        {
            let stop = stopped(self.stop.clone());
            measured.heat.canary_after = canaries.after(stop).await;
            measured.heat.sensors_cost = canaries.sensors_cost();
        }
        let LaunchHeat {
            canary_before,
            canary_after,
            ..
        } = &measured.heat;
        if canary_before
            .iter()
            .chain(canary_after)
            .any(canary::is_slow)
        {
            measured.reasons.push(Reason::ThrottledCanary);
        }
        let headline = measured.headline;
        match self.keep(measured).await {
            Ok(ended) => {
                if ended.outcome == LaunchOutcome::Succeeded {
                    let case_key = slot.case.key();
                    self.precision.add(&case_key, slot.ordinal, headline);
                }
                verdict(&ended, slot, &mut self.failures)
            }
            Err(why) => Verdict::End(JobOutcome::Parked, why),
        }
    }
}

impl Job<'_> {
    /// Before anything of the job is measured, and never again; under the host's lock, since a download
    /// disturbs whoever measures here.
    async fn bring_models(&mut self) -> Option<Verdict> {
        if std::mem::replace(&mut self.models_sought, true) {
            return None;
        }
        let models = &self.bench.models;
        let limit = self.inventory.model_limit_bytes();
        let mut told = None;
        let tell = |far: Far<'_>| {
            let percent = far.percent();
            if told.replace(percent) != Some(percent) {
                self.tell_far(&far);
            }
        };
        let brought = tokio::select! {
            brought = models.bring(self.grant, limit, tell) => brought,
            () = stopped(self.stop.clone()) => return Some(as_stopped(&self.stop)),
        };
        let error = brought.err()?;
        tracing::error!(%error, "the job's model is not here");
        Some(Verdict::End(error.outcome(), error.to_string()))
    }

    fn tell_far(&self, far: &Far<'_>) {
        if far.percent().is_multiple_of(10) {
            tracing::info!(model = %far.model, percent = far.percent(), "downloading");
        }
        let Grant {
            lease_id,
            cases,
            protocol,
            finished,
            ..
        } = self.grant;
        let progress = Progress {
            lease: *lease_id,
            launches_done: finished.len() as u32,
            launches_total: cases.len() as u32 * protocol.launches,
            note: far.to_string(),
        };
        // For watchers only: when nobody takes it, the next one will do.
        self.progress.try_send(progress).ok();
    }

    async fn measure(&mut self, launch_id: LaunchId, slot: &Slot, quiet: bool) -> Measured {
        let Bench {
            suite,
            cache_dir,
            leave,
            ..
        } = self.bench;
        let inventory = self.inventory;
        let request = wire::WorkerRequest::from(&Request {
            model: self.grant.model.clone(),
            case: slot.case.clone(),
            protocol: self.grant.protocol,
            cache_dir: cache_dir.to_string_lossy().into_owned(),
            memory_limit_bytes: inventory.model_limit_bytes(),
            launch_seed: slot.seed,
        });
        let limits = Limits {
            time: self.grant.protocol.launch_timeout,
            // Beyond it the system swaps or kills what it likes; the prediction of the worker, which
            // has the lower limit, was wrong.
            memory_bytes: inventory.memory_bytes / 20 * 19,
            leave: *leave,
        };
        let mut scribe = Scribe::new(
            launch_id,
            &slot.case,
            inventory,
            &self.bench.kernel,
            self.recorder,
            self.sampler,
        );
        let memory = (self.bench.watch_memory)();
        let began = Instant::now();
        let stop = stopped(self.stop.clone());
        let mut ended = supervisor::supervise(suite, &request, limits, &mut scribe, stop).await;
        self.sampler.set_worker(0);
        let (now, ended_at) = (Instant::now(), OffsetDateTime::now_utc());
        let ticks = self.sampler.since(began);
        self.bench.cooldown.lock().await.learn(&ticks);
        self.bench.gate.lock().await.learn(&ticks);
        let mut reasons = preflight::doubts(&ticks, began, now);
        reasons.extend(throttle::flags(&ticks, &scribe.pace, inventory.gpu_max_mhz));
        if !quiet {
            reasons.push(Reason::GateTimeout);
        }
        if inventory.virtual_machine || scribe.virtual_gpu {
            reasons.push(Reason::VirtualMachine);
        }
        // Nobody but the system kills a worker that was not told to end.
        let by_force =
            ended.outcome == LaunchOutcome::Crashed && ended.signal == Some(libc::SIGKILL);
        if let Some(pid) = scribe.pid.filter(|_| by_force)
            && let Some(how) = incident::memory_kill(&*memory, pid).await
        {
            ended.message = format!(
                "{}, by the system, which wanted its memory ({how})",
                ended.message
            );
            reasons.push(Reason::MemoryKill);
        }
        Measured {
            ended,
            ended_at,
            headline: scribe.headline.median(slot.case.suite()),
            reasons,
            heat: LaunchHeat {
                launch_id,
                cooldown: Duration::ZERO,
                canary_before: None,
                canary_after: None,
                trend_pct: scribe.pace.trend().map(|trend| trend.percent),
                telemetry_gap: preflight::longest_gap(&ticks, began, now),
                sensors_cost: None,
            },
        }
    }

    /// A worker stopped for an operator is not one that was interrupted.
    fn cancelled(&self, ended: Ended) -> Ended {
        match (ended.outcome, &*self.stop.borrow()) {
            (LaunchOutcome::Interrupted, Some(Stop::Cancelled)) => Ended {
                outcome: LaunchOutcome::Cancelled,
                message: "cancelled by an operator".to_owned(),
                ..ended
            },
            _ => ended,
        }
    }

    /// Writes the launch's end to the disk. A launch of which something could not be written has
    /// failed; when even that cannot be written, nothing more can be.
    async fn keep(&self, measured: Measured) -> Result<Ended, String> {
        let Measured {
            ended,
            ended_at,
            headline: _,
            reasons,
            heat,
        } = measured;
        let launch_id = heat.launch_id;
        let record = |ended: &Ended, reasons: &[Reason]| {
            Record::LaunchFinished(LaunchFinished {
                launch_id,
                outcome: ended.outcome,
                message: ended.message.clone(),
                finished_at: ended_at,
                steady: ended.finished.is_some_and(|finished| finished.steady),
                warmup_iterations: ended
                    .finished
                    .map_or(0, |finished| finished.warmup_iterations),
                reasons: reasons.to_vec(),
                stderr_tail: ended.stderr_tail.clone(),
                exit_code: ended.exit_code,
                signal: ended.signal,
            })
        };
        self.recorder.record(Record::LaunchHeat(heat)).await;
        self.recorder.record(record(&ended, &reasons)).await;
        let Err(lost) = self.recorder.commit().await else {
            return Ok(ended);
        };
        let ended = Ended {
            outcome: LaunchOutcome::Failed,
            blame: Some(FailureKind::Internal),
            message: lost.to_string(),
            ..ended
        };
        self.recorder.record(record(&ended, &reasons)).await;
        self.recorder
            .commit()
            .await
            .map_err(|lost| lost.to_string())?;
        Ok(ended)
    }
}

/// What a job's end is when it was stopped.
pub(crate) fn as_stopped(stop: &watch::Receiver<Option<Stop>>) -> Verdict {
    match &*stop.borrow() {
        Some(Stop::Cancelled) => {
            Verdict::End(JobOutcome::Cancelled, "cancelled by an operator".to_owned())
        }
        Some(Stop::Lost { reason }) => Verdict::End(JobOutcome::Released, reason.clone()),
        Some(Stop::Refused { reason }) => Verdict::End(JobOutcome::Failed, reason.clone()),
        Some(Stop::Released) | None => {
            Verdict::End(JobOutcome::Released, "the agent is stopping".to_owned())
        }
    }
}

pub(crate) async fn stopped(mut stop: watch::Receiver<Option<Stop>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        // Nobody is left who could stop it.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
pub(crate) mod tests;
