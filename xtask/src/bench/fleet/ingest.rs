//! Rows in a second from upload to commit, against `\copy` of the very same rows on the same server, into
//! tables with the same columns, indexes, checks and foreign keys.

use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::Bench;
use super::simulation::Told;

/// As fast as the coordinator takes it.
const FLOOD: &str = "launch_ms = 0\niterations = 20\nsamples = 8\ntokens = 128\nreadings = 12";
/// A plan names no more of them; and more add nothing to what the coordinator takes, and much to what the
/// generator takes from it.
const MOST_FLOODING: u32 = 64;

/// What uploads become rows of, in the order of their foreign keys.
const TABLES: [&str; 7] = [
    "batch",
    "launch",
    "heat",
    "iteration",
    "sample",
    "launch_metric",
    "reading",
];

/// All rows that uploads have made.
pub async fn rows_of(connection: &mut PgConnection) -> Result<i64> {
    let counts = TABLES.map(|table| format!("(select count(*) from fleet.{table})"));
    let query = format!("select {}", counts.join(" + "));
    Ok(sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_one(connection)
        .await?)
}

/// What so many machines of the profile STREAMING send: samples, iterations and readings.
pub fn made_in_a_second(agents: u32) -> f64 {
    f64::from(agents) * (5.0 * 9.0 / 10.0 + 12.0)
}

impl Bench<'_> {
    pub(super) async fn ingest(&mut self) -> Result<()> {
        let simulation = self.simulate(FLOOD)?;
        let agents = self.agents.min(MOST_FLOODING);
        let names = format!("simulated = true\nnames = [{}]", names(agents));
        let (run, _) = self
            .operator
            .submit(&super::plan_of("flood", 1000, &names))
            .await?;
        simulation.wait(Told::Granted, agents)?;
        let mut database = self.world.database().await?;
        let before = rows_of(&mut database).await?;
        let began = Instant::now();
        let load = self.world.load(simulation.pid(), self.seconds()).await?;
        let seconds = began.elapsed().as_secs_f64();
        let rows = rows_of(&mut database).await? - before;
        self.operator.cancel(&run).await?;
        simulation.stop()?;
        let copied = copy(&mut database).await?;
        self.told(
            "ingest, rows (\\copy)",
            rows as f64 / seconds,
            "1/s",
            copied,
        );
        let (own, agents) = (100.0 * load.coordinator, 100.0 * load.agents);
        self.told("ingest, coordinator CPU (agents')", own, "%", agents);
        self.told(
            "ingest, Postgres CPU (agents')",
            100.0 * load.postgres,
            "%",
            agents,
        );
        Ok(())
    }
}

fn names(count: u32) -> String {
    let names = (1..=count).map(|number| format!("\"simulated-{number:05}\""));
    names.collect::<Vec<_>>().join(", ")
}

/// Rows in a second.
async fn copy(connection: &mut PgConnection) -> Result<f64> {
    sqlx::raw_sql(include_str!("copied.sql"))
        .execute(&mut *connection)
        .await?;
    let mut rows = 0;
    let mut seconds = 0.0;
    for table in TABLES {
        let lines: Vec<_> = {
            let out = format!("copy fleet.{table} to stdout");
            connection.copy_out_raw(&out).await?.try_collect().await?
        };
        let began = Instant::now();
        let into = format!("copy copied.{table} from stdin");
        let mut sink = connection.copy_in_raw(&into).await?;
        for line in lines {
            sink.send(line).await?;
        }
        rows += sink.finish().await?;
        seconds += began.elapsed().as_secs_f64();
    }
    connection.execute("drop schema copied cascade").await?;
    Some(rows as f64 / seconds)
        .filter(|rate| rate.is_finite())
        .context("nothing was ingested")
}
