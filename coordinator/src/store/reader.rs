//! SQL for everybody: one statement, on a connection of its own, as a login that is only a member of
//! `report_reader`.
//!
//! A login of its own, and not `set role` on ours: a statement can undo that by itself
//! (`select set_config('role', 'none', true), …`) and would then read the tables, with our rights. A
//! connection of its own, since what a session holds (locks, settings) should end with the statement.

use std::time::Duration;

use futures_util::TryStreamExt;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgErrorPosition, PgRow};
use sqlx::{
    Acquire, AssertSqlSafe, Column, ConnectOptions, Executor, PgConnection, Row, SqlSafeStr,
    Statement, TypeInfo, ValueRef,
};

use super::error::{Error, Result};
use super::{Pool, setting};

const PASSWORD: &str = "report_login_password";
/// The server stops a statement after so long.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

const TEMP_FILE_LIMIT: &str = "2GB";
/// A row that is longer is no row of a report, and would be in memory several times.
const MAX_ROW_BYTES: usize = 4 * 1024 * 1024;

/// A row of the answer, each value as Postgres writes it; None is NULL.
pub type TextRow = Vec<Option<String>>;

/// Why a reader's statement did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// In Postgres's words.
    #[error("{0}")]
    Statement(String),
    #[error("the database did not do as asked")]
    Store(#[from] Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        match error
            .as_database_error()
            .and_then(|e| e.try_downcast_ref::<PgDatabaseError>())
        {
            Some(told) => Self::Statement(in_words(told)),
            None => Self::Store(Error::Sql(error)),
        }
    }
}

fn in_words(error: &PgDatabaseError) -> String {
    let place = match error.position() {
        Some(PgErrorPosition::Original(position)) => format!(" (at character {position})"),
        Some(PgErrorPosition::Internal { .. }) | None => String::new(),
    };
    let first = format!("{}{place}", error.message());
    let more = [error.detail(), error.hint()].into_iter().flatten();
    let lines: Vec<&str> = std::iter::once(first.as_str()).chain(more).collect();
    lines.join("\n")
}

/// How to connect as the reader.
#[derive(Clone, Debug)]
pub struct Reader {
    options: PgConnectOptions,
}

/// Makes the reader's login where it is missing. Its password is kept in the database, so that several
/// coordinators agree; who can read it there can read everything already.
pub async fn prepare(pool: &Pool, url: &SecretString, password: &SecretString) -> Result<Reader> {
    let mut tx = pool.begin().await?;
    // Coordinators of one database may start together.
    setting::lock(&mut *tx, "reader_lock").await?;
    let login = sqlx::query!(
        r#"with name as (
               select 'mlx_fleet_reader_' || oid::text as login
               from pg_database where datname = current_database()
           )
           select login as "login!", exists (select from pg_roles where rolname = login) as "exists!"
           from name"#
    )
    .fetch_one(&mut *tx)
    .await?;
    let stored = setting::find(&mut *tx, PASSWORD).await?;
    let password = match stored {
        Some(stored) if login.exists => stored,
        _ => {
            let fresh = password.expose_secret().to_owned();
            let verb = if login.exists { "alter" } else { "create" };
            let name = &login.login;
            // Hexadecimal digits, as the caller makes them: nothing to escape.
            debug_assert!(fresh.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            let statement = format!(
                "{verb} role {name} login inherit nosuperuser nocreatedb nocreaterole \
                 connection limit 8 password '{fresh}'; \
                 grant report_reader to {name};"
            );
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut *tx)
                .await?;
            setting::put(&mut *tx, PASSWORD, &fresh).await?;
            fresh
        }
    };
    limit_files(&mut tx, &login.login).await?;
    tx.commit().await?;
    let options = super::options(url)?
        .username(&login.login)
        .password(&password)
        .application_name("mlx-fleet sql");
    Ok(Reader { options })
}

/// What statements may write to temporary files; only a superuser may set that, and a database of
/// somebody else's has its own limits.
async fn limit_files(tx: &mut super::Tx, login: &str) -> Result<()> {
    let mut tx = tx.begin().await?;
    let statement = format!("alter role {login} set temp_file_limit = '{TEMP_FILE_LIMIT}'");
    let done = sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut *tx)
        .await;
    match done.map_err(Error::from) {
        Ok(_) => Ok(tx.commit().await?),
        Err(error) if error.lacks_privilege() => Ok(tx.rollback().await?),
        Err(error) => Err(error),
    }
}

/// The open answer to one statement.
pub struct Answer {
    connection: PgConnection,
    statement: String,
    /// The columns' names, in order; they may repeat.
    pub columns: Vec<String>,
    /// Their types by Postgres's internal names, such as `int8`.
    pub types: Vec<String>,
}

impl Reader {
    /// Parses the statement: there must be exactly one.
    pub async fn ask(&self, statement: &str) -> std::result::Result<Answer, Refusal> {
        let mut connection = self.options.connect().await?;
        // The last: a statement ends when nobody is there any more to read its answer.
        let begin = format!(
            "begin read only; set local statement_timeout = {}; \
             set local search_path = report, pg_catalog; \
             set local client_connection_check_interval = 1000",
            STATEMENT_TIMEOUT.as_millis()
        );
        sqlx::raw_sql(AssertSqlSafe(begin))
            .execute(&mut connection)
            .await?;
        let prepared = (&mut connection)
            .prepare(AssertSqlSafe(statement.to_owned()).into_sql_str())
            .await?;
        if prepared.columns().is_empty() {
            // COPY, above all, which would change the protocol under us.
            let word = statement.split_whitespace().next().unwrap_or_default();
            return Err(Refusal::Statement(format!(
                "`{word}` returns no rows: only a query is answered here, such as \
                 `select * from report.run`"
            )));
        }
        let (columns, types) = prepared
            .columns()
            .iter()
            .map(|column| {
                (
                    column.name().to_owned(),
                    column.type_info().name().to_lowercase(),
                )
            })
            .unzip();
        Ok(Answer {
            connection,
            statement: statement.to_owned(),
            columns,
            types,
        })
    }
}

impl Answer {
    /// Hands each row over as it arrives; `take` answers whether it wants more.
    pub async fn each<F>(
        mut self,
        mut take: impl FnMut(TextRow) -> F,
    ) -> std::result::Result<(), Refusal>
    where
        F: Future<Output = bool>,
    {
        {
            // The simple protocol: every value comes as text.
            let mut rows = sqlx::raw_sql(AssertSqlSafe(self.statement)).fetch(&mut self.connection);
            while let Some(row) = rows.try_next().await? {
                if !take(text_row(&row)?).await {
                    break;
                }
            }
        }
        // Not politely: the rest of a long answer is not worth reading.
        drop(self.connection);
        Ok(())
    }
}

fn text_row(row: &PgRow) -> std::result::Result<TextRow, Refusal> {
    let bytes =
        |index| Ok::<_, sqlx::Error>(row.try_get_raw(index)?.as_bytes().map_or(0, <[u8]>::len));
    let lengths: Vec<usize> = (0..row.len())
        .map(bytes)
        .collect::<std::result::Result<_, _>>()?;
    if lengths.iter().sum::<usize>() > MAX_ROW_BYTES {
        let words = format!("a row has more than {MAX_ROW_BYTES} bytes: ask for less of it");
        return Err(Refusal::Statement(words));
    }
    (0..row.len())
        .map(|index| {
            let value = row.try_get_raw(index)?;
            if value.is_null() {
                return Ok(None);
            }
            let text = value.as_str().map_err(sqlx::Error::Decode)?;
            Ok(Some(text.to_owned()))
        })
        .collect()
}
