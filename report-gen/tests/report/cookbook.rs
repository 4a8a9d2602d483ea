//! Every recipe of the SQL cookbook runs as the reader and finds something in the seeded fleet.

use sqlx::AssertSqlSafe;

use crate::postgres::{Database, read, repository};

#[tokio::test]
async fn every_recipe_of_the_cookbook_runs_and_finds_something() {
    let text = read(&repository("docs/sql-cookbook.md"));
    let recipes: Vec<&str> = text
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(recipes.len() >= 10, "{} recipes", recipes.len());

    let database = Database::start();
    let _owner = database.with_fleet("cookbook").await;
    let reader = database.reader("cookbook").await;
    for recipe in recipes {
        let rows = sqlx::query(AssertSqlSafe(recipe)).fetch_all(&reader).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error}\n{recipe}"));
        assert!(!rows.is_empty(), "nothing found by\n{recipe}");
    }
    reader.close().await;
}
