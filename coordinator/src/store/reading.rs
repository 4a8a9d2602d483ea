//! What sensors of machines at work say.

use domain::ids::MachineId;
use sqlx::PgExecutor;

use super::error::Result;

/// The newest readings of a machine's sensor, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Recent {
    pub machine_id: MachineId,
    pub sensor: String,
    pub means: Vec<f64>,
}

/// Of machines that hold a lease: so many of the newest readings of these sensors, each value the mean of so
/// many that follow one another.
pub async fn recent(
    executor: impl PgExecutor<'_>,
    sensors: &[String],
    newest: u32,
    stretch: u32,
) -> Result<Vec<Recent>> {
    let (newest, stretch) = (i64::from(newest), i64::from(stretch));
    let rows = sqlx::query_file!(
        "src/store/machine_recent_readings.sql",
        sensors,
        newest,
        stretch
    )
    .fetch_all(executor)
    .await?;
    let recent = rows.into_iter().map(|row| Recent {
        machine_id: MachineId(row.machine_id),
        sensor: row.sensor,
        means: row.means,
    });
    Ok(recent.collect())
}
