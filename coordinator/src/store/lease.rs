//! Leases. Their time is the database's.

use domain::ids::{JobId, LeaseId, MachineId, RunId};
use domain::lease::Epoch;
use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::{Error, Result, expect_rows};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Live,
    Released,
    Expired,
    Cancelled,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    fn read(text: &str) -> Result<Self> {
        match text {
            "live" => Ok(Self::Live),
            "released" => Ok(Self::Released),
            "expired" => Ok(Self::Expired),
            "cancelled" => Ok(Self::Cancelled),
            other => Err(Error::Corrupt {
                column: "lease.state",
                text: other.to_owned(),
            }),
        }
    }
}

/// The time by which leases expire.
pub async fn now(executor: impl PgExecutor<'_>) -> Result<OffsetDateTime> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#);
    Ok(now.fetch_one(executor).await?)
}

/// Touches one row; the unique indexes refuse a second live lease of a job or a machine.
pub async fn insert(
    executor: impl PgExecutor<'_>,
    lease_id: LeaseId,
    job_id: JobId,
    machine_id: MachineId,
    epoch: Epoch,
    ttl_seconds: f64,
) -> Result<()> {
    let done = sqlx::query!(
        "insert into fleet.lease (lease_id, job_id, machine_id, epoch, expires_at)
         values ($1, $2, $3, $4, now() + make_interval(secs => $5))",
        lease_id.0,
        job_id.0,
        machine_id.0,
        epoch.0 as i64,
        ttl_seconds
    )
    .execute(executor)
    .await?;
    expect_rows("insert lease", 1, done.rows_affected())
}

/// Lengthens those of these leases that are live and the machine's own that stands beside; says which. They
/// are locked in the order of [`lock`].
pub async fn renew(
    executor: impl PgExecutor<'_>,
    leases: &[(LeaseId, MachineId)],
    ttl_seconds: f64,
) -> Result<Vec<(LeaseId, MachineId)>> {
    let ids: Vec<Uuid> = leases.iter().map(|(lease, _)| lease.0).collect();
    let machines: Vec<Uuid> = leases.iter().map(|(_, machine)| machine.0).collect();
    let rows = sqlx::query!(
        "update fleet.lease set expires_at = now() + make_interval(secs => $3)
         from (
             select lease_id
             from fleet.lease
             join unnest($1::uuid[], $2::uuid[]) as told (lease_id, machine_id)
                 using (lease_id, machine_id)
             where state = 'live'
             order by lease_id for no key update of lease
         ) as live
         where lease.lease_id = live.lease_id
         returning lease.lease_id, lease.machine_id",
        &ids,
        &machines,
        ttl_seconds
    )
    .fetch_all(executor)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (LeaseId(row.lease_id), MachineId(row.machine_id)))
        .collect())
}

/// Lengthens every live lease that would end sooner.
pub async fn lengthen_all(executor: impl PgExecutor<'_>, ttl_seconds: f64) -> Result<u64> {
    let done = sqlx::query!(
        "update fleet.lease set expires_at = now() + make_interval(secs => $1)
         where state = 'live' and expires_at < now() + make_interval(secs => $1)",
        ttl_seconds
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}

/// A lease with the job it is for.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "ids are called the same everywhere"
)]
pub struct Lease {
    pub lease_id: LeaseId,
    pub job_id: JobId,
    pub machine_id: MachineId,
    pub epoch: Epoch,
    pub state: State,
}

struct Row {
    lease_id: Uuid,
    job_id: Uuid,
    machine_id: Uuid,
    epoch: i64,
    state: String,
}

impl TryFrom<Row> for Lease {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            lease_id: LeaseId(row.lease_id),
            job_id: JobId(row.job_id),
            machine_id: MachineId(row.machine_id),
            epoch: Epoch(row.epoch as u64),
            state: State::read(&row.state)?,
        })
    }
}

/// Of these, those that there are.
pub async fn find(executor: impl PgExecutor<'_>, leases: &[LeaseId]) -> Result<Vec<Lease>> {
    let ids: Vec<Uuid> = leases.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        "select lease_id, job_id, machine_id, epoch, state from fleet.lease where lease_id = any($1)",
        &ids
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Lease::try_from).collect()
}

/// Locks these leases for this transaction, always in the same order.
pub async fn lock(executor: impl PgExecutor<'_>, leases: &[LeaseId]) -> Result<Vec<Lease>> {
    let ids: Vec<Uuid> = leases.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        "select lease_id, job_id, machine_id, epoch, state
         from fleet.lease where lease_id = any($1)
         order by lease_id for no key update",
        &ids
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Lease::try_from).collect()
}

/// Locks the live leases of a run.
pub async fn lock_live_of_run(executor: impl PgExecutor<'_>, run_id: RunId) -> Result<Vec<Lease>> {
    let rows = sqlx::query_as!(
        Row,
        "select lease.lease_id, lease.job_id, lease.machine_id, lease.epoch, lease.state
         from fleet.lease join fleet.job on job.job_id = lease.job_id
         where job.run_id = $1 and lease.state = 'live'
         order by lease_id for no key update of lease",
        run_id.0
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Lease::try_from).collect()
}

/// Locks the live lease of a machine.
pub async fn lock_live_of_machine(
    executor: impl PgExecutor<'_>,
    machine_id: MachineId,
) -> Result<Option<Lease>> {
    let row = sqlx::query_as!(
        Row,
        "select lease_id, job_id, machine_id, epoch, state
         from fleet.lease where machine_id = $1 and state = 'live' for no key update",
        machine_id.0
    )
    .fetch_optional(executor)
    .await?;
    row.map(Lease::try_from).transpose()
}

/// Locks leases whose time is over by the database's clock; those in other hands are passed over.
pub async fn lock_overdue(executor: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Lease>> {
    let rows = sqlx::query_as!(
        Row,
        "select lease_id, job_id, machine_id, epoch, state
         from fleet.lease where state = 'live' and expires_at <= now()
         order by expires_at limit $1 for no key update skip locked",
        limit
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Lease::try_from).collect()
}

/// Ends live leases. Touches one row per lease.
pub async fn end(executor: impl PgExecutor<'_>, leases: &[LeaseId], state: State) -> Result<()> {
    let ids: Vec<Uuid> = leases.iter().map(|id| id.0).collect();
    let done = sqlx::query!(
        "update fleet.lease set state = $2, ended_at = now()
         where lease_id = any($1) and state = 'live'",
        &ids,
        state.as_str()
    )
    .execute(executor)
    .await?;
    expect_rows("end lease", leases.len(), done.rows_affected())
}

/// Whether a launch of this lease counts, and whether one was broken off.
pub async fn progress(executor: impl PgExecutor<'_>, lease_id: LeaseId) -> Result<(bool, bool)> {
    let row = sqlx::query!(
        r#"select
               coalesce(bool_or(counted), false) as "counted!",
               coalesce(bool_or(outcome in ('running', 'interrupted')), false) as "broken_off!"
           from fleet.launch where lease_id = $1"#,
        lease_id.0
    )
    .fetch_one(executor)
    .await?;
    Ok((row.counted, row.broken_off))
}
