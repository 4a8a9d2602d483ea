//! One statement, as the reader's role, with its answer as a table or as CSV. The URL holds the statement.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::shell::Place;
use super::{failure, page, words};
use crate::csv_cell::{csv_cell, is_number};
use crate::dashboard::Desk;
use crate::dispatch::query::{MAX_ROWS, MAX_STATEMENTS, Of, TURN};
use crate::dispatch::tokens::Caller;
use crate::dispatch::{Dispatch, Error, Result};
use crate::store::reader::{STATEMENT_TIMEOUT, TextRow};

/// Rows that a page shows; CSV has all.
const MAX_SHOWN: usize = 1000;
/// An answer is in memory as a whole.
const MAX_ANSWER_BYTES: usize = 32_000_000;
const COOKBOOK: &str = include_str!("../../../../docs/sql-cookbook.md");
const FIRST: &str = "select submitted_at, plan, state, label, jobs_succeeded, jobs, machines, duration_s\nfrom report.run\norder by submitted_at desc\nlimit 20";
const COLUMNS: &str = "select
    columns.table_name, columns.column_name, columns.data_type,
    coalesce(obj_description(format('report.%I', columns.table_name)::regclass), ''),
    coalesce(col_description(format('report.%I', columns.table_name)::regclass, columns.ordinal_position::integer), '')
from information_schema.columns
where columns.table_schema = 'report'
order by columns.table_name, columns.ordinal_position";

#[derive(serde::Deserialize)]
pub struct Asked {
    #[serde(default)]
    q: String,
}

#[derive(Template)]
#[template(path = "sql.html")]
struct Sql<'a> {
    statement: String,
    /// None before the first statement.
    answer: Option<Answer>,
    why: String,
    link: String,
    views: &'a [ViewOf],
    recipes: Vec<Recipe>,
    max_shown: usize,
}

impl Sql<'_> {
    /// What every statement is held to.
    fn limits() -> String {
        format!(
            "Read only. A statement is stopped after {} s; an answer has at most {},000 rows and {} MB and is \
             read within {} s; {MAX_STATEMENTS} are at work at a time, others wait.",
            STATEMENT_TIMEOUT.as_secs(),
            MAX_ROWS / 1000,
            MAX_ANSWER_BYTES / 1_000_000,
            TURN.as_secs()
        )
    }
}

#[derive(Default)]
pub struct Answer {
    columns: Vec<String>,
    types: Vec<String>,
    pub rows: Vec<TextRow>,
    pub more: bool,
}

/// A view of the schema.
pub struct ViewOf {
    name: String,
    about: String,
    columns: Vec<[String; 3]>,
}

struct Recipe {
    question: &'static str,
    link: String,
}

pub async fn sql(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Query(Asked { q }): Query<Asked>,
) -> Response {
    let (answer, why) = if q.trim().is_empty() {
        (None, String::new())
    } else {
        match ask(&desk.dispatch, Of::Reader, &q, MAX_SHOWN).await {
            Ok(answer) => (Some(answer), String::new()),
            Err(error) => (None, words(&error).1),
        }
    };
    let views = desk.views.get_or_try_init(|| views(&desk.dispatch)).await;
    let views = match views {
        Ok(views) => views.as_slice(),
        // Where nobody may read at all, the answer says why.
        Err(Error::Precondition(_)) => &[],
        Err(error) => return failure(&error),
    };
    let link = form_urlencoded::byte_serialize(q.as_bytes()).collect();
    let main = Sql {
        statement: if q.is_empty() { FIRST.to_owned() } else { q },
        answer,
        why,
        link,
        views,
        recipes: recipes(),
        max_shown: MAX_SHOWN,
    };
    page(caller, Place::Sql, "SQL", &main)
}

pub async fn csv(State(desk): State<Desk>, Query(Asked { q }): Query<Asked>) -> Response {
    let written = match ask(&desk.dispatch, Of::Reader, &q, usize::MAX).await {
        Ok(answer) => answer.csv(),
        Err(error) => Err(error),
    };
    match written {
        Ok(bytes) => {
            let kind = HeaderValue::from_static("text/csv; charset=utf-8");
            let saved = HeaderValue::from_static("attachment; filename=\"answer.csv\"");
            let headers = [
                (header::CONTENT_TYPE, kind),
                (header::CONTENT_DISPOSITION, saved),
            ];
            (StatusCode::OK, headers, bytes).into_response()
        }
        Err(error) => failure(&error),
    }
}

/// A text as a statement has it.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The first rows of a statement's answer.
pub async fn ask(dispatch: &Dispatch, of: Of, statement: &str, max: usize) -> Result<Answer> {
    let mut taken = Vec::new();
    // Names, types, and one row more than is shown, to know that there are more.
    let wanted = max.saturating_add(3);
    let mut bytes = 0;
    dispatch
        .query(of, statement, |row| {
            bytes += row.iter().flatten().map(String::len).sum::<usize>();
            taken.push(row);
            std::future::ready(taken.len() < wanted && bytes <= MAX_ANSWER_BYTES)
        })
        .await?;
    if bytes > MAX_ANSWER_BYTES {
        return Err(Error::TooMuch(format!(
            "the answer has more than {} MB: ask for less of it here, or all of it with `mlx-fleet sql`",
            MAX_ANSWER_BYTES / 1_000_000
        )));
    }
    let mut rows = taken.into_iter();
    let mut names = || -> Vec<String> {
        let row = rows.next().unwrap_or_default();
        row.into_iter().map(Option::unwrap_or_default).collect()
    };
    let (columns, types) = (names(), names());
    let mut rows: Vec<TextRow> = rows.collect();
    let more = rows.len() > max;
    rows.truncate(max);
    Ok(Answer {
        columns,
        types,
        rows,
        more,
    })
}

impl Answer {
    fn csv(self) -> Result<Vec<u8>> {
        let failed = |error: csv::Error| Error::Internal(format!("no CSV: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns).map_err(failed)?;
        for row in &self.rows {
            let cells = row.iter().zip(&self.types);
            let cells = cells.map(|(cell, kind)| csv_cell(cell.as_deref().unwrap_or(""), kind));
            writer.write_record(cells).map_err(failed)?;
        }
        let written = writer.into_inner();
        written.map_err(|error| Error::Internal(format!("no CSV: {error}")))
    }

    /// Names of columns with whether they are of numbers.
    fn heads(&self) -> impl Iterator<Item = (&str, bool)> {
        let heads = self.columns.iter().zip(&self.types);
        heads.map(|(name, kind)| (name.as_str(), is_number(kind)))
    }

    /// Cells with whether they are numbers.
    fn cells<'a>(&'a self, row: &'a TextRow) -> impl Iterator<Item = (Option<&'a str>, bool)> {
        let cells = row.iter().zip(&self.types);
        cells.map(|(cell, kind)| (cell.as_deref(), is_number(kind)))
    }
}

/// What can be asked of, with the comments of the schema.
async fn views(dispatch: &Dispatch) -> Result<Vec<ViewOf>> {
    let mut views: Vec<ViewOf> = Vec::new();
    for row in ask(dispatch, Of::Page, COLUMNS, usize::MAX).await?.rows {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || cells.next().unwrap_or_default();
        let (name, column, kind, about, comment) = (next(), next(), next(), next(), next());
        if views.last().is_none_or(|view| view.name != name) {
            views.push(ViewOf {
                name,
                about,
                columns: Vec::new(),
            });
        }
        if let Some(view) = views.last_mut() {
            view.columns.push([column, kind, comment]);
        }
    }
    Ok(views)
}

/// The questions of the cookbook, each with its first query.
fn recipes() -> Vec<Recipe> {
    let sections = COOKBOOK.split("\n## ").skip(1);
    let recipes = sections.filter_map(|section| {
        let (question, rest) = section.split_once('\n')?;
        let (_, rest) = rest.split_once("```sql\n")?;
        let (query, _) = rest.split_once("```")?;
        let link = form_urlencoded::byte_serialize(query.trim().as_bytes()).collect();
        Some(Recipe { question, link })
    });
    recipes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookbook_is_at_hand() {
        let recipes = recipes();
        assert!(recipes.len() >= 25, "{}", recipes.len());
        assert_eq!(recipes[0].question, "What ran lately?");
        assert!(
            recipes[0].link.starts_with("select+submitted_at"),
            "{}",
            recipes[0].link
        );
    }
}
