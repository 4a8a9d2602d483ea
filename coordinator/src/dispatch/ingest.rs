//! From uploaded batches to committed rows.
//!
//! ```text
//!   Upload streams ──▶ intake (bounded) ──▶ one worker: as many as wait, in one transaction ──▶ acks
//!                                                 │ refused
//!                                                 └─▶ each by itself, so that one agent's bad batch
//!                                                     costs no other's
//! ```
//!
//! After a batch that was not stored nothing more of its stream is: a job's last word must not overtake
//! a launch that it counts on.
//!
//! A batch is taken once: its (lease, seq) row goes in first, and a repeat is acknowledged without being
//! looked at. What comes under a lease that is not live is evidence: stored, never counted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::ids::{JobId, LaunchId, LeaseId, MachineId};
use domain::job::LaunchOutcome;
use domain::metric::Metric;
use domain::record::{
    Batch, Environment, JobFinished, LaunchHeat, LaunchModel, LaunchStarted, Reading, Record,
};
use domain::worker::Iteration;
use service::tls::PeerIdentity;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::changes::Changes;
use super::leases;
use super::monitor::Counts;
use super::{Dispatch, Error, Result, chain};
use crate::store::launch::{self, Conditions, Finish};
use crate::store::lease::{self, Lease, State};
use crate::store::work::{self, Measured};
use crate::store::{self, certificate, job};

/// Batches that wait for the worker: a few transactions' worth, so that it never starves, and no more,
/// so that agents feel a slow disk.
const MAX_WAITING: usize = 256;
/// Batches of one transaction.
const MAX_TOGETHER: usize = 64;
/// Tries of a transaction that met another one.
const MAX_TRIES: u32 = 3;

/// One agent's stream of batches, which breaks at the first that is not stored.
#[derive(Clone)]
pub struct Stream {
    machine: PeerIdentity,
    broken: Arc<AtomicBool>,
}

impl Stream {
    pub fn of(machine: PeerIdentity) -> Self {
        Self {
            machine,
            broken: Arc::default(),
        }
    }
}

struct Upload {
    stream: Stream,
    batch: Batch,
    done: oneshot::Sender<Result<()>>,
}

/// Where upload streams hand in their batches.
#[derive(Clone)]
pub struct Intake(mpsc::Sender<Upload>);

/// The worker's end of it.
pub struct Queue(mpsc::Receiver<Upload>);

pub fn intake() -> (Intake, Queue) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Intake(sender), Queue(receiver))
}

impl Dispatch {
    /// Waits for a place in the queue; the answer comes after the commit.
    pub async fn upload(
        &self,
        stream: &Stream,
        batch: Batch,
    ) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        let closed = || Error::Unavailable("the coordinator is stopping");
        let (done, answer) = oneshot::channel();
        let upload = Upload {
            stream: stream.clone(),
            batch,
            done,
        };
        self.intake.0.send(upload).await.map_err(|_| closed())?;
        Ok(async move { answer.await.unwrap_or_else(|_| Err(closed())) })
    }
}

/// Runs until every upload stream has ended.
pub async fn work(pool: store::Pool, counts: Arc<Counts>, mut queue: Queue) {
    let mut waiting = Vec::with_capacity(MAX_TOGETHER);
    while queue.0.recv_many(&mut waiting, MAX_TOGETHER).await > 0 {
        let is_whole = |upload: &Upload| !upload.stream.broken.load(Ordering::Relaxed);
        let uploads: Vec<(PeerIdentity, &Batch)> = waiting
            .iter()
            .filter(|upload| is_whole(upload))
            .map(|upload| (upload.stream.machine, &upload.batch))
            .collect();
        let began = Instant::now();
        let together = uploads.is_empty() || store_retrying(&pool, &uploads).await.is_ok();
        counts.commit.observe(began.elapsed().as_secs_f64());
        for upload in waiting.drain(..) {
            let stored = if !is_whole(&upload) {
                Err(Error::Unavailable("an earlier batch was not stored"))
            } else if together {
                Ok(())
            } else {
                store_retrying(&pool, &[(upload.stream.machine, &upload.batch)]).await
            };
            if stored.is_ok() {
                counts.batches_stored.inc();
                let records = upload.batch.records.len() as u64;
                counts.records_stored.inc_by(records);
            }
            if let Err(why) = &stored {
                counts.batches_refused.inc();
                upload.stream.broken.store(true, Ordering::Relaxed);
                let (lease_id, seq) = (upload.batch.lease_id, upload.batch.seq);
                tracing::warn!(%lease_id, seq, why = %chain(why), "a batch was not stored");
            }
            // An error means that its stream is gone; the agent will send the batch again.
            drop(upload.done.send(stored));
        }
    }
}

async fn store_retrying(pool: &store::Pool, uploads: &[(PeerIdentity, &Batch)]) -> Result<()> {
    let mut tries = 1;
    loop {
        match store_together(pool, uploads).await {
            Err(Error::Store(error))
                if error.is_transient() && !error.lost_connection() && tries < MAX_TRIES =>
            {
                tries += 1;
            }
            done => return done,
        }
    }
}

/// One transaction. The order of locks is leases, jobs, runs.
async fn store_together(pool: &store::Pool, uploads: &[(PeerIdentity, &Batch)]) -> Result<()> {
    let mut tx = store::begin(pool).await?;
    // A stream was let in once, and may be open for days.
    let shown: BTreeSet<String> = uploads
        .iter()
        .map(|(machine, _)| machine.fingerprint.to_string())
        .collect();
    let shown: Vec<String> = shown.into_iter().collect();
    if certificate::has_ended(&mut *tx, &shown).await? {
        let why = "this machine's certificate was revoked, or has expired";
        return Err(Error::Unauthenticated(why.to_owned()));
    }
    let named: BTreeSet<LeaseId> = uploads.iter().map(|(_, batch)| batch.lease_id).collect();
    let named: Vec<LeaseId> = named.into_iter().collect();
    let leases = lease::lock(&mut *tx, &named).await?;
    let leases: HashMap<LeaseId, Lease> = leases
        .into_iter()
        .map(|lease| (lease.lease_id, lease))
        .collect();
    for (machine, batch) in uploads {
        let lease_id = batch.lease_id;
        if leases
            .get(&lease_id)
            .is_none_or(|lease| lease.machine_id != machine.machine)
        {
            return Err(Error::Invalid(format!(
                "lease {lease_id} was never granted to this machine"
            )));
        }
    }
    let keys: Vec<(LeaseId, u64)> = uploads
        .iter()
        .map(|(_, batch)| (batch.lease_id, batch.seq))
        .collect();
    let fresh = launch::insert_batches(&mut *tx, &keys).await?;
    let mut fresh: HashSet<(LeaseId, u64)> = fresh.into_iter().collect();

    let mut sorted = Sorted::default();
    for (_, batch) in uploads {
        // Removed, so that a batch that stands twice in this transaction is taken once.
        if fresh.remove(&(batch.lease_id, batch.seq)) {
            sorted.take(&leases[&batch.lease_id], &batch.records);
        }
    }
    sorted.insert(tx).await?;
    Ok(())
}

/// The records of a transaction by kind, each kind for one statement.
#[derive(Default)]
struct Sorted<'a> {
    started: Vec<(LeaseId, JobId, &'a LaunchStarted)>,
    models: Vec<(LeaseId, &'a LaunchModel)>,
    iterations: Vec<(LeaseId, LaunchId, &'a Iteration)>,
    readings: Vec<(MachineId, LeaseId, &'a Reading)>,
    heats: Vec<(LeaseId, &'a LaunchHeat)>,
    finished: Vec<Finish<'a>>,
    /// Failed launches by job.
    failures: BTreeMap<JobId, u32>,
    ended: Vec<(Lease, &'a JobFinished)>,
    /// Jobs whose figures changed.
    touched: BTreeSet<JobId>,
}

impl<'a> Sorted<'a> {
    fn take(&mut self, lease: &Lease, records: &'a [Record]) {
        let live = lease.state == State::Live;
        let lease_id = lease.lease_id;
        for record in records {
            match record {
                Record::LaunchStarted(started) => {
                    self.started.push((lease_id, lease.job_id, started));
                }
                Record::LaunchModel(model) => self.models.push((lease_id, model)),
                Record::Iteration {
                    launch_id,
                    iteration,
                } => self.iterations.push((lease_id, *launch_id, iteration)),
                Record::Reading(reading) => {
                    self.readings.push((lease.machine_id, lease_id, reading));
                }
                Record::LaunchHeat(heat) => self.heats.push((lease_id, heat)),
                Record::LaunchFinished(finished) => {
                    self.finished.push(Finish {
                        lease_id,
                        live,
                        finished,
                    });
                    self.touched.insert(lease.job_id);
                    if live && is_failure(finished.outcome) {
                        *self.failures.entry(lease.job_id).or_default() += 1;
                    }
                }
                Record::JobFinished(told) if live => self.ended.push((*lease, told)),
                // Fenced: the job has moved on.
                Record::JobFinished(_) => {}
            }
        }
    }

    async fn insert(self, mut tx: store::Tx) -> store::Result<()> {
        if !self.started.is_empty() {
            launch::insert_started(&mut *tx, &self.started).await?;
        }
        insert_conditions(&mut tx, &self.models).await?;
        insert_iterations(&mut tx, &self.iterations).await?;
        summarise_again(&mut tx, &self.iterations).await?;
        if !self.readings.is_empty() {
            launch::insert_readings(&mut *tx, &self.readings).await?;
        }
        if !self.heats.is_empty() {
            launch::insert_heats(&mut *tx, &self.heats).await?;
        }
        if !self.finished.is_empty() {
            launch::finish(&mut *tx, &self.finished).await?;
        }
        let mut changes = Changes::default();
        if !self.failures.is_empty() {
            let failures: Vec<_> = self.failures.into_iter().collect();
            job::add_failures(&mut *tx, &failures).await?;
        }
        if !self.touched.is_empty() {
            let touched: Vec<_> = self.touched.into_iter().collect();
            changes.runs.extend(job::runs_of(&mut *tx, &touched).await?);
        }
        for (lease, told) in &self.ended {
            leases::finish(&mut tx, lease, told, &mut changes).await?;
        }
        changes.commit(tx).await
    }
}

/// A launch that the agent stopped, or was told to skip, is nobody's fault.
fn is_failure(outcome: LaunchOutcome) -> bool {
    match outcome {
        LaunchOutcome::Failed
        | LaunchOutcome::TimedOut
        | LaunchOutcome::Crashed
        | LaunchOutcome::ProtocolError => true,
        LaunchOutcome::Succeeded
        | LaunchOutcome::Skipped
        | LaunchOutcome::Interrupted
        | LaunchOutcome::Cancelled => false,
    }
}

async fn insert_conditions(
    tx: &mut store::Tx,
    models: &[(LeaseId, &LaunchModel)],
) -> store::Result<()> {
    if models.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = models
        .iter()
        .map(|(_, told)| environment_id(&told.environment))
        .collect();
    let environments: BTreeMap<String, &Environment> = ids
        .iter()
        .cloned()
        .zip(models.iter().map(|(_, told)| &told.environment))
        .collect();
    let identities: Vec<_> = models
        .iter()
        .filter_map(|(_, told)| told.model.as_ref())
        .collect();
    launch::put_models(&mut **tx, &identities).await?;
    insert_work(tx, models).await?;
    launch::put_environments(&mut **tx, &environments).await?;
    let conditions: Vec<Conditions<'_>> = models
        .iter()
        .zip(&ids)
        .map(|((lease_id, told), environment_id)| Conditions {
            lease_id: *lease_id,
            launch_id: told.launch_id,
            model: told.model.as_ref(),
            environment_id,
            boot_id: &told.environment.boot_id,
        })
        .collect();
    launch::set_conditions(&mut **tx, &conditions).await
}

/// A launch without a case of its job has none that anything could be known of.
async fn insert_work(tx: &mut store::Tx, models: &[(LeaseId, &LaunchModel)]) -> store::Result<()> {
    let with_model: HashMap<LaunchId, _> = models
        .iter()
        .filter_map(|(_, told)| Some((told.launch_id, told.model.as_ref()?)))
        .collect();
    if with_model.is_empty() {
        return Ok(());
    }
    let ids: Vec<LaunchId> = with_model.keys().copied().collect();
    let measured: Vec<Measured<'_>> = work::cases(&mut **tx, &ids)
        .await?
        .into_iter()
        .map(|(launch_id, case)| Measured {
            model: with_model[&launch_id],
            case,
        })
        .collect();
    work::put(&mut **tx, &measured).await
}

/// SHA-256 over everything that two comparable launches must share: not the process, not the boot.
fn environment_id(environment: &Environment) -> String {
    let Environment {
        worker,
        os,
        os_version,
        os_build,
        kernel,
        boot_id: _,
        agent_version,
        agent_commit,
        wired_limit_bytes,
        power_source,
        low_power_mode,
    } = environment;
    let domain::worker::Started {
        pid: _,
        suite_version,
        suite_commit,
        mlx_version,
        mlx_sha256,
        mlx_device,
        mlx_architecture,
        blas,
        debug_build,
        nax_built,
        metallib_sha256,
        metallib_bytes,
        mlx_env,
        recommended_working_set_bytes,
    } = worker;
    let all = serde_json::json!([
        os,
        os_version,
        os_build,
        kernel,
        agent_version,
        agent_commit,
        wired_limit_bytes,
        power_source,
        low_power_mode,
        suite_version,
        suite_commit,
        mlx_version,
        mlx_sha256,
        mlx_device,
        mlx_architecture,
        blas,
        debug_build,
        nax_built,
        metallib_sha256,
        metallib_bytes,
        mlx_env,
        recommended_working_set_bytes,
    ]);
    hex::encode(Sha256::digest(all.to_string()))
}

/// An iteration that comes after its launch has counted changes the launch's numbers.
async fn summarise_again(
    tx: &mut store::Tx,
    iterations: &[(LeaseId, LaunchId, &Iteration)],
) -> store::Result<()> {
    let launches: BTreeSet<LaunchId> = iterations.iter().map(|(_, launch, _)| *launch).collect();
    if launches.is_empty() {
        return Ok(());
    }
    let launches: Vec<LaunchId> = launches.into_iter().collect();
    launch::summarise_counted(&mut **tx, &launches).await
}

pub(super) async fn insert_iterations(
    tx: &mut store::Tx,
    iterations: &[(LeaseId, LaunchId, &Iteration)],
) -> store::Result<()> {
    if iterations.is_empty() {
        return Ok(());
    }
    let ids: HashMap<(LaunchId, u32), i64> = launch::insert_iterations(&mut **tx, iterations)
        .await?
        .into_iter()
        .map(|(id, launch_id, ordinal)| ((launch_id, ordinal), id))
        .collect();
    let samples: Vec<(i64, Metric, f64)> = iterations
        .iter()
        .flat_map(|(_, launch_id, iteration)| {
            let id = ids[&(*launch_id, iteration.ordinal)];
            iteration
                .samples
                .iter()
                .map(move |sample| (id, sample.metric, sample.value))
        })
        .collect();
    if samples.is_empty() {
        return Ok(());
    }
    launch::insert_samples(&mut **tx, &samples).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            worker: domain::worker::Started::default(),
            os: "linux".into(),
            os_version: "12".into(),
            os_build: String::new(),
            kernel: "6".into(),
            boot_id: "one".into(),
            agent_version: "1".into(),
            agent_commit: "c0ffee".into(),
            wired_limit_bytes: None,
            power_source: None,
            low_power_mode: None,
        }
    }

    #[test]
    fn an_environment_is_the_same_after_a_restart_and_another_with_another_library() {
        let first = environment();
        let mut later = environment();
        later.boot_id = "two".into();
        later.worker.pid = 7;
        assert_eq!(environment_id(&first), environment_id(&later));
        later.worker.mlx_version = "0.33".into();
        assert_ne!(environment_id(&first), environment_id(&later));
    }

    #[test]
    fn an_environment_is_another_with_another_build_and_another_limit() {
        let first = environment_id(&environment());
        let changes: [fn(&mut Environment); 6] = [
            |e| e.agent_commit = "0ddba11".into(),
            |e| e.worker.suite_commit = "0ddba11".into(),
            |e| e.wired_limit_bytes = Some(1 << 30),
            |e| e.worker.recommended_working_set_bytes = 1 << 30,
            |e| e.worker.metallib_bytes = Some(7),
            |e| e.worker.mlx_sha256 = "0ddba11".into(),
        ];
        for (place, change) in changes.iter().enumerate() {
            let mut other = environment();
            change(&mut other);
            assert_ne!(environment_id(&other), first, "change {place}");
        }
    }
}
