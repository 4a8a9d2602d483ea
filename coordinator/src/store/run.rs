//! Runs and the plans they came from.

use domain::ids::{MachineId, RunId, ScheduleId};
use domain::job::RunState;
use domain::plan::Protocol;
use serde_json::{Value, json};
use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::{Result, count, expect_rows, read};

/// The plan's row by its content; the same text is one row. Touches at most one row.
pub async fn put_plan(
    executor: impl PgExecutor<'_>,
    name: &str,
    sha256: &str,
    toml: &str,
) -> Result<Uuid> {
    let plan_id = sqlx::query_scalar!(
        "insert into fleet.plan (plan_id, name, sha256, toml) values ($1, $2, $3, $4)
         on conflict (sha256) do update set name = excluded.name
         returning plan_id",
        Uuid::now_v7(),
        name,
        sha256,
        toml
    )
    .fetch_one(executor)
    .await?;
    Ok(plan_id)
}

#[derive(Debug)]
pub struct New<'a> {
    pub run_id: RunId,
    pub plan_id: Uuid,
    pub label: Label<'a>,
    pub file_name: &'a str,
    pub headline: Vec<String>,
    /// None of what others measured.
    pub protocol: Option<&'a Protocol>,
    /// Whose turn it was.
    pub schedule_id: Option<ScheduleId>,
}

/// What kind of data a run holds.
#[derive(Clone, Copy, Debug)]
pub enum Label<'a> {
    Measured,
    Simulated,
    Imported { source: &'a str },
}

impl<'a> Label<'a> {
    fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Simulated => "simulated",
            Self::Imported { .. } => "imported",
        }
    }

    fn source(self) -> Option<&'a str> {
        match self {
            Self::Measured | Self::Simulated => None,
            Self::Imported { source } => Some(source),
        }
    }
}

/// Touches one row.
pub async fn insert(executor: impl PgExecutor<'_>, new: &New<'_>) -> Result<()> {
    let done = sqlx::query!(
        "insert into fleet.run (run_id, plan_id, label, source, file_name, headline, protocol,
                                schedule_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        new.run_id.0,
        new.plan_id,
        new.label.as_str(),
        new.label.source(),
        new.file_name,
        &new.headline,
        new.protocol.map_or_else(|| json!({}), protocol_to_json),
        new.schedule_id.map(|id| id.0)
    )
    .execute(executor)
    .await?;
    expect_rows("insert run", 1, done.rows_affected())
}

/// Durations in milliseconds, as the views' readers see them.
fn protocol_to_json(protocol: &Protocol) -> Value {
    let Protocol {
        launches,
        precision,
        iterations,
        min_region,
        warmup_max_iterations,
        warmup_max,
        launch_timeout,
        gate_timeout,
        canary,
        cooldown_max,
        cooldown_pause,
        seed,
    } = *protocol;
    json!({
        "launches": launches,
        "precision": precision,
        "iterations": iterations,
        "min_region_ms": min_region.as_millis() as u64,
        "warmup_max_iterations": warmup_max_iterations,
        "warmup_max_ms": warmup_max.as_millis() as u64,
        "launch_timeout_ms": launch_timeout.as_millis() as u64,
        "gate_timeout_ms": gate_timeout.as_millis() as u64,
        "canary": canary,
        "cooldown_max_ms": cooldown_max.as_millis() as u64,
        "cooldown_pause_ms": cooldown_pause.as_millis() as u64,
        "seed": seed,
    })
}

/// The reverse of what [`insert`] stored.
pub(super) fn protocol_from_json(value: &Value) -> Option<Protocol> {
    let number = |key: &str| value[key].as_u64();
    let millis = |key: &str| number(key).map(std::time::Duration::from_millis);
    Some(Protocol {
        launches: count(number("launches")?),
        precision: value["precision"].as_f64(),
        iterations: count(number("iterations")?),
        min_region: millis("min_region_ms")?,
        warmup_max_iterations: count(number("warmup_max_iterations")?),
        warmup_max: millis("warmup_max_ms")?,
        launch_timeout: millis("launch_timeout_ms")?,
        gate_timeout: millis("gate_timeout_ms")?,
        canary: value["canary"].as_bool()?,
        cooldown_max: millis("cooldown_max_ms")?,
        cooldown_pause: millis("cooldown_pause_ms")?,
        seed: number("seed")?,
    })
}

/// The machines that the plan does not mean; touches one row per reason.
pub async fn insert_exclusions(
    executor: impl PgExecutor<'_>,
    run_id: RunId,
    excluded: &[(MachineId, String)],
) -> Result<()> {
    if excluded.is_empty() {
        return Ok(());
    }
    let machines: Vec<Uuid> = excluded.iter().map(|(id, _)| id.0).collect();
    let reasons: Vec<String> = excluded.iter().map(|(_, reason)| reason.clone()).collect();
    sqlx::query!(
        "insert into fleet.exclusion (run_id, reason, machine_ids)
         select $1, reason, array_agg(machine_id)
         from unnest($2::uuid[], $3::text[]) as left_out (machine_id, reason)
         group by reason",
        run_id.0,
        &machines,
        &reasons
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// The one that was submitted last; an import only where nothing else is there.
pub async fn latest(executor: impl PgExecutor<'_>) -> Result<Option<RunId>> {
    let run_id = sqlx::query_scalar!(
        "select run_id from fleet.run
         order by label = 'imported', submitted_at desc, run_id desc limit 1"
    )
    .fetch_optional(executor)
    .await?;
    Ok(run_id.map(RunId))
}

/// Up to two runs whose id begins so: the second only tells that the prefix is ambiguous.
pub async fn beginning(executor: impl PgExecutor<'_>, prefix: &str) -> Result<Vec<RunId>> {
    let runs = sqlx::query_scalar!(
        "select run_id from fleet.run where starts_with(run_id::text, $1) limit 2",
        prefix
    )
    .fetch_all(executor)
    .await?;
    Ok(runs.into_iter().map(RunId).collect())
}

/// Locks the run for this transaction, so that two last jobs cannot overlook each other.
pub async fn lock(executor: impl PgExecutor<'_>, run_id: RunId) -> Result<RunState> {
    let state = sqlx::query_scalar!(
        "select state from fleet.run where run_id = $1 for update",
        run_id.0
    )
    .fetch_one(executor)
    .await?;
    read("run.state", &state)
}

/// Touches one row.
pub async fn end(executor: impl PgExecutor<'_>, run_id: RunId, state: RunState) -> Result<()> {
    let done = sqlx::query!(
        "update fleet.run set state = $2, ended_at = now() where run_id = $1 and state = 'active'",
        run_id.0,
        state.as_str()
    )
    .execute(executor)
    .await?;
    expect_rows("end run", 1, done.rows_affected())
}

/// Touches one row.
pub async fn reopen(executor: impl PgExecutor<'_>, run_id: RunId) -> Result<()> {
    let done = sqlx::query!(
        "update fleet.run set state = 'active', ended_at = null
         where run_id = $1 and state in ('incomplete', 'cancelled')",
        run_id.0
    )
    .execute(executor)
    .await?;
    expect_rows("reopen run", 1, done.rows_affected())
}

/// A run with how far it is.
#[derive(Clone, Debug)]
pub struct Summary {
    pub run_id: RunId,
    pub plan: String,
    /// `measured`, `simulated` or `imported`.
    pub label: String,
    pub state: RunState,
    pub submitted_at: OffsetDateTime,
    pub ended_at: Option<OffsetDateTime>,
    pub jobs_total: u32,
    pub jobs_succeeded: u32,
    /// Failed, parked or cancelled.
    pub jobs_failed: u32,
    pub jobs_skipped: u32,
    pub launches_total: u32,
    pub launches_done: u32,
}

/// Which runs a list has: those that are all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    pub run_id: Option<RunId>,
    /// Part of the plan's name, in any case.
    pub plan: String,
    pub state: Option<RunState>,
    /// `measured`, `simulated` or `imported`; empty for any.
    pub label: String,
    /// Submitted before that one.
    pub before: Option<RunId>,
}

impl Wanted {
    pub fn one(run_id: RunId) -> Self {
        Self {
            run_id: Some(run_id),
            ..Self::default()
        }
    }
}

/// The newest first.
pub async fn summaries(
    executor: impl PgExecutor<'_>,
    wanted: &Wanted,
    limit: u32,
) -> Result<Vec<Summary>> {
    let rows = sqlx::query_file!(
        "src/store/run_summaries.sql",
        wanted.run_id.map(|id| id.0),
        i64::from(limit),
        wanted.plan,
        wanted.state.map_or("", RunState::as_str),
        wanted.label,
        wanted.before.map(|id| id.0)
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Summary {
                run_id: RunId(row.run_id),
                plan: row.name,
                label: row.label,
                state: read("run.state", &row.state)?,
                submitted_at: row.submitted_at,
                ended_at: row.ended_at,
                jobs_total: count(row.jobs_total),
                jobs_succeeded: count(row.jobs_succeeded),
                jobs_failed: count(row.jobs_failed),
                jobs_skipped: count(row.jobs_skipped),
                launches_total: count(row.launches_total),
                launches_done: count(row.launches_done),
            })
        })
        .collect()
}
