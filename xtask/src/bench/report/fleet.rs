//! A private Postgres with simulated fleets, each a database of its own with the schema as a coordinator
//! makes it.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use private_postgres::Options;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::question::{self, Question};
use crate::{coordinator, process};

/// What `fleet.sql` makes of a machine in a run of all.
const SAMPLES_OF_A_MACHINE: u32 = 10_000;
const MOST_MACHINES: u32 = 100;

pub struct Server {
    postgres: private_postgres::Server,
    // Dropped after the server, which lives in it.
    folder: TempDir,
}

/// One of the databases.
pub struct Fleet {
    pub url: String,
    pub runs: Runs,
    machines: u32,
    samples: i64,
    pub questions: Vec<Question>,
}

/// The runs that are asked for, by their ids.
pub struct Runs {
    pub two_machines: String,
    pub night_before: String,
    /// The last of all machines.
    pub fleet: String,
}

impl Server {
    pub fn start() -> Result<Self> {
        let folder = coordinator::folder()?;
        let mut options = Options::new(folder.path().join("data"));
        options.fallback_dir = folder.path().join("cluster");
        let postgres = private_postgres::Server::start(&options)?;
        Ok(Self { postgres, folder })
    }

    /// Which everybody may enter.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> Result<u32> {
        let pid = self.postgres.pid().context("Postgres has ended")?;
        Ok(pid.try_into()?)
    }

    /// A new database with about so many samples.
    pub async fn fleet(&self, name: &str, samples: u32) -> Result<Fleet> {
        let mut server = PgConnection::connect(&self.postgres.url("postgres")).await?;
        let create = format!("create database {name}");
        server.execute(AssertSqlSafe(create)).await?;
        server.close().await?;
        let url = self.postgres.url(name);
        self.make_schema(name, &url)?;

        let machines = (samples / SAMPLES_OF_A_MACHINE).min(MOST_MACHINES);
        let runs = samples / (machines * SAMPLES_OF_A_MACHINE);
        eprintln!("{name}: {machines} machines, {runs} runs of all");
        let mut connection = PgConnection::connect(&url).await?;
        let size = format!("set bench.machines = {machines}; set bench.runs = {runs}");
        sqlx::raw_sql(AssertSqlSafe(size))
            .execute(&mut connection)
            .await?;
        sqlx::raw_sql(include_str!("fleet.sql"))
            .execute(&mut connection)
            .await
            .context("fleet.sql is refused")?;
        connection.execute("vacuum analyze").await?;
        let samples = sqlx::query_scalar("select count(*) from fleet.sample")
            .fetch_one(&mut connection)
            .await?;
        let run_of = "select run_id::text from report.run where plan = $1
                      order by submitted_at desc offset $2 limit 1";
        let mut ids = Vec::new();
        for (plan, offset) in [("nightly", 0), ("nightly", 1), ("fleet", 0)] {
            let id: String = sqlx::query_scalar(run_of)
                .bind(plan)
                .bind(offset)
                .fetch_one(&mut connection)
                .await?;
            ids.push(id);
        }
        let [two_machines, night_before, fleet] = ids.try_into().expect("three were asked for");
        let runs = Runs {
            two_machines,
            night_before,
            fleet,
        };
        let questions = question::questions(&mut connection, &runs).await?;
        connection.close().await?;
        Ok(Fleet {
            url,
            runs,
            machines,
            samples,
            questions,
        })
    }

    /// Lets a coordinator start, which brings the schema up to date, and stop.
    fn make_schema(&self, name: &str, url: &str) -> Result<()> {
        let data_dir = self.folder.path().join(format!("coordinator-{name}"));
        let mut coordinator = coordinator::command(&data_dir)?
            .args(["--log", "warn"])
            .env("DATABASE_URL", url)
            .spawn()
            .context("cannot start the coordinator")?;
        let came_up = coordinator::url(&mut coordinator)?.is_some();
        let asked = process::terminate(coordinator.id()).is_ok();
        let ended = coordinator.wait()?;
        ensure!(
            came_up && asked && ended.success(),
            "the coordinator ended: {ended}"
        );
        Ok(())
    }
}

impl Fleet {
    /// Where its reader connects, password included.
    pub fn reader_url(&self) -> String {
        format!("{}?options[role]=report_reader", self.url)
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples of {} machines", self.samples, self.machines)
    }
}
