//! One grant, from its first launch to its last record.
//!
//! ```text
//!   for each slot of the order:   host lock ─▶ gate ─▶ LaunchStarted ─▶ worker ─▶ LaunchFinished
//!                                    ▲                                               │
//!                                    └──── failed: the same slot again ──────────────┘
//!   at the end, unless the lease is lost:  JobFinished
//! ```
//!
//! What a worker's end means for the job is [`verdict`]. A failed launch is made again as a new
//! launch of the same slot, until so many have failed that the job is parked. A case that this
//! machine or this model cannot do costs that case and no other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::gate::{self, Ceilings};
use domain::ids::LaunchId;
use domain::job::{FAILURES_TO_PARK, JobOutcome, LaunchOutcome};
use domain::lease::Grant;
use domain::machine::Inventory;
use domain::model::ModelIdentity;
use domain::reason::Reason;
use domain::record::{
    Environment, JobFinished, LaunchFinished, LaunchModel, LaunchStarted, Record,
};
use domain::suite::Case;
use domain::worker::{FailureKind, Frame, Phase, Request, Started};
use proto::wire;
use time::OffsetDateTime;
use tokio::sync::{Mutex, mpsc, watch};

use crate::awake::Awake;
use crate::host_lock::HostLock;
use crate::order::{Slot, order};
use crate::precision::{Headline, Precision};
use crate::preflight::{self, Gate};
use crate::recorder::Recorder;
use crate::sensors::{self, PowerSource, Sampler};
use crate::session::{Progress, Stop};
use crate::spool::Writer;
use crate::supervisor::{self, Ended, Limits, Listener, Suite};

/// What all jobs of this agent share.
#[derive(Debug)]
pub struct Bench {
    pub suite: Suite,
    pub inventory: Inventory,
    pub kernel: String,
    /// Where workers keep synthetic weights.
    pub cache_dir: PathBuf,
    pub host_lock: PathBuf,
    pub sensors: sensors::Open,
    pub gate: Mutex<Gate>,
    /// See [`supervisor::LEAVE`].
    pub leave: Duration,
}

/// How a job left the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Its last record is on the disk.
    Recorded,
    /// The lease is dead, or the disk takes nothing: the coordinator learns it from silence.
    Unrecorded,
}

/// What follows from a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Next,
    Again,
    /// The case will not be measured, whatever else of the job is.
    Drop(JobOutcome, String),
    End(JobOutcome, String),
}

/// Works on a grant until its end, or until `stop` says why not.
pub async fn run(
    bench: Arc<Bench>,
    grant: Grant,
    writer: Writer,
    stop: watch::Receiver<Option<Stop>>,
    progress: mpsc::Sender<Progress>,
) -> Left {
    let _awake = Awake::hold();
    let (recorder, task) = Recorder::start(writer);
    let sampler = Sampler::start(bench.sensors, Some(recorder.clone()));
    let mut job = Job {
        failures: grant.failures,
        gate_budget: grant.protocol.gate_timeout,
        precision: Precision::new(&grant),
        bench: &bench,
        grant: &grant,
        recorder: &recorder,
        sampler: &sampler,
        stop,
        progress,
    };
    let left = job.work().await;
    drop(job);
    drop(sampler);
    drop(recorder);
    if let Err(panic) = task.await {
        tracing::error!(%panic, "the recorder failed");
    }
    left
}

struct Job<'a> {
    bench: &'a Bench,
    grant: &'a Grant,
    recorder: &'a Recorder,
    sampler: &'a Sampler,
    stop: watch::Receiver<Option<Stop>>,
    progress: mpsc::Sender<Progress>,
    failures: u32,
    /// What is left of the plan's `gate_timeout`, which is for the whole job.
    gate_budget: Duration,
    precision: Precision,
}

impl Job<'_> {
    async fn work(&mut self) -> Left {
        let slots = order(self.grant);
        let mut total = self.grant.cases.len() as u32 * self.grant.protocol.launches;
        let mut done = total - slots.len() as u32;
        let (mut outcome, mut reason) = (JobOutcome::Succeeded, String::new());
        let mut dropped: Vec<(String, String)> = Vec::new();
        'job: for slot in &slots {
            let case_key = slot.case.key();
            let is_dropped = dropped.iter().any(|(case, _)| *case == case_key);
            if is_dropped || self.precision.is_reached(&case_key) {
                total -= 1;
                continue;
            }
            self.tell(done, total, slot);
            done += 1;
            loop {
                match self.launch(slot).await {
                    Verdict::Next => break,
                    Verdict::Again => {}
                    Verdict::Drop(ending, why) => {
                        outcome = worse(outcome, ending);
                        dropped.push((case_key, why));
                        reason = told(&dropped, self.grant.cases.len());
                        break;
                    }
                    Verdict::End(ending, why) => {
                        (outcome, reason) = (ending, why);
                        break 'job;
                    }
                }
            }
        }
        let lease = self.grant.lease_id;
        if matches!(*self.stop.borrow(), Some(Stop::Lost { .. })) {
            return Left::Unrecorded;
        }
        tracing::info!(%lease, %outcome, reason, "job ended");
        let finished = JobFinished { outcome, reason };
        self.recorder.record(Record::JobFinished(finished)).await;
        match self.recorder.commit().await {
            Ok(()) => Left::Recorded,
            Err(error) => {
                tracing::error!(%lease, %error, "the job's end is not written; its lease will expire");
                Left::Unrecorded
            }
        }
    }

    fn tell(&self, launches_done: u32, launches_total: u32, slot: &Slot) {
        let progress = Progress {
            lease: self.grant.lease_id,
            launches_done,
            launches_total,
            note: format!("{} {}", slot.case.suite(), slot.case.key()),
        };
        // For watchers only: when nobody takes it, the next one will do.
        self.progress.try_send(progress).ok();
    }

    async fn launch(&mut self, slot: &Slot) -> Verdict {
        let lease = self.grant.lease_id;
        let waits = || tracing::info!(%lease, "waiting: another agent measures on this host");
        let lock = tokio::select! {
            lock = HostLock::take(&self.bench.host_lock, waits) => lock,
            () = stopped(self.stop.clone()) => return self.stopped(),
        };
        let _lock = match lock {
            Ok(lock) => lock,
            Err(error) => return Verdict::End(JobOutcome::Parked, error.to_string()),
        };
        let bench = self.bench;
        let gate = async {
            let mut gate = bench.gate.lock().await;
            gate.pass(self.sampler, &mut self.gate_budget).await
        };
        let quiet = tokio::select! {
            quiet = gate => quiet,
            () = stopped(self.stop.clone()) => return self.stopped(),
        };
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
        let (ended, headline, reasons) = self.measure(launch_id, slot, quiet).await;
        let ended = self.cancelled(ended);
        tracing::info!(
            %lease, case = slot.case.key(), ordinal = slot.ordinal, outcome = %ended.outcome,
            message = ended.message, "launch ended"
        );
        match self.keep(launch_id, ended, reasons).await {
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

    async fn measure(
        &mut self,
        launch_id: LaunchId,
        slot: &Slot,
        quiet: bool,
    ) -> (Ended, Option<f64>, Vec<Reason>) {
        let Bench {
            suite,
            inventory,
            cache_dir,
            leave,
            ..
        } = self.bench;
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
        let mut scribe = Scribe {
            launch_id,
            bench: self.bench,
            recorder: self.recorder,
            sampler: self.sampler,
            started: None,
            case: &slot.case,
            model: None,
            ceilings: Ceilings::of(&inventory.chip, inventory.gpu_cores),
            headline: Headline::default(),
        };
        let began = Instant::now();
        let stop = stopped(self.stop.clone());
        let ended = supervisor::supervise(suite, &request, limits, &mut scribe, stop).await;
        self.sampler.set_worker(0);
        let mut reasons = preflight::doubts(&self.sampler.since(began), began, Instant::now());
        if !quiet {
            reasons.push(Reason::GateTimeout);
        }
        if inventory.virtual_machine {
            reasons.push(Reason::VirtualMachine);
        }
        (ended, scribe.headline.median(slot.case.suite()), reasons)
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
    async fn keep(
        &self,
        launch_id: LaunchId,
        ended: Ended,
        reasons: Vec<Reason>,
    ) -> Result<Ended, String> {
        let record = |ended: &Ended, reasons: &[Reason]| {
            Record::LaunchFinished(LaunchFinished {
                launch_id,
                outcome: ended.outcome,
                message: ended.message.clone(),
                finished_at: OffsetDateTime::now_utc(),
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

    fn stopped(&self) -> Verdict {
        match &*self.stop.borrow() {
            Some(Stop::Cancelled) => {
                Verdict::End(JobOutcome::Cancelled, "cancelled by an operator".to_owned())
            }
            Some(Stop::Lost { reason }) => Verdict::End(JobOutcome::Released, reason.clone()),
            Some(Stop::Released) | None => {
                Verdict::End(JobOutcome::Released, "the agent is stopping".to_owned())
            }
        }
    }
}

async fn stopped(mut stop: watch::Receiver<Option<Stop>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        // Nobody is left who could stop it.
        std::future::pending::<()>().await;
    }
}

/// Of two cases' ends, the one that the job is called by.
fn worse(a: JobOutcome, b: JobOutcome) -> JobOutcome {
    if a == JobOutcome::Failed { a } else { b }
}

/// Why cases were not measured, and whether others were. Cases with the same reason share a line.
fn told(dropped: &[(String, String)], cases: usize) -> String {
    if dropped.len() == cases && dropped.iter().all(|(_, why)| *why == dropped[0].1) {
        return dropped[0].1.clone();
    }
    let each: Vec<String> = dropped
        .iter()
        .map(|(case, why)| format!("{case}: {why}"))
        .collect();
    let measured = cases - dropped.len();
    format!("{} ({measured} of {cases} cases measured)", each.join("; "))
}

/// What a launch's end means for its job.
fn verdict(ended: &Ended, slot: &Slot, failures: &mut u32) -> Verdict {
    let message = || ended.message.clone();
    match (ended.outcome, ended.blame) {
        (LaunchOutcome::Succeeded, _) => Verdict::Next,
        (LaunchOutcome::Skipped, _) => Verdict::Drop(JobOutcome::Skipped, message()),
        (LaunchOutcome::Interrupted, _) => Verdict::End(JobOutcome::Released, message()),
        (LaunchOutcome::Cancelled, _) => Verdict::End(JobOutcome::Cancelled, message()),
        (LaunchOutcome::Failed, Some(FailureKind::Model)) => {
            Verdict::End(JobOutcome::Failed, message())
        }
        (LaunchOutcome::Failed, Some(FailureKind::Case)) => {
            Verdict::Drop(JobOutcome::Failed, message())
        }
        (
            LaunchOutcome::Failed
            | LaunchOutcome::TimedOut
            | LaunchOutcome::Crashed
            | LaunchOutcome::ProtocolError,
            _,
        ) => {
            *failures += 1;
            if *failures < FAILURES_TO_PARK {
                return Verdict::Again;
            }
            let why = format!(
                "{failures} failures; the last in {} #{}: {}",
                slot.case.key(),
                slot.ordinal,
                ended.message
            );
            Verdict::End(JobOutcome::Parked, why)
        }
    }
}

/// Turns frames into records.
struct Scribe<'a> {
    launch_id: LaunchId,
    bench: &'a Bench,
    recorder: &'a Recorder,
    sampler: &'a Sampler,
    started: Option<Started>,
    case: &'a Case,
    model: Option<ModelIdentity>,
    ceilings: Ceilings,
    headline: Headline,
}

impl Listener for Scribe<'_> {
    fn spawned(&mut self, pid: u32) {
        self.sampler.set_worker(pid);
    }

    async fn frame(&mut self, frame: Frame) {
        match frame {
            Frame::Started(started) => self.started = Some(started),
            Frame::Model(model) => {
                self.model = Some(model.clone());
                self.tell_conditions(Some(model)).await;
            }
            Frame::Iteration(mut iteration) => {
                let model = self.model.as_ref();
                let failed = gate::judge(self.case, model, self.ceilings, &iteration.samples);
                for reason in failed {
                    if !iteration.reasons.contains(&reason) {
                        iteration.reasons.push(reason);
                    }
                }
                if iteration.phase == Phase::Measured {
                    for sample in &iteration.samples {
                        self.headline.add(sample.metric, sample.value);
                    }
                }
                // A suite about the machine itself loads no model.
                if self.started.is_some() {
                    self.tell_conditions(None).await;
                }
                let launch_id = self.launch_id;
                let record = Record::Iteration {
                    launch_id,
                    iteration,
                };
                self.recorder.record(record).await;
            }
            // The launch's end is written when the process has ended.
            Frame::Finished(_) | Frame::Failed(_) => {}
        }
    }
}

impl Scribe<'_> {
    async fn tell_conditions(&mut self, model: Option<ModelIdentity>) {
        let conditions = LaunchModel {
            launch_id: self.launch_id,
            model,
            environment: self.environment(),
        };
        self.recorder.record(Record::LaunchModel(conditions)).await;
    }

    fn environment(&mut self) -> Environment {
        let inventory = &self.bench.inventory;
        let readout = self.sampler.latest().unwrap_or_default();
        Environment {
            worker: self.started.take().unwrap_or_default(),
            os: inventory.os.clone(),
            os_version: inventory.os_version.clone(),
            os_build: inventory.os_build.clone(),
            kernel: self.bench.kernel.clone(),
            boot_id: inventory.boot_id.clone(),
            agent_version: inventory.agent_version.clone(),
            agent_commit: crate::COMMIT.to_owned(),
            wired_limit_bytes: inventory.wired_limit_bytes,
            power_source: readout
                .power_source
                .map(PowerSource::as_str)
                .map(str::to_owned),
            low_power_mode: readout.low_power_mode,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
