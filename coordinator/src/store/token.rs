//! Join tokens and operators' tokens; only the hash of a secret is kept.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::error::{Result, count, expect_rows};

/// A token as it is stored.
#[derive(Debug)]
pub struct Stored {
    pub kind: String,
    pub name: String,
    pub secret_sha256: Vec<u8>,
    /// Neither expired nor revoked.
    pub live: bool,
}

#[derive(Debug)]
pub struct New<'a> {
    pub token_id: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub secret_sha256: &'a [u8],
    pub ttl_seconds: Option<f64>,
    pub uses: Option<u32>,
}

/// Touches one row; its life is counted by the database's clock.
pub async fn insert(executor: impl PgExecutor<'_>, new: &New<'_>) -> Result<()> {
    let done = sqlx::query!(
        "insert into fleet.token (token_id, kind, name, secret_sha256, expires_at, uses_left)
         values ($1, $2, $3, $4, now() + make_interval(secs => $5), $6)",
        new.token_id,
        new.kind,
        new.name,
        new.secret_sha256,
        new.ttl_seconds,
        new.uses.map(|uses| uses as i32)
    )
    .execute(executor)
    .await?;
    expect_rows("insert token", 1, done.rows_affected())
}

pub async fn find(executor: impl PgExecutor<'_>, token_id: &str) -> Result<Option<Stored>> {
    let row = sqlx::query!(
        r#"select kind, name, secret_sha256,
                revoked_at is null and (expires_at is null or expires_at > now()) as "live!"
            from fleet.token where token_id = $1"#,
        token_id
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| Stored {
        kind: row.kind,
        name: row.name,
        secret_sha256: row.secret_sha256,
        live: row.live,
    }))
}

/// Takes one use of a token that is still good; false when none is left. Touches at most one row.
pub async fn take_use(executor: impl PgExecutor<'_>, token_id: &str) -> Result<bool> {
    let done = sqlx::query!(
        "update fleet.token set uses_left = uses_left - 1
         where token_id = $1 and uses_left > 0 and revoked_at is null and expires_at > now()",
        token_id
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A token as a list shows it.
#[derive(Debug)]
pub struct Summary {
    pub token_id: String,
    pub kind: String,
    pub name: String,
    /// live, used up, expired or revoked
    pub state: String,
    pub created_at: OffsetDateTime,
    pub expires_at: Option<OffsetDateTime>,
    /// Of a join token.
    pub uses_left: Option<u32>,
}

/// The newest first.
pub async fn summaries(executor: impl PgExecutor<'_>) -> Result<Vec<Summary>> {
    let rows = sqlx::query!(
        r#"select token_id, kind, name, created_at, expires_at, uses_left,
                case when revoked_at is not null then 'revoked'
                     when expires_at <= now() then 'expired'
                     when uses_left = 0 then 'used up'
                     else 'live' end as "state!"
            from fleet.token order by created_at desc, token_id"#
    )
    .fetch_all(executor)
    .await?;
    let summaries = rows.into_iter().map(|row| Summary {
        token_id: row.token_id,
        kind: row.kind,
        name: row.name,
        state: row.state,
        created_at: row.created_at,
        expires_at: row.expires_at,
        uses_left: row.uses_left.map(count),
    });
    Ok(summaries.collect())
}

/// Revokes a token, whether or not it was still good; says whether it was not revoked before. Touches at
/// most one row.
pub async fn revoke(executor: impl PgExecutor<'_>, token_id: &str) -> Result<bool> {
    let done = sqlx::query!(
        "update fleet.token set revoked_at = now() where token_id = $1 and revoked_at is null",
        token_id
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Revokes all that are still good; says how many.
pub async fn revoke_all(executor: impl PgExecutor<'_>) -> Result<u64> {
    let done = sqlx::query!("update fleet.token set revoked_at = now() where revoked_at is null")
        .execute(executor)
        .await?;
    Ok(done.rows_affected())
}
