//! The pages: what each shows, and what its forms do.

pub mod add;
pub mod compare;
pub mod explore;
mod fleet;
pub mod machines;
mod moment;
pub mod plan;
pub mod runs;
mod shell;
pub mod sign_in;
pub mod sql;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::Desk;
use super::live::{Shown, View, events};
use crate::dispatch::tokens::{Caller, Role};
use crate::dispatch::{Error, Result, chain};
use shell::{Place, Shell};

/// The report's look, and what only a dashboard has.
const STYLE: &[&str] = &[
    report_gen::render::STYLE,
    include_str!("../../assets/dashboard.css"),
];
const SCRIPT: &str = include_str!("../../assets/dashboard.js");

pub async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE.concat())
}

pub async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT.to_owned())
}

fn asset(kind: &'static str, text: String) -> Response {
    // Another release has others under the same names.
    let cache = (header::CACHE_CONTROL, "no-cache");
    ([(header::CONTENT_TYPE, kind), cache], text).into_response()
}

/// What is inside of a page that can be watched, as whoever has the role may see it.
pub async fn main_of(desk: &Desk, view: &View, role: Role) -> Result<String> {
    match view {
        View::Fleet => fleet::main(desk, role).await,
        View::Runs(wanted) => runs::list::main(&desk.dispatch, wanted).await,
        View::Run(run_id) => runs::one(&desk.dispatch, *run_id, role).await,
    }
}

/// A page that can be watched.
async fn watched(desk: &Desk, caller: Caller, place: Place, title: &str, view: View) -> Response {
    let html = match main_of(desk, &view, caller.role).await {
        Ok(html) => html,
        Err(error) => return failure(&error),
    };
    let shown = Shown::of(&html);
    Shell::new(title, shown.html())
        .at(place, caller)
        .live(view.path(), shown.state.clone())
        .answer(StatusCode::OK)
}

/// A page that stays as it is until it is asked for again.
fn page(caller: Caller, place: Place, title: &str, main: &impl Template) -> Response {
    match written(main) {
        Ok(main) => Shell::new(title, main)
            .at(place, caller)
            .answer(StatusCode::OK),
        Err(error) => failure(&error),
    }
}

pub async fn fleet(State(desk): State<Desk>, Extension(caller): Extension<Caller>) -> Response {
    watched(&desk, caller, Place::Fleet, "Fleet", View::Fleet).await
}

/// The state of a page that a browser shows already, as its script says.
#[derive(serde::Deserialize)]
pub struct Showing {
    #[serde(default)]
    seen: String,
}

pub async fn live_fleet(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Query(showing): Query<Showing>,
) -> Response {
    live(&desk, &caller, &View::Fleet, &showing).await
}

async fn live(desk: &Desk, caller: &Caller, view: &View, showing: &Showing) -> Response {
    events(desk, view, caller.role, &showing.seen).await
}

pub async fn missing() -> Response {
    refusal(StatusCode::NOT_FOUND, "There is no such page.")
}

pub async fn wrong_way() -> Response {
    let why = "This is done by a button of a page, and is no page of its own.";
    refusal(StatusCode::METHOD_NOT_ALLOWED, why)
}

/// To the page that shows what became of it.
fn done<T>(outcome: Result<T>, page: &str) -> Response {
    match outcome {
        Ok(_) => Redirect::to(page).into_response(),
        Err(error) => failure(&error),
    }
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal<'a> {
    title: &'a str,
    why: &'a str,
}

impl Refusal<'_> {
    /// What stands between backticks is code.
    fn pieces(&self) -> impl Iterator<Item = (bool, &str)> {
        let pieces = self.why.split('`').enumerate();
        pieces.map(|(place, words)| (place % 2 == 1, words))
    }
}

/// A page that says why not.
pub fn refusal(status: StatusCode, why: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Refused");
    bare(status, title, &Refusal { title, why })
}

/// A page without a caller.
fn bare(status: StatusCode, title: &str, main: &impl Template) -> Response {
    match written(main) {
        Ok(main) => Shell::new(title, main).answer(status),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub fn failure(error: &Error) -> Response {
    let (status, why) = words(error);
    refusal(status, &why)
}

fn words(error: &Error) -> (StatusCode, String) {
    let status = match error {
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        Error::Invalid(_) => StatusCode::BAD_REQUEST,
        Error::Unauthenticated(_) | Error::Guessed(_) => StatusCode::UNAUTHORIZED,
        Error::Denied(_) => StatusCode::FORBIDDEN,
        Error::Precondition(_) => StatusCode::CONFLICT,
        Error::TooMuch(_) => StatusCode::TOO_MANY_REQUESTS,
        Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::Internal(_) | Error::Store(_) => {
            tracing::warn!(error = chain(error), "a page failed");
            let why = "the database cannot be used; the coordinator's log says why";
            return (StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
        }
    };
    (status, error.to_string())
}

fn written(template: &impl Template) -> Result<String> {
    template
        .render()
        .map_err(|error| Error::Internal(format!("a page could not be written: {error}")))
}

/// Of a form as browsers send it; empty where it is missing.
fn field(form: &[u8], name: &str) -> String {
    let mut fields = form_urlencoded::parse(form);
    let found = fields.find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
