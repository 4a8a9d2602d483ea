//! The runs, the newest first: all, or those that somebody asks for. The URL says which.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use domain::ids::RunId;
use domain::job::RunState;

use super::super::shell::Place;
use super::super::{Showing, failure, live as follow, watched, written};
use crate::dashboard::Desk;
use crate::dashboard::live::{self, View};
use crate::dispatch::tokens::Caller;
use crate::dispatch::{Dispatch, Error, Result};
use crate::store::run::{Summary, Wanted};

const MAX_ROWS: u32 = 100;
const LABELS: &[&str] = &["measured", "simulated", "imported"];

/// As the URL has it: empty is not asked for.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct Asked {
    plan: String,
    state: String,
    label: String,
    before: String,
}

#[derive(Template)]
#[template(path = "runs.html")]
struct Runs<'a> {
    wanted: &'a Wanted,
    rows: Vec<Summary>,
    /// Where those lie that were submitted before these.
    older: Option<String>,
}

impl Runs<'_> {
    fn is_of_all(&self) -> bool {
        *self.wanted == Wanted::default()
    }

    fn states(&self) -> Vec<(&'static str, bool)> {
        let states = RunState::ALL.iter();
        states
            .map(|state| (state.as_str(), self.wanted.state == Some(*state)))
            .collect()
    }

    fn labels(&self) -> Vec<(&'static str, bool)> {
        let labels = LABELS.iter();
        labels
            .map(|label| (*label, self.wanted.label == *label))
            .collect()
    }
}

pub async fn main(dispatch: &Dispatch, wanted: &Wanted) -> Result<String> {
    // One more, to know whether there are more.
    let mut rows = dispatch.list_runs(wanted, MAX_ROWS + 1).await?;
    let more = rows.len() > MAX_ROWS as usize;
    rows.truncate(MAX_ROWS as usize);
    let last = rows.last().filter(|_| more);
    let older = last.map(|last| {
        query(&Wanted {
            before: Some(last.run_id),
            ..wanted.clone()
        })
    });
    written(&Runs {
        wanted,
        rows,
        older,
    })
}

fn wanted(asked: Asked) -> Result<Wanted> {
    let Asked {
        plan,
        state,
        label,
        before,
    } = asked;
    let unknown = |what: &str, value: &str| {
        Error::Invalid(format!(
            "there is no {what} `{value}`: choose one of the form's"
        ))
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let state: Option<RunState> = some(state)
        .map(|state| state.parse().map_err(|_| unknown("state", &state)))
        .transpose()?;
    if !label.is_empty() && !LABELS.contains(&&*label) {
        return Err(unknown("label", &label));
    }
    let before: Option<RunId> = some(before)
        .map(|id| {
            id.parse()
                .map_err(|_| Error::Invalid(format!("`{id}` is no id of a run")))
        })
        .transpose()?;
    Ok(Wanted {
        run_id: None,
        plan: plan.trim().to_owned(),
        state,
        label,
        before,
    })
}

/// Of a URL, empty for all runs.
pub fn query(wanted: &Wanted) -> String {
    let Wanted {
        run_id: _,
        plan,
        state,
        label,
        before,
    } = wanted;
    let before = before.map(|id| id.to_string()).unwrap_or_default();
    let state = state.map_or("", RunState::as_str);
    let pairs = [
        ("plan", plan.as_str()),
        ("state", state),
        ("label", label),
        ("before", &before),
    ];
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    if query.is_empty() {
        query
    } else {
        format!("?{query}")
    }
}

pub async fn show(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Response {
    match wanted(asked) {
        Ok(wanted) => watched(&desk, caller, Place::Runs, "Runs", View::Runs(wanted)).await,
        Err(error) => failure(&error),
    }
}

pub async fn live(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    Query(showing): Query<Showing>,
) -> Response {
    match wanted(asked) {
        Ok(wanted) => follow(&desk, &caller, &View::Runs(wanted), &showing).await,
        Err(error) => failure(&error),
    }
}
