//! What agents upload: batches, launches, their conditions, iterations, samples, readings.
//!
//! Everything goes in by UNNEST, for the batches of many agents at once. Each statement that writes to a
//! launch also names the lease that the batch came under: an agent cannot write to another's launch.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ids::{JobId, LaunchId, LeaseId, MachineId};
use domain::job::LaunchOutcome;
use domain::metric::Metric;
use domain::model::ModelIdentity;
use domain::reason::Reason;
use domain::record::{Environment, LaunchFinished, LaunchHeat, LaunchStarted, Reading};
use domain::worker::Iteration;
use serde_json::json;
use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::{Result, expect_rows};

/// Takes batches once: says which of them are new.
pub async fn insert_batches(
    executor: impl PgExecutor<'_>,
    batches: &[(LeaseId, u64)],
) -> Result<Vec<(LeaseId, u64)>> {
    let leases: Vec<Uuid> = batches.iter().map(|(lease, _)| lease.0).collect();
    let seqs: Vec<i64> = batches.iter().map(|(_, seq)| *seq as i64).collect();
    let rows = sqlx::query!(
        "insert into fleet.batch (lease_id, seq) select * from unnest($1::uuid[], $2::bigint[])
         on conflict do nothing
         returning lease_id, seq",
        &leases,
        &seqs
    )
    .fetch_all(executor)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (LeaseId(row.lease_id), row.seq as u64))
        .collect())
}

/// Touches one row per launch.
pub async fn insert_started(
    executor: impl PgExecutor<'_>,
    launches: &[(LeaseId, JobId, &LaunchStarted)],
) -> Result<()> {
    let ids: Vec<Uuid> = launches.iter().map(|(_, _, l)| l.launch_id.0).collect();
    let leases: Vec<Uuid> = launches.iter().map(|(lease, _, _)| lease.0).collect();
    let jobs: Vec<Uuid> = launches.iter().map(|(_, job, _)| job.0).collect();
    let cases: Vec<String> = launches
        .iter()
        .map(|(_, _, l)| l.case_key.clone())
        .collect();
    let ordinals: Vec<i32> = launches.iter().map(|(_, _, l)| l.ordinal as i32).collect();
    let positions: Vec<i32> = launches.iter().map(|(_, _, l)| l.position as i32).collect();
    let seeds: Vec<i64> = launches.iter().map(|(_, _, l)| l.seed as i64).collect();
    let started: Vec<OffsetDateTime> = launches.iter().map(|(_, _, l)| l.started_at).collect();
    let done = sqlx::query!(
        "insert into fleet.launch
             (launch_id, lease_id, job_id, case_key, ordinal, position, seed, started_at)
         select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::integer[],
                              $6::integer[], $7::bigint[], $8::timestamptz[])",
        &ids,
        &leases,
        &jobs,
        &cases,
        &ordinals,
        &positions,
        &seeds,
        &started
    )
    .execute(executor)
    .await?;
    expect_rows("insert launch", launches.len(), done.rows_affected())
}

/// Models that are not known yet; equal ones are one row.
pub async fn put_models(executor: impl PgExecutor<'_>, models: &[&ModelIdentity]) -> Result<()> {
    // The order keeps two transactions from waiting for each other.
    let unique: BTreeMap<_, _> = models
        .iter()
        .map(|m| ((&m.digest, m.dtype.as_str(), &m.label), *m))
        .collect();
    let text = |value: fn(&ModelIdentity) -> String| -> Vec<String> {
        unique.values().map(|model| value(model)).collect()
    };
    let number = |value: fn(&ModelIdentity) -> u64| -> Vec<i64> {
        unique.values().map(|model| value(model) as i64).collect()
    };
    let synthetic: Vec<bool> = unique.values().map(|model| model.synthetic).collect();
    sqlx::query_file!(
        "src/store/launch_put_models.sql",
        &text(|m| m.digest.clone()),
        &text(|m| m.dtype.to_string()),
        &text(|m| m.label.clone()),
        &text(|m| m.source.clone()),
        &text(|m| m.model_type.clone()),
        &text(|m| m.quantisation.clone()),
        &number(|m| m.parameters),
        &number(|m| m.weight_bytes),
        &number(|m| m.decode_bytes),
        &number(|m| m.kv_bytes_per_token),
        &synthetic,
        &text(|m| m.config_json.clone())
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Environments that are not known yet, by the hash of all that makes them.
pub async fn put_environments(
    executor: impl PgExecutor<'_>,
    environments: &BTreeMap<String, &Environment>,
) -> Result<()> {
    let ids: Vec<String> = environments.keys().cloned().collect();
    let text = |value: fn(&Environment) -> &str| -> Vec<String> {
        environments.values().map(|e| value(e).to_owned()).collect()
    };
    let env: Vec<String> = environments
        .values()
        .map(|e| json!(e.worker.mlx_env).to_string())
        .collect();
    let bytes = |value: fn(&Environment) -> Option<u64>| -> Vec<Option<i64>> {
        let values = environments.values().map(|e| value(e));
        values.map(|bytes| bytes.map(|n| n as i64)).collect()
    };
    let working_set: Vec<i64> = environments
        .values()
        .map(|e| e.worker.recommended_working_set_bytes as i64)
        .collect();
    let debug: Vec<bool> = environments
        .values()
        .map(|e| e.worker.debug_build)
        .collect();
    let nax: Vec<Option<bool>> = environments.values().map(|e| e.worker.nax_built).collect();
    let power: Vec<Option<String>> = environments
        .values()
        .map(|e| e.power_source.clone())
        .collect();
    let low: Vec<Option<bool>> = environments.values().map(|e| e.low_power_mode).collect();
    sqlx::query_file!(
        "src/store/launch_put_environments.sql",
        &ids,
        &text(|e| &e.os),
        &text(|e| &e.os_version),
        &text(|e| &e.os_build),
        &text(|e| &e.kernel),
        &text(|e| &e.agent_version),
        &text(|e| &e.agent_commit),
        &text(|e| &e.worker.suite_version),
        &text(|e| &e.worker.suite_commit),
        &text(|e| &e.worker.mlx_version),
        &text(|e| &e.worker.mlx_device),
        &text(|e| &e.worker.mlx_architecture),
        &text(|e| &e.worker.blas),
        &text(|e| &e.worker.metallib_sha256),
        &bytes(|e| e.worker.metallib_bytes) as &[Option<i64>],
        &env,
        &debug,
        &nax as &[Option<bool>],
        &power as &[Option<String>],
        &low as &[Option<bool>],
        &bytes(|e| e.wired_limit_bytes) as &[Option<i64>],
        &working_set,
        &text(|e| &e.worker.mlx_sha256)
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// What a launch loaded and where it ran.
#[derive(Debug)]
pub struct Conditions<'a> {
    pub lease_id: LeaseId,
    pub launch_id: LaunchId,
    /// None for a suite about the machine itself.
    pub model: Option<&'a ModelIdentity>,
    pub environment_id: &'a str,
    pub boot_id: &'a str,
}

/// Touches one row per launch.
pub async fn set_conditions(
    executor: impl PgExecutor<'_>,
    conditions: &[Conditions<'_>],
) -> Result<()> {
    let leases: Vec<Uuid> = conditions.iter().map(|c| c.lease_id.0).collect();
    let launches: Vec<Uuid> = conditions.iter().map(|c| c.launch_id.0).collect();
    let text = |value: fn(&Conditions<'_>) -> String| -> Vec<String> {
        conditions.iter().map(value).collect()
    };
    let of_model = |value: fn(&ModelIdentity) -> String| -> Vec<Option<String>> {
        conditions.iter().map(|c| c.model.map(value)).collect()
    };
    let done = sqlx::query!(
        "update fleet.launch
         set model_id = model.model_id, environment_id = c.environment_id, boot_id = c.boot_id
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
              as c (lease_id, launch_id, digest, dtype, label, environment_id, boot_id)
         left join fleet.model
             on model.digest = c.digest and model.dtype = c.dtype and model.label = c.label
         where launch.launch_id = c.launch_id and launch.lease_id = c.lease_id",
        &leases,
        &launches,
        &of_model(|m| m.digest.clone()) as &[Option<String>],
        &of_model(|m| m.dtype.to_string()) as &[Option<String>],
        &of_model(|m| m.label.clone()) as &[Option<String>],
        &text(|c| c.environment_id.to_owned()),
        &text(|c| c.boot_id.to_owned())
    )
    .execute(executor)
    .await?;
    expect_rows(
        "set a launch's conditions",
        conditions.len(),
        done.rows_affected(),
    )
}

/// Touches one row per iteration; says each one's id.
pub async fn insert_iterations(
    executor: impl PgExecutor<'_>,
    iterations: &[(LeaseId, LaunchId, &Iteration)],
) -> Result<Vec<(i64, LaunchId, u32)>> {
    let leases: Vec<Uuid> = iterations.iter().map(|(lease, _, _)| lease.0).collect();
    let launches: Vec<Uuid> = iterations.iter().map(|(_, launch, _)| launch.0).collect();
    let ordinals: Vec<i32> = iterations
        .iter()
        .map(|(_, _, i)| i.ordinal as i32)
        .collect();
    let text = |value: fn(&Iteration) -> String| -> Vec<String> {
        iterations
            .iter()
            .map(|(_, _, iteration)| value(iteration))
            .collect()
    };
    let number = |value: fn(&Iteration) -> u64| -> Vec<i64> {
        iterations
            .iter()
            .map(|(_, _, iteration)| value(iteration) as i64)
            .collect()
    };
    // Arrays of arrays must be rectangular in Postgres: all tokens in a row, and where each ends.
    let mut token_ns: Vec<i64> = Vec::new();
    let mut token_ends: Vec<i32> = Vec::with_capacity(iterations.len());
    for (_, _, iteration) in iterations {
        token_ns.extend(iteration.token_times.iter().map(|at| at.as_nanos() as i64));
        token_ends.push(token_ns.len() as i32);
    }
    let rows = sqlx::query_file!(
        "src/store/launch_insert_iterations.sql",
        &leases,
        &launches,
        &ordinals,
        &text(|i| i.phase.as_str().to_owned()),
        &text(|i| i.mode.clone()),
        &number(|i| i.started.as_micros() as u64),
        &number(|i| i.duration.as_nanos() as u64),
        &number(|i| i.work),
        &text(|i| codes(&i.reasons)),
        &text(|i| i.token_ids_sha256.clone()),
        &token_ends,
        &token_ns
    )
    .fetch_all(executor)
    .await?;
    expect_rows("insert iteration", iterations.len(), rows.len() as u64)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (
                row.iteration_id,
                LaunchId(row.launch_id),
                row.ordinal as u32,
            )
        })
        .collect())
}

/// Reason codes hold no comma.
fn codes(reasons: &[Reason]) -> String {
    reasons
        .iter()
        .map(|reason| reason.code())
        .collect::<Vec<_>>()
        .join(",")
}

/// Touches one row per sample.
pub async fn insert_samples(
    executor: impl PgExecutor<'_>,
    samples: &[(i64, Metric, f64)],
) -> Result<()> {
    let iterations: Vec<i64> = samples.iter().map(|(iteration, _, _)| *iteration).collect();
    let metrics: Vec<String> = samples
        .iter()
        .map(|(_, m, _)| m.name().to_owned())
        .collect();
    let values: Vec<f64> = samples.iter().map(|(_, _, value)| *value).collect();
    let done = sqlx::query!(
        "insert into fleet.sample (iteration_id, metric, value)
         select * from unnest($1::bigint[], $2::text[], $3::float8[])",
        &iterations,
        &metrics,
        &values
    )
    .execute(executor)
    .await?;
    expect_rows("insert sample", samples.len(), done.rows_affected())
}

/// What is kept of those among them that count is made again. The others are when they begin to.
pub async fn summarise_counted(executor: impl PgExecutor<'_>, launches: &[LaunchId]) -> Result<()> {
    let launches: Vec<Uuid> = launches.iter().map(|launch| launch.0).collect();
    sqlx::query!(
        r#"select fleet.summarise_launches(array_agg(launch_id)) is null as done
           from fleet.launch
           where launch_id = any($1) and counted
           having count(*) > 0"#,
        &launches
    )
    .fetch_optional(executor)
    .await?;
    Ok(())
}

/// A sensor has one value at a time: what is there stays.
pub async fn insert_readings(
    executor: impl PgExecutor<'_>,
    readings: &[(MachineId, LeaseId, &Reading)],
) -> Result<()> {
    let machines: Vec<Uuid> = readings.iter().map(|(machine, _, _)| machine.0).collect();
    let leases: Vec<Uuid> = readings.iter().map(|(_, lease, _)| lease.0).collect();
    let times: Vec<OffsetDateTime> = readings.iter().map(|(_, _, r)| r.at).collect();
    let sensors: Vec<String> = readings.iter().map(|(_, _, r)| r.sensor.clone()).collect();
    let values: Vec<f64> = readings.iter().map(|(_, _, r)| r.value).collect();
    sqlx::query!(
        "insert into fleet.reading (machine_id, lease_id, at, sensor, value)
         select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::float8[])
         on conflict do nothing",
        &machines,
        &leases,
        &times,
        &sensors,
        &values
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Touches one row per launch.
pub async fn insert_heats(
    executor: impl PgExecutor<'_>,
    heats: &[(LeaseId, &LaunchHeat)],
) -> Result<()> {
    let leases: Vec<Uuid> = heats.iter().map(|(lease, _)| lease.0).collect();
    let launches: Vec<Uuid> = heats.iter().map(|(_, heat)| heat.launch_id.0).collect();
    let millis = |value: fn(&LaunchHeat) -> Duration| -> Vec<i64> {
        let values = heats.iter().map(|(_, heat)| value(heat));
        values.map(|time| time.as_millis() as i64).collect()
    };
    let number = |value: fn(&LaunchHeat) -> Option<f64>| -> Vec<Option<f64>> {
        heats.iter().map(|(_, heat)| value(heat)).collect()
    };
    let done = sqlx::query_file!(
        "src/store/launch_insert_heats.sql",
        &leases,
        &launches,
        &millis(|heat| heat.cooldown),
        &number(|heat| heat.canary_before.map(|canary| canary.gemm_tflops)) as &[Option<f64>],
        &number(|heat| heat.canary_before.map(|canary| canary.gemm_ratio)) as &[Option<f64>],
        &number(|heat| heat.canary_before.map(|canary| canary.stream_gbps)) as &[Option<f64>],
        &number(|heat| heat.canary_before.map(|canary| canary.stream_ratio)) as &[Option<f64>],
        &number(|heat| heat.canary_after.map(|canary| canary.gemm_tflops)) as &[Option<f64>],
        &number(|heat| heat.canary_after.map(|canary| canary.gemm_ratio)) as &[Option<f64>],
        &number(|heat| heat.canary_after.map(|canary| canary.stream_gbps)) as &[Option<f64>],
        &number(|heat| heat.canary_after.map(|canary| canary.stream_ratio)) as &[Option<f64>],
        &number(|heat| heat.trend_pct) as &[Option<f64>],
        &millis(|heat| heat.telemetry_gap),
        &number(|heat| heat.sensors_cost.map(|cost| cost.percent)) as &[Option<f64>],
        &number(|heat| heat.sensors_cost.map(|cost| cost.low)) as &[Option<f64>],
        &number(|heat| heat.sensors_cost.map(|cost| cost.high)) as &[Option<f64>]
    )
    .execute(executor)
    .await?;
    expect_rows("insert heat", heats.len(), done.rows_affected())
}

/// The end of a launch, and whether its lease was live when it was told.
#[derive(Debug)]
pub struct Finish<'a> {
    pub lease_id: LeaseId,
    pub live: bool,
    pub finished: &'a LaunchFinished,
}

/// Touches one row per launch. A success under a live lease counts, unless that repetition of the case
/// counts already.
pub async fn finish(executor: impl PgExecutor<'_>, finishes: &[Finish<'_>]) -> Result<()> {
    let leases: Vec<Uuid> = finishes.iter().map(|f| f.lease_id.0).collect();
    let launches: Vec<Uuid> = finishes.iter().map(|f| f.finished.launch_id.0).collect();
    let text = |value: fn(&LaunchFinished) -> String| -> Vec<String> {
        finishes.iter().map(|f| value(f.finished)).collect()
    };
    let number = |value: fn(&LaunchFinished) -> Option<i32>| -> Vec<Option<i32>> {
        finishes.iter().map(|f| value(f.finished)).collect()
    };
    let times: Vec<OffsetDateTime> = finishes.iter().map(|f| f.finished.finished_at).collect();
    let steady: Vec<bool> = finishes.iter().map(|f| f.finished.steady).collect();
    let may_count: Vec<bool> = finishes
        .iter()
        .map(|f| f.live && f.finished.outcome == LaunchOutcome::Succeeded)
        .collect();
    let done = sqlx::query_file!(
        "src/store/launch_finish.sql",
        &leases,
        &launches,
        &text(|f| f.outcome.to_string()),
        &text(|f| printable(&f.message)),
        &times,
        &steady,
        &number(|f| Some(f.warmup_iterations as i32)) as &[Option<i32>],
        &text(|f| codes(&f.reasons)),
        &text(|f| printable(&f.stderr_tail)),
        &number(|f| f.exit_code) as &[Option<i32>],
        &number(|f| f.signal) as &[Option<i32>],
        &may_count
    )
    .execute(executor)
    .await?;
    expect_rows("finish launch", finishes.len(), done.rows_affected())
}

/// Workers may write any bytes; Postgres keeps all but one.
fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
