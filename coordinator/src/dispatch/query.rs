//! SQL for everybody: one statement over the views, with limits.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Dispatch, Error, Result};
use crate::store::reader::{Answer, Reader, Refusal, TextRow};

/// Statements at work at a time; each has a connection of its own.
pub const MAX_STATEMENTS: usize = 4;
const MAX_SQL_BYTES: usize = 64 * 1024;
/// How long an answer may take to be found and read: a slow reader has a connection meanwhile.
pub const TURN: Duration = Duration::from_mins(2);
/// An answer with more rows is cut off with an error.
pub const MAX_ROWS: usize = 100_000;

/// Of the dashboard's own, besides: no reader's long statement holds up a page.
const MAX_PAGES: usize = 2;
/// Each has a run in memory.
const MAX_REPORTS: usize = 2;

/// Where readers' statements wait for their turn.
pub struct Desk {
    reader: Option<Reader>,
    turns: Semaphore,
    pages: Semaphore,
    pub reports: Semaphore,
}

/// Whose statement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Reader,
    Page,
}

impl Desk {
    pub fn new(reader: Option<Reader>) -> Self {
        Self {
            reader,
            turns: Semaphore::new(MAX_STATEMENTS),
            pages: Semaphore::new(MAX_PAGES),
            reports: Semaphore::new(MAX_REPORTS),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Statement(words) => Self::Invalid(words),
            Refusal::Store(error) => Self::Store(error),
        }
    }
}

impl Dispatch {
    /// Hands over the columns' names, then their types, then each row; `take` answers whether it wants more.
    pub async fn query<F>(&self, of: Of, sql: &str, take: impl FnMut(TextRow) -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let turn = match of {
            Of::Reader => self.desk.turns.acquire().await,
            Of::Page => self.desk.pages.acquire().await,
        };
        let answered = timeout(TURN, self.answer(sql, take)).await;
        drop(turn);
        answered.unwrap_or_else(|_| {
            Err(Error::TooMuch(format!(
                "the answer was not read within {} s, and others wait: summarise, or add `limit`",
                TURN.as_secs()
            )))
        })
    }

    async fn answer<F>(&self, sql: &str, mut take: impl FnMut(TextRow) -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        if sql.trim().is_empty() {
            return Err(Error::Invalid("the statement is empty".to_owned()));
        }
        if sql.len() > MAX_SQL_BYTES {
            return Err(Error::Invalid(format!(
                "a statement has at most {MAX_SQL_BYTES} bytes"
            )));
        }
        let Some(reader) = &self.desk.reader else {
            return Err(Error::Precondition(
                "the coordinator's database user may not make the login that reads reports (it \
                 needs CREATEROLE): ask the database's administrator"
                    .to_owned(),
            ));
        };
        let answer: Answer = reader.ask(sql).await?;
        for head in [&answer.columns, &answer.types] {
            if !take(head.iter().cloned().map(Some).collect()).await {
                return Ok(());
            }
        }
        let mut rows = 0;
        answer
            .each(|row| {
                rows += 1;
                let wanted = (rows <= MAX_ROWS).then(|| take(row));
                async move {
                    match wanted {
                        Some(wanted) => wanted.await,
                        None => false,
                    }
                }
            })
            .await?;
        if rows > MAX_ROWS {
            return Err(Error::TooMuch(format!(
                "the answer has more than {MAX_ROWS} rows: summarise, or add `limit` and `offset`"
            )));
        }
        Ok(())
    }
}
