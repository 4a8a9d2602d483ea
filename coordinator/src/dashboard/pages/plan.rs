//! A plan is written here, checked as it stands, and submitted.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use domain::expand::Expansion;
use domain::model::ModelRef;
use domain::plan::Problem;

use super::moment::rounded;
use super::shell::Place;
use super::{failure, field, page, written};
use crate::dashboard::Desk;
use crate::dispatch::runs::{Checked, Submitted};
use crate::dispatch::tokens::{Caller, Role};
use crate::dispatch::{Dispatch, Result};

const QUICK: &str = include_str!("../../../../plans/quick.toml");
const NAME: &str = "dashboard.toml";
/// Reasons that are shown one by one.
const MAX_LISTED: usize = 50;
/// Rows of a table that is made anew as one writes.
const MAX_ROWS: usize = 100;

#[derive(Template)]
#[template(path = "plan.html")]
struct Editor {
    text: String,
    verdict: String,
    may_submit: bool,
}

/// What submitting the text would do.
#[derive(Template)]
#[template(path = "verdict.html")]
struct Verdict {
    problems: Vec<Found>,
    machines: Vec<OnMachine>,
    machines_more: usize,
    /// One by one.
    planned: Vec<Planned>,
    planned_more: usize,
    jobs: usize,
    launches: u64,
    /// Of the machine that takes longest.
    takes: Option<Duration>,
    skipped: Vec<Skipped>,
    skipped_more: usize,
    left_out: Vec<(String, String)>,
    notes: Vec<String>,
}

/// A problem with its place in the text.
struct Found {
    line: usize,
    column: usize,
    problem: Problem,
}

#[derive(Default)]
struct OnMachine {
    name: String,
    jobs: usize,
    launches: u64,
    suites: Vec<&'static str>,
    takes: Duration,
    /// Jobs of which nobody knows how long they take.
    unknown: usize,
}

impl OnMachine {
    fn takes_words(&self) -> String {
        match (self.jobs - self.unknown, self.unknown) {
            (0, _) => "not known".to_owned(),
            (_, 0) => rounded(self.takes),
            (_, unknown) => format!("{}, and {unknown} jobs more", rounded(self.takes)),
        }
    }
}

/// A job as it will be queued.
struct Planned {
    machine: String,
    suite: &'static str,
    model: String,
    cases: usize,
    launches: u32,
    takes: Option<Duration>,
}

impl Planned {
    fn takes_words(&self) -> String {
        self.takes.map_or("not known".to_owned(), rounded)
    }
}

struct Skipped {
    machine: String,
    job: String,
    why: String,
}

pub async fn plan(State(desk): State<Desk>, Extension(caller): Extension<Caller>) -> Response {
    editor(&desk.dispatch, caller, QUICK.to_owned()).await
}

async fn editor(dispatch: &Dispatch, caller: Caller, text: String) -> Response {
    match verdict(dispatch, &text).await {
        Ok(verdict) => {
            let may_submit = caller.role >= Role::Operator;
            let main = Editor {
                text,
                verdict,
                may_submit,
            };
            page(caller, Place::Plan, "New run", &main)
        }
        Err(error) => failure(&error),
    }
}

/// The part of the page that follows the text as it is written.
pub async fn check(State(desk): State<Desk>, form: Bytes) -> Response {
    match verdict(&desk.dispatch, &field(&form, "plan")).await {
        Ok(verdict) => Html(verdict).into_response(),
        Err(error) => failure(&error),
    }
}

/// The whole page, for a browser without script.
pub async fn look(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    form: Bytes,
) -> Response {
    editor(&desk.dispatch, caller, field(&form, "plan")).await
}

pub async fn submit(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    form: Bytes,
) -> Response {
    // Browsers end lines of a form in their own way; the same plan is the same plan.
    let text = field(&form, "plan").replace("\r\n", "\n");
    let submitted = desk.dispatch.submit(&text, NAME, false, &caller.actor);
    match submitted.await {
        Ok(Submitted::Run { run_id, .. }) => {
            Redirect::to(&format!("/runs/{run_id}")).into_response()
        }
        Ok(Submitted::Refused(_)) => {
            let mut shown = editor(&desk.dispatch, caller, text).await;
            *shown.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            shown
        }
        Err(error) => failure(&error),
    }
}

/// Machines go beside one another. None where the longest may be one of which little is known.
fn longest(machines: &[OnMachine]) -> Option<Duration> {
    let all_known = machines.iter().all(|machine| machine.unknown == 0);
    let longest = machines.iter().map(|machine| machine.takes).max();
    longest.filter(|_| all_known)
}

async fn verdict(dispatch: &Dispatch, text: &str) -> Result<String> {
    let Checked {
        problems,
        expansion: Expansion { jobs, left_out },
        durations,
        notes,
    } = dispatch.check_plan(text).await?;
    let problem = |problem: Problem| {
        let (line, column) = problem.line_column(text);
        Found {
            line,
            column,
            problem,
        }
    };
    let mut machines: BTreeMap<&str, OnMachine> = BTreeMap::new();
    let mut skipped = Vec::new();
    let mut planned = Vec::new();
    for (job, duration) in jobs.iter().zip(durations) {
        let suite = job.suite.as_str();
        if let Some(why) = &job.skipped {
            skipped.push(Skipped {
                machine: job.machine_name.clone(),
                job: format!("{suite} {}", ModelRef::label_of(job.model.as_ref())),
                why: why.clone(),
            });
            continue;
        }
        if planned.len() < MAX_ROWS {
            planned.push(Planned {
                machine: job.machine_name.clone(),
                suite,
                model: ModelRef::label_of(job.model.as_ref()),
                cases: job.cases.len(),
                launches: job.launches_total,
                takes: duration,
            });
        }
        let row = machines.entry(&job.machine_name).or_default();
        row.name.clone_from(&job.machine_name);
        row.jobs += 1;
        match duration {
            Some(duration) => row.takes += duration,
            None => row.unknown += 1,
        }
        row.launches += u64::from(job.launches_total);
        if !row.suites.contains(&suite) {
            row.suites.push(suite);
        }
    }
    let mut machines: Vec<OnMachine> = machines.into_values().collect();
    let jobs: usize = machines.iter().map(|machine| machine.jobs).sum();
    let launches = machines.iter().map(|machine| machine.launches).sum();
    let takes = longest(&machines);
    let machines_more = machines.len().saturating_sub(MAX_ROWS);
    machines.truncate(MAX_ROWS);
    let skipped_more = skipped.len().saturating_sub(MAX_LISTED);
    skipped.truncate(MAX_LISTED);
    written(&Verdict {
        problems: problems.into_iter().map(problem).collect(),
        jobs,
        launches,
        takes,
        machines,
        machines_more,
        planned_more: jobs - planned.len(),
        planned,
        skipped,
        skipped_more,
        left_out: left_out
            .into_iter()
            .map(|left| (left.machine_name, left.reason))
            .collect(),
        notes,
    })
}
