//! What is around every page.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use time::OffsetDateTime;

use super::moment;
use crate::dispatch::VERSION;
use crate::dispatch::tokens::Caller;

#[derive(Template)]
#[template(path = "page.html")]
pub struct Shell<'a> {
    title: &'a str,
    /// Nobody's, before the sign-in.
    caller: Option<Caller>,
    place: Option<Place>,
    live: Option<Live>,
    /// As HTML.
    main: String,
    now: String,
    version: &'static str,
}

/// Where the changes of a page come from, and the state that it is in.
struct Live {
    path: String,
    state: String,
}

/// Where one can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Fleet,
    Runs,
    Compare,
    Explore,
    Plan,
    Sql,
}

impl Place {
    const ALL: &[Self] = &[
        Self::Fleet,
        Self::Runs,
        Self::Compare,
        Self::Explore,
        Self::Plan,
        Self::Sql,
    ];

    fn path(self) -> &'static str {
        match self {
            Self::Fleet => "/",
            Self::Runs => "/runs",
            Self::Compare => "/compare",
            Self::Explore => "/explore",
            Self::Plan => "/plan",
            Self::Sql => "/sql",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fleet => "Fleet",
            Self::Runs => "Runs",
            Self::Compare => "Compare",
            Self::Explore => "Explore",
            Self::Plan => "New run",
            Self::Sql => "SQL",
        }
    }
}

impl<'a> Shell<'a> {
    pub fn new(title: &'a str, main: String) -> Self {
        Self {
            title,
            caller: None,
            place: None,
            live: None,
            main,
            now: moment::clock(OffsetDateTime::now_utc()),
            version: VERSION,
        }
    }

    /// For whoever has come in.
    pub fn at(self, place: Place, caller: Caller) -> Self {
        Self {
            caller: Some(caller),
            place: Some(place),
            ..self
        }
    }

    /// The page stays as it is in truth.
    pub fn live(self, path: String, state: String) -> Self {
        Self {
            live: Some(Live { path, state }),
            ..self
        }
    }

    pub fn answer(&self, status: StatusCode) -> Response {
        match self.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(error) => {
                tracing::error!(%error, "a page could not be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
