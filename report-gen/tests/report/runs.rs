//! Run against run: each machine with itself, and what is refused.

use report_gen::analyze::{CONDITIONS, Refusal, compare_runs};
use report_gen::rows::{DifferenceRow, LaunchRow, RunPair};
use report_gen::stats::Verdict;
use report_gen::{RunComparison, terminal_comparison};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use time::macros::datetime;
use uuid::Uuid;

use crate::fleet;
use crate::postgres::{Database, read, repository};

/// The small fleet twice: nothing differs but the ids of the runs.
fn twice() -> RunPair {
    let run = fleet::rows();
    let mut baseline = run.clone();
    baseline.run.run_id = Uuid::from_u128(7);
    let differences = run.launches.iter().filter(|row| row.launch == 0);
    RunPair {
        differences: differences.map(alike).collect(),
        run,
        baseline,
    }
}

fn alike(row: &LaunchRow) -> DifferenceRow {
    DifferenceRow {
        machine: row.case.machine.clone(),
        suite: row.case.suite.clone(),
        model_source: row.case.variant.source.clone(),
        model_digest: row.case.variant.digest.clone(),
        baseline_digest: row.case.variant.digest.clone(),
        dtype: row.case.variant.dtype.clone(),
        case_key: row.case.case_key.clone(),
        metric: row.metric.clone(),
        differences: Vec::new(),
    }
}

fn compared(pair: RunPair, across: &[&str]) -> Result<RunComparison, Refusal> {
    let across: Vec<String> = across.iter().map(|&name| name.to_owned()).collect();
    compare_runs(pair, &across, datetime!(2026-11-02 10:00 UTC))
}

#[test]
fn a_machine_that_slowed_is_slower_and_the_others_are_as_they_were() {
    let mut pair = twice();
    for row in &mut pair.run.launches {
        if row.case.machine == "studio" && row.metric == "decode_tps" {
            row.median *= 0.8;
        }
    }
    let compared = compared(pair, &[]).unwrap();
    let all = &compared.comparison.pairs;
    assert!(all.iter().any(|pair| pair.machine == "air"));
    for pair in all {
        let slowed = pair.machine == "studio" && pair.metric == "decode_tps";
        let ratio = pair.ratio.unwrap().value;
        let expected = if slowed { 0.8 } else { 1.0 };
        assert!((ratio / expected - 1.0).abs() < 1e-9, "{ratio}");
        assert_eq!(pair.verdict == Some(Verdict::Slower), slowed, "{pair:?}");
    }
    let slower = |score: &&report_gen::report::Score| score.verdict == Some(Verdict::Slower);
    assert_eq!(compared.comparison.scores.iter().filter(slower).count(), 1);
    assert_eq!(compared.unmatched, 0);
    insta::assert_snapshot!("terminal_comparison", terminal_comparison(&compared));
}

#[test]
fn what_differs_is_named_unless_it_is_what_is_compared() {
    let updated = |only: Option<&str>| {
        let mut pair = twice();
        for row in &mut pair.differences {
            if only.is_none_or(|machine| machine == row.machine) {
                row.differences = vec!["mlx_version".to_owned()];
            }
        }
        pair
    };
    let refused = compared(updated(None), &[]).unwrap_err().to_string();
    assert!(
        refused.contains("mlx_version in ") && refused.contains("--across"),
        "{refused}"
    );
    let across = compared(updated(None), &["mlx_version"]).unwrap();
    assert!(
        across
            .comparison
            .pairs
            .iter()
            .all(|pair| pair.ratio.is_some())
    );

    let some = compared(updated(Some("studio")), &[]).unwrap();
    for pair in &some.comparison.pairs {
        assert_eq!(pair.ratio.is_none(), pair.machine == "studio");
    }
    assert!(
        some.comparison
            .scores
            .iter()
            .all(|score| score.machine != "studio")
    );
}

#[test]
fn a_run_is_not_compared_with_itself_nor_with_one_that_shares_no_case() {
    let mut same = twice();
    same.baseline.run.run_id = same.run.run.run_id;
    assert_eq!(compared(same, &[]).unwrap_err(), Refusal::OneRun);

    let mut elsewhere = twice();
    for row in &mut elsewhere.run.launches {
        row.case.machine = format!("other-{}", row.case.machine);
    }
    assert_eq!(compared(elsewhere, &[]).unwrap_err(), Refusal::NoCommonCase);

    let name = "invalid".to_owned();
    assert_eq!(
        compared(twice(), &["invalid"]).unwrap_err(),
        Refusal::UnknownCondition { name },
        "numbers do not become valid by asking"
    );
}

/// The tenth night of the seeded fleet was 12 % slower than the ninth.
#[tokio::test]
async fn nights_in_the_database_compare_as_the_view_says() {
    let database = Database::start();
    let mut owner = database.with_fleet("nights").await;
    let pool = database.reader("nights").await;
    let expected: Value = serde_json::from_str(&read(&repository(
        "report-gen/tests/fixtures/expected.json",
    )))
    .unwrap();
    let night = expected["regression"]["run"].as_str().unwrap();
    let before: String = sqlx::query_scalar(AssertSqlSafe(format!(
        "select previous_run_id::text from report.regression
         where run_id = '{night}' and metric = 'decode_tps'"
    )))
    .fetch_one(&pool)
    .await
    .unwrap();
    let of_view = |column: &str| {
        AssertSqlSafe(format!(
            "select {column} from report.pair where run_id = '{night}' and baseline_run_id = '{before}'
             and metric = 'decode_tps'"
        ))
    };
    let (run, baseline) = (night.parse().unwrap(), before.parse().unwrap());
    let compare = || report_gen::compare_runs(&pool, &run, &baseline, &[]);

    let compared = compare().await.unwrap();
    let pair = |metric: &str| {
        let mut pairs = compared.comparison.pairs.iter();
        pairs.find(|pair| pair.metric == metric).unwrap().clone()
    };
    let slower = pair("decode_tps");
    assert_eq!(slower.machine, "mini");
    let ratio = slower.ratio.unwrap();
    let change = expected["regression"]["change"].as_f64().unwrap();
    assert!((ratio.value - 1.0 - change).abs() < 1e-6, "{ratio:?}");
    for (column, value) in [
        ("ratio", ratio.value),
        ("ci_low", ratio.interval.unwrap().low),
        ("ci_high", ratio.interval.unwrap().high),
    ] {
        let seen: f64 = sqlx::query_scalar(of_view(column))
            .fetch_one(&pool)
            .await
            .unwrap();
        assert!(
            (seen / value - 1.0).abs() < 1e-6,
            "{column}: {seen} {value}"
        );
    }
    assert_eq!(slower.verdict, Some(Verdict::Slower));

    // Rules that change the measurement keep the nights apart; how often it was made does not.
    let change = |key: &str| {
        AssertSqlSafe(format!(
            "update fleet.run set protocol = jsonb_set(protocol, '{{{key}}}', '99')
             where run_id = '{night}'"
        ))
    };
    sqlx::query(change("launches"))
        .execute(&mut owner)
        .await
        .unwrap();
    assert!(compare().await.is_ok());
    sqlx::query(change("warmup_max_iterations"))
        .execute(&mut owner)
        .await
        .unwrap();
    let refused = compare().await.unwrap_err().to_string();
    assert!(refused.contains("protocol in "), "{refused}");

    let view: String = sqlx::query_scalar("select pg_get_viewdef('report.pair'::regclass)")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    for name in CONDITIONS {
        assert!(
            view.contains(&format!("'{name}'")),
            "the view has no `{name}`"
        );
    }
    pool.close().await;
}
