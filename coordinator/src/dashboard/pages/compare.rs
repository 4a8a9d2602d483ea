//! One run over another. The URL says which, and what may differ.

pub mod machines;

use askama::Template;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use report_gen::analyze::CONDITIONS;
use report_gen::render::{ComparisonWords, comparison_words};

use super::shell::Place;
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
    words: String,
}

struct Compared {
    run: report_gen::report::Run,
    baseline: report_gen::report::Run,
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
    let runs = match desk.dispatch.list_runs(MAX_RUNS).await {
        Ok(runs) => runs,
        Err(error) => return failure(&error),
    };
    let (compared, why) = if run.is_empty() || baseline.is_empty() {
        (None, String::new())
    } else {
        match desk.dispatch.compare(&run, &baseline, &across).await {
            Ok(of) => {
                let of_runs = [&of.run, &of.baseline].map(|run| run.run_id.to_string());
                let statement = statement(&of_runs);
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
    let main = Compare {
        run: if run.is_empty() { newest(0) } else { run },
        baseline: if baseline.is_empty() {
            newest(1)
        } else {
            baseline
        },
        runs: runs.iter().map(choice).collect(),
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
    }
}

fn statement([run, baseline]: &[String; 2]) -> String {
    format!(
        "select metric, model, dtype, case_key, machine, run_id, estimate, ci_low, ci_high, unit, launches, reasons\n\
         from report.case_summary join report.run using (run_id)\n\
         where run_id in ('{run}', '{baseline}') and metric = any(headline)\n\
         order by metric, model, dtype, case_key, machine, submitted_at"
    )
}
