//! How the coordinator is doing, in the words of Prometheus. What this process did is counted where it does
//! it; what the fleet is, is read from the database when it is asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::timeout;

use super::machines::MachineState;
use super::{Dispatch, Error, Result, VERSION, chain};
use crate::store;

const PREFIX: &str = "mlx_fleet";

/// A database that takes longer to answer a small question is away.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// From a millisecond to half a minute.
const FIRST_BUCKET_SECONDS: f64 = 0.001;
const BUCKETS: u16 = 16;

/// What this process did since its start.
#[derive(Debug)]
pub struct Counts {
    pub jobs_granted: Counter,
    pub leases_expired: Counter,
    pub runs_submitted: Counter,
    pub batches_stored: Counter,
    pub batches_refused: Counter,
    pub records_stored: Counter,
    /// From a batch's turn to its commit, with those that go with it.
    pub commit: Histogram,
    registry: Registry,
}

type Labelled = Family<[(&'static str, &'static str); 1], Gauge<u64, AtomicU64>>;

impl Default for Counts {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let jobs_granted = counter("jobs_granted", "Jobs that this coordinator granted");
        let leases_expired = counter("leases_expired", "Leases that this coordinator let expire");
        let runs_submitted = counter("runs_submitted", "Runs that were submitted here");
        let batches_stored = counter("batches_stored", "Batches of agents that were committed");
        let batches_refused = counter("batches_refused", "Batches of agents that were not");
        let records_stored = counter("records_stored", "Records in committed batches");
        let commit = Histogram::new(exponential_buckets(FIRST_BUCKET_SECONDS, 2.0, BUCKETS));
        registry.register_with_unit(
            "ingest_commit",
            "Time to store the batches of one transaction",
            Unit::Seconds,
            commit.clone(),
        );
        registry.register(
            "build",
            "This coordinator",
            Info::new([("version", VERSION)]),
        );
        Self {
            jobs_granted,
            leases_expired,
            runs_submitted,
            batches_stored,
            batches_refused,
            records_stored,
            commit,
            registry,
        }
    }
}

impl Dispatch {
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Whether the database answers.
    pub async fn check_database(&self) -> Result<()> {
        soon(store::figures::ping(&self.pool)).await
    }

    /// In OpenMetrics' text format. Without its database the coordinator still tells what it did.
    pub async fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        let gauge = |registry: &mut Registry, name: &str, help: &str, value: u64| {
            let gauge = Gauge::<u64, AtomicU64>::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        };
        let sessions = self.hub.seated() as u64;
        let help = "Agents that are connected to this coordinator";
        gauge(&mut registry, "agent_sessions", help, sessions);
        let fleet = self.fleet(&mut registry).await;
        if let Err(why) = &fleet {
            tracing::warn!(why = chain(why), "metrics lack the fleet's figures");
        }
        let help = "Whether the database answered";
        gauge(&mut registry, "database_up", help, fleet.is_ok().into());
        let mut text = String::new();
        // Writing into a string does not fail.
        let written = encode_registry(&mut text, &self.counts.registry)
            .and_then(|()| encode_registry(&mut text, &registry))
            .and_then(|()| encode_eof(&mut text));
        debug_assert!(written.is_ok());
        text
    }

    async fn fleet(&self, registry: &mut Registry) -> Result<()> {
        let figures = soon(store::figures::read(&self.pool)).await?;
        let found = soon(super::machines::summaries(&self.pool, None)).await?;
        let machines = Labelled::default();
        for state in MachineState::ALL {
            machines.get_or_create(&[("state", state.as_str())]).set(0);
        }
        for machine in &found {
            let state = MachineState::of(machine).as_str();
            machines.get_or_create(&[("state", state)]).inc();
        }
        registry.register("machines", "Machines of the fleet by state", machines);
        let jobs = Labelled::default();
        jobs.get_or_create(&[("state", "queued")])
            .set(figures.jobs_queued);
        jobs.get_or_create(&[("state", "leased")])
            .set(figures.jobs_leased);
        registry.register("jobs", "Jobs that have not ended, by state", jobs);
        let runs = Gauge::<u64, AtomicU64>::default();
        runs.set(figures.runs_active);
        registry.register("runs_active", "Runs that have not ended", runs);
        Ok(())
    }
}

/// Whoever asks for health does not wait as long as a statement may.
async fn soon<T>(statement: impl Future<Output = store::Result<T>>) -> Result<T> {
    let answered = timeout(DATABASE_TIMEOUT, statement).await;
    Ok(answered.map_err(|_| Error::Unavailable("the database does not answer"))??)
}
