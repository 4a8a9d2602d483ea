//! Random histories of leases, on a real Postgres and beside the simplest model of the rules: after every
//! step the database says what the model says. 256 of them, or as many as `PROPTEST_CASES` says.

mod model;

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use domain::ids::{LaunchId, LeaseId, MachineId};
use domain::job::{JobOutcome, JobState, LaunchOutcome};
use domain::lease::Grant;
use domain::machine::Inventory;
use domain::record::{Batch, JobFinished, LaunchFinished, LaunchStarted, Record};
use private_postgres::{Options, Server};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use secrecy::SecretString;
use service::folders::DataFolder;
use service::tls::{Authority, Fingerprint, PeerIdentity};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::ingest::{self, Stream};
use super::leases::Renewal;
use super::pulse;
use super::runs::Submitted;
use super::{Dispatch, Error, Parts};
use crate::store::dump::Tools;
use crate::store::lease::State;
use crate::store::{self, certificate, job, lease, machine, roster};
use model::{Job, Lease, Model};

const MACHINES: usize = 2;
/// Two jobs on each machine.
const PLAN: &str = r#"
name = "histories"
[protocol]
launches = 2
[[model]]
source = "synthetic:nano-llama"
[suite.prefill]
prompt_tokens = [64]
[suite.decode]
new_tokens = [16]
"#;
const LAUNCHES: u32 = 2;

/// What may happen; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Grant {
        machine: usize,
    },
    Heartbeat {
        lease: usize,
        machine: usize,
    },
    /// Its time is over.
    Overdue {
        lease: usize,
    },
    /// The agent comes back, with all its leases or with none.
    Welcome {
        machine: usize,
        knows: bool,
    },
    Launch {
        lease: usize,
        ordinal: u32,
        outcome: LaunchOutcome,
    },
    End {
        lease: usize,
        outcome: JobOutcome,
    },
    /// The last batch once more.
    Repeat {
        lease: usize,
    },
    /// Another machine's agent uploads under it.
    Foreign {
        lease: usize,
    },
    Cancel,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let machine = 0..MACHINES;
    // The newest lease is the likeliest.
    let lease = || prop_oneof![3 => Just(0_usize), 1 => 0..8_usize];
    let launch = prop_oneof![
        6 => Just(LaunchOutcome::Succeeded),
        1 => Just(LaunchOutcome::Crashed),
        1 => Just(LaunchOutcome::Interrupted),
    ];
    prop_oneof![
        6 => machine.clone().prop_map(|machine| Grant { machine }),
        2 => (lease(), machine.clone()).prop_map(|(lease, machine)| Heartbeat { lease, machine }),
        2 => lease().prop_map(|lease| Overdue { lease }),
        2 => (machine, any::<bool>()).prop_map(|(machine, knows)| Welcome { machine, knows }),
        8 => (lease(), 0..LAUNCHES, launch).prop_map(|(lease, ordinal, outcome)| Launch { lease, ordinal, outcome }),
        4 => (lease(), select(JobOutcome::ALL)).prop_map(|(lease, outcome)| End { lease, outcome }),
        1 => lease().prop_map(|lease| Repeat { lease }),
        1 => lease().prop_map(|lease| Foreign { lease }),
        1 => Just(Cancel),
    ]
}

struct World {
    runtime: Runtime,
    dispatch: Dispatch,
    machines: Vec<MachineId>,
    /// What is open of it would be in the way of the next history.
    last_run: Mutex<Option<String>>,
    _workers: JoinSet<()>,
    _postgres: Server,
    _dir: TempDir,
}

impl World {
    fn start() -> Self {
        service::crypto::install();
        // Postgres runs as another user when the tests run as root.
        let open = Permissions::from_mode(0o755);
        let dir = tempfile::Builder::new()
            .permissions(open)
            .tempdir()
            .unwrap();
        let mut options = Options::new(dir.path().join("data"));
        options.fallback_dir = dir.path().join("cluster");
        options.settings = vec![("fsync".to_owned(), "off".to_owned())];
        let postgres = Server::start(&options).unwrap();
        let url = SecretString::from(postgres.url("postgres"));
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let folder = DataFolder::at(dir.path().join("coordinator"));
        folder.create().unwrap();
        let now = OffsetDateTime::now_utc();
        let (dispatch, queue, beats, machines) = runtime.block_on(async {
            store::migrate::migrate(&url).await.unwrap();
            let parts = Parts {
                pool: store::connect(&url).unwrap(),
                reader: None,
                tools: Tools {
                    url: url.clone(),
                    bin: None,
                },
                authority: Arc::new(Authority::open(&folder, now).unwrap()),
                approve_machines: false,
            };
            let (dispatch, queue, beats) = Dispatch::new(parts);
            let mut machines = Vec::new();
            for number in 0..MACHINES {
                let id = MachineId::new();
                machine::put(&dispatch.pool, id, &name(number), &inventory(number))
                    .await
                    .unwrap();
                roster::approve(&dispatch.pool, id, true).await.unwrap();
                let until = now + Duration::days(1);
                certificate::insert(&dispatch.pool, &name(number), id, until)
                    .await
                    .unwrap();
                machines.push(id);
            }
            (dispatch, queue, beats, machines)
        });
        let mut workers = JoinSet::new();
        let counts = Arc::clone(dispatch.counts());
        let ingest = ingest::work(dispatch.pool.clone(), counts, queue);
        workers.spawn_on(ingest, runtime.handle());
        let heartbeats = pulse::work(dispatch.pool.clone(), beats);
        workers.spawn_on(heartbeats, runtime.handle());
        Self {
            runtime,
            dispatch,
            machines,
            last_run: Mutex::default(),
            _workers: workers,
            _postgres: postgres,
            _dir: dir,
        }
    }
}

fn name(number: usize) -> String {
    format!("mini{number}")
}

fn inventory(number: usize) -> Inventory {
    Inventory {
        identity: format!("machine {number}"),
        os: "macos".to_owned(),
        memory_bytes: 128_000_000_000,
        ..Inventory::default()
    }
}

/// One history: the run that it is about, and what the model says of it.
struct History<'a> {
    world: &'a World,
    run: String,
    model: Model,
}

impl<'a> History<'a> {
    async fn begin(world: &'a World) -> Self {
        let last = world.last_run.lock().unwrap().take();
        if let Some(last) = last {
            world.dispatch.cancel(&last, "").await.unwrap();
        }
        let submitted = world
            .dispatch
            .submit(PLAN, "histories.toml", false, "")
            .await;
        let submitted = submitted.unwrap();
        let Submitted::Run { run_id, .. } = submitted else {
            panic!("{submitted:?}");
        };
        let summaries = job::summaries(&world.dispatch.pool, run_id).await.unwrap();
        let jobs = summaries.into_iter().map(|job| Job {
            id: job.job_id,
            machine: (0..MACHINES)
                .find(|&number| name(number) == job.machine)
                .unwrap(),
            state: JobState::Queued,
            epoch: 0,
            failures: 0,
            counted: BTreeSet::new(),
        });
        let model = Model {
            jobs: jobs.collect(),
            leases: Vec::new(),
        };
        *world.last_run.lock().unwrap() = Some(run_id.to_string());
        Self {
            world,
            run: run_id.to_string(),
            model,
        }
    }

    /// The lease that a number means: 0 is the newest.
    fn lease(&self, number: usize) -> Option<usize> {
        self.model.leases.len().checked_sub(number + 1)
    }

    fn id(&self, lease: usize) -> LeaseId {
        self.model.leases[lease].grant.lease_id
    }

    async fn perform(&mut self, step: &Step) {
        let dispatch = &self.world.dispatch;
        match *step {
            Step::Grant { machine } => self.grant(machine).await,
            Step::Welcome { machine, knows } => {
                let live = self.model.live_of(machine);
                let all = self
                    .model
                    .leases
                    .iter()
                    .filter(|lease| lease.machine == machine);
                let known: Vec<_> = all.map(|lease| lease.grant.lease_id).collect();
                let known = if knows { known } else { Vec::new() };
                let id = self.world.machines[machine];
                let inventory = inventory(machine);
                let welcome = dispatch
                    .welcome(id, Uuid::now_v7(), &inventory, &known)
                    .await
                    .unwrap();
                let kept: Vec<_> = live
                    .filter(|_| knows)
                    .map(|lease| self.id(lease))
                    .into_iter()
                    .collect();
                assert_eq!(welcome.live_leases, kept);
                if let Some(lease) = live.filter(|_| !knows) {
                    self.model.lose(lease);
                }
            }
            Step::Cancel => {
                dispatch.cancel(&self.run, "").await.unwrap();
                self.model.cancel();
            }
            Step::Heartbeat { lease, .. }
            | Step::Overdue { lease }
            | Step::Launch { lease, .. }
            | Step::End { lease, .. }
            | Step::Repeat { lease }
            | Step::Foreign { lease } => {
                if let Some(lease) = self.lease(lease) {
                    self.perform_under(lease, step).await;
                }
            }
        }
    }

    async fn grant(&mut self, machine: usize) {
        let granted = self
            .world
            .dispatch
            .grant(self.world.machines[machine])
            .await
            .unwrap();
        let Some(grant) = granted else {
            let waits = |job: &Job| job.state == JobState::Queued && job.machine == machine;
            let has_work = self.model.jobs.iter().any(waits);
            assert!(
                !has_work || self.model.live_of(machine).is_some(),
                "work is left lying"
            );
            return;
        };
        assert_eq!(self.model.live_of(machine), None, "a second lease");
        let place = self
            .model
            .jobs
            .iter()
            .position(|job| job.id == grant.job_id);
        let place = place.expect("a job of this run");
        let job = &mut self.model.jobs[place];
        assert_eq!((job.state, job.machine), (JobState::Queued, machine));
        job.state = JobState::Leased;
        job.epoch += 1;
        let finished: BTreeSet<u32> = grant.finished.iter().map(|launch| launch.ordinal).collect();
        assert_eq!(
            (grant.epoch.0, grant.failures, &finished),
            (job.epoch, job.failures, &job.counted)
        );
        self.model.leases.push(Lease {
            grant,
            job: place,
            machine,
            state: State::Live,
            seq: 0,
            last: None,
            counts: false,
            broken_off: false,
        });
    }

    async fn perform_under(&mut self, lease: usize, step: &Step) {
        let dispatch = &self.world.dispatch;
        let id = self.id(lease);
        let owner = self.model.leases[lease].machine;
        match *step {
            Step::Heartbeat { machine, .. } => {
                let beat = dispatch.heartbeat(self.world.machines[machine], Some(id));
                let renewal = beat.await.unwrap().found().await.unwrap();
                let state = self.model.leases[lease].state;
                let right = match renewal.expect("a word on the lease") {
                    Renewal::Renewed => machine == owner && state == State::Live,
                    Renewal::Cancelled => machine == owner && state == State::Cancelled,
                    Renewal::Lost { .. } => {
                        machine != owner || matches!(state, State::Expired | State::Released)
                    }
                };
                assert!(right, "{state:?}");
            }
            Step::Overdue { .. } => {
                let owner = self.world.machines[owner];
                let ended = lease::renew(&dispatch.pool, &[(id, owner)], -1.0).await;
                let was_live = !ended.unwrap().is_empty();
                assert_eq!(was_live, self.model.leases[lease].state == State::Live);
                assert_eq!(dispatch.reap().await.unwrap(), usize::from(was_live));
                if was_live {
                    self.model.lose(lease);
                }
            }
            Step::Launch {
                ordinal, outcome, ..
            } => {
                self.upload(
                    lease,
                    launch(&self.model.leases[lease].grant, ordinal, outcome),
                )
                .await;
                self.model.launch(lease, ordinal, outcome);
            }
            Step::End { outcome, .. } => {
                let reason = "the end".to_owned();
                let end = Record::JobFinished(JobFinished { outcome, reason });
                self.upload(lease, vec![end]).await;
                self.model.end(lease, outcome);
            }
            Step::Repeat { .. } => {
                if let Some(batch) = self.model.leases[lease].last.clone() {
                    self.send(owner, batch).await.unwrap();
                }
            }
            Step::Foreign { .. } => {
                let records = launch(&self.model.leases[lease].grant, 0, LaunchOutcome::Succeeded);
                let seq = self.model.leases[lease].seq;
                let batch = Batch {
                    lease_id: id,
                    seq,
                    records,
                };
                let refused = self.send((owner + 1) % MACHINES, batch).await;
                assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
            }
            Step::Grant { .. } | Step::Welcome { .. } | Step::Cancel => unreachable!(),
        }
    }

    async fn upload(&mut self, lease: usize, records: Vec<Record>) {
        let held = &mut self.model.leases[lease];
        let batch = Batch {
            lease_id: held.grant.lease_id,
            seq: held.seq,
            records,
        };
        held.seq += 1;
        held.last = Some(batch.clone());
        let machine = held.machine;
        self.send(machine, batch).await.unwrap();
    }

    async fn send(&self, machine: usize, batch: Batch) -> super::Result<()> {
        let stream = Stream::of(PeerIdentity {
            machine: self.world.machines[machine],
            fingerprint: Fingerprint::of(name(machine).as_bytes()),
            not_after: OffsetDateTime::now_utc() + Duration::days(1),
        });
        self.world.dispatch.upload(&stream, batch).await?.await
    }

    /// The database says what the model says.
    async fn compare(&self) {
        let pool = &self.world.dispatch.pool;
        for job in &self.model.jobs {
            let found = job::lock(pool, job.id).await.unwrap();
            let counted = job::finished_launches(pool, job.id, &[]).await.unwrap();
            let counted: BTreeSet<u32> = counted.iter().map(|launch| launch.ordinal).collect();
            assert_eq!(
                (found.state, found.epoch.0, found.failures, counted),
                (job.state, job.epoch, job.failures, job.counted.clone())
            );
        }
        let ids: Vec<_> = self
            .model
            .leases
            .iter()
            .map(|lease| lease.grant.lease_id)
            .collect();
        let found = lease::find(pool, &ids).await.unwrap();
        for held in &self.model.leases {
            let found = found
                .iter()
                .find(|found| found.lease_id == held.grant.lease_id)
                .unwrap();
            assert_eq!(found.state, held.state);
        }
    }
}

fn launch(grant: &Grant, ordinal: u32, outcome: LaunchOutcome) -> Vec<Record> {
    let launch_id = LaunchId::new();
    let at = OffsetDateTime::now_utc();
    let case_key = grant.cases[0].key();
    vec![
        Record::LaunchStarted(LaunchStarted {
            launch_id,
            case_key,
            ordinal,
            position: ordinal,
            started_at: at,
            seed: 1,
        }),
        Record::LaunchFinished(LaunchFinished {
            launch_id,
            outcome,
            message: String::new(),
            finished_at: at,
            steady: true,
            warmup_iterations: 0,
            reasons: Vec::new(),
            stderr_tail: String::new(),
            exit_code: None,
            signal: None,
        }),
    ]
}

#[test]
fn no_history_of_leases_differs_from_the_rules() {
    let world = World::start();
    let mut runner = TestRunner::new(Config {
        // A history that failed comes first from then on.
        failure_persistence: Some(Box::new(FileFailurePersistence::SourceParallel(
            "proptest-regressions",
        ))),
        source_file: Some(file!()),
        ..Config::default()
    });
    let histories = prop::collection::vec(step(), 1..40);
    let failed = runner.run(&histories, |steps| {
        world.runtime.block_on(async {
            let mut history = History::begin(&world).await;
            for step in &steps {
                history.perform(step).await;
                history.compare().await;
            }
        });
        Ok(())
    });
    if let Err(failed) = failed {
        panic!("{failed}");
    }
}
