//! What operators see of machines, and what they say of them.

use std::collections::BTreeMap;

use domain::ids::{JobId, MachineId};
use serde_json::json;
use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::error::{Error, Result, count, expect_rows};

/// A machine as a list shows it.
#[derive(Clone, Debug)]
pub struct Summary {
    pub machine_id: MachineId,
    pub name: String,
    pub chip: String,
    pub gpu_cores: Option<u32>,
    pub cpu_cores: u32,
    pub memory_bytes: u64,
    pub os: String,
    pub os_version: String,
    pub agent_version: String,
    /// The agent's with the operators'.
    pub labels: BTreeMap<String, String>,
    pub enrolled_at: OffsetDateTime,
    pub last_seen_at: Option<OffsetDateTime>,
    /// It stands for somebody else's, in imported results.
    pub imported: bool,
    pub approved_at: Option<OffsetDateTime>,
    pub drained: Option<Drained>,
    /// What its agent spoke when it was refused for it.
    pub refused_protocol: Option<u32>,
    /// Whether its last heartbeat is younger than was asked.
    pub online: bool,
    pub virtual_machine: bool,
    pub current_job: Option<CurrentJob>,
    pub newest_launch: Option<FinishedLaunch>,
    pub certificate: Option<Certificate>,
}

#[derive(Clone, Debug)]
pub struct CurrentJob {
    pub job_id: JobId,
    pub suite: String,
    pub model: String,
    pub granted_at: Option<OffsetDateTime>,
    /// None between launches.
    pub launch: Option<CurrentLaunch>,
}

#[derive(Clone, Debug)]
pub struct CurrentLaunch {
    pub case_key: String,
    pub started_at: OffsetDateTime,
}

/// Of its last jobs.
#[derive(Clone, Debug)]
pub struct FinishedLaunch {
    pub mlx_version: String,
    /// Codes of doubts.
    pub reasons: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Drained {
    pub at: OffsetDateTime,
    pub by: String,
    pub reason: String,
}

/// The one that is good, or the last that was.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub fingerprint: String,
    pub expires_at: OffsetDateTime,
    pub revoked_at: Option<OffsetDateTime>,
    pub expired: bool,
    /// Within the time that was asked.
    pub expires_soon: bool,
}

/// All of them, or those of these names or ids.
pub async fn summaries(
    executor: impl PgExecutor<'_>,
    wanted: Option<&[String]>,
    online_within_seconds: f64,
    expires_within_seconds: f64,
) -> Result<Vec<Summary>> {
    let rows = sqlx::query_file!(
        "src/store/machine_summaries.sql",
        wanted,
        online_within_seconds,
        expires_within_seconds
    )
    .fetch_all(executor)
    .await?;
    let summary = rows.into_iter().map(|row| Summary {
        machine_id: MachineId(row.machine_id),
        name: row.name,
        chip: row.chip,
        gpu_cores: row.gpu_cores.map(count),
        cpu_cores: count(row.cpu_cores),
        memory_bytes: row.memory_bytes as u64,
        os: row.os,
        os_version: row.os_version,
        agent_version: row.agent_version,
        labels: serde_json::from_value(row.labels).unwrap_or_default(),
        enrolled_at: row.enrolled_at,
        last_seen_at: row.last_seen_at,
        imported: row.imported,
        approved_at: row.approved_at,
        drained: row.drained_at.map(|at| Drained {
            at,
            by: row.drained_by,
            reason: row.drain_reason,
        }),
        refused_protocol: row.refused_protocol.map(count),
        online: row.online,
        virtual_machine: row.virtual_machine,
        current_job: row.job_id.map(|job_id| CurrentJob {
            job_id: JobId(job_id),
            suite: row.suite.unwrap_or_default(),
            model: row.model_label.unwrap_or_default(),
            granted_at: row.granted_at,
            launch: row
                .case_key
                .zip(row.launched_at)
                .map(|(case_key, started_at)| CurrentLaunch {
                    case_key,
                    started_at,
                }),
        }),
        newest_launch: row
            .mlx_version
            .zip(row.reasons)
            .map(|(mlx_version, reasons)| FinishedLaunch {
                mlx_version,
                reasons,
            }),
        certificate: row
            .fingerprint
            .zip(row.expires_at)
            .map(|(fingerprint, expires_at)| Certificate {
                fingerprint,
                expires_at,
                revoked_at: row.revoked_at,
                expired: row.expired,
                expires_soon: row.expires_soon,
            }),
    });
    Ok(summary.collect())
}

/// What machines and their chips are called, each once and in order.
pub async fn names(executor: impl PgExecutor<'_>) -> Result<Vec<String>> {
    let names = sqlx::query_scalar!(
        r#"select name as "name!" from fleet.machine
           union
           select chip from fleet.machine
           order by 1"#
    );
    Ok(names.fetch_all(executor).await?)
}

/// From now on it gets no new job; said again, the reason is the newer one. Touches one row.
pub async fn drain(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
    by: &str,
    reason: &str,
) -> Result<()> {
    let done = sqlx::query!(
        "update fleet.machine
         set drained_at = coalesce(drained_at, now()), drained_by = $2, drain_reason = $3
         where machine_id = $1",
        machine_id.0,
        by,
        reason
    )
    .execute(executor)
    .await?;
    expect_rows("drain machine", 1, done.rows_affected())
}

/// False when it was not drained. Touches at most one row.
pub async fn resume(executor: impl PgExecutor<'_>, machine_id: MachineId) -> Result<bool> {
    let done = sqlx::query!(
        "update fleet.machine set drained_at = null, drained_by = '', drain_reason = ''
         where machine_id = $1 and drained_at is not null",
        machine_id.0
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets it in, or makes it wait for that; false when it was so already. Touches at most one row.
pub async fn approve(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
    approved: bool,
) -> Result<bool> {
    let done = sqlx::query!(
        "update fleet.machine set approved_at = case when $2 then now() end
         where machine_id = $1 and (approved_at is not null) <> $2",
        machine_id.0,
        approved
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Why a machine gets no job; it may have one where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    Unapproved { name: String },
    Drained { reason: String },
}

pub async fn rest(executor: impl PgExecutor<'_>, machine_id: MachineId) -> Result<Option<Rest>> {
    let row = sqlx::query!(
        r#"select name, approved_at is not null as "approved!", drained_at is not null as "drained!",
               drain_reason
           from fleet.machine where machine_id = $1"#,
        machine_id.0
    )
    .fetch_one(executor)
    .await?;
    Ok(match (row.approved, row.drained) {
        (false, _) => Some(Rest::Unapproved { name: row.name }),
        (true, true) => Some(Rest::Drained {
            reason: row.drain_reason,
        }),
        (true, false) => None,
    })
}

/// Labels of a machine by who gave them.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    pub agent: BTreeMap<String, String>,
    pub operator: BTreeMap<String, String>,
}

/// Locks the machine's row, so that two changes do not overwrite each other.
pub async fn lock_labels(executor: impl PgExecutor<'_>, machine_id: MachineId) -> Result<Labels> {
    let row = sqlx::query!(
        "select labels, operator_labels from fleet.machine where machine_id = $1 for no key update",
        machine_id.0
    )
    .fetch_one(executor)
    .await?;
    let read = |column, value: serde_json::Value| {
        let corrupt = |_| Error::Corrupt {
            column,
            text: value.to_string(),
        };
        serde_json::from_value(value.clone()).map_err(corrupt)
    };
    Ok(Labels {
        agent: read("machine.labels", row.labels)?,
        operator: read("machine.operator_labels", row.operator_labels)?,
    })
}

/// Touches one row.
pub async fn set_labels(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
    labels: &BTreeMap<String, String>,
) -> Result<()> {
    let done = sqlx::query!(
        "update fleet.machine set operator_labels = $2 where machine_id = $1",
        machine_id.0,
        json!(labels)
    )
    .execute(executor)
    .await?;
    expect_rows("label machine", 1, done.rows_affected())
}

/// Its agent came and was not understood. Touches one row.
pub async fn refuse_protocol(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
    protocol: u32,
    agent_version: &str,
) -> Result<()> {
    let done = sqlx::query!(
        "update fleet.machine set refused_protocol = $2, agent_version = $3 where machine_id = $1",
        machine_id.0,
        protocol as i32,
        agent_version
    )
    .execute(executor)
    .await?;
    expect_rows("refuse protocol", 1, done.rows_affected())
}
