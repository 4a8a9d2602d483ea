//! Where SQL and Rust both compute an interval, they give the same one: of every number of every run.

use std::collections::HashMap;

use report_gen::report_of;
use report_gen::stats::{Interval, Method};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::database::{close, rows};
use crate::postgres::Database;

/// What names a number on a machine, in both.
type Key = [Option<String>; 7];

fn key(row: &Value) -> Key {
    [
        "machine",
        "suite",
        "model",
        "model_digest",
        "dtype",
        "case_key",
        "metric",
    ]
    .map(|column| row[column].as_str().map(str::to_owned))
}

async fn by_key(pool: &PgPool, query: &str) -> HashMap<Key, Value> {
    let found = rows(pool, query).await;
    let count = found.len();
    let by_key: HashMap<Key, Value> = found.into_iter().map(|row| (key(&row), row)).collect();
    assert_eq!(by_key.len(), count, "no two rows have one name: {query}");
    by_key
}

fn same(row: &Value, value_column: &str, value: f64, interval: Option<Interval>) {
    close(&json!(value), &row[value_column], &format!("{row}"));
    match interval {
        Some(Interval { low, high }) => {
            close(&json!(low), &row["ci_low"], &format!("low end of {row}"));
            close(&json!(high), &row["ci_high"], &format!("high end of {row}"));
        }
        None => assert!(row["ci_low"].is_null() && row["ci_high"].is_null(), "{row}"),
    }
}

#[tokio::test]
async fn every_interval_of_every_report_is_that_of_the_views() {
    let database = Database::start();
    let _owner = database.with_fleet("fleet").await;
    let pool = database.reader("fleet").await;
    let (mut estimates, mut ratios) = (0, 0);
    for run in rows(&pool, "select run_id from report.run").await {
        let run = run["run_id"].as_str().unwrap();
        let report = report_of(&pool, &run.parse().unwrap()).await.unwrap();
        let query = format!("select * from report.case_summary where run_id = '{run}'");
        let summaries = by_key(&pool, &query).await;
        assert_eq!(summaries.len(), report.measurements.len(), "run {run}");
        for m in &report.measurements {
            let row = &summaries[&[
                Some(m.machine.clone()),
                Some(m.suite.clone()),
                Some(m.variant.model.clone()),
                m.variant.digest.clone(),
                m.variant.dtype.clone(),
                Some(m.case_key.as_str().to_owned()),
                Some(m.metric.clone()),
            ]];
            // A bootstrap is not for SQL; its location is.
            let interval = match m.estimate.method {
                Method::Bootstrap => continue,
                _ => m.estimate.interval,
            };
            same(row, "estimate", m.estimate.value, interval);
            assert_eq!(row["launches"], m.estimate.launches);
            estimates += 1;
        }
        let Some(baseline) = &report.comparison.baseline else {
            continue;
        };
        let query = format!(
            "select * from report.comparison where run_id = '{run}' and baseline = '{baseline}'"
        );
        let compared = by_key(&pool, &query).await;
        for pair in &report.comparison.pairs {
            let row = &compared[&[
                Some(pair.machine.clone()),
                Some(pair.suite.clone()),
                Some(pair.variant.model.clone()),
                pair.variant.digest.clone(),
                pair.variant.dtype.clone(),
                Some(pair.case_key.as_str().to_owned()),
                Some(pair.metric.clone()),
            ]];
            match &pair.ratio {
                Some(ratio) => {
                    same(row, "ratio", ratio.value, ratio.interval);
                    ratios += 1;
                }
                None => assert!(row["ratio"].is_null(), "{row}"),
            }
        }
    }
    assert!(estimates > 500 && ratios > 20, "{estimates} and {ratios}");
    pool.close().await;
}
