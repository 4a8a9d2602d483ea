//! Plans that are submitted again and again. Their time is the database's.

use domain::ids::{RunId, ScheduleId};
use domain::job::RunState;
use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::{Result, expect_rows, read};

#[derive(Debug)]
pub struct New<'a> {
    pub schedule_id: ScheduleId,
    pub plan_id: Uuid,
    pub name: &'a str,
    pub file_name: &'a str,
    pub every_seconds: u64,
    pub created_by: &'a str,
}

/// Its first turn is a whole period from now. Touches one row.
pub async fn insert(executor: impl PgExecutor<'_>, new: &New<'_>) -> Result<()> {
    let done = sqlx::query!(
        "insert into fleet.schedule (schedule_id, plan_id, name, file_name, every_seconds, created_by,
                                     next_at)
         values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $5::bigint::double precision))",
        new.schedule_id.0,
        new.plan_id,
        new.name,
        new.file_name,
        new.every_seconds as i64,
        new.created_by
    )
    .execute(executor)
    .await?;
    expect_rows("insert schedule", 1, done.rows_affected())
}

/// False when none of this name goes on. Touches at most one row.
pub async fn end(executor: impl PgExecutor<'_>, name: &str) -> Result<bool> {
    let done = sqlx::query!(
        "update fleet.schedule set ended_at = now() where name = $1 and ended_at is null",
        name
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A schedule whose turn it is, locked for this transaction: only its holder submits.
#[derive(Debug)]
pub struct Due {
    pub schedule_id: ScheduleId,
    pub name: String,
    pub file_name: String,
    pub toml: String,
}

/// The one that waits longest; those in other hands are passed over.
pub async fn take_due(executor: impl PgExecutor<'_>) -> Result<Option<Due>> {
    let row = sqlx::query!(
        "select schedule.schedule_id, schedule.name, schedule.file_name, plan.toml
         from fleet.schedule join fleet.plan using (plan_id)
         where schedule.ended_at is null and schedule.next_at <= now()
         order by schedule.next_at limit 1
         for no key update of schedule skip locked"
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| Due {
        schedule_id: ScheduleId(row.schedule_id),
        name: row.name,
        file_name: row.file_name,
        toml: row.toml,
    }))
}

/// A run of an earlier turn that has not ended.
pub async fn active_run(
    executor: impl PgExecutor<'_>,
    schedule_id: ScheduleId,
) -> Result<Option<RunId>> {
    let run_id = sqlx::query_scalar!(
        "select run_id from fleet.run where schedule_id = $1 and state = 'active' limit 1",
        schedule_id.0
    )
    .fetch_optional(executor)
    .await?;
    Ok(run_id.map(RunId))
}

/// To its next turn; those that were missed are not made up for. Touches one row.
pub async fn advance(
    executor: impl PgExecutor<'_>,
    schedule_id: ScheduleId,
    problem: &str,
) -> Result<()> {
    let done = sqlx::query!(
        "update fleet.schedule
         set problem = $2, next_at = next_at + make_interval(secs => every_seconds * (
             floor(extract(epoch from now() - next_at) / every_seconds) + 1
         )::double precision)
         where schedule_id = $1",
        schedule_id.0,
        problem
    )
    .execute(executor)
    .await?;
    expect_rows("advance schedule", 1, done.rows_affected())
}

/// A schedule as a list shows it.
#[derive(Clone, Debug)]
pub struct Summary {
    pub name: String,
    pub file_name: String,
    pub every_seconds: u64,
    pub next_at: OffsetDateTime,
    pub created_at: OffsetDateTime,
    pub created_by: String,
    pub problem: String,
    pub last_run: Option<(RunId, RunState)>,
}

/// Those that go on, by name.
pub async fn summaries(executor: impl PgExecutor<'_>) -> Result<Vec<Summary>> {
    let rows = sqlx::query!(
        r#"select schedule.name, schedule.file_name, every_seconds, next_at, created_at, created_by, problem,
               last.run_id as "run_id?", last.state as "state?"
           from fleet.schedule
           left join lateral (
               select run_id, state from fleet.run where run.schedule_id = schedule.schedule_id
               order by run_id desc limit 1
           ) as last on true
           where ended_at is null
           order by schedule.name"#
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = row.state.map(|state| read("run.state", &state));
            Ok(Summary {
                name: row.name,
                file_name: row.file_name,
                every_seconds: row.every_seconds as u64,
                next_at: row.next_at,
                created_at: row.created_at,
                created_by: row.created_by,
                problem: row.problem,
                last_run: row.run_id.map(RunId).zip(state.transpose()?),
            })
        })
        .collect()
}
