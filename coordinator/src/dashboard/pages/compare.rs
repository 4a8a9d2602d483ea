//! One run over another. The URL says which, and what may differ.

pub mod machines;

use askama::Template;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use report_gen::analyze::{CONDITIONS, headline_of_both};
use report_gen::render::{ComparisonWords, comparison_words};
use report_gen::report::Run;
use time::OffsetDateTime;

use super::shell::Place;
use super::sql::text;
use super::{failure, moment, page, words};
use crate::dashboard::Desk;
use crate::dispatch::tokens::Caller;
use crate::store::run;

/// Runs that one can choose among; another is named in the URL.
const MAX_RUNS: u32 = 200;

#[derive(Template)]
#[template(path = "compare.html")]
struct Compare {
    runs: Vec<Choice>,
    run: String,
    baseline: String,
    across: Vec<String>,
    compared: Option<Compared>,
    why: String,
}

impl Compare {
    /// What may be ticked, with its words and whether it is.
    fn conditions(&self) -> impl Iterator<Item = (&'static str, String, bool)> {
        CONDITIONS.iter().map(|name| {
            let ticked = self.across.iter().any(|across| across == name);
            (*name, name.replace('_', " "), ticked)
        })
    }
}

struct Choice {
    id: String,
    /// With the time in UTC.
    words: String,
    at: Option<OffsetDateTime>,
}

impl Choice {
    /// For who reads it in a clock of their own.
    fn at(&self) -> Option<(String, String)> {
        let at = self.at?;
        let words = format!("{} {}", at.date(), moment::clock(at));
        Some((moment::machine(at), words))
    }
}

struct Compared {
    run: Run,
    baseline: Run,
    words: ComparisonWords,
    /// The numbers behind.
    statement: String,
    link: String,
}

pub async fn compare(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let asked: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let all = |name: &str| -> Vec<String> {
        let found = asked
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.to_string()).collect()
    };
    let one = |name: &str| all(name).into_iter().next().unwrap_or_default();
    let (run, baseline, across) = (one("run"), one("baseline"), all("across"));
    let runs = match desk
        .dispatch
        .list_runs(&run::Wanted::default(), MAX_RUNS)
        .await
    {
        Ok(runs) => runs,
        Err(error) => return failure(&error),
    };
    let (compared, why) = if run.is_empty() || baseline.is_empty() {
        (None, String::new())
    } else {
        match desk.dispatch.compare(&run, &baseline, &across).await {
            Ok(of) => {
                let statement = statement(&of.run, &of.baseline);
                let compared = Compared {
                    words: comparison_words(&of),
                    link: form_urlencoded::byte_serialize(statement.as_bytes()).collect(),
                    statement,
                    run: of.run,
                    baseline: of.baseline,
                };
                (Some(compared), String::new())
            }
            Err(error) => (None, words(&error).1),
        }
    };
    // The newest over the one before, unless something else is asked for.
    let newest = |place: usize| {
        runs.get(place)
            .map(|run| run.run_id.to_string())
            .unwrap_or_default()
    };
    let (run, baseline) = match &compared {
        // `latest` and the beginning of an id are runs by now.
        Some(of) => (of.run.run_id.to_string(), of.baseline.run_id.to_string()),
        None if run.is_empty() && baseline.is_empty() => (newest(0), newest(1)),
        None => (run, baseline),
    };
    let choices = choices(&runs, &[&run, &baseline]);
    let main = Compare {
        run,
        baseline,
        runs: choices,
        across,
        compared,
        why,
    };
    page(caller, Place::Compare, "Compare", &main)
}

fn choice(run: &run::Summary) -> Choice {
    let at = run.submitted_at;
    let (date, time) = (at.date(), moment::clock(at));
    Choice {
        id: run.run_id.to_string(),
        words: format!(
            "{} · {date} {time} · {} · {}",
            run.plan,
            run.state.as_str(),
            run.label
        ),
        at: Some(at),
    }
}

/// The newest; and what is asked for, however old it is.
fn choices(runs: &[run::Summary], asked: &[&str]) -> Vec<Choice> {
    let mut choices: Vec<Choice> = runs.iter().map(choice).collect();
    for run in asked {
        if !run.is_empty() && choices.iter().all(|choice| choice.id != *run) {
            choices.push(Choice {
                id: (*run).to_owned(),
                words: (*run).to_owned(),
                at: None,
            });
        }
    }
    choices
}

/// What finds the ratios and their intervals.
fn statement(run: &Run, baseline: &Run) -> String {
    let metrics: Vec<String> = headline_of_both(run, baseline)
        .iter()
        .map(|m| text(m))
        .collect();
    format!(
        "select machine, metric, model, coalesce(dtype, '') as dtype, suite, case_key,\n    \
         estimate, baseline_estimate, unit, ratio, ci_low, ci_high, verdict, differences\n\
         from report.pair\nwhere run_id = '{}' and baseline_run_id = '{}'\n    \
         and machine_id = baseline_id\n    and metric in ({})\n\
         order by metric, model, dtype, case_key, machine",
        run.run_id,
        baseline.run_id,
        metrics.join(", ")
    )
}
