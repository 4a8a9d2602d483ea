//! A run: its machines, numbers and jobs.

mod headline;
pub mod list;

pub use list::query;

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::ids::RunId;
use domain::job::{JobState, RunState};
use report_gen::Format;
use time::OffsetDateTime;

use super::moment::{moment, rounded, span};
use super::shell::Place;
use super::{Showing, done, failure, live as follow, watched, written};
use crate::dashboard::Desk;
use crate::dashboard::live::{self, View};
use crate::dispatch::machines::MachineState;
use crate::dispatch::tokens::{Caller, Role};
use crate::dispatch::{Dispatch, Error, Result};
use crate::store::{job, run};
use headline::Line;

/// Rows of a table that somebody may still read; the report and SQL have all.
const MAX_ROWS: usize = 300;
/// The speed of fewer launches says little of the next.
const LAUNCHES_TO_GUESS: u32 = 3;

#[derive(Template)]
#[template(path = "run.html")]
struct One {
    run: run::Summary,
    /// For those that go on.
    to_go: Option<String>,
    took: Option<String>,
    may_cancel: bool,
    may_resume: bool,
    suites: Vec<Part>,
    machines: Vec<Part>,
    headlines: Vec<Line>,
    headlines_left_out: usize,
    jobs: Vec<JobLine>,
    jobs_left_out: usize,
}

/// What a machine or a suite has of a run.
#[derive(Default)]
struct Part {
    name: String,
    jobs: u32,
    jobs_ended: u32,
    launches_total: u32,
    launches_done: u32,
    /// States that its jobs are in, with how many are.
    states: BTreeMap<&'static str, u32>,
    worked: Duration,
    to_go: Option<Duration>,
    /// What keeps its jobs waiting, and since when as HTML.
    rests: Option<(MachineState, Option<String>)>,
}

struct JobLine {
    job: job::Summary,
    took: Option<String>,
}

pub async fn one(dispatch: &Dispatch, run_id: RunId, role: Role) -> Result<String> {
    let asked = tokio::join!(dispatch.run(run_id), headline::of(dispatch, run_id));
    let ((run, jobs), (headlines, headlines_left_out)) = (asked.0?, asked.1?);
    let now = OffsetDateTime::now_utc();
    let active = run.state == RunState::Active;
    let suites = parts(&jobs, |job| &job.suite, now);
    let mut machines = parts(&jobs, |job| &job.machine, now);
    rests(dispatch, &mut machines).await?;
    let to_go = machines.iter().filter_map(|machine| machine.to_go).max();
    // As long as the slowest, of which nothing is known before it has made some launches.
    let known = |machine: &Part| machine.jobs_ended == machine.jobs || machine.to_go.is_some();
    let goes_on = active && machines.iter().all(known);
    let jobs_left_out = jobs.len().saturating_sub(MAX_ROWS);
    written(&One {
        to_go: to_go.filter(|_| goes_on).map(rounded),
        took: run
            .ended_at
            .as_ref()
            .map(|end| between(&run.submitted_at, end)),
        may_cancel: active && role >= Role::Operator,
        may_resume: role >= Role::Operator && run.jobs_failed > 0,
        suites,
        machines,
        headlines,
        headlines_left_out,
        jobs: lines(jobs),
        jobs_left_out,
        run,
    })
}

fn parts(jobs: &[job::Summary], of: fn(&job::Summary) -> &str, now: OffsetDateTime) -> Vec<Part> {
    let mut rows: BTreeMap<&str, Part> = BTreeMap::new();
    for job in jobs {
        let row = rows.entry(of(job)).or_default();
        row.jobs += 1;
        *row.states.entry(job.state.as_str()).or_default() += 1;
        row.launches_done += job.launches_done;
        // What a job that has ended did not do will not be done.
        row.launches_total += if job.state.is_final() {
            row.jobs_ended += 1;
            job.launches_done
        } else {
            job.launches_total
        };
        row.worked += job.worked_until(now);
    }
    let named = rows.into_iter().map(|(name, row)| Part {
        name: name.to_owned(),
        to_go: row.to_go(),
        ..row
    });
    named.collect()
}

/// What is not measuring, though it has jobs to do, has no time to go that anybody knows.
async fn rests(dispatch: &Dispatch, rows: &mut [Part]) -> Result<()> {
    let waits = |row: &&mut Part| row.jobs_ended < row.jobs;
    let waiting = rows.iter_mut().filter(waits);
    let mut waiting: BTreeMap<String, &mut Part> =
        waiting.map(|row| (row.name.clone(), row)).collect();
    let names: Vec<String> = waiting.keys().cloned().collect();
    for machine in dispatch.machines_named(&names).await? {
        let state = MachineState::of(&machine);
        if !matches!(state, MachineState::Idle | MachineState::Busy)
            && let Some(row) = waiting.get_mut(&machine.name)
        {
            row.rests = Some((state, state.since(&machine).as_ref().map(moment)));
            row.to_go = None;
        }
    }
    Ok(())
}

impl Part {
    /// If the rest goes as fast as what was done.
    fn to_go(&self) -> Option<Duration> {
        if self.launches_done < LAUNCHES_TO_GUESS {
            return None;
        }
        let left = self.launches_total.saturating_sub(self.launches_done);
        (left > 0).then(|| self.worked * left / self.launches_done)
    }

    fn to_go_words(&self) -> String {
        self.to_go.map_or(String::new(), rounded)
    }
}

fn between(begin: &OffsetDateTime, end: &OffsetDateTime) -> String {
    span(
        Duration::try_from(*end - *begin)
            .unwrap_or_default()
            .as_secs(),
    )
}

/// What needs somebody's eyes first: at work, then what went wrong, what waits, what went well.
fn lines(mut jobs: Vec<job::Summary>) -> Vec<JobLine> {
    jobs.sort_by_key(|job| match job.state {
        JobState::Leased => 0,
        JobState::Failed | JobState::Parked => 1,
        JobState::Skipped | JobState::Cancelled => 2,
        JobState::Queued => 3,
        JobState::Succeeded => 4,
    });
    jobs.truncate(MAX_ROWS);
    let line = |job: job::Summary| JobLine {
        took: job
            .ended_at
            .filter(|_| !job.worked.is_zero())
            .map(|end| span(job.worked_until(end).as_secs())),
        job,
    };
    jobs.into_iter().map(line).collect()
}

pub async fn show(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    match desk.dispatch.find_run(&name).await {
        Ok(run_id) => {
            let title = format!("Run {}", brief(run_id));
            watched(&desk, caller, Place::Runs, &title, View::Run(run_id)).await
        }
        Err(error) => failure(&error),
    }
}

pub async fn live(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(showing): Query<Showing>,
) -> Response {
    match desk.dispatch.find_run(&name).await {
        Ok(run_id) => follow(&desk, &caller, &View::Run(run_id), &showing).await,
        Err(error) => failure(&error),
    }
}

pub async fn cancel(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let cancelled = desk.dispatch.cancel(&name, &caller.actor).await;
    done(cancelled, &format!("/runs/{name}"))
}

pub async fn resume(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let resumed = desk.dispatch.resume(&name, &caller.actor).await;
    done(resumed, &format!("/runs/{name}"))
}

/// The page that `mlx-fleet report` writes.
pub async fn report(State(desk): State<Desk>, Path(name): Path<String>) -> Response {
    let format = Format::Html.as_str().to_owned();
    let files = match desk.dispatch.render_report(&name, &[format]).await {
        Ok(files) => files,
        Err(error) => return failure(&error),
    };
    let Some(file) = files.into_iter().next() else {
        return failure(&Error::Internal("no report was written".to_owned()));
    };
    let mut response = axum::response::Html(file.bytes).into_response();
    // Its scripts are in it, and its own policy allows these alone.
    if let Ok(policy) = HeaderValue::try_from(report_gen::render::policy()) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// One file of the report in another format.
pub async fn file(
    State(desk): State<Desk>,
    Path((name, format)): Path<(String, String)>,
) -> Response {
    if format
        .parse()
        .is_ok_and(|format: Format| !format.is_one_file())
    {
        let why = format!("A report as {format} has several files: mlx-fleet report writes them.");
        return super::refusal(StatusCode::BAD_REQUEST, &why);
    }
    let files = match desk.dispatch.render_report(&name, &[format]).await {
        Ok(files) => files,
        Err(error) => return failure(&error),
    };
    let [file] = &files[..] else {
        return failure(&Error::Internal("a report is no single file".to_owned()));
    };
    let kind = HeaderValue::from_static("application/octet-stream");
    let saved = format!("attachment; filename=\"{}\"", file.name);
    match HeaderValue::try_from(saved) {
        Ok(saved) => (
            [
                (header::CONTENT_TYPE, kind),
                (header::CONTENT_DISPOSITION, saved),
            ],
            file.bytes.clone(),
        )
            .into_response(),
        Err(_) => failure(&Error::Internal("a file has no good name".to_owned())),
    }
}

/// Enough of an id for people; commands take it, too.
fn brief(run_id: RunId) -> String {
    let id = run_id.to_string();
    // The beginning is the time, alike among runs of one hour.
    id.chars().take(13).collect()
}

#[cfg(test)]
mod tests {
    use domain::ids::JobId;
    use time::macros::datetime;

    use super::*;

    fn job(machine: &str, state: JobState, done: u32, total: u32) -> job::Summary {
        job::Summary {
            job_id: JobId::new(),
            machine: machine.to_owned(),
            suite: "decode".to_owned(),
            model: String::new(),
            dtype: String::new(),
            state,
            reason: String::new(),
            launches_total: total,
            launches_done: done,
            started_at: None,
            ended_at: None,
            // A minute a launch, the job at work with its last one still.
            worked: Duration::from_mins(
                u64::from(done) - u64::from(state == JobState::Leased && done > 0),
            ),
            since: (state == JobState::Leased).then_some(datetime!(2026-03-04 09:09 UTC)),
            log: String::new(),
        }
    }

    #[test]
    fn the_rest_of_a_machine_takes_as_long_as_what_it_has_done() {
        let now = datetime!(2026-03-04 09:10 UTC);
        let jobs = [
            job("a", JobState::Succeeded, 6, 6),
            // Four of its launches will never be made.
            job("a", JobState::Failed, 2, 6),
            job("a", JobState::Leased, 2, 6),
            job("a", JobState::Queued, 0, 6),
            job("b", JobState::Leased, 2, 6),
        ];
        let rows = parts(&jobs, |job| &job.machine, now);
        assert_eq!((rows[0].launches_done, rows[0].launches_total), (10, 20));
        assert_eq!(rows[0].to_go, Some(Duration::from_mins(10)));
        assert_eq!((rows[0].jobs_ended, rows[0].jobs), (2, 4));
        assert_eq!(rows[1].to_go, None, "two launches say little");
    }

    #[test]
    fn what_needs_eyes_comes_first() {
        let jobs = [
            JobState::Succeeded,
            JobState::Queued,
            JobState::Parked,
            JobState::Leased,
        ];
        let shown = lines(jobs.map(|state| job("a", state, 0, 1)).into());
        let states = shown.iter().map(|line| line.job.state);
        let wanted = [
            JobState::Leased,
            JobState::Parked,
            JobState::Queued,
            JobState::Succeeded,
        ];
        assert_eq!(states.collect::<Vec<_>>(), wanted);
    }
}
