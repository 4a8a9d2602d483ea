//! The jobs of runs, and the queue they make.

use std::time::Duration;

use domain::expand::PlannedJob;
use domain::ids::{JobId, MachineId, RunId};
use domain::job::JobState;
use domain::lease::{Epoch, FinishedLaunch};
use domain::metric::Metric;
use domain::model::{Dtype, ModelRef};
use domain::plan::{LEAST_LAUNCHES, Protocol};
use domain::suite::{Case, Suite};
use serde_json::Value;
use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::{Error, Result, count, expect_rows, read};

/// Touches one row per job; those that are skipped have ended at once.
pub async fn insert(
    executor: impl PgExecutor<'_>,
    run_id: RunId,
    priority: i32,
    jobs: &[(JobId, PlannedJob)],
) -> Result<()> {
    let column = |value: fn(&PlannedJob) -> String| -> Vec<String> {
        jobs.iter().map(|(_, job)| value(job)).collect()
    };
    let ids: Vec<Uuid> = jobs.iter().map(|(id, _)| id.0).collect();
    let machines: Vec<Uuid> = jobs.iter().map(|(_, job)| job.machine_id.0).collect();
    let dtypes: Vec<Option<String>> = jobs
        .iter()
        .map(|(_, job)| Some(job.model.as_ref()?.dtype?.to_string()))
        .collect();
    let sources: Vec<Option<String>> = jobs
        .iter()
        .map(|(_, job)| Some(job.model.as_ref()?.source.to_string()))
        .collect();
    let launches: Vec<i32> = jobs
        .iter()
        .map(|(_, job)| job.launches_total as i32)
        .collect();
    let skipped: Vec<Option<String>> = jobs.iter().map(|(_, job)| job.skipped.clone()).collect();
    let done = sqlx::query_file!(
        "src/store/job_insert.sql",
        run_id.0,
        &ids,
        &machines,
        &column(|job| job.suite.to_string()),
        &sources as &[Option<String>],
        &column(|job| ModelRef::label_of(job.model.as_ref())),
        &dtypes as &[Option<String>],
        &column(|job| serde_json::to_string(&job.cases).expect("a case is plain data")),
        &launches,
        &skipped as &[Option<String>],
        priority
    )
    .execute(executor)
    .await?;
    expect_rows("insert job", jobs.len(), done.rows_affected())
}

/// A queued job, locked for this transaction: only its holder can lease it.
#[derive(Debug)]
pub struct Queued {
    pub job_id: JobId,
    pub run_id: RunId,
    pub epoch: Epoch,
    pub failures: u32,
    pub model: Option<ModelRef>,
    pub cases: Vec<Case>,
    pub protocol: Protocol,
}

/// The next job of a machine that is approved, not drained and holds no lease; jobs that another transaction
/// looks at are passed over.
pub async fn take_queued(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
) -> Result<Option<Queued>> {
    let Some(row) = sqlx::query_file!("src/store/job_take_queued.sql", machine_id.0)
        .fetch_optional(executor)
        .await?
    else {
        return Ok(None);
    };
    let corrupt = |column, value: &Value| Error::Corrupt {
        column,
        text: value.to_string(),
    };
    Ok(Some(Queued {
        job_id: JobId(row.job_id),
        run_id: RunId(row.run_id),
        epoch: Epoch(row.epoch as u64),
        failures: count(row.failures),
        model: match row.model_source {
            None => None,
            Some(source) => Some(ModelRef {
                source: read("job.model_source", &source)?,
                dtype: row
                    .dtype
                    .map(|text| read::<Dtype>("job.dtype", &text))
                    .transpose()?,
            }),
        },
        cases: serde_json::from_value(row.cases.clone())
            .map_err(|_| corrupt("job.cases", &row.cases))?,
        protocol: super::run::protocol_from_json(&row.protocol)
            .ok_or_else(|| corrupt("run.protocol", &row.protocol))?,
    }))
}

/// Queued to leased. Touches one row.
pub async fn lease(executor: impl PgExecutor<'_>, job_id: JobId, epoch: Epoch) -> Result<()> {
    let done = sqlx::query!(
        "update fleet.job
         set state = 'leased', epoch = $2, started_at = coalesce(started_at, now())
         where job_id = $1 and state = 'queued' and epoch < $2",
        job_id.0,
        epoch.0 as i64
    )
    .execute(executor)
    .await?;
    expect_rows("lease job", 1, done.rows_affected())
}

/// A job under one of its leases.
#[derive(Clone, Debug)]
pub struct Held {
    pub job_id: JobId,
    pub run_id: RunId,
    pub machine_id: MachineId,
    pub state: JobState,
    pub epoch: Epoch,
    pub failures: u32,
}

/// Locks a job for this transaction.
pub async fn lock(executor: impl PgExecutor<'_>, job_id: JobId) -> Result<Held> {
    let row = sqlx::query!(
        "select job_id, run_id, machine_id, state, epoch, failures
         from fleet.job where job_id = $1 for update",
        job_id.0
    )
    .fetch_one(executor)
    .await?;
    Ok(Held {
        job_id: JobId(row.job_id),
        run_id: RunId(row.run_id),
        machine_id: MachineId(row.machine_id),
        state: read("job.state", &row.state)?,
        epoch: Epoch(row.epoch as u64),
        failures: count(row.failures),
    })
}

/// Leased to any other state; of a job that succeeded the launches there are become all that it wanted.
/// Touches one row.
pub async fn leave(
    executor: impl PgExecutor<'_>,
    job_id: JobId,
    state: JobState,
    reason: &str,
    failures: u32,
) -> Result<()> {
    let done = sqlx::query!(
        "update fleet.job
         set state = $2, reason = $3, failures = $4, ended_at = case when $5 then now() end,
             launches_total = case when $2 <> 'succeeded' then launches_total else (
                 select count(*) from fleet.launch where launch.job_id = $1 and counted
             ) end
         where job_id = $1 and state = 'leased'",
        job_id.0,
        state.as_str(),
        reason,
        failures as i32,
        state.is_final()
    )
    .execute(executor)
    .await?;
    expect_rows("leave job", 1, done.rows_affected())
}

/// Adds failed launches to jobs. Touches one row per job.
pub async fn add_failures(executor: impl PgExecutor<'_>, failures: &[(JobId, u32)]) -> Result<()> {
    let ids: Vec<Uuid> = failures.iter().map(|(id, _)| id.0).collect();
    let counts: Vec<i32> = failures.iter().map(|(_, count)| *count as i32).collect();
    let done = sqlx::query!(
        "update fleet.job set failures = job.failures + more.failures
         from unnest($1::uuid[], $2::integer[]) as more (job_id, failures)
         where job.job_id = more.job_id",
        &ids,
        &counts
    )
    .execute(executor)
    .await?;
    expect_rows("add failures", failures.len(), done.rows_affected())
}

/// Every job of the run that has not ended; says whose machines they were.
pub async fn cancel_of_run(
    executor: impl PgExecutor<'_>,
    run_id: RunId,
    reason: &str,
) -> Result<Vec<(JobId, MachineId)>> {
    let rows = sqlx::query!(
        "update fleet.job set state = 'cancelled', reason = $2, ended_at = now()
         where run_id = $1 and state in ('queued', 'leased')
         returning job_id, machine_id",
        run_id.0,
        reason
    )
    .fetch_all(executor)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (JobId(row.job_id), MachineId(row.machine_id)))
        .collect())
}

/// Every job of the run that failed, was parked or cancelled is queued anew, as if it had never failed;
/// says whose machines they are.
pub async fn requeue_of_run(
    executor: impl PgExecutor<'_>,
    run_id: RunId,
    reason: &str,
) -> Result<Vec<MachineId>> {
    let machines = sqlx::query_scalar!(
        "update fleet.job set state = 'queued', reason = $2, failures = 0, ended_at = null
         where run_id = $1 and state in ('failed', 'parked', 'cancelled')
         returning machine_id",
        run_id.0,
        reason
    )
    .fetch_all(executor)
    .await?;
    Ok(machines.into_iter().map(MachineId).collect())
}

/// Every job of the machine that has not ended; says of which run each is.
pub async fn skip_of_machine(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
    reason: &str,
) -> Result<Vec<RunId>> {
    let runs = sqlx::query_scalar!(
        "update fleet.job set state = 'skipped', reason = $2, ended_at = now()
         where machine_id = $1 and state in ('queued', 'leased')
         returning run_id",
        machine_id.0,
        reason
    )
    .fetch_all(executor)
    .await?;
    Ok(runs.into_iter().map(RunId).collect())
}

/// How many jobs of the run are not ended, and how many have ended other than well.
pub async fn tally(executor: impl PgExecutor<'_>, run_id: RunId) -> Result<(u32, u32)> {
    let row = sqlx::query!(
        r#"select
               count(*) filter (where state in ('queued', 'leased')) as "unfinished!",
               count(*) filter (where state in ('failed', 'skipped', 'parked', 'cancelled')) as "not_well!"
           from fleet.job where run_id = $1"#,
        run_id.0
    )
    .fetch_one(executor)
    .await?;
    Ok((count(row.unfinished), count(row.not_well)))
}

/// Launches that count already, each with its median of the first of `headline` that it has.
pub async fn finished_launches(
    executor: impl PgExecutor<'_>,
    job_id: JobId,
    headline: &[Metric],
) -> Result<Vec<FinishedLaunch>> {
    let names: Vec<String> = headline.iter().map(|m| m.name().to_owned()).collect();
    let rows = sqlx::query_file!("src/store/job_finished_launches.sql", job_id.0, &names)
        .fetch_all(executor)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| FinishedLaunch {
            case_key: row.case_key,
            ordinal: count(row.ordinal),
            headline: row.headline,
        })
        .collect())
}

/// The runs that these jobs are of.
pub async fn runs_of(executor: impl PgExecutor<'_>, jobs: &[JobId]) -> Result<Vec<RunId>> {
    let ids: Vec<Uuid> = jobs.iter().map(|id| id.0).collect();
    let runs = sqlx::query_scalar!(
        "select distinct run_id from fleet.job where job_id = any($1)",
        &ids
    )
    .fetch_all(executor)
    .await?;
    Ok(runs.into_iter().map(RunId).collect())
}

/// How many launches, at the least, the job lacks.
pub async fn missing_launches(executor: impl PgExecutor<'_>, job_id: JobId) -> Result<u32> {
    let missing = sqlx::query_file_scalar!(
        "src/store/job_missing_launches.sql",
        job_id.0,
        i64::from(LEAST_LAUNCHES)
    )
    .fetch_one(executor)
    .await?;
    Ok(missing.max(0) as u32)
}

/// A job as a watcher sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub job_id: JobId,
    pub machine: String,
    pub suite: String,
    pub model: String,
    pub dtype: String,
    pub state: JobState,
    pub reason: String,
    pub launches_total: u32,
    pub launches_done: u32,
    pub started_at: Option<OffsetDateTime>,
    pub ended_at: Option<OffsetDateTime>,
    /// Under leases that have ended.
    pub worked: Duration,
    /// When the one that has not was granted.
    pub since: Option<OffsetDateTime>,
    /// The end of what the worker of its last launch that went wrong wrote, where it failed.
    pub log: String,
}

impl Summary {
    /// How long it has been at work until now.
    pub fn worked_until(&self, now: OffsetDateTime) -> Duration {
        let goes_on = self.since.map(|since| Duration::try_from(now - since));
        self.worked
            + goes_on
                .and_then(std::result::Result::ok)
                .unwrap_or_default()
    }
}

pub async fn summaries(executor: impl PgExecutor<'_>, run_id: RunId) -> Result<Vec<Summary>> {
    let rows = sqlx::query_file!("src/store/job_summaries.sql", run_id.0)
        .fetch_all(executor)
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Summary {
                job_id: JobId(row.job_id),
                machine: row.name,
                suite: row.suite,
                model: row.model_label,
                dtype: row.dtype,
                state: read("job.state", &row.state)?,
                reason: row.reason,
                launches_total: count(row.launches_total),
                launches_done: count(row.launches_done),
                started_at: row.started_at,
                ended_at: row.ended_at,
                worked: Duration::try_from_secs_f64(row.worked_s).unwrap_or_default(),
                since: row.since,
                log: row.log,
            })
        })
        .collect()
}

/// Jobs that take as long as one another on like machines.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub suite: Suite,
    pub model_label: String,
    /// None: as stored, or no model.
    pub dtype: Option<Dtype>,
}

/// How fast jobs of a kind went on machines of one hardware.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// The place of the kind among those that were asked for.
    pub kind: usize,
    pub chip: String,
    pub gpu_cores: Option<u32>,
    pub simulated: bool,
    /// The median over jobs of their time by launch.
    pub launch_s: f64,
}

/// Of those that succeeded, so many of the newest of each kind.
pub async fn paces(
    executor: impl PgExecutor<'_>,
    kinds: &[Kind],
    newest: u32,
) -> Result<Vec<Pace>> {
    let text = |of: fn(&Kind) -> String| -> Vec<String> { kinds.iter().map(of).collect() };
    let dtype = |kind: &Kind| kind.dtype.map_or("", Dtype::as_str).to_owned();
    let rows = sqlx::query_file!(
        "src/store/job_paces.sql",
        &text(|kind| kind.suite.as_str().to_owned()),
        &text(|kind| kind.model_label.clone()),
        &text(dtype),
        i64::from(newest)
    )
    .fetch_all(executor)
    .await?;
    let pace = rows.into_iter().map(|row| Pace {
        kind: (row.kind - 1) as usize,
        chip: row.chip,
        gpu_cores: row.gpu_cores.map(count),
        simulated: row.simulated,
        launch_s: row.launch_s,
    });
    Ok(pace.collect())
}
