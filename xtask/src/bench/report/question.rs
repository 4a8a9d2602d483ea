//! What is asked of a fleet, and the answer's time, size and memory.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::fleet::{Fleet, Runs, Server};
use crate::{process, repo};

/// Far longer than `mlx-fleet sql` waits: what is slow is to be told, not to end the benchmark.
const LIMIT: &str = "10min";
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub struct Question {
    pub name: String,
    task: Task,
    /// Of the whole database, so that an answer without rows is a hole in the fleet.
    asks_all: bool,
}

enum Task {
    Sql(String),
    /// Of a run, by its id.
    Report {
        run: String,
        of_fleet: bool,
    },
}

#[derive(Clone, Copy)]
pub struct Answer {
    pub ms: f64,
    /// Of a report, its files.
    pub rows: u64,
    /// Private memory of all processes that worked on it, beyond what they held before.
    pub megabytes: f64,
}

impl Question {
    pub fn is_fleet_report(&self) -> bool {
        matches!(self.task, Task::Report { of_fleet: true, .. })
    }
}

/// Each view as users ask it: of a run of two machines, of one of the whole fleet, and of everything.
pub async fn questions(connection: &mut PgConnection, runs: &Runs) -> Result<Vec<Question>> {
    let views = connection
        .fetch_all(
            "select relname::text, exists (
                 select from pg_attribute where attrelid = pg_class.oid and attname = 'run_id'
             ) as of_run
             from pg_class
             where relnamespace = 'report'::regnamespace and relkind = 'v'
             order by relname",
        )
        .await?;
    let Runs {
        two_machines,
        night_before,
        fleet,
    } = runs;
    let of_two = format!("where run_id = '{two_machines}'");
    let of_fleet = format!("where run_id = '{fleet}'");
    let mut all = Vec::new();
    for row in views {
        let view: String = row.try_get("relname")?;
        let mut ask = |what: &str, condition: String, asks_all| {
            all.push(Question {
                name: format!("{view}, {what}"),
                task: Task::Sql(format!("select * from report.{view} {condition}")),
                asks_all,
            });
        };
        if view == "pair" {
            // All pairs are the square of everything: its comment asks to name both runs.
            let nights = format!("{of_two} and baseline_run_id = '{night_before}'");
            ask("a run and the one before", nights, false);
            continue;
        }
        if row.try_get("of_run")? {
            ask("a run of two machines", of_two.clone(), false);
            if view == "comparison" {
                let machine = format!("{of_fleet} and baseline = 'simulated-001'");
                ask("the fleet's run beside one machine", machine, false);
                let metric = format!("{of_fleet} and metric = 'decode_tps'");
                ask("the fleet's run, one metric", metric, false);
            }
            ask("the fleet's run", of_fleet.clone(), false);
        }
        if view != "comparison" {
            ask("all", String::new(), true);
        }
    }
    for (name, run, of_fleet) in [
        ("HTML report, a run of two machines", two_machines, false),
        ("HTML report, the fleet's run", fleet, true),
    ] {
        all.push(Question {
            name: name.to_owned(),
            task: Task::Report {
                run: run.clone(),
                of_fleet,
            },
            asks_all: false,
        });
    }
    Ok(all)
}

impl Server {
    pub async fn ask(&self, fleet: &Fleet, question: &Question) -> Result<Answer> {
        let answer = match &question.task {
            Task::Sql(sql) => self.select(fleet, sql).await,
            Task::Report { run, .. } => self.report(fleet, run),
        };
        let answer = answer.with_context(|| format!("{}, {fleet}", question.name))?;
        ensure!(
            answer.rows > 0 || !question.asks_all,
            "{}: nothing was found; {fleet} lacks it",
            question.name
        );
        Ok(answer)
    }

    async fn select(&self, fleet: &Fleet, sql: &str) -> Result<Answer> {
        let mut connection = PgConnection::connect(&fleet.reader_url()).await?;
        let limit = format!("set statement_timeout = '{LIMIT}'");
        connection.execute(AssertSqlSafe(limit)).await?;
        let memory = Peak::of(vec![self.pid()?]);
        let began = Instant::now();
        // As text, line by line, and nothing of it kept.
        let mut lines = connection
            .copy_out_raw(&format!("copy ({sql}) to stdout"))
            .await?;
        let mut rows = 0;
        while let Some(bytes) = lines.try_next().await? {
            rows += bytes.split(|byte| *byte == b'\n').count() as u64 - 1;
        }
        let ms = began.elapsed().as_secs_f64() * 1e3;
        drop(lines);
        let megabytes = memory.megabytes();
        connection.close().await?;
        Ok(Answer {
            ms,
            rows,
            megabytes,
        })
    }

    fn report(&self, fleet: &Fleet, run: &str) -> Result<Answer> {
        let out = tempfile::tempdir()?;
        let program = repo::target_folder()?.join("release/report-gen");
        let memory = Peak::of(vec![self.pid()?, std::process::id()]);
        let began = Instant::now();
        let output = Command::new(program)
            .args([run, "--format", "html", "--out"])
            .arg(out.path())
            .env("DATABASE_URL", fleet.reader_url())
            .stdin(Stdio::null())
            .output()
            .context("cannot start report-gen")?;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        let megabytes = memory.megabytes();
        if !output.status.success() {
            bail!("report-gen: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Answer {
            ms,
            rows: std::fs::read_dir(out.path())?.count() as u64,
            megabytes,
        })
    }
}

/// Watches what the children of some processes hold.
struct Peak {
    done: Arc<AtomicBool>,
    looking: JoinHandle<f64>,
}

impl Peak {
    fn of(parents: Vec<u32>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let before = held_kb(&parents);
        let looking = thread::spawn({
            let done = Arc::clone(&done);
            move || {
                let mut most = before;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(held_kb(&parents));
                    thread::sleep(LOOK_EVERY);
                }
                (most - before) / 1024.0
            }
        });
        Self { done, looking }
    }

    fn megabytes(self) -> f64 {
        self.done.store(true, Ordering::Relaxed);
        self.looking.join().expect("looking at memory never panics")
    }
}

fn held_kb(parents: &[u32]) -> f64 {
    let children = parents
        .iter()
        .filter_map(|pid| process::children(*pid).ok());
    children
        .flatten()
        // One that just ended holds nothing.
        .filter_map(|pid| process::usage(pid).ok())
        .map(|usage| usage.anonymous_kb)
        .sum()
}
