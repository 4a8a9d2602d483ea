//! The machines of the fleet, as their agents describe them.

use std::collections::BTreeMap;

use domain::expand::Candidate;
use domain::ids::MachineId;
use domain::machine::{CpuTier, Inventory};
use serde_json::{Value, json};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::error::{Error, Result, count, expect_rows};

pub async fn find(
    executor: impl PgExecutor<'_>,
    identity: &str,
) -> Result<Option<(MachineId, String)>> {
    let row = sqlx::query!(
        "select machine_id, name from fleet.machine where identity = $1",
        identity
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| (MachineId(row.machine_id), row.name)))
}

/// The machine of this name or id; a name goes before another's id.
pub async fn named(
    executor: impl PgExecutor<'_>,
    machine: &str,
) -> Result<Option<(MachineId, String)>> {
    let row = sqlx::query!(
        "select machine_id, name from fleet.machine
         where name = $1 or machine_id::text = $1
         order by name = $1 desc limit 1",
        machine
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| (MachineId(row.machine_id), row.name)))
}

pub async fn name(executor: impl PgExecutor<'_>, machine_id: MachineId) -> Result<Option<String>> {
    let name = sqlx::query_scalar!(
        "select name from fleet.machine where machine_id = $1",
        machine_id.0
    )
    .fetch_optional(executor)
    .await?;
    Ok(name)
}

/// Names that a new machine of this host name may collide with.
pub async fn names_beginning(executor: impl PgExecutor<'_>, start: &str) -> Result<Vec<String>> {
    let names = sqlx::query_scalar!(
        "select name from fleet.machine where starts_with(name, $1)",
        start
    )
    .fetch_all(executor)
    .await?;
    Ok(names)
}

/// Touches one row. The identity is whose row it is, and never changes.
pub async fn put(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
    name: &str,
    inventory: &Inventory,
) -> Result<()> {
    let Inventory {
        identity,
        hostname,
        os,
        os_version,
        os_build,
        arch,
        hardware_model,
        chip,
        gpu_cores,
        gpu_max_mhz,
        cpu_cores,
        cpu_tiers,
        memory_bytes,
        wired_limit_bytes,
        boot_id,
        virtual_machine,
        simulated,
        agent_version,
        labels,
    } = inventory;
    let done = sqlx::query_file!(
        "src/store/machine_put.sql",
        machine_id.0,
        identity,
        name,
        hostname,
        os,
        os_version,
        os_build,
        arch,
        hardware_model,
        chip,
        gpu_cores.map(|cores| cores as i32),
        gpu_max_mhz.map(|mhz| mhz as i32),
        *cpu_cores as i32,
        tiers_to_json(cpu_tiers),
        *memory_bytes as i64,
        wired_limit_bytes.map(|bytes| bytes as i64),
        boot_id,
        *virtual_machine,
        *simulated,
        agent_version,
        json!(labels)
    )
    .execute(executor)
    .await?;
    expect_rows("put machine", 1, done.rows_affected())
}

fn tiers_to_json(tiers: &[CpuTier]) -> Value {
    tiers
        .iter()
        .map(|CpuTier { label, cores }| json!({"label": label, "cores": cores}))
        .collect()
}

fn tiers_from_json(value: &Value) -> Option<Vec<CpuTier>> {
    value
        .as_array()?
        .iter()
        .map(|tier| {
            Some(CpuTier {
                label: tier["label"].as_str()?.to_owned(),
                cores: tier["cores"].as_u64()? as u32,
            })
        })
        .collect()
}

/// Heartbeats arrived. Touches one row per machine.
pub async fn touch(executor: impl PgExecutor<'_>, machines: &[MachineId]) -> Result<()> {
    let ids: Vec<Uuid> = machines.iter().map(|id| id.0).collect();
    sqlx::query!(
        "update fleet.machine set last_seen_at = now()
         from (
             select machine_id from fleet.machine where machine_id = any($1)
             order by machine_id for no key update
         ) as seen
         where machine.machine_id = seen.machine_id",
        &ids
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Machines that can still connect: those that a plan may mean.
pub async fn candidates(executor: impl PgExecutor<'_>) -> Result<Vec<Candidate>> {
    let rows = sqlx::query!(
        r#"select machine.*, labels || operator_labels as "all_labels!"
         from fleet.machine where not imported and exists (
             select from fleet.certificate
             where certificate.machine_id = machine.machine_id
                 and revoked_at is null and expires_at > now()
         ) order by name"#
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let corrupt = |column, value: &Value| Error::Corrupt {
                column,
                text: value.to_string(),
            };
            let labels: BTreeMap<String, String> =
                serde_json::from_value(row.all_labels.clone())
                    .map_err(|_| corrupt("machine.labels", &row.all_labels))?;
            Ok(Candidate {
                machine_id: MachineId(row.machine_id),
                name: row.name,
                approved: row.approved_at.is_some(),
                inventory: Inventory {
                    identity: row.identity,
                    hostname: row.hostname,
                    os: row.os,
                    os_version: row.os_version,
                    os_build: row.os_build,
                    arch: row.arch,
                    hardware_model: row.hardware_model,
                    chip: row.chip,
                    gpu_cores: row.gpu_cores.map(count),
                    gpu_max_mhz: row.gpu_max_mhz.map(count),
                    cpu_cores: count(row.cpu_cores),
                    cpu_tiers: tiers_from_json(&row.cpu_tiers)
                        .ok_or_else(|| corrupt("machine.cpu_tiers", &row.cpu_tiers))?,
                    memory_bytes: row.memory_bytes as u64,
                    wired_limit_bytes: row.wired_limit_bytes.map(|bytes| bytes as u64),
                    boot_id: row.boot_id,
                    virtual_machine: row.virtual_machine,
                    simulated: row.simulated,
                    agent_version: row.agent_version,
                    labels,
                },
            })
        })
        .collect()
}
