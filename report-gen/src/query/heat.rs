//! What the sensors say.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::report::{Noise, Timeline, Track, Variant};

/// As many launches as a reader can tell apart in one chart.
const TIMELINES: i64 = 6;
/// Heat, what it is made of and what it costs; the CPU's where the GPU has no sensor.
const SENSORS: [&str; 6] = [
    "gpu_temp_c",
    "cpu_temp_c",
    "gpu_power_w",
    "cpu_power_w",
    "sys_power_w",
    "gpu_mhz",
];

/// The launches that were flagged for heat or fell most, the worst first.
pub async fn timelines(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<Timeline>, sqlx::Error> {
    let sensors = SENSORS.map(str::to_owned).to_vec();
    let found = sqlx::query_file!("src/query/timelines.sql", run_id, TIMELINES, &sensors)
        .fetch_all(connection)
        .await?;
    let mut timelines: Vec<(i64, Timeline)> = Vec::new();
    for row in found {
        let point = (row.at_s, row.value);
        if timelines
            .last()
            .is_none_or(|(place, _)| *place != row.place)
        {
            let timeline = Timeline {
                machine: row.machine,
                suite: row.suite,
                variant: variant!(row),
                case_key: row.case_key.into(),
                launch: row.launch,
                throttled: row.throttled,
                trend_pct: row.trend_pct,
                cooldown_s: row.cooldown_s,
                reasons: row.reasons,
                tracks: Vec::new(),
            };
            timelines.push((row.place, timeline));
        }
        let Some((_, timeline)) = timelines.last_mut() else {
            continue;
        };
        match timeline.tracks.last_mut() {
            Some(track) if track.sensor == row.sensor => track.points.push(point),
            _ => timeline.tracks.push(Track {
                sensor: row.sensor,
                unit: row.unit,
                points: vec![point],
            }),
        }
    }
    Ok(timelines
        .into_iter()
        .map(|(_, timeline)| timeline)
        .collect())
}

pub async fn noise(
    connection: &mut PgConnection,
    run_id: Uuid,
    metrics: &[String],
) -> Result<Vec<Noise>, sqlx::Error> {
    sqlx::query_file_as!(Noise, "src/query/noise.sql", run_id, metrics)
        .fetch_all(connection)
        .await
}
