//! What lies beyond the run itself: the rest of the fleet, and the runs before it.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;
use crate::report::{Direction, Fit, HistoryPoint, Software, Variant};
use crate::rows::{CaseRow, HistoryRow};
use crate::stats::Interval;

/// Each of the run's models on every machine of the fleet.
pub async fn fits(connection: &mut PgConnection, run_id: Uuid) -> Result<Vec<Fit>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/fits.sql", run_id)
        .fetch_all(connection)
        .await?;
    let fits = found.into_iter().map(|row| Fit {
        machine: row.machine,
        chip: row.chip,
        gpu_cores: row.gpu_cores,
        memory_bytes: row.memory_bytes,
        limit_bytes: row.limit_bytes,
        context_tokens: row.context_tokens,
        decode_ceiling_tps: row.decode_ceiling_tps,
        variant: variant!(row),
    });
    Ok(fits.collect())
}

/// Runs of a series: what is drawn, and a fleet that measures each night grows by one each night.
const MOST_RUNS: i64 = 100;

/// The series that the run's numbers end, by series and time.
pub async fn history(
    connection: &mut PgConnection,
    run_id: Uuid,
    metrics: &[String],
) -> Result<Vec<HistoryRow>, Error> {
    let found = sqlx::query_file!("src/query/history.sql", run_id, metrics, MOST_RUNS)
        .fetch_all(connection)
        .await?;
    found
        .into_iter()
        .map(|row| {
            let interval = row.ci_low.zip(row.ci_high);
            Ok(HistoryRow {
                case: case!(row),
                metric: row.metric,
                unit: row.unit,
                direction: row.direction.parse::<Direction>()?,
                point: HistoryPoint {
                    run_id: row.run_id,
                    submitted_at: row.submitted_at,
                    value: row.estimate,
                    interval: interval.map(|(low, high)| Interval { low, high }),
                    tainted: row.tainted,
                    verdict: row.verdict,
                    change: row.change,
                    threshold: row.threshold,
                    software: Software {
                        mlx: row.mlx,
                        system: row.system,
                        worker: row.worker,
                    },
                },
            })
        })
        .collect()
}
