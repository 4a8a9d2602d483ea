//! The fleet in a browser: pages made here, of what `dispatch` knows and decides.
//!
//! ```text
//!   request ─▶ fence: is it for loopback, does a page of ours send it ─▶ the route's role ─▶ page ─▶ dispatch
//!                 │ 421, 403                       │ not known: /sign-in; another role: 403
//! ```
//!
//! Plain HTTP, and therefore for this machine alone; from others one comes through a tunnel. Pages are whole
//! without script; with it they stay as the fleet is.

mod door;
mod gauges;
mod live;
mod pages;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use service::lifecycle::Stop;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;
use tower_http::compression::{CompressionLayer, CompressionLevel};

use crate::dispatch::Dispatch;
use crate::dispatch::tokens::Role;
use pages::{add, compare, explore, machines, plan, runs, sign_in, sql};

/// A form holds a token, a reason, or a plan.
const MAX_FORM_BYTES: usize = 1024 * 1024;

/// Of a page of a thousand machines it leaves a seventh less than the fastest level, for some milliseconds.
const COMPRESSION: CompressionLevel = CompressionLevel::Precise(4);

/// What every page needs; cheap to clone.
#[derive(Clone)]
struct Desk {
    dispatch: Dispatch,
    boards: Arc<live::Boards>,
    gauges: Arc<gauges::Gauges>,
    /// Of pages that are watched.
    tasks: TaskTracker,
    /// Of the schema, which stays as it is while a coordinator runs.
    views: Arc<OnceCell<Vec<sql::ViewOf>>>,
    stop: Stop,
    url: Arc<str>,
    releases: Arc<Path>,
}

/// Whom a route lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    AtLeast(Role),
}

struct Route {
    /// Method and path, as docs/security.md has them.
    name: &'static str,
    needs: Needs,
    answer: MethodRouter<Desk>,
}

/// All that is served. A route has no other way in than this list, and none without saying whom it needs.
fn routes() -> Vec<Route> {
    use Needs::{AtLeast, Nothing};
    let (viewer, operator) = (AtLeast(Role::Viewer), AtLeast(Role::Operator));
    let admin = AtLeast(Role::Admin);
    let served = [
        ("GET /style.css", Nothing, get(pages::style)),
        ("GET /dashboard.js", Nothing, get(pages::script)),
        ("GET /sign-in", Nothing, get(sign_in::sign_in)),
        ("POST /sign-in", Nothing, post(sign_in::let_in)),
        ("POST /sign-out", Nothing, post(sign_in::sign_out)),
        ("GET /", viewer, get(pages::fleet)),
        ("GET /live/fleet", viewer, get(pages::live_fleet)),
        ("GET /runs", viewer, get(runs::list::show)),
        ("GET /live/runs", viewer, get(runs::list::live)),
        ("GET /runs/{run}", viewer, get(runs::show)),
        ("GET /live/runs/{run}", viewer, get(runs::live)),
        ("GET /runs/{run}/report", viewer, get(runs::report)),
        ("GET /runs/{run}/files/{format}", viewer, get(runs::file)),
        ("GET /compare", viewer, get(compare::compare)),
        (
            "GET /compare/machines",
            viewer,
            get(compare::machines::machines),
        ),
        ("GET /explore", viewer, get(explore::explore)),
        ("GET /plan", viewer, get(plan::plan)),
        ("POST /plan/check", viewer, post(plan::check)),
        ("POST /plan/look", viewer, post(plan::look)),
        ("GET /sql", viewer, get(sql::sql)),
        ("GET /sql.csv", viewer, get(sql::csv)),
        ("POST /plan", operator, post(plan::submit)),
        ("POST /runs/{run}/cancel", operator, post(runs::cancel)),
        ("POST /runs/{run}/resume", operator, post(runs::resume)),
        (
            "POST /machines/{machine}/drain",
            operator,
            post(machines::drain),
        ),
        (
            "POST /machines/{machine}/resume",
            operator,
            post(machines::resume),
        ),
        (
            "POST /machines/{machine}/label",
            operator,
            post(machines::label),
        ),
        ("POST /machines/add", admin, post(add::add)),
        (
            "POST /machines/{machine}/approve",
            admin,
            post(machines::approve),
        ),
        (
            "POST /machines/{machine}/revoke",
            admin,
            post(machines::revoke),
        ),
    ];
    let route = |(name, needs, answer)| Route {
        name,
        needs,
        answer,
    };
    served.map(route).into()
}

fn router(desk: Desk) -> Router {
    let mut router = Router::new().fallback(pages::missing);
    for route in routes() {
        let Route {
            name,
            needs,
            mut answer,
        } = route;
        if let Needs::AtLeast(role) = needs {
            let guard = door::Guard {
                dispatch: desk.dispatch.clone(),
                role,
            };
            answer = answer.layer(middleware::from_fn_with_state(guard, door::guard));
        }
        let (_, path) = name.split_once(' ').unwrap_or_default();
        // Of two methods of one path each has its own guard.
        router = router.route(path, answer);
    }
    router
        // Of the routes that there are by now.
        .method_not_allowed_fallback(pages::wrong_way)
        // Events pass as they are: a compressor would hold them back.
        .layer(CompressionLayer::new().quality(COMPRESSION))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(middleware::from_fn(door::fence))
        .with_state(desk)
}

/// What a dashboard is put together from.
pub struct Parts {
    pub dispatch: Dispatch,
    /// Of the coordinator, as machines reach it.
    pub url: String,
    /// Where the archives lie that new machines install from.
    pub releases: PathBuf,
    pub stop: Stop,
    /// Of pages that are watched.
    pub tasks: TaskTracker,
}

/// Answers until the stop.
pub async fn serve(parts: Parts, listener: TcpListener) {
    let Parts {
        dispatch,
        url,
        releases,
        stop,
        tasks,
    } = parts;
    let desk = Desk {
        dispatch,
        boards: Arc::default(),
        gauges: Arc::default(),
        tasks,
        views: Arc::default(),
        stop: stop.clone(),
        url: url.into(),
        releases: releases.into(),
    };
    let (soft, hard) = (stop.clone(), stop);
    let service = router(desk).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service);
    let server = server.with_graceful_shutdown(async move { soft.soft().await });
    tokio::select! {
        ended = server.into_future() => {
            if let Err(error) = ended {
                tracing::error!(%error, "the dashboard is not served any more");
            }
        }
        // A browser may keep its connection open.
        () = hard.hard() => {}
    }
}

/// Where browsers may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    Off,
    At(SocketAddr),
    /// At the port after the coordinator's, if nobody else is there.
    #[default]
    Beside,
}

/// `off`, or an address. `7421` stands for this machine, and so must an address: what passes here is not
/// encrypted.
pub fn listen(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    let address = crate::server::monitor::address(text)?;
    if address.ip().is_loopback() {
        return Ok(Listen::At(address));
    }
    Err(format!(
        "the dashboard is plain HTTP and carries tokens, and {address} is not of this machine alone: give \
         a port, and come from elsewhere with `ssh -L {port}:127.0.0.1:{port} HOST`",
        port = address.port()
    ))
}

/// The port after the coordinator's; a free one beside a free one.
pub fn beside(coordinator: SocketAddr) -> SocketAddr {
    let port = match coordinator.port() {
        0 => 0,
        port => port.checked_add(1).unwrap_or(0),
    };
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_docs_has_every_route() {
        let docs = include_str!("../../docs/security.md");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `"));
        let paths: Vec<&str> = rows
            .filter_map(|row| row.split('`').next())
            .filter(|name| name.contains(" /"))
            .collect();
        let served: Vec<&str> = routes().iter().map(|route| route.name).collect();
        assert_eq!(paths, served);
    }

    #[test]
    fn what_is_not_encrypted_stays_on_this_machine() {
        let at = |text: &str| Ok(Listen::At(text.parse().unwrap()));
        assert_eq!(listen("7421"), at("127.0.0.1:7421"));
        assert_eq!(listen("[::1]:1"), at("[::1]:1"));
        assert_eq!(listen("off"), Ok(Listen::Off));
        let refused = listen("0.0.0.0:7421").unwrap_err();
        assert!(refused.contains("ssh -L 7421:127.0.0.1:7421"), "{refused}");
    }

    #[test]
    fn the_dashboard_is_beside_the_coordinator_and_on_this_machine_alone() {
        let beside = |port: u16| beside(SocketAddr::from(([0, 0, 0, 0], port))).to_string();
        assert_eq!(beside(7420), "127.0.0.1:7421");
        assert_eq!(beside(0), "127.0.0.1:0");
        assert_eq!(beside(u16::MAX), "127.0.0.1:0");
    }
}
