//! Cases of a run with their numbers so far, as the views of schema `report` have them.

use std::collections::BTreeMap;

use domain::ids::RunId;
use sqlx::PgExecutor;

use super::error::{Result, count};

/// A number that the run's plan puts first.
#[derive(Clone, Debug)]
pub struct Headline {
    pub machine: String,
    pub model: String,
    /// Empty where the suite needs none.
    pub dtype: String,
    pub suite: String,
    pub case_key: String,
    pub metric: String,
    pub unit: String,
    pub estimate: f64,
    /// Of the 95 % interval over launches; None with one.
    pub ci_low: Option<f64>,
    pub ci_high: Option<f64>,
    pub launches: u32,
    pub valid: bool,
    pub tainted: bool,
    pub reasons: Vec<String>,
    /// Of each launch, in the order that they were made.
    pub medians: Vec<f64>,
}

/// The first of them, and how many there are.
pub async fn headlines(
    executor: impl PgExecutor<'_>,
    run_id: RunId,
    limit: usize,
) -> Result<(Vec<Headline>, usize)> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query_file!("src/store/case_headlines.sql", run_id.0, limit)
        .fetch_all(executor)
        .await?;
    let all = rows.first().map_or(0, |row| row.all as usize);
    let headlines = rows.into_iter().map(|row| Headline {
        machine: row.machine,
        model: row.model,
        dtype: row.dtype,
        suite: row.suite,
        case_key: row.case_key,
        metric: row.metric,
        unit: row.unit,
        estimate: row.estimate,
        ci_low: row.ci_low,
        ci_high: row.ci_high,
        launches: count(row.launches),
        valid: row.valid,
        tainted: row.tainted,
        reasons: row.reasons,
        medians: row.medians.unwrap_or_default(),
    });
    Ok((headlines.collect(), all))
}

/// Those that somebody measured.
pub async fn suites(executor: impl PgExecutor<'_>) -> Result<Vec<String>> {
    let suites =
        sqlx::query_scalar!("select distinct suite from fleet.measured_case order by suite");
    Ok(suites.fetch_all(executor).await?)
}

/// What there is of a suite to choose from: of each facet its values, in their order.
pub async fn choices(
    executor: impl PgExecutor<'_>,
    suite: &str,
) -> Result<BTreeMap<String, Vec<String>>> {
    let rows = sqlx::query_file!("src/store/case_choices.sql", suite)
        .fetch_all(executor)
        .await?;
    let mut choices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        choices.entry(row.facet).or_default().push(row.value);
    }
    Ok(choices)
}
