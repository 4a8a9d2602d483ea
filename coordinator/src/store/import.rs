//! Others' results: machines that no agent describes, jobs that nobody was granted. Launches, iterations
//! and samples go the way of what agents upload.

use domain::ids::{JobId, LaunchId, LeaseId, MachineId, RunId};
use domain::import::{Job, Machine};
use domain::model::{ModelIdentity, NO_MODEL};
use serde_json::json;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::error::{Result, count, expect_rows};

/// The run as which this file was imported for one of these machines.
pub async fn run_of(
    executor: impl PgExecutor<'_>,
    sha256: &str,
    machines: &[String],
) -> Result<Option<RunId>> {
    let run_id = sqlx::query_scalar!(
        "select run_id from fleet.run
         join fleet.plan using (plan_id)
         where plan.sha256 = $1 and run.label = 'imported' and exists (
             select from fleet.job join fleet.machine using (machine_id)
             where job.run_id = run.run_id and machine.name = any($2)
         )
         order by submitted_at limit 1",
        sha256,
        machines
    )
    .fetch_optional(executor)
    .await?;
    Ok(run_id.map(RunId))
}

/// A machine of this name.
pub struct Known {
    pub machine_id: MachineId,
    /// As it was imported; None where it is a machine of this fleet.
    pub imported: Option<Machine>,
}

pub async fn machine(executor: impl PgExecutor<'_>, name: &str) -> Result<Option<Known>> {
    let row = sqlx::query!(
        "select machine_id, imported, chip, gpu_cores, cpu_cores, memory_bytes, os, os_version
         from fleet.machine where name = $1",
        name
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| Known {
        machine_id: MachineId(row.machine_id),
        imported: row.imported.then(|| Machine {
            name: name.to_owned(),
            chip: row.chip,
            gpu_cores: row.gpu_cores.map(count),
            cpu_cores: Some(count(row.cpu_cores)).filter(|&cores| cores > 0),
            memory_bytes: Some(row.memory_bytes as u64).filter(|&bytes| bytes > 0),
            os: row.os,
            os_version: row.os_version,
        }),
    }))
}

/// Touches one row. What the file does not say is empty, and of numbers 0.
pub async fn insert_machine(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
    machine: &Machine,
) -> Result<()> {
    let Machine {
        name,
        chip,
        gpu_cores,
        cpu_cores,
        memory_bytes,
        os,
        os_version,
    } = machine;
    let done = sqlx::query!(
        "insert into fleet.machine (
             machine_id, identity, name, hostname, os, os_version, os_build, arch, hardware_model,
             chip, gpu_cores, cpu_cores, memory_bytes, boot_id, virtual_machine, simulated, imported,
             agent_version
         ) values ($1, 'imported ' || $2, $2, '', $3, $4, '', '', '', $5, $6, $7, $8, '', false, false,
             true, '')",
        machine_id.0,
        name,
        os,
        os_version,
        chip,
        gpu_cores.map(|cores| cores as i32),
        cpu_cores.unwrap_or_default() as i32,
        memory_bytes.unwrap_or_default() as i64
    )
    .execute(executor)
    .await?;
    expect_rows("insert imported machine", 1, done.rows_affected())
}

/// Jobs that have succeeded, each under a lease that is over. Touches a row of both for each.
pub async fn insert_jobs(
    executor: impl PgExecutor<'_>,
    run_id: RunId,
    jobs: &[(JobId, LeaseId, MachineId, &Job)],
) -> Result<()> {
    let ids: Vec<Uuid> = jobs.iter().map(|(job, _, _, _)| job.0).collect();
    let leases: Vec<Uuid> = jobs.iter().map(|(_, lease, _, _)| lease.0).collect();
    let machines: Vec<Uuid> = jobs.iter().map(|(_, _, machine, _)| machine.0).collect();
    let text = |value: fn(&Job) -> String| -> Vec<String> {
        jobs.iter().map(|(_, _, _, job)| value(job)).collect()
    };
    let of_model = |value: fn(&domain::import::Model) -> Option<String>| -> Vec<Option<String>> {
        jobs.iter()
            .map(|(_, _, _, job)| job.model.as_ref().and_then(value))
            .collect()
    };
    let launches: Vec<i32> = jobs
        .iter()
        .map(|(_, _, _, job)| job.launches.len() as i32)
        .collect();
    let done = sqlx::query_file!(
        "src/store/import_insert_jobs.sql",
        run_id.0,
        &ids,
        &leases,
        &machines,
        &text(|job| job.suite.to_string()),
        &of_model(|model| Some(model.source().to_owned())) as &[Option<String>],
        &text(|job| {
            let label = job.model.as_ref().map(|model| model.label.as_str());
            label.unwrap_or(NO_MODEL).to_owned()
        }),
        &of_model(|model| Some(model.dtype?.to_string())) as &[Option<String>],
        &text(|job| {
            let mut keys: Vec<&str> = job.launches.iter().map(|l| l.case_key.as_str()).collect();
            keys.dedup();
            json!(keys).to_string()
        }),
        &launches
    )
    .execute(executor)
    .await?;
    expect_rows("insert imported job", jobs.len(), done.rows_affected())
}

/// The model of each launch, where its weights' arithmetic is known; how it warmed up nobody knows.
/// Touches one row per launch.
pub async fn set_models(
    executor: impl PgExecutor<'_>,
    launches: &[(LaunchId, Option<&ModelIdentity>)],
) -> Result<()> {
    let ids: Vec<Uuid> = launches.iter().map(|(launch, _)| launch.0).collect();
    let of_model = |value: fn(&ModelIdentity) -> String| -> Vec<Option<String>> {
        launches.iter().map(|(_, model)| model.map(value)).collect()
    };
    let done = sqlx::query!(
        "update fleet.launch
         set model_id = model.model_id, steady = null, warmup_iterations = null
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
              as told (launch_id, digest, dtype, label)
         left join fleet.model
             on model.digest = told.digest and model.dtype = told.dtype and model.label = told.label
         where launch.launch_id = told.launch_id",
        &ids,
        &of_model(|model| model.digest.clone()) as &[Option<String>],
        &of_model(|model| model.dtype.to_string()) as &[Option<String>],
        &of_model(|model| model.label.clone()) as &[Option<String>]
    )
    .execute(executor)
    .await?;
    expect_rows(
        "set an import's models",
        launches.len(),
        done.rows_affected(),
    )
}
