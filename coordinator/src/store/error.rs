//! What can go wrong between us and Postgres, and whether another try would help.

use std::borrow::Cow;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database did not do as asked")]
    Sql(#[from] sqlx::Error),
    #[error("the database's URL cannot be read (--database-url or DATABASE_URL)")]
    Url(#[source] sqlx::Error),
    #[error(
        "cannot connect to the database {place}; is it running, and is that the one that is meant? \
         (--database-url or DATABASE_URL names another)"
    )]
    Connect { place: String, source: sqlx::Error },
    #[error(
        "schema `report` is rebuilt by this version, and these views of yours read it: {views}. Drop \
         them, start again, then make them anew"
    )]
    ReadByOthers { views: String },
    #[error(
        "the backup was made by a newer version, with migration {0}: restore it with that version or a \
         newer one"
    )]
    Newer(i64),
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("{statement} touched {touched} rows and meant {meant}")]
    RowCount {
        statement: &'static str,
        meant: u64,
        touched: u64,
    },
    #[error("{column} holds `{text}`, which this version does not know")]
    Corrupt { column: &'static str, text: String },
    #[error("view {file} is refused")]
    View {
        file: &'static str,
        source: sqlx::Error,
    },
}

impl Error {
    /// Whether the same statement may succeed soon: the server was away, or two transactions met.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Sql(error) => match code(error) {
                // Serialisation, deadlock, too many connections, out of resources, going down, lock
                // not available.
                Some(code) => {
                    matches!(
                        &*code,
                        "40001" | "40P01" | "53300" | "57P01" | "57P02" | "57P03" | "55P03"
                    ) || code.starts_with("08")
                        || code.starts_with("53")
                }
                None => self.lost_connection(),
            },
            Self::Url(_)
            | Self::Connect { .. }
            | Self::ReadByOthers { .. }
            | Self::Newer(_)
            | Self::Migrate(_)
            | Self::RowCount { .. }
            | Self::Corrupt { .. }
            | Self::View { .. } => false,
        }
    }

    /// Whether the server could not be reached at all.
    pub fn lost_connection(&self) -> bool {
        matches!(
            self,
            Self::Sql(
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            )
        )
    }

    /// Whether what was to be stored breaks a rule of the schema: another try would fail alike.
    pub fn refuses_the_data(&self) -> bool {
        match self {
            Self::Sql(error) => {
                code(error).is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
            }
            Self::RowCount { .. } | Self::Corrupt { .. } => true,
            Self::Url(_)
            | Self::Connect { .. }
            | Self::ReadByOthers { .. }
            | Self::Newer(_)
            | Self::Migrate(_)
            | Self::View { .. } => false,
        }
    }

    /// Whether our database user may not do this.
    pub fn lacks_privilege(&self) -> bool {
        matches!(self, Self::Sql(error) if code(error).as_deref() == Some("42501"))
    }

    /// Whether this unique index or constraint said no.
    pub fn violates(&self, constraint: &str) -> bool {
        matches!(self, Self::Sql(error) if error
            .as_database_error()
            .is_some_and(|error| error.constraint() == Some(constraint)))
    }
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

/// Turns "how many rows" into a refusal when it is not what was meant.
pub(super) fn expect_rows(statement: &'static str, meant: usize, touched: u64) -> Result<()> {
    if touched == meant as u64 {
        return Ok(());
    }
    Err(Error::RowCount {
        statement,
        meant: meant as u64,
        touched,
    })
}

/// A text of the database that stands for a typed value.
pub(super) fn read<T: std::str::FromStr>(column: &'static str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::Corrupt {
        column,
        text: text.to_owned(),
    })
}

/// Counts are non-negative by the schema.
pub(super) fn count(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}
