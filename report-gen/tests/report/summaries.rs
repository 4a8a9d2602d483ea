//! What is kept of launches and cases is what their samples, iterations and readings give.

use serde_json::{Value, json};
use sqlx::{Executor, PgConnection, Row};

use crate::postgres::Database;

/// All that is kept, to nine digits: sums differ in their last ones by the order of their terms.
const KEPT: &str = "
    select md5(string_agg(line, ' ' order by line)) as kept
    from (
        select to_jsonb(kept)::text as line from fleet.measured_case as kept
        union all
        select to_jsonb(kept)::text from fleet.case_metric as kept
        union all
        select to_jsonb(kept)::text from fleet.launch_metric as kept
        union all
        select to_jsonb(kept)::text from fleet.launch_region as kept
        union all
        select to_jsonb(kept)::text from fleet.launch_power as kept
    ) as every";

async fn kept(owner: &mut PgConnection) -> String {
    owner.execute("set extra_float_digits = -6").await.unwrap();
    owner.fetch_one(KEPT).await.unwrap().get("kept")
}

#[tokio::test]
async fn what_is_kept_is_the_same_launch_by_launch_and_all_at_once() {
    let database = Database::start();
    let mut owner = database.with_fleet("kept").await;
    let first = kept(&mut owner).await;
    let forget = "truncate fleet.launch_power, fleet.launch_region, fleet.launch_metric,
        fleet.case_metric, fleet.measured_case";
    for again in [
        "select count(fleet.summarise_launches(array[launch_id])) from (
            select launch_id from fleet.launch where counted order by md5(launch_id::text)
        ) as counted",
        "select fleet.summarise_launches(array(select launch_id from fleet.launch where counted))",
    ] {
        owner.execute(forget).await.unwrap();
        owner.execute(again).await.unwrap();
        assert_eq!(kept(&mut owner).await, first, "{again}");
    }
}

#[tokio::test]
async fn a_launch_whose_model_is_told_late_moves_to_its_case() {
    let database = Database::start();
    let mut owner = database.with_fleet("moving").await;
    let moved = "update fleet.launch set model_id = null
        where launch_id = (
            select launch_id from fleet.launch where counted and model_id is not null
            order by launch_id limit 1
        )";
    let before = kept(&mut owner).await;
    owner
        .execute("create temp table was as select launch_id, model_id from fleet.launch")
        .await
        .unwrap();
    owner.execute(moved).await.unwrap();
    assert_ne!(kept(&mut owner).await, before);
    let alone = "select count(*) as n from report.case_summary
                 where model_source is not null and model_id is null and launches = 1";
    assert!(owner.fetch_one(alone).await.unwrap().get::<i64, _>("n") > 0);
    owner
        .execute("update fleet.launch set model_id = was.model_id from was where was.launch_id = launch.launch_id
                  and launch.model_id is distinct from was.model_id")
        .await
        .unwrap();
    assert_eq!(owner.fetch_one(alone).await.unwrap().get::<i64, _>("n"), 0);
}

/// Rows that one side has and the other has not, or otherwise.
const DIFFERENT: &str = "
    with again as (
        select
            launch_id, metric,
            percentile_cont(0.5) within group (order by value) as median,
            min(value) as min, max(value) as max, count(*) as iterations
        from fleet.sample
        join fleet.iteration using (iteration_id)
        join fleet.launch using (launch_id)
        where counted and phase = 'measured'
        group by launch_id, metric
    )
    select count(*) as n
    from again
    full join fleet.launch_metric as kept using (launch_id, metric)
    where (again.median, again.min, again.max, again.iterations)
        is distinct from (kept.median, kept.min, kept.max, kept.iterations)";

#[tokio::test]
async fn a_launch_is_summarised_when_it_begins_to_count_and_can_be_again() {
    let database = Database::start();
    let mut owner = database.with_fleet("summaries").await;
    let mut count = async |query: &str| -> i64 {
        let row = owner.fetch_one(sqlx::AssertSqlSafe(query.to_owned())).await;
        row.unwrap().get("n")
    };
    assert!(count("select count(*) as n from fleet.launch_metric").await > 1000);
    assert_eq!(count(DIFFERENT).await, 0);

    // Evidence that came late has a sample, and nothing is kept of it until it counts.
    let late = "select launch_id from fleet.launch where outcome = 'succeeded' and not counted";
    let kept = format!("select count(*) as n from fleet.launch_metric where launch_id = ({late})");
    assert_eq!(count(&kept).await, 0);
    let counts = format!(
        "with told as (update fleet.launch set counted = true where launch_id = ({late}) returning 1)
         select count(*) as n from told"
    );
    assert_eq!(count(&counts).await, 1);
    assert_eq!(count(DIFFERENT).await, 0);
    let seen = "select count(*) as n from report.launch_summary where median = 1e6";
    assert_eq!(count(seen).await, 1);

    // Made again over what is there, all of it stays as it was.
    let again = "select count(fleet.summarise_launches(array(select launch_id from fleet.launch
                 where counted))) as n";
    count(again).await;
    assert_eq!(count(DIFFERENT).await, 0);

    let doubted = "select to_jsonb(reasons) as reasons, valid from report.launch_summary
                   where suite = 'load' and reasons <> '{}' limit 1";
    let row = owner.fetch_one(doubted).await.unwrap();
    let reasons: Value = row.get("reasons");
    assert_eq!(
        (reasons, row.get::<bool, _>("valid")),
        (json!(["not_cold"]), false)
    );
}
