//! What must hold after a round, read from Postgres.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use domain::worker::Iteration;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Row};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::fleet::Agent;
use super::witness;

const PATIENCE: Duration = Duration::from_secs(5);
/// What an agent has heard is on its disk after so long, unless it was killed before.
const ON_DISK_AFTER_MS: u64 = 2_000;

/// What is checked, and the query that gives how much there was to check and what is wrong.
const RULES: &[(&str, &str)] = &[
    (
        "grants of jobs, one at a time",
        include_str!("rules/one_lease_per_job.sql"),
    ),
    (
        "grants to machines, one at a time",
        include_str!("rules/one_lease_per_machine.sql"),
    ),
    (
        "jobs and runs that ended in a named state",
        include_str!("rules/named_ends.sql"),
    ),
    (
        "leases and launches that are closed",
        include_str!("rules/nothing_open.sql"),
    ),
    (
        "jobs that succeeded with every launch",
        include_str!("rules/success_is_complete.sql"),
    ),
    (
        "launches that count, not measured again",
        include_str!("rules/measured_once.sql"),
    ),
    (
        "late iterations, kept and not counted",
        include_str!("rules/late_does_not_count.sql"),
    ),
];
const ONCE: &str = "iterations that a worker emitted, stored once as they were";
const CUT_OFF: &str = "iterations that went with a killed agent's memory";
const ALONE: &str = "workers that were alone on their machine";

#[derive(Default)]
pub struct Findings {
    pub checked: BTreeMap<&'static str, u64>,
    pub broken: Vec<String>,
}

impl Findings {
    fn count(&mut self, what: &'static str, number: u64) {
        *self.checked.entry(what).or_default() += number;
    }

    pub fn add(&mut self, other: Self) {
        for (what, number) in other.checked {
            // Of all rounds so far.
            if what.starts_with("grants") {
                self.checked.insert(what, number);
            } else {
                self.count(what, number);
            }
        }
        self.broken.extend(other.broken);
    }
}

pub struct Database<'a> {
    pub runtime: &'a Runtime,
    /// Where the private Postgres keeps its port and password.
    pub folder: PathBuf,
}

impl Database<'_> {
    async fn connect(&self) -> Result<PgConnection> {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).context(name.to_owned());
        let options = PgConnectOptions::new()
            .host("127.0.0.1")
            .port(read("port")?.trim().parse()?)
            .username("fleet")
            .password(read("password")?.trim())
            .database("mlx_fleet")
            .disable_statement_logging();
        Ok(options.connect().await?)
    }

    fn run<T>(&self, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>) -> Result<T> {
        self.runtime.block_on(async {
            let mut connection = timeout(PATIENCE, self.connect())
                .await
                .context("Postgres does not answer")??;
            work(&mut connection).await
        })
    }

    pub fn run_state(&self, run_id: &str) -> Result<String> {
        let query = "select state from fleet.run where run_id = $1::uuid";
        self.run(async |db| Ok(sqlx::query_scalar(query).bind(run_id).fetch_one(db).await?))
    }

    /// How many jobs of a run ended how.
    pub fn job_states(&self, run_id: &str) -> Result<Vec<(String, i64)>> {
        let query =
            "select state, count(*) from fleet.job where run_id = $1::uuid group by 1 order by 1";
        self.run(async |db| Ok(sqlx::query_as(query).bind(run_id).fetch_all(db).await?))
    }

    /// As if the database's clock had jumped past the end of the live leases of one machine, or of all.
    pub fn expire(&self, machine: Option<&str>) -> Result<u64> {
        let query = "update fleet.lease set expires_at = now() from fleet.machine
            where machine.machine_id = lease.machine_id and lease.state = 'live'
                and machine.name = coalesce($1, machine.name)";
        let within = async |db: &mut PgConnection| {
            let done = sqlx::query(query).bind(machine).execute(db);
            Ok(timeout(PATIENCE, done).await??.rows_affected())
        };
        self.run(within)
    }

    pub fn rules(&self, run_id: &str) -> Result<Findings> {
        self.run(async |db| {
            let mut findings = Findings::default();
            for (what, query) in RULES {
                let row = sqlx::query(*query).bind(uuid(run_id)?).fetch_one(&mut *db);
                let row = row.await.with_context(|| (*what).to_owned())?;
                let checked: i64 = row.try_get("checked")?;
                let broken: Vec<String> = row.try_get("broken")?;
                findings.count(what, checked as u64);
                findings
                    .broken
                    .extend(broken.into_iter().map(|row| format!("{what}: {row}")));
            }
            Ok(findings)
        })
    }

    fn stored(&self, run_id: &str) -> Result<Vec<Stored>> {
        let query = include_str!("iterations.sql");
        self.run(async |db| {
            let rows = sqlx::query(query).bind(uuid(run_id)?).fetch_all(db).await?;
            rows.iter().map(Stored::read).collect()
        })
    }

    /// Every iteration in the workers' own logs is stored once, with the values that the worker gave it.
    pub fn iterations<'a>(
        &self,
        run_id: &str,
        agents: impl Iterator<Item = &'a Agent>,
    ) -> Result<Findings> {
        let stored = self.stored(run_id)?;
        let mut by_content: HashMap<&str, Vec<&Stored>> = HashMap::new();
        for row in &stored {
            by_content.entry(&row.content).or_default().push(row);
        }
        let mut findings = Findings::default();
        let mut witnessed = HashSet::new();
        for agent in agents {
            let name = &agent.daemon.name;
            let (testimonies, crowd) = witness::read(&agent.testimonies())?;
            findings.count(ALONE, testimonies.len() as u64);
            if crowd > 0 {
                findings
                    .broken
                    .push(format!("{name}: {crowd} workers were not alone"));
            }
            for testimony in testimonies {
                let log = testimony.log.display();
                let (mut launches, mut lost) = (HashSet::new(), 0);
                for (at, iteration) in &testimony.iterations {
                    let content = content(iteration);
                    match by_content.get(content.as_str()).map(Vec::as_slice) {
                        Some([row]) => {
                            launches.insert((row.launch.clone(), row.counted));
                            witnessed.insert(row.id);
                            findings.count(ONCE, 1);
                        }
                        Some(rows) => findings.broken.push(format!(
                            "{name}, {log}: stored {} times: {content}",
                            rows.len()
                        )),
                        None if agent.daemon.was_killed_within(ON_DISK_AFTER_MS, *at) => {
                            lost += 1;
                            findings.count(CUT_OFF, 1);
                        }
                        None => findings.broken.push(format!(
                            "{name}, {log}: emitted at {at} and not stored: {content}"
                        )),
                    }
                }
                if launches.len() > 1 {
                    findings.broken.push(format!(
                        "{name}, {log}: one worker's iterations are in {launches:?}"
                    ));
                }
                if lost > 0 && launches.iter().any(|(_, counted)| *counted) {
                    findings.broken.push(format!(
                        "{name}, {log}: {launches:?} counts without {lost} iterations"
                    ));
                }
            }
        }
        let invented = stored
            .iter()
            .filter(|row| row.counted && !witnessed.contains(&row.id));
        findings.broken.extend(invented.map(|row| {
            format!(
                "launch {} counts an iteration that no worker emitted: {}",
                row.launch, row.content
            )
        }));
        Ok(findings)
    }
}

fn uuid(text: &str) -> Result<sqlx::types::Uuid> {
    Ok(text.parse()?)
}

struct Stored {
    id: i64,
    launch: String,
    counted: bool,
    content: String,
}

impl Stored {
    fn read(row: &sqlx::postgres::PgRow) -> Result<Self> {
        let metrics: Vec<String> = row.try_get("metrics")?;
        let values: Vec<f64> = row.try_get("sample_values")?;
        Ok(Self {
            id: row.try_get("iteration_id")?,
            launch: row.try_get("launch_id")?,
            counted: row.try_get("counted")?,
            content: format!(
                "#{} {} {} at {} us, {} ns, {} done, tokens {:?} {}, {:?}",
                row.try_get::<i32, _>("ordinal")?,
                row.try_get::<String, _>("phase")?,
                row.try_get::<String, _>("mode")?,
                row.try_get::<i64, _>("started_us")?,
                row.try_get::<i64, _>("duration_ns")?,
                row.try_get::<i64, _>("work")?,
                row.try_get::<Vec<i64>, _>("token_ns")?,
                row.try_get::<String, _>("token_ids_sha256")?,
                metrics.iter().zip(values).collect::<BTreeMap<_, _>>(),
            ),
        })
    }
}

/// All that a worker said in an iteration: with times in nanoseconds no two are alike.
fn content(iteration: &Iteration) -> String {
    let Iteration {
        ordinal,
        phase,
        mode,
        started,
        duration,
        work,
        token_times,
        samples,
        // Gates add to them.
        reasons: _,
        token_ids_sha256,
    } = iteration;
    let tokens: Vec<i64> = token_times.iter().map(|at| at.as_nanos() as i64).collect();
    let samples = samples
        .iter()
        .map(|sample| (sample.metric.name(), sample.value));
    format!(
        "#{ordinal} {} {mode} at {} us, {} ns, {work} done, tokens {tokens:?} {token_ids_sha256}, {:?}",
        phase.as_str(),
        started.as_micros(),
        duration.as_nanos(),
        samples.collect::<BTreeMap<_, _>>(),
    )
}
