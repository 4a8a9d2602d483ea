//! Who looks shows an operator's token once.

use std::net::SocketAddr;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use service::token::{Token, TokenKind};

use super::{bare, field, words};
use crate::dashboard::{Desk, door};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    /// Why the last attempt failed.
    why: String,
    /// The page that was asked for.
    to: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct Asked {
    to: String,
}

pub async fn sign_in(Query(Asked { to }): Query<Asked>) -> Response {
    form(StatusCode::OK, String::new(), to)
}

fn form(status: StatusCode, why: String, to: String) -> Response {
    bare(status, "Sign in", &SignIn { why, to })
}

pub async fn let_in(
    State(desk): State<Desk>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let to = field(&body, "to");
    let token = match field(&body, "token").parse::<Token>() {
        Ok(token) => token,
        Err(why) => {
            let why = format!("This is not a whole token: copy all of its line. ({why})");
            return form(StatusCode::UNAUTHORIZED, why, to);
        }
    };
    if let Err(why) = token.clone().of_kind(TokenKind::Operator) {
        return form(StatusCode::UNAUTHORIZED, why.to_string(), to);
    }
    match desk.dispatch.caller_from(Some(from.ip()), &token).await {
        Ok(_) => {
            let mut response = Redirect::to(door::own_page(&to).unwrap_or("/")).into_response();
            door::remember(&headers, &token, &mut response);
            response
        }
        Err(error) => {
            let (status, why) = words(&error);
            form(status, why, to)
        }
    }
}

pub async fn sign_out(headers: HeaderMap) -> Response {
    let mut response = Redirect::to("/sign-in").into_response();
    door::forget(&headers, &mut response);
    response
}
