//! What Postgres keeps, one function per statement. The caller owns the transaction; rows become domain
//! types here, and nothing outside names the driver.
//!
//! A function takes an executor first and says, where it writes, how many rows it meant to touch.

pub mod case;
pub mod certificate;
pub mod event;
pub mod figures;
pub mod import;
pub mod job;
pub mod launch;
pub mod lease;
pub mod machine;
pub mod prune;
pub mod reading;
pub mod roster;
pub mod run;
pub mod schedule;
pub mod setting;
pub mod token;
pub mod work;

pub mod dump;
pub mod migrate;
pub mod reader;
pub mod wake;

mod error;

use std::io;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};

pub use error::{Error, Result};
pub use sqlx::PgExecutor;

/// Connections of all statements together.
pub type Pool = sqlx::PgPool;
pub type Tx = sqlx::Transaction<'static, sqlx::Postgres>;

/// Enough to keep a server of a few cores busy; each costs it megabytes.
const MAX_CONNECTIONS: u32 = 10;
/// A statement that waits longer for a connection is told so instead of piling up.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// A host that drops packets would keep a start waiting for minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects, lazily: the first statement finds out whether the server is there.
pub fn connect(url: &SecretString) -> Result<Pool> {
    let options = options(url)?;
    Ok(PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options))
}

/// The first connection of a start. It says where it meant to go, without the password.
async fn connect_first(url: &SecretString) -> Result<PgConnection> {
    let options = options(url)?;
    let name = options.get_database().unwrap_or(options.get_username());
    let place = format!("`{name}` at {}:{}", options.get_host(), options.get_port());
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    connected
        .unwrap_or_else(|_| Err(late().into()))
        .map_err(|source| Error::Connect { place, source })
}

fn options(url: &SecretString) -> Result<PgConnectOptions> {
    let options: PgConnectOptions = url.expose_secret().parse().map_err(Error::Url)?;
    // Statements carry users' words and secrets' hashes: they stay out of the log.
    Ok(options
        .application_name("mlx-fleet")
        // Not the default, which begins with a schema of the user's name: ours is often `fleet`.
        .options([("search_path", "public")])
        .disable_statement_logging())
}

/// Makes the database on a server that has none of this name yet.
pub async fn create_database(server: &SecretString, name: &'static str) -> Result<()> {
    let mut connection = connect_first(server).await?;
    let exists = sqlx::query_scalar!(
        r#"select exists (select from pg_database where datname = $1) as "exists!""#,
        name
    )
    .fetch_one(&mut connection)
    .await?;
    if !exists {
        let statement = format!("create database \"{name}\"");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
    }
    Ok(connection.close().await?)
}

pub async fn begin(pool: &Pool) -> Result<Tx> {
    Ok(pool.begin().await?)
}

pub async fn commit(tx: Tx) -> Result<()> {
    Ok(tx.commit().await?)
}

/// Enrolments, one after another: names are made unique by looking at those there are.
pub async fn lock_enrolment(executor: impl PgExecutor<'_>) -> Result<()> {
    setting::lock(executor, "enrolment_lock").await
}
