//! What a machine downloads before it is one of the fleet: the install script, and the release archives that
//! the operator put into a folder. Plain HTTPS on the port of all else; no secret is asked for, as none of it
//! is one.
//!
//! ```text
//!   GET /install-agent.sh       compiled in: of the coordinator's own release
//!   GET /releases/SHA256SUMS    the archives that can be had, each with its checksum
//!   GET /releases/NAME          one of those, and nothing else of the folder
//! ```

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Named, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use service::lifecycle::Stop;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{Context, sending};
use crate::dispatch::ledger::{Ledger, Pace, place};

/// The file of checksums, as `cargo xtask dist` writes it.
pub const SUMS: &str = "SHA256SUMS";
const SCRIPT: &str = include_str!("../../../deploy/install-agent.sh");

/// A machine asks three times; a lab behind one address, at its start, a hundred times.
const PACE: Pace = Pace {
    to_spare: 60,
    max_debt: 120,
    comes_back: Duration::from_millis(500),
};
/// Archives that are sent at one time: more would only share the same network.
const MAX_SENDING: usize = 16;
/// A release has a handful of archives.
const MAX_SUMS_BYTES: u64 = 64 * 1024;
const NONE_HERE: &str =
    "this coordinator has no such file: see docs/install.md, \"Release archives\"\n";

#[derive(Clone)]
struct Downloads {
    folder: Arc<PathBuf>,
    asked: Arc<Mutex<Ledger>>,
    sending: Arc<Semaphore>,
    stop: Stop,
    tasks: TaskTracker,
}

pub fn router(context: &Context, folder: PathBuf) -> Router {
    let downloads = Downloads {
        folder: Arc::new(folder),
        asked: Arc::new(Mutex::new(Ledger::new(PACE))),
        sending: Arc::new(Semaphore::new(MAX_SENDING)),
        stop: context.stop.clone(),
        tasks: context.tasks.clone(),
    };
    Router::new()
        .route("/install-agent.sh", get(async || SCRIPT))
        .route("/releases/SHA256SUMS", get(sums))
        .route("/releases/{name}", get(archive))
        .route_layer(middleware::from_fn_with_state(downloads.clone(), at_a_pace))
        .with_state(downloads)
}

async fn at_a_pace(State(downloads): State<Downloads>, request: Request, next: Next) -> Response {
    let from = place(service::tls::peer_address(request.extensions()));
    match downloads.too_fast(from) {
        None => next.run(request).await,
        Some(wait) => later(StatusCode::TOO_MANY_REQUESTS, wait),
    }
}

impl Downloads {
    fn too_fast(&self, from: IpAddr) -> Option<Duration> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let wait = asked.wait(from, now);
        if wait.is_none() {
            asked.spend(from, now);
        }
        wait
    }
}

/// curl's `--retry` waits as long as it is told here.
fn later(status: StatusCode, wait: Duration) -> Response {
    let seconds = HeaderValue::from(wait.as_secs() + 1);
    (
        status,
        [(header::RETRY_AFTER, seconds)],
        "too many at once: try again\n",
    )
        .into_response()
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, NONE_HERE).into_response()
}

async fn sums(State(downloads): State<Downloads>) -> Response {
    let listed = listed(&downloads.folder).await;
    if listed.is_empty() {
        return missing();
    }
    let lines = listed.iter().map(|(name, sum)| format!("{sum}  {name}\n"));
    lines.collect::<String>().into_response()
}

async fn archive(
    State(downloads): State<Downloads>,
    Named(name): Named<String>,
    request: Request,
) -> Response {
    // The name is only compared; the one that is opened comes from the operator's own list.
    let listed = listed(&downloads.folder).await;
    let Some((name, _)) = listed.iter().find(|(listed, _)| *listed == name) else {
        return missing();
    };
    let Ok(place) = Arc::clone(&downloads.sending).try_acquire_owned() else {
        return later(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(5));
    };
    let Ok(file) = File::open(downloads.folder.join(name)).await else {
        return missing();
    };
    let bytes = file.metadata().await.map_or(0, |metadata| metadata.len());
    let extensions = request.extensions();
    let body = sending::send(file, extensions, &downloads.stop, &downloads.tasks, place);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/gzip"),
        ),
        (header::CONTENT_LENGTH, HeaderValue::from(bytes)),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// Names and checksums of the archives that are there, as the operator's list has them.
pub async fn listed(folder: &Path) -> Vec<(String, String)> {
    let Ok(file) = File::open(folder.join(SUMS)).await else {
        return Vec::new();
    };
    let mut text = String::new();
    if let Err(error) = file.take(MAX_SUMS_BYTES).read_to_string(&mut text).await {
        tracing::warn!(%error, folder = %folder.display(), "{SUMS} cannot be read");
        return Vec::new();
    }
    let lines = text.lines().filter_map(entry);
    lines
        .filter(|(name, _)| folder.join(name).is_file())
        .collect()
}

/// One line of `sha256sum`'s, if it is of an archive of ours beside it.
fn entry(line: &str) -> Option<(String, String)> {
    let (sum, name) = line.split_once("  ")?;
    let is_sum = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    let middle = name.strip_prefix("mlx-fleet-")?.strip_suffix(".tar.gz")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (is_sum && middle.bytes().all(plain)).then(|| (name.to_owned(), sum.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn only_archives_that_lie_beside_the_list_are_listed() {
        let sum = "0f".repeat(32);
        let read = |name: &str| entry(&format!("{sum}  {name}"));
        let name = "mlx-fleet-0.1.0-macos14-arm64.tar.gz";
        assert_eq!(read(name), Some((name.to_owned(), sum.clone())));
        for other in [
            "../ca.key",
            "ca.key",
            "mlx-fleet-/../../ca.key.tar.gz",
            "mlx-fleet-a\\b.tar.gz",
            "mlx-fleet-0.1.0.zip",
            "",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(entry(&format!("{}  {name}", "0".repeat(63))), None);
        assert_eq!(entry(name), None);
    }
}
