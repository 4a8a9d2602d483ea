//! Notifications between coordinators of one database. They only wake; state is read again from tables.

use domain::ids::{MachineId, RunId};
use sqlx::PgExecutor;
use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::Pool;
use super::error::Result;

const JOB: &str = "fleet_job";
const RUN: &str = "fleet_run";
const SESSION: &str = "fleet_session";
const UPGRADE: &str = "fleet_upgrade";

/// Something changed, somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The machine's queue or lease.
    Machine(MachineId),
    Run(RunId),
    /// The machine has a newer session, of this name.
    Session {
        machine_id: MachineId,
        session: Uuid,
    },
    /// Its agent is to have itself upgraded.
    Upgrade(MachineId),
    /// The link to the database was lost for a while: anything may have changed.
    Everything,
}

/// Sent with the transaction's commit; equal ones of one transaction are one.
pub async fn machines(executor: impl PgExecutor<'_>, machines: &[MachineId]) -> Result<()> {
    let ids: Vec<Uuid> = machines.iter().map(|id| id.0).collect();
    sqlx::query!(
        "select pg_notify('fleet_job', id::text) from unnest($1::uuid[]) as id",
        &ids
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Sent with the transaction's commit.
pub async fn runs(executor: impl PgExecutor<'_>, runs: &[RunId]) -> Result<()> {
    let ids: Vec<Uuid> = runs.iter().map(|id| id.0).collect();
    sqlx::query!(
        "select pg_notify('fleet_run', id::text) from unnest($1::uuid[]) as id",
        &ids
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Tells every coordinator that the machine's earlier sessions are over.
pub async fn session(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
    session: Uuid,
) -> Result<()> {
    let payload = format!("{machine_id} {session}");
    sqlx::query!("select pg_notify('fleet_session', $1)", payload)
        .execute(executor)
        .await?;
    Ok(())
}

/// Sent with the transaction's commit. Heard once or not at all: who asked sees whether it was done.
pub async fn upgrade(executor: impl PgExecutor<'_>, machine_id: MachineId) -> Result<()> {
    sqlx::query!(
        "select pg_notify('fleet_upgrade', $1)",
        machine_id.to_string()
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// One connection that waits. Drop it before the pool is closed: a live one would hold that up.
pub struct Listener(PgListener);

impl Listener {
    pub async fn connect(pool: &Pool) -> Result<Self> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen_all([JOB, RUN, SESSION, UPGRADE]).await?;
        Ok(Self(listener))
    }

    /// The next one. After a lost link it connects again by itself and says [`Wake::Everything`].
    pub async fn next(&mut self) -> Result<Wake> {
        loop {
            let Some(notification) = self.0.try_recv().await? else {
                return Ok(Wake::Everything);
            };
            // Whoever may notify on this database may also write nonsense.
            if let Some(wake) = parse(notification.channel(), notification.payload()) {
                return Ok(wake);
            }
            tracing::warn!(
                channel = notification.channel(),
                "a notification without meaning"
            );
        }
    }
}

fn parse(channel: &str, payload: &str) -> Option<Wake> {
    Some(match channel {
        JOB => Wake::Machine(payload.parse().ok()?),
        RUN => Wake::Run(payload.parse().ok()?),
        UPGRADE => Wake::Upgrade(payload.parse().ok()?),
        SESSION => {
            let (machine_id, session) = payload.split_once(' ')?;
            Wake::Session {
                machine_id: machine_id.parse().ok()?,
                session: session.parse().ok()?,
            }
        }
        _ => return None,
    })
}
