//! Figures of the whole fleet, each from an index.

use sqlx::PgExecutor;

use super::error::Result;

pub async fn ping(executor: impl PgExecutor<'_>) -> Result<()> {
    sqlx::query!("select 1 as one").fetch_one(executor).await?;
    Ok(())
}

#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub jobs_queued: u64,
    pub jobs_leased: u64,
    pub runs_active: u64,
}

pub async fn read(executor: impl PgExecutor<'_>) -> Result<Figures> {
    let row = sqlx::query!(
        r#"select (select count(*) from fleet.job where state = 'queued') as "jobs_queued!",
               (select count(*) from fleet.lease where state = 'live') as "jobs_leased!",
               (select count(*) from fleet.run where state = 'active') as "runs_active!""#
    )
    .fetch_one(executor)
    .await?;
    Ok(Figures {
        jobs_queued: row.jobs_queued as u64,
        jobs_leased: row.jobs_leased as u64,
        runs_active: row.runs_active as u64,
    })
}
