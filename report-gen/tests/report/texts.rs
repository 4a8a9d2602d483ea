//! Gate G6 over machines: greedy decoding has one answer for the same weights, kernels and family of
//! chips, and a machine that gives another is seen.

use report_gen::{RunChoice, report_of};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::postgres::Database;

/// Two chips of one family, and everything decodes to one text.
const ALIKE: &str = "
    update fleet.machine set chip = 'Apple M2' where name = 'air';
    update fleet.machine set chip = 'Apple M3 Max' where name = 'mini';
    update fleet.iteration set token_ids_sha256 = 'one'";

/// What `studio` writes in its decode cases.
const OTHERS: &str = "
    update fleet.iteration set token_ids_sha256 = 'two'
    from fleet.launch join fleet.job using (job_id) join fleet.machine using (machine_id)
    where iteration.launch_id = launch.launch_id and machine.name = 'studio' and job.suite = 'decode'";

/// Iterations do not change once they are stored, so nobody looks for it.
const AGAIN: &str =
    "select fleet.summarise_launches(array(select launch_id from fleet.launch where counted))";

async fn execute(owner: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(owner)
        .await
        .unwrap();
}

async fn texts_that_differ(owner: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "select distinct machine from report.token_identity where differs order by 1",
    )
    .fetch_all(owner)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_machine_that_writes_another_text_is_seen_and_told() {
    let database = Database::start();
    let mut owner = database.with_fleet("fleet").await;
    execute(&mut owner, ALIKE).await;
    execute(&mut owner, AGAIN).await;
    assert!(texts_that_differ(&mut owner).await.is_empty());

    execute(&mut owner, OTHERS).await;
    execute(&mut owner, AGAIN).await;
    let seen = texts_that_differ(&mut owner).await;
    assert!(
        seen.contains(&"mini".to_owned()) && seen.contains(&"studio".to_owned()),
        "{seen:?}"
    );
    let pool = database.reader("fleet").await;
    let plan =
        "select run_id from fleet.run join fleet.plan using (plan_id) where plan.name = 'm-series'";
    let run: sqlx::types::Uuid = sqlx::query_scalar(plan)
        .fetch_one(&mut owner)
        .await
        .unwrap();
    let report = report_of(&pool, &RunChoice::from(run)).await.unwrap();
    let told = |report: &report_gen::Report| {
        let mut texts = report.findings.iter().map(|finding| finding.text.clone());
        texts.find(|text| text.contains("wrote different tokens"))
    };
    let text = told(&report).unwrap();
    assert!(
        text.contains("mini and studio") && text.contains("Apple M3"),
        "{text}"
    );

    // Chips of another family round otherwise: that is no fault.
    execute(
        &mut owner,
        "update fleet.machine set chip = 'Apple M4' where name = 'mini'",
    )
    .await;
    let report = report_of(&pool, &RunChoice::from(run)).await.unwrap();
    assert_eq!(told(&report), None);
    pool.close().await;
}
