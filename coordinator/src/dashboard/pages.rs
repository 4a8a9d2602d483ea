//! The pages: what each shows, and what its forms do.

mod fleet;

use std::net::SocketAddr;

use askama::Template;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use service::token::{Token, TokenKind};

use super::door;
use crate::dispatch::tokens::Caller;
use crate::dispatch::{Dispatch, Error, Result, chain};

pub use fleet::fleet;

/// The report's look, and what only a dashboard has.
const STYLE: &[&str] = &[
    report_gen::render::STYLE,
    include_str!("../../assets/dashboard.css"),
];

pub async fn style() -> impl IntoResponse {
    let kind = (header::CONTENT_TYPE, "text/css; charset=utf-8");
    (
        [kind, (header::CACHE_CONTROL, "max-age=300")],
        STYLE.concat(),
    )
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    /// Why the last attempt failed.
    why: String,
}

pub async fn sign_in() -> Response {
    shown(StatusCode::OK, &SignIn { why: String::new() })
}

pub async fn let_in(
    State(dispatch): State<Dispatch>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    let refused = |status, why: String| shown(status, &SignIn { why });
    let token = match field(&form, "token").parse::<Token>() {
        Ok(token) => token,
        Err(why) => return refused(StatusCode::UNAUTHORIZED, why.to_string()),
    };
    if let Err(why) = token.clone().of_kind(TokenKind::Operator) {
        return refused(StatusCode::UNAUTHORIZED, why.to_string());
    }
    match dispatch.caller_from(Some(from.ip()), &token).await {
        Ok(_) => {
            let mut response = Redirect::to("/").into_response();
            door::remember(&headers, &token, &mut response);
            response
        }
        Err(error) => {
            let (status, why) = words(&error);
            refused(status, why)
        }
    }
}

pub async fn sign_out(headers: HeaderMap) -> Response {
    let mut response = Redirect::to("/sign-in").into_response();
    door::forget(&headers, &mut response);
    response
}

pub async fn drain(
    State(dispatch): State<Dispatch>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    form: Bytes,
) -> Response {
    let reason = field(&form, "reason");
    let reason = reason.trim();
    done(
        dispatch
            .drain_machine(&machine, reason, &caller.actor)
            .await,
    )
}

pub async fn resume(
    State(dispatch): State<Dispatch>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
) -> Response {
    done(dispatch.resume_machine(&machine, &caller.actor).await)
}

pub async fn approve(
    State(dispatch): State<Dispatch>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
) -> Response {
    done(dispatch.approve_machine(&machine, &caller.actor).await)
}

pub async fn revoke(
    State(dispatch): State<Dispatch>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
) -> Response {
    done(dispatch.revoke_machine(&machine, &caller.actor).await)
}

pub async fn missing() -> Response {
    refusal(StatusCode::NOT_FOUND, "There is no such page.")
}

/// Back to the page, which shows what became of it.
fn done<T>(outcome: Result<T>) -> Response {
    match outcome {
        Ok(_) => Redirect::to("/").into_response(),
        Err(error) => failure(&error),
    }
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal<'a> {
    title: &'a str,
    why: &'a str,
}

/// A page that says why not.
pub fn refusal(status: StatusCode, why: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Refused");
    shown(status, &Refusal { title, why })
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

fn shown(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Of a form as browsers send it; empty where it is missing.
fn field(form: &[u8], name: &str) -> String {
    let mut fields = form_urlencoded::parse(form);
    let found = fields.find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
