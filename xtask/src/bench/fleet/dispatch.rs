//! From the call that submits a plan to the grant at an agent, and to the start of a worker.
//!
//! The limit of a grant is what no way through Postgres can do without: a row inserted and committed with
//! a notification, heard over another connection, and one call on an open connection.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::postgres::PgListener;
use sqlx::{Connection, Executor, PgConnection};
use time::OffsetDateTime;

use super::simulation::{self, Simulation, Told};
use super::{Bench, percentile, plan_of};
use crate::repo;

/// Enough that the 99th percentile is not the slowest.
const SUBMISSIONS: u32 = 200;
const WORKERS: u32 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// As many connections as the coordinator has.
const CONNECTIONS: usize = 10;

impl Bench<'_> {
    pub(super) async fn dispatch(&mut self, simulation: &Simulation) -> Result<()> {
        let mut limit = Limit::open(self).await?;
        let (mut latencies, mut limits) = (Vec::new(), Vec::new());
        for number in 0..SUBMISSIONS {
            let machine = 1 + number % self.agents;
            let plan = one_machine(machine);
            limits.push(limit.round_ms(self).await?);
            simulation.forget();
            let began = OffsetDateTime::now_utc();
            let (run, _) = self.operator.submit(&plan).await?;
            let granted = simulation.wait(Told::Granted, 1)?;
            latencies.push((granted[0] - began).as_seconds_f64() * 1e3);
            self.ended(&run).await?;
        }
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let (value, limit) = (
                percentile(&mut latencies, share),
                percentile(&mut limits, share),
            );
            let what = format!("submit to grant, {name} (insert, NOTIFY, call)");
            self.told(&what, value, "ms", limit);
        }
        self.grant_all(simulation).await?;
        self.spawn_workers().await
    }

    /// One run that has a job for every machine.
    async fn grant_all(&mut self, simulation: &Simulation) -> Result<()> {
        let plan = plan_of("all", 1, "simulated = true");
        simulation.forget();
        let began = OffsetDateTime::now_utc();
        self.operator.submit(&plan).await?;
        let granted = simulation.wait(Told::Granted, simulation.machines())?;
        let mut latencies: Vec<f64> = granted
            .iter()
            .map(|at| (*at - began).as_seconds_f64() * 1e3)
            .collect();
        let commits = self.commits_ms(self.agents).await?;
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let value = percentile(&mut latencies, share);
            let what = format!("submit to grant of all, {name} (as many commits)");
            self.told(&what, value, "ms", commits * share);
        }
        Ok(())
    }

    /// How long Postgres takes for so many small transactions over the coordinator's connections.
    async fn commits_ms(&self, count: u32) -> Result<f64> {
        let each = count as usize / CONNECTIONS + 1;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(self.world.database().await?);
        }
        let began = Instant::now();
        let all = connections.into_iter().map(|mut connection| async move {
            for _ in 0..each {
                connection.execute(INSERT).await?;
            }
            connection.close().await
        });
        futures_util::future::try_join_all(all).await?;
        let done = (each * CONNECTIONS) as f64;
        Ok(began.elapsed().as_secs_f64() * 1e3 * f64::from(count) / done)
    }

    /// Returns when the run's last job has ended, and its machine is idle again.
    async fn ended(&self, run: &str) -> Result<()> {
        let mut database = self.world.database().await?;
        let query = "select state <> 'active' from fleet.run where run_id = $1::uuid";
        loop {
            let is_over: bool = sqlx::query_scalar(query)
                .bind(run)
                .fetch_one(&mut database)
                .await?;
            if is_over {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        database.close().await?;
        // Its acknowledgement, and the agent's word that it is ready.
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }

    /// A real agent among the simulated ones, whose worker writes down when it was started and ends.
    async fn spawn_workers(&mut self) -> Result<()> {
        let folder = self.world.folder.path().join("real");
        fs::create_dir_all(&folder)?;
        let worker = simulation::clock_worker(&folder)?;
        let mut command = Command::new(repo::target_folder()?.join("release/mlx-fleet-agent"));
        command
            .args([
                "run",
                "--coordinator",
                &self.world.url,
                "--log-format",
                "json",
            ])
            .arg("--suite")
            .arg(worker)
            .arg("--data-dir")
            .arg(&folder)
            .env("MLX_FLEET_HOST_LOCK", folder.join("host.lock"))
            .env("MLX_FLEET_JOIN_TOKEN", &self.token);
        let agent = Simulation::spawn(command, 1)?;
        agent.wait(Told::Welcomed, 1)?;
        let plan = plan_of("real", 1, "");
        let mut latencies = Vec::new();
        let mut limit = Limit::open(self).await?;
        let mut limits = Vec::new();
        let mut seen = 0;
        for _ in 0..WORKERS {
            limits.push(limit.round_ms(self).await?);
            let began = OffsetDateTime::now_utc();
            let (run, _) = self.operator.submit(&plan).await?;
            self.ended(&run).await?;
            let starts = fs::read_to_string(folder.join("worker-starts"))?;
            let first = starts.lines().nth(seen).context("no worker was started")?;
            seen = starts.lines().count();
            let at = OffsetDateTime::from_unix_timestamp_nanos(first.trim().parse()?)?;
            latencies.push((at - began).as_seconds_f64() * 1e3);
        }
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let (value, limit) = (
                percentile(&mut latencies, share),
                percentile(&mut limits, share),
            );
            let what = format!("submit to worker, {name} (insert, NOTIFY, call)");
            self.told(&what, value, "ms", limit);
        }
        agent.stop()
    }
}

fn one_machine(number: u32) -> String {
    let names = format!("simulated = true\nnames = [\"simulated-{number:05}\"]");
    plan_of("one", 1, &names)
}

const INSERT: &str = "insert into bench.row (at) values (now())";

/// One round of what a grant cannot do without, at the median.
pub async fn round_trip_ms(bench: &Bench<'_>) -> Result<f64> {
    let mut limit = Limit::open(bench).await?;
    let mut rounds = Vec::new();
    for _ in 0..20 {
        rounds.push(limit.round_ms(bench).await?);
    }
    Ok(percentile(&mut rounds, 0.5))
}

struct Limit {
    connection: PgConnection,
    listener: PgListener,
}

impl Limit {
    async fn open(bench: &Bench<'_>) -> Result<Self> {
        let mut connection = bench.world.database().await?;
        let table = "create schema if not exists bench;
                     create table if not exists bench.row (at timestamptz)";
        sqlx::raw_sql(table).execute(&mut connection).await?;
        let mut listener = PgListener::connect(&bench.world.database_url).await?;
        listener.listen("bench").await?;
        Ok(Self {
            connection,
            listener,
        })
    }

    async fn round_ms(&mut self, bench: &Bench<'_>) -> Result<f64> {
        let began = Instant::now();
        let mut transaction = self.connection.begin().await?;
        transaction.execute(INSERT).await?;
        transaction.execute("notify bench").await?;
        transaction.commit().await?;
        self.listener.recv().await?;
        bench.operator.ping().await?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }
}
