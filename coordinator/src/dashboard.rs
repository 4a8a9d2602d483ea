//! The fleet in a browser: pages made here, of what `dispatch` knows and decides.
//!
//! ```text
//!   request ─▶ fence: is it for loopback, does a page of ours send it ─▶ the route's role ─▶ page ─▶ dispatch
//!                 │ 421, 403                       │ not known: /sign-in; another role: 403
//! ```
//!
//! Plain HTTP, and therefore for this machine alone; from others one comes through a tunnel. Pages need
//! no script, and the content security policy allows none.

mod door;
mod pages;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use service::lifecycle::Stop;
use tokio::net::TcpListener;

use crate::dispatch::Dispatch;
use crate::dispatch::tokens::Role;

/// A form holds a token, or a reason.
const MAX_FORM_BYTES: usize = 16 * 1024;

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
    answer: MethodRouter<Dispatch>,
}

/// All that is served. A route has no other way in than this list, and none without saying whom it needs.
fn routes() -> Vec<Route> {
    use Needs::{AtLeast, Nothing};
    let (viewer, operator) = (AtLeast(Role::Viewer), AtLeast(Role::Operator));
    let admin = AtLeast(Role::Admin);
    let served = [
        ("GET /style.css", Nothing, get(pages::style)),
        ("GET /sign-in", Nothing, get(pages::sign_in)),
        ("POST /sign-in", Nothing, post(pages::let_in)),
        ("POST /sign-out", Nothing, post(pages::sign_out)),
        ("GET /", viewer, get(pages::fleet)),
        (
            "POST /machines/{machine}/drain",
            operator,
            post(pages::drain),
        ),
        (
            "POST /machines/{machine}/resume",
            operator,
            post(pages::resume),
        ),
        (
            "POST /machines/{machine}/approve",
            admin,
            post(pages::approve),
        ),
        (
            "POST /machines/{machine}/revoke",
            admin,
            post(pages::revoke),
        ),
    ];
    let route = |(name, needs, answer)| Route {
        name,
        needs,
        answer,
    };
    served.map(route).into()
}

fn router(dispatch: Dispatch) -> Router {
    let mut router = Router::new().fallback(pages::missing);
    for route in routes() {
        let Route {
            name,
            needs,
            mut answer,
        } = route;
        if let Needs::AtLeast(role) = needs {
            let guard = door::Guard {
                dispatch: dispatch.clone(),
                role,
            };
            answer = answer.layer(middleware::from_fn_with_state(guard, door::guard));
        }
        let (_, path) = name.split_once(' ').unwrap_or_default();
        router = router.route(path, answer);
    }
    router
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(middleware::from_fn(door::fence))
        .with_state(dispatch)
}

/// Answers until the stop.
pub async fn serve(dispatch: Dispatch, listener: TcpListener, stop: Stop) {
    let (soft, hard) = (stop.clone(), stop);
    let service = router(dispatch).into_make_service_with_connect_info::<SocketAddr>();
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

/// `7421` stands for this machine, and so must an address: what passes here is not encrypted.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let address = crate::server::monitor::address(text)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "the dashboard is plain HTTP and carries tokens, and {address} is not of this machine alone: give \
         a port, and come from elsewhere with `ssh -L {port}:127.0.0.1:{port} HOST`",
        port = address.port()
    ))
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
        assert_eq!(address("7421").unwrap().to_string(), "127.0.0.1:7421");
        assert_eq!(address("[::1]:1").unwrap().to_string(), "[::1]:1");
        let refused = address("0.0.0.0:7421").unwrap_err();
        assert!(refused.contains("ssh -L 7421:127.0.0.1:7421"), "{refused}");
    }
}
