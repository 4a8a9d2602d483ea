//! What every coordinator of one database must agree on.

use sqlx::PgExecutor;

use super::error::{Result, expect_rows};

pub async fn find(executor: impl PgExecutor<'_>, setting: &str) -> Result<Option<String>> {
    let value = sqlx::query_scalar!(
        "select value from fleet.setting where setting = $1",
        setting
    )
    .fetch_optional(executor)
    .await?;
    Ok(value)
}

/// Touches one row.
pub async fn put(executor: impl PgExecutor<'_>, setting: &str, value: &str) -> Result<()> {
    let done = sqlx::query!(
        "insert into fleet.setting (setting, value) values ($1, $2)
         on conflict (setting) do update set value = excluded.value",
        setting,
        value
    )
    .execute(executor)
    .await?;
    expect_rows("insert setting", 1, done.rows_affected())
}

/// Holds a name until the transaction ends; others of the same name wait. A row and no advisory lock,
/// which whoever reads reports could take.
pub async fn lock(executor: impl PgExecutor<'_>, name: &str) -> Result<()> {
    put(executor, name, "").await
}
