//! The certificates that machines were given.

use domain::ids::MachineId;
use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::error::{Result, expect_rows};

#[derive(Debug)]
pub struct Stored {
    pub machine_id: MachineId,
    pub revoked: bool,
    pub expired: bool,
}

/// Touches one row.
pub async fn insert(
    executor: impl PgExecutor<'_>,
    fingerprint: &str,
    machine_id: MachineId,
    expires_at: OffsetDateTime,
) -> Result<()> {
    let done = sqlx::query!(
        "insert into fleet.certificate (fingerprint, machine_id, expires_at) values ($1, $2, $3)",
        fingerprint,
        machine_id.0,
        expires_at
    )
    .execute(executor)
    .await?;
    expect_rows("insert certificate", 1, done.rows_affected())
}

/// Revokes what a machine still has; says how many.
pub async fn revoke_of_machine(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
) -> Result<u64> {
    let done = sqlx::query!(
        "update fleet.certificate set revoked_at = now()
         where machine_id = $1 and revoked_at is null and expires_at > now()",
        machine_id.0
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}

/// The same for every machine.
pub async fn revoke_all(executor: impl PgExecutor<'_>) -> Result<u64> {
    let done =
        sqlx::query!("update fleet.certificate set revoked_at = now() where revoked_at is null")
            .execute(executor)
            .await?;
    Ok(done.rows_affected())
}

pub async fn find(executor: impl PgExecutor<'_>, fingerprint: &str) -> Result<Option<Stored>> {
    let row = sqlx::query!(
        r#"select machine_id, revoked_at is not null as "revoked!", expires_at <= now() as "expired!"
           from fleet.certificate where fingerprint = $1"#,
        fingerprint
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| Stored {
        machine_id: MachineId(row.machine_id),
        revoked: row.revoked,
        expired: row.expired,
    }))
}

/// Whether any of these is good no more.
pub async fn has_ended(executor: impl PgExecutor<'_>, fingerprints: &[String]) -> Result<bool> {
    let ended = sqlx::query_scalar!(
        r#"select exists (
               select from fleet.certificate
               where fingerprint = any($1) and (revoked_at is not null or expires_at <= now())
           ) as "ended!""#,
        fingerprints
    )
    .fetch_one(executor)
    .await?;
    Ok(ended)
}
