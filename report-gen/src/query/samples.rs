//! Every single value of a run: more than a report holds in memory, so it comes as a stream.

use futures_util::{Stream, TryStreamExt};
use uuid::Uuid;

use super::{Error, PgPool};
use crate::report::Variant;
use crate::rows::{CaseRow, SampleRow};

/// In no order: sorting many millions would keep all of them waiting for the last.
pub fn samples(pool: &PgPool, run_id: Uuid) -> impl Stream<Item = Result<SampleRow, Error>> {
    let found = sqlx::query_file!("src/query/samples.sql", run_id).fetch(pool);
    found.map_err(Error::from).map_ok(|row| SampleRow {
        case: case!(row),
        launch: row.launch,
        iteration: row.iteration,
        phase: row.phase,
        mode: row.mode,
        started_at: row.started_at,
        metric: row.metric,
        unit: row.unit,
        value: row.value,
        valid: row.valid,
        tainted: row.tainted,
        reasons: row.reasons,
    })
}
