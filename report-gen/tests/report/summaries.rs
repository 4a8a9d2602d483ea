//! What is kept of a launch when it begins to count is what its samples give.

use serde_json::{Value, json};
use sqlx::{Executor, Row};

use crate::postgres::Database;

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
