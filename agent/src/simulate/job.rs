//! A job of a simulated machine: the same records in the same order as a real one's, at the profile's
//! pace, with made-up values.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::ids::LaunchId;
use domain::job::{JobOutcome, LaunchOutcome};
use domain::lease::Grant;
use domain::metric::Metric;
use domain::model::{Dtype, ModelIdentity, ModelRef, ModelSource};
use domain::record::{
    Environment, LaunchFinished, LaunchHeat, LaunchModel, LaunchStarted, Reading, Record,
};
use domain::worker::{FailureKind, Iteration, Phase, Sample, Started};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::machine::Machine;
use crate::job::{Launches, Left, Verdict, Walk, as_stopped, stopped, verdict};
use crate::order::Slot;
use crate::precision::{Headline, Precision};
use crate::recorder::Recorder;
use crate::session::{Progress, Stop};
use crate::spool::Writer;
use crate::supervisor::Ended;

/// Batches of a job that may wait in memory; then it waits for the coordinator.
const MAX_WAITING: u64 = 128;

/// As the sensors of a real machine.
const READING_EVERY: Duration = Duration::from_secs(1);

pub async fn run(
    machine: Arc<Machine>,
    grant: Grant,
    writer: Writer,
    stop: watch::Receiver<Option<Stop>>,
    progress: mpsc::Sender<Progress>,
) -> Left {
    let (recorder, task) = Recorder::start(writer);
    let mut job = Job {
        failures: grant.failures,
        precision: Precision::new(&grant),
        model: grant.model.as_ref().map(identity),
        next_reading: Instant::now(),
        machine: &machine,
        grant: &grant,
        recorder: &recorder,
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
    drop(recorder);
    if let Err(panic) = task.await {
        tracing::error!(%panic, "the recorder failed");
    }
    left
}

struct Job<'a> {
    machine: &'a Machine,
    grant: &'a Grant,
    recorder: &'a Recorder,
    stop: watch::Receiver<Option<Stop>>,
    failures: u32,
    precision: Precision,
    model: Option<ModelIdentity>,
    next_reading: Instant,
}

impl Launches for Job<'_> {
    fn is_precise(&self, case_key: &str) -> bool {
        self.precision.is_reached(case_key)
    }

    async fn launch(&mut self, slot: &Slot) -> Verdict {
        let room = self.machine.spool.below(self.grant.lease_id, MAX_WAITING);
        tokio::select! {
            () = room => {}
            () = stopped(self.stop.clone()) => return as_stopped(&self.stop),
        }
        let launch_id = LaunchId::new();
        let mut rng = ChaCha8Rng::from_rng(&mut rand::rng());
        self.begin(launch_id, slot).await;
        let crashes = rng.random_bool(self.machine.profile.failures);
        let mut headline = Headline::default();
        let outcome = if self.work(launch_id, slot, &mut rng, &mut headline).await {
            if crashes {
                LaunchOutcome::Crashed
            } else {
                LaunchOutcome::Succeeded
            }
        } else if matches!(*self.stop.borrow(), Some(Stop::Cancelled)) {
            LaunchOutcome::Cancelled
        } else {
            LaunchOutcome::Interrupted
        };
        let ended = match self.end(launch_id, outcome).await {
            Ok(ended) => ended,
            Err(verdict) => return verdict,
        };
        self.machine.tally.launches.fetch_add(1, Ordering::Relaxed);
        if ended.outcome == LaunchOutcome::Succeeded {
            let median = headline.median(slot.case.suite());
            self.precision.add(&slot.case.key(), slot.ordinal, median);
        }
        verdict(&ended, slot, &mut self.failures)
    }
}

impl Job<'_> {
    async fn begin(&self, launch_id: LaunchId, slot: &Slot) {
        let started = LaunchStarted {
            launch_id,
            case_key: slot.case.key(),
            ordinal: slot.ordinal,
            position: slot.position,
            started_at: OffsetDateTime::now_utc(),
            seed: slot.seed,
        };
        self.recorder.record(Record::LaunchStarted(started)).await;
        let conditions = LaunchModel {
            launch_id,
            model: self.model.clone(),
            environment: self.environment(),
        };
        self.recorder.record(Record::LaunchModel(conditions)).await;
    }

    /// Iterations and readings until the launch's time is over; false when it was stopped.
    async fn work(
        &mut self,
        launch_id: LaunchId,
        slot: &Slot,
        rng: &mut ChaCha8Rng,
        headline: &mut Headline,
    ) -> bool {
        let profile = &self.machine.profile;
        let iterations = profile
            .iterations
            .unwrap_or(self.grant.protocol.iterations)
            .max(1);
        let each = profile.launch / iterations;
        let began = Instant::now();
        self.next_reading = self.next_reading.max(began);
        let mut ordinal = 0;
        while ordinal < iterations {
            let next_iteration = began + each * (ordinal + 1);
            let due = next_iteration.min(self.next_reading);
            if due > Instant::now() {
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = stopped(self.stop.clone()) => return false,
                }
            } else if self.stop.borrow().is_some() {
                return false;
            }
            if due == self.next_reading && self.machine.profile.readings > 0 {
                self.read(rng).await;
            } else if due == self.next_reading {
                self.next_reading += READING_EVERY;
            } else {
                let iteration = self.iteration(slot, ordinal, each, began.elapsed(), rng);
                for sample in &iteration.samples {
                    headline.add(sample.metric, sample.value);
                }
                let record = Record::Iteration {
                    launch_id,
                    iteration,
                };
                self.recorder.record(record).await;
                self.machine
                    .tally
                    .iterations
                    .fetch_add(1, Ordering::Relaxed);
                ordinal += 1;
            }
        }
        true
    }

    async fn read(&mut self, rng: &mut ChaCha8Rng) {
        self.next_reading += READING_EVERY;
        let at = OffsetDateTime::now_utc();
        let readings = self.machine.profile.readings;
        for sensor in 0..readings {
            let reading = Reading {
                at,
                sensor: format!("simulated_{sensor}"),
                value: rng.random_range(0.0..100.0),
            };
            self.recorder.record(Record::Reading(reading)).await;
        }
        let tally = &self.machine.tally;
        tally.readings.fetch_add(readings.into(), Ordering::Relaxed);
    }

    fn iteration(
        &self,
        slot: &Slot,
        ordinal: u32,
        each: Duration,
        started: Duration,
        rng: &mut ChaCha8Rng,
    ) -> Iteration {
        let profile = &self.machine.profile;
        let duration = each.max(Duration::from_micros(1));
        let first = slot.case.suite().headline();
        let others = Metric::ALL.iter().filter(|metric| !first.contains(metric));
        let samples = first.iter().chain(others).take(profile.samples as usize);
        // The same case is as fast in each launch, up to a noise of some per cent.
        let level = 50.0 + (slot.case.key().len() * 7 % 50) as f64;
        Iteration {
            ordinal,
            phase: Phase::Measured,
            mode: "simulated".to_owned(),
            started,
            duration,
            work: u64::from(profile.tokens.max(1)),
            token_times: (1..=profile.tokens)
                .map(|token| duration * token / profile.tokens)
                .collect(),
            samples: samples
                .map(|metric| Sample {
                    metric: *metric,
                    value: level * rng.random_range(0.97..1.03),
                })
                .collect(),
            reasons: Vec::new(),
            token_ids_sha256: String::new(),
        }
    }

    async fn end(&self, launch_id: LaunchId, outcome: LaunchOutcome) -> Result<Ended, Verdict> {
        let ended = Ended {
            outcome,
            blame: (outcome == LaunchOutcome::Crashed).then_some(FailureKind::Internal),
            message: match outcome {
                LaunchOutcome::Succeeded => String::new(),
                LaunchOutcome::Crashed => "a simulated crash".to_owned(),
                _ => "stopped".to_owned(),
            },
            finished: None,
            stderr_tail: String::new(),
            exit_code: None,
            signal: None,
        };
        let heat = LaunchHeat {
            launch_id,
            cooldown: Duration::ZERO,
            canary_before: None,
            canary_after: None,
            trend_pct: None,
            telemetry_gap: Duration::ZERO,
            sensors_cost: None,
        };
        let finished = LaunchFinished {
            launch_id,
            outcome,
            message: ended.message.clone(),
            finished_at: OffsetDateTime::now_utc(),
            steady: true,
            warmup_iterations: 0,
            reasons: Vec::new(),
            stderr_tail: String::new(),
            exit_code: None,
            signal: None,
        };
        self.recorder.record(Record::LaunchHeat(heat)).await;
        self.recorder.record(Record::LaunchFinished(finished)).await;
        let committed = self.recorder.commit().await;
        committed.map_err(|lost| Verdict::End(JobOutcome::Parked, lost.to_string()))?;
        Ok(ended)
    }

    fn environment(&self) -> Environment {
        let inventory = &self.machine.inventory;
        Environment {
            worker: Started {
                suite_version: "simulated".to_owned(),
                mlx_version: "simulated".to_owned(),
                mlx_device: "simulated".to_owned(),
                ..Started::default()
            },
            os: inventory.os.clone(),
            os_version: inventory.os_version.clone(),
            os_build: String::new(),
            kernel: String::new(),
            boot_id: inventory.boot_id.clone(),
            agent_version: inventory.agent_version.clone(),
            agent_commit: crate::COMMIT.to_owned(),
            wired_limit_bytes: None,
            power_source: None,
            low_power_mode: None,
        }
    }
}

/// Weights that nobody has: never taken for those that a real machine loads.
fn identity(model: &ModelRef) -> ModelIdentity {
    let dtype = model.dtype.unwrap_or(Dtype::Bf16);
    let source = format!("simulated:{}", model.source);
    let digest = Sha256::digest(format!("{source} {dtype}"));
    let architecture = match &model.source {
        ModelSource::Synthetic(architecture) => Some(*architecture),
        ModelSource::Folder(_) | ModelSource::Hub(_) => None,
    };
    let bytes = dtype.bytes();
    ModelIdentity {
        digest: hex::encode(digest),
        model_type: architecture
            .map_or("simulated", |a| a.model_type)
            .to_owned(),
        label: model.label(),
        source,
        dtype,
        quantisation: "none".to_owned(),
        parameters: architecture.map_or(1, domain::catalogue::Architecture::parameters),
        weight_bytes: architecture.map_or(bytes, |a| a.weight_bytes(bytes)),
        decode_bytes: architecture.map_or(bytes, |a| a.decode_bytes(bytes)),
        kv_bytes_per_token: architecture.map_or(bytes, |a| a.kv_bytes_per_token(bytes)),
        synthetic: true,
        config_json: "{}".to_owned(),
    }
}
