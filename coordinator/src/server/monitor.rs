//! For monitoring systems, on a listener of its own: `/metrics`, `/healthz` (it runs), `/readyz` (it can
//! work). Plain HTTP and no token: it is meant for loopback, or for a network that one trusts.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use service::lifecycle::Stop;
use tokio::net::TcpListener;

use crate::dispatch::{Dispatch, chain};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Watched {
    dispatch: Dispatch,
    stop: Stop,
}

/// Answers until the stop.
pub async fn serve(dispatch: Dispatch, listener: TcpListener, stop: Stop) {
    let soft = stop.clone();
    let hard = stop.clone();
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(Watched { dispatch, stop });
    let server = axum::serve(listener, router);
    let server = server.with_graceful_shutdown(async move { soft.soft().await });
    tokio::select! {
        ended = server.into_future() => {
            if let Err(error) = ended {
                tracing::error!(%error, "metrics are not served any more");
            }
        }
        // A collector may keep its connection open.
        () = hard.hard() => {}
    }
}

async fn metrics(State(watched): State<Watched>) -> impl IntoResponse {
    let text = watched.dispatch.metrics().await;
    ([(header::CONTENT_TYPE, OPENMETRICS)], text)
}

async fn ready(State(watched): State<Watched>) -> (StatusCode, String) {
    let not = |why: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if watched.stop.is_soft() {
        return not("the coordinator is stopping".to_owned());
    }
    match watched.dispatch.check_database().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => not(chain(&why)),
    }
}

/// `9420` stands for this machine alone; an address says who else may ask.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let wrong = |_| format!("`{text}` is neither a port nor an address such as 127.0.0.1:9420");
    text.parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn a_bare_port_is_for_this_machine_alone() {
        assert_eq!(address("9420").unwrap().to_string(), "127.0.0.1:9420");
        assert_eq!(address("0.0.0.0:9420").unwrap().to_string(), "0.0.0.0:9420");
        assert!(address("everywhere").is_err() && address("99999").is_err());
    }
}
