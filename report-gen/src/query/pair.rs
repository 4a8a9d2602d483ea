//! Two runs, to be compared.

use sqlx::PgConnection;

use super::{Error, PgPool, RunChoice, Snapshot, find_run, to_compare};
use crate::analyze;
use crate::report::Run;
use crate::rows::{DifferenceRow, RunPair};

/// All that a comparison of two runs needs.
pub async fn run_pair(
    pool: &PgPool,
    run: &RunChoice,
    baseline: &RunChoice,
) -> Result<RunPair, Error> {
    let mut snapshot = Snapshot::take(pool).await?;
    let run = find_run(&mut snapshot.first, run).await?;
    let baseline = find_run(&mut snapshot.first, baseline).await?;
    let (run, baseline) = match &mut snapshot.second {
        Some(second) => tokio::try_join!(
            to_compare(&mut snapshot.first, run),
            to_compare(second, baseline)
        )?,
        None => (
            to_compare(&mut snapshot.first, run).await?,
            to_compare(&mut snapshot.first, baseline).await?,
        ),
    };
    let differences = run_differences(&mut snapshot.first, &run.run, &baseline.run).await?;
    snapshot.release().await?;
    Ok(RunPair {
        run,
        baseline,
        differences,
    })
}

/// What keeps numbers of one machine from two runs from being compared.
async fn run_differences(
    connection: &mut PgConnection,
    run: &Run,
    baseline: &Run,
) -> Result<Vec<DifferenceRow>, sqlx::Error> {
    let metrics = analyze::headline_of_both(run, baseline);
    let found = sqlx::query_file!(
        "src/query/run_differences.sql",
        run.run_id,
        baseline.run_id,
        &metrics
    )
    .fetch_all(connection)
    .await?;
    let rows = found.into_iter().map(|row| DifferenceRow {
        machine: row.machine,
        suite: row.suite,
        model_source: row.model_source,
        model_digest: row.model_digest,
        baseline_digest: row.baseline_model_digest,
        dtype: row.dtype,
        case_key: row.case_key.into(),
        metric: row.metric,
        differences: row.differences,
    });
    Ok(rows.collect())
}
