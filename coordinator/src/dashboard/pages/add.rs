//! A new machine: the line for its terminal, with a token that is shown once.

use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;

use super::shell::Place;
use super::{failure, field, page};
use crate::dashboard::Desk;
use crate::dispatch::tokens::{Caller, Purpose};
use crate::dispatch::{Error, Result};
use crate::install_line::{line, names_this_machine};
use crate::rpc::archives;

const TTL_HOURS: u64 = 24;

#[derive(Template)]
#[template(path = "add.html")]
struct Added {
    url: String,
    uses: u32,
    hours: u64,
    token: String,
    line: String,
    /// Names of the release archives that can be installed.
    archives: Vec<String>,
    only_here: bool,
}

pub async fn add(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    form: Bytes,
) -> Response {
    let added = match field(&form, "uses").parse() {
        Ok(uses) if uses > 0 => added(&desk, uses, &caller.actor).await,
        _ => Err(Error::Invalid(
            "how many machines may join must be a number from 1 on".to_owned(),
        )),
    };
    match added {
        Ok(main) => page(caller, Place::Fleet, "Add a machine", &main),
        Err(error) => failure(&error),
    }
}

async fn added(desk: &Desk, uses: u32, actor: &str) -> Result<Added> {
    let Desk {
        dispatch,
        url,
        releases,
        ..
    } = desk;
    let ttl = Duration::from_hours(TTL_HOURS);
    let token = dispatch
        .create_token(Purpose::Join, ttl, uses, "dashboard", actor)
        .await?;
    let token = token.expose().to_string();
    let address = service::tls::address(url).unwrap_or_default();
    let archives = archives(releases).await.into_iter();
    Ok(Added {
        line: line(&dispatch.authority_pem(), url, &address, &token, ""),
        url: url.to_string(),
        uses,
        hours: TTL_HOURS,
        token,
        archives: archives.map(|(name, _)| name).collect(),
        only_here: names_this_machine(&address),
    })
}
