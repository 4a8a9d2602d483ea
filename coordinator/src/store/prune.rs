//! Runs that go for good, with every row that is theirs. Models and conditions stay: they are shared.

use domain::ids::RunId;
use domain::job::RunState;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::Tx;
use super::error::{Result, count, read};

/// What a run holds.
#[derive(Clone, Debug)]
pub struct Holding {
    pub run_id: RunId,
    pub plan: String,
    pub state: RunState,
    pub jobs: u32,
    pub launches: u32,
    pub samples: u64,
    pub readings: u64,
}

/// Runs that ended so long ago, the oldest first. Imports stay: what others measured has no date here.
pub async fn ended_before(
    executor: impl PgExecutor<'_>,
    older_than_seconds: f64,
) -> Result<Vec<RunId>> {
    let runs = sqlx::query_scalar!(
        "select run_id from fleet.run
         where state <> 'active' and label <> 'imported'
             and ended_at < now() - make_interval(secs => $1)
         order by ended_at, run_id",
        older_than_seconds
    )
    .fetch_all(executor)
    .await?;
    Ok(runs.into_iter().map(RunId).collect())
}

/// Locks the run with its leases and jobs, in the order in which everybody locks them; says what it holds.
/// None where there is no such run any more.
pub async fn lock(tx: &mut Tx, run_id: RunId) -> Result<Option<Holding>> {
    sqlx::query!(
        "select from fleet.lease join fleet.job using (job_id) where run_id = $1
         order by lease_id for update of lease",
        run_id.0
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "select from fleet.job where run_id = $1 order by job_id for update",
        run_id.0
    )
    .execute(&mut **tx)
    .await?;
    let row = sqlx::query_file!("src/store/prune_holding.sql", run_id.0)
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| {
        Ok(Holding {
            run_id,
            plan: row.name,
            state: read("run.state", &row.state)?,
            jobs: count(row.jobs),
            launches: count(row.launches),
            samples: row.samples as u64,
            readings: row.readings as u64,
        })
    })
    .transpose()
}

/// Deletes a locked run, what refers to a row before the row itself. What migration 0006 keeps of a launch or a
/// run goes with it.
pub async fn delete(tx: &mut Tx, run_id: RunId) -> Result<()> {
    let id = run_id.0;
    delete_measured(tx, id).await?;
    delete_granted(tx, id).await?;
    let plan_id = sqlx::query_scalar!(
        "delete from fleet.run where run_id = $1 returning plan_id",
        id
    )
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query!(
        "delete from fleet.plan where plan_id = $1
             and not exists (select from fleet.run where run.plan_id = $1)
             and not exists (select from fleet.schedule where schedule.plan_id = $1)",
        plan_id
    )
    .execute(&mut **tx)
    .await?;
    // Machines of imports stand for nothing but their runs.
    sqlx::query!(
        "delete from fleet.machine
         where imported and not exists (
             select from fleet.job where job.machine_id = machine.machine_id
         )"
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn delete_measured(tx: &mut Tx, run_id: Uuid) -> Result<()> {
    sqlx::query!(
        "delete from fleet.sample using fleet.iteration, fleet.launch, fleet.job
         where sample.iteration_id = iteration.iteration_id
             and iteration.launch_id = launch.launch_id
             and launch.job_id = job.job_id and job.run_id = $1",
        run_id
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "delete from fleet.iteration using fleet.launch, fleet.job
         where iteration.launch_id = launch.launch_id
             and launch.job_id = job.job_id and job.run_id = $1",
        run_id
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "delete from fleet.launch_metric using fleet.launch, fleet.job
         where launch_metric.launch_id = launch.launch_id
             and launch.job_id = job.job_id and job.run_id = $1",
        run_id
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "delete from fleet.heat using fleet.launch, fleet.job
         where heat.launch_id = launch.launch_id
             and launch.job_id = job.job_id and job.run_id = $1",
        run_id
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "delete from fleet.launch using fleet.job
         where launch.job_id = job.job_id and job.run_id = $1",
        run_id
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn delete_granted(tx: &mut Tx, run_id: Uuid) -> Result<()> {
    sqlx::query!(
        "delete from fleet.reading using fleet.lease, fleet.job
         where reading.lease_id = lease.lease_id
             and lease.job_id = job.job_id and job.run_id = $1",
        run_id
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "delete from fleet.batch using fleet.lease, fleet.job
         where batch.lease_id = lease.lease_id
             and lease.job_id = job.job_id and job.run_id = $1",
        run_id
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "delete from fleet.lease using fleet.job
         where lease.job_id = job.job_id and job.run_id = $1",
        run_id
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("delete from fleet.event where run_id = $1", run_id)
        .execute(&mut **tx)
        .await?;
    sqlx::query!("delete from fleet.job where run_id = $1", run_id)
        .execute(&mut **tx)
        .await?;
    sqlx::query!("delete from fleet.exclusion where run_id = $1", run_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
