//! The views over several cases.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::report::{Floor, Knee, MemorySlope, PositionEffect, Variant};
use crate::stats::{Interval, Ratio};

pub async fn knees(connection: &mut PgConnection, run_id: Uuid) -> Result<Vec<Knee>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/knees.sql", run_id)
        .fetch_all(connection)
        .await?;
    let knees = found.into_iter().map(|row| Knee {
        machine: row.machine,
        variant: variant!(row),
        case_key: row.case_key.into(),
        batch_knee: row.batch_knee,
        above_size: row.above_size,
        below_size: row.below_size,
        clear: row.clear,
        sizes: row.sizes,
        valid: row.valid,
        tainted: row.tainted,
        reasons: row.reasons,
    });
    Ok(knees.collect())
}

pub async fn floors(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<Floor>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/floors.sql", run_id)
        .fetch_all(connection)
        .await?;
    let floors = found.into_iter().map(|row| Floor {
        machine: row.machine,
        models: row.models,
        case_key: row.case_key.into(),
        kernel_floor_ms: row.kernel_floor_ms,
        interval: interval(row.ci_low, row.ci_high),
        gbps: row.gbps,
        r_squared: row.r_squared,
        valid: row.valid,
        tainted: row.tainted,
        reasons: row.reasons,
    });
    Ok(floors.collect())
}

pub async fn memory_slopes(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<MemorySlope>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/memory_slopes.sql", run_id)
        .fetch_all(connection)
        .await?;
    let slopes = found.into_iter().map(|row| MemorySlope {
        machine: row.machine,
        variant: variant!(row),
        kv_bytes_per_token: row.kv_bytes_per_token,
        kv_theory_bytes_per_token: row.kv_theory_bytes_per_token,
        peak_bytes_per_token: row.peak_bytes_per_token,
        peak_r_squared: row.peak_r_squared,
        lengths: row.lengths,
        valid: row.valid,
        tainted: row.tainted,
        reasons: row.reasons,
    });
    Ok(slopes.collect())
}

pub async fn position_effects(
    connection: &mut PgConnection,
    run_id: Uuid,
    metrics: &[String],
) -> Result<Vec<PositionEffect>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/position_effects.sql", run_id, metrics)
        .fetch_all(connection)
        .await?;
    let effects = found.into_iter().map(|row| PositionEffect {
        machine: row.machine,
        suite: row.suite,
        model: row.model,
        metric: row.metric,
        effect: row.effect,
        last_over_first: Ratio {
            value: row.last_over_first,
            interval: interval(row.ci_low, row.ci_high),
            log_variance: Some(row.log_error.powi(2)),
            df: Some(row.df as f64),
        },
        p_holm: None,
        moved: None,
    });
    Ok(effects.collect())
}

fn interval(low: Option<f64>, high: Option<f64>) -> Option<Interval> {
    Some(Interval {
        low: low?,
        high: high?,
    })
}
