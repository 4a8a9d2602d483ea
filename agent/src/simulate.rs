//! A load generator: many machines in one process that speak the real protocol and measure nothing.
//!
//! Each has what an agent has (key and certificate, connection, session, spool, upload) from the same
//! code. Made up are its [`machine`], whose inventory says `simulated`, and what a [`job`] yields, both
//! by a [`profile`]. The spool is in memory: what is simulated is worth no disk.
//!
//! ```text
//!   each machine:  enrol (a few at once) ─▶ driver ─▶ job ─▶ recorder ─▶ spool ─▶ upload
//!                     │ refused
//!                     └─▶ all stop, and the refusal is the end's reason
//! ```

mod job;
mod machine;
pub mod profile;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use service::folders::{self, DataFolder};
use service::lifecycle::{Lifecycle, Stop};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::Instrument;
use uuid::Uuid;

use crate::driver::Driver;
use crate::enrol::{self, Membership, Wishes};
use crate::spool::Spool;
use machine::Machine;
use profile::Profile;

/// Enrolments at once: each has keys to make and two handshakes.
const ENROLMENTS: usize = 32;
const ENROL_AGAIN: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What the simulation is to be.
#[derive(Debug)]
pub struct Simulation {
    pub machines: u32,
    pub profile: Profile,
    /// Of all of them.
    pub labels: BTreeMap<String, String>,
    /// Empty: where they were the last time.
    pub coordinators: Vec<String>,
    /// Needed the first time, and good for all of them.
    pub token: Option<SecretString>,
    /// Keys and certificates, so that a second start brings the same machines.
    pub folder: DataFolder,
}

/// What all machines have done.
#[derive(Debug, Default)]
struct Tally {
    enrolled: AtomicU64,
    jobs: AtomicU64,
    launches: AtomicU64,
    iterations: AtomicU64,
    readings: AtomicU64,
}

/// Why no more machines were enrolled, once it is known.
#[derive(Clone, Debug, Default)]
pub struct Refusal(Arc<Mutex<Option<enrol::Error>>>);

impl Refusal {
    fn set(&self, error: enrol::Error) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }

    pub fn take(&self) -> Option<enrol::Error> {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.take()
    }
}

struct Shared {
    simulation: Simulation,
    /// Of this folder; machines of another are others.
    id: String,
    enrolments: Semaphore,
    tally: Arc<Tally>,
    refusal: Refusal,
    stop: Stop,
}

impl Simulation {
    /// Starts every machine; they live as long as the lifecycle does.
    pub fn start(self, life: &Lifecycle) -> Result<Refusal, folders::Error> {
        self.folder.create()?;
        let refusal = Refusal::default();
        let shared = Arc::new(Shared {
            id: id_of(&self.folder)?,
            enrolments: Semaphore::new(ENROLMENTS),
            tally: Arc::default(),
            refusal: refusal.clone(),
            stop: life.stop_handle(),
            simulation: self,
        });
        life.spawn("tally", tell(Arc::clone(&shared)));
        for number in 1..=shared.simulation.machines {
            let shared = Arc::clone(&shared);
            let span = tracing::info_span!("machine", host = machine::name(number));
            let machine = async move { shared.live(number).await };
            life.spawn("machine", machine.instrument(span));
        }
        Ok(refusal)
    }
}

impl Shared {
    async fn live(&self, number: u32) {
        let Simulation {
            profile,
            labels,
            folder,
            ..
        } = &self.simulation;
        let spool = Spool::in_memory();
        let machine = Machine::new(
            &self.id,
            number,
            profile,
            labels.clone(),
            Arc::clone(&spool),
            Arc::clone(&self.tally),
        );
        let folder = DataFolder::at(folder.root().join(machine::name(number)));
        let joined = tokio::select! {
            joined = self.join(&folder, &machine) => joined,
            () = self.stop.soft() => return,
        };
        let endpoints = match joined.and_then(|member| member.endpoints()) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                // What one is refused for, all are.
                self.refusal.set(error);
                return self.stop.stop();
            }
        };
        self.tally.enrolled.fetch_add(1, Ordering::Relaxed);
        let stop = self.stop.clone();
        Driver::new(endpoints, spool, Arc::new(machine), stop)
            .run()
            .await;
    }

    async fn join(
        &self,
        folder: &DataFolder,
        machine: &Machine,
    ) -> Result<Membership, enrol::Error> {
        let Simulation {
            coordinators,
            token,
            ..
        } = &self.simulation;
        // Never closed.
        let _turn = self.enrolments.acquire().await.ok();
        loop {
            let wishes = Wishes {
                coordinators: coordinators.clone(),
                token: token.clone(),
                again: false,
            };
            let now = OffsetDateTime::now_utc();
            match enrol::join(folder, wishes, &machine.inventory, now).await {
                Err(error) if error.is_temporary() => {
                    tracing::warn!(%error, "not enrolled yet");
                    sleep(ENROL_AGAIN).await;
                }
                joined => return joined,
            }
        }
    }
}

fn id_of(folder: &DataFolder) -> Result<String, folders::Error> {
    let path = folder.root().join("simulation-id");
    match folders::read_public(&path) {
        Err(error) if error.is_missing() => {
            let id = Uuid::new_v4().simple().to_string();
            folders::write_public(&path, &id)?;
            Ok(id)
        }
        kept => kept,
    }
}

/// Says now and then what was done, until the stop.
async fn tell(shared: Arc<Shared>) {
    let mut ticks = interval_at(Instant::now() + TELL_EVERY, TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.stop.soft() => return,
        }
        let Tally {
            enrolled,
            jobs,
            launches,
            iterations,
            readings,
        } = &*shared.tally;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        tracing::info!(
            machines = shared.simulation.machines,
            enrolled = count(enrolled),
            jobs = count(jobs),
            launches = count(launches),
            iterations = count(iterations),
            readings = count(readings),
            "simulated so far"
        );
    }
}
