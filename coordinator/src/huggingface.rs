//! Downloads from Hugging Face's hub, or from a server that answers as it does: a model's files once, for the
//! whole fleet. What was cut goes on from there; what is not what the hub says it is gets no name.
//!
//! ```text
//!   GET /api/models/ORG/NAME/revision/REVISION   the commit
//!   GET /api/models/ORG/NAME/tree/COMMIT         its files: sizes, hashes
//!   GET /ORG/NAME/resolve/COMMIT/FILE            the content, often from another host, which gets no token
//! ```

use std::io::Read;
use std::thread;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use domain::hub::{BadSnapshot, Commit, Digest, HubFile, HubModel, Snapshot};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use service::hub::{self, Cache, Part};
use service::tls;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderValue, Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

pub const ENDPOINT: &str = "https://huggingface.co";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A download that brings nothing for so long is asked for again.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// In vain, one after another.
const MAX_RETRIES: usize = 4;
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(8);
const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("HF_ENDPOINT: `{0}` is no address such as {ENDPOINT}")]
    BadEndpoint(String),
    #[error(
        "HF_ENDPOINT: `{0}` is not encrypted, which is allowed on this machine's loopback only: use https"
    )]
    PlainText(String),
    #[error("the token for {0} holds characters that no token has")]
    BadToken(String),
    #[error(
        "{endpoint} has no public repository {repository}; if it is private or gated, name a token that may \
         read it: HF_TOKEN, or `hf auth login`"
    )]
    NoAccess {
        endpoint: String,
        repository: String,
    },
    #[error(
        "the token may not read {repository}: ask for access at {endpoint}/{repository}, or use another token"
    )]
    Forbidden {
        endpoint: String,
        repository: String,
    },
    #[error("{endpoint} has no {model}: is it spelt so there?")]
    NotFound { endpoint: String, model: HubModel },
    #[error("{model} cannot be given to machines")]
    NoModel {
        model: HubModel,
        source: BadSnapshot,
    },
    #[error("{endpoint} answered what this version does not understand: {why}")]
    Strange { endpoint: String, why: String },
    #[error("{endpoint} answered {status}")]
    Status {
        endpoint: String,
        status: StatusCode,
    },
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        endpoint: String,
        source: Box<ureq::Error>,
    },
    #[error("{name} was cut after {bytes} bytes: {why}; the next fetch goes on from there")]
    Cut {
        name: String,
        bytes: u64,
        why: String,
    },
    #[error(transparent)]
    Disk(#[from] hub::Error),
}

impl Error {
    /// Whether the same may do when it is asked for again.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Disk(error) => {
                matches!(error, hub::Error::Short { .. } | hub::Error::Damaged { .. })
            }
            _ => false,
        }
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(RETRY_MIN)
        .with_max_delay(RETRY_MAX)
        .with_max_times(MAX_RETRIES)
        .with_jitter()
        .build()
}

/// Until it is time to try again, where that may help.
fn wait(error: Error, pauses: &mut ExponentialBackoff) -> Result<(), Error> {
    match pauses.next().filter(|_| error.may_pass()) {
        Some(pause) => {
            thread::sleep(pause);
            Ok(())
        }
        None => Err(error),
    }
}

fn again<T>(attempt: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let mut pauses = pauses();
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => wait(error, &mut pauses)?,
        }
    }
}

pub struct Hub {
    agent: Agent,
    endpoint: String,
    token: Option<SecretString>,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: u64,
    oid: String,
    lfs: Option<Pointer>,
}

/// Of a file that is too large for git.
#[derive(Deserialize)]
struct Pointer {
    oid: String,
    size: u64,
}

impl Hub {
    pub fn new(endpoint: &str, token: Option<SecretString>) -> Result<Self, Error> {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let uri: Option<Uri> = endpoint.parse().ok();
        let parts = uri
            .as_ref()
            .and_then(|uri| Some((uri.scheme_str()?, uri.host()?)));
        let encrypted = match parts {
            Some(("https", _)) => true,
            Some(("http", host)) if tls::is_loopback(host) => false,
            Some(("http", _)) => return Err(Error::PlainText(endpoint)),
            _ => return Err(Error::BadEndpoint(endpoint)),
        };
        if let Some(token) = &token {
            let token = HeaderValue::from_str(token.expose_secret());
            token.map_err(|_| Error::BadToken(endpoint.clone()))?;
        }
        let mut config = Agent::config_builder()
            .user_agent(concat!("mlx-fleet/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .https_only(encrypted)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT));
        if !encrypted {
            // What is on this machine is not behind a proxy.
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            endpoint,
            token,
        })
    }

    /// What a revision stands for now, and the files of it that a model needs.
    pub fn snapshot(&self, model: &HubModel) -> Result<Snapshot, Error> {
        let repository = &model.repository;
        let path = format!("/api/models/{repository}/revision/{}", model.revision());
        let Info { sha } = again(|| self.json(model, &path))?;
        let commit = sha
            .parse::<Commit>()
            .map_err(|why| self.strange(format_args!("the commit `{sha}`: {why}")))?;
        let path = format!("/api/models/{repository}/tree/{commit}");
        let entries: Vec<Entry> = again(|| self.json(model, &path))?;
        let files = entries.into_iter().filter_map(|entry| self.file(entry));
        let files = files.collect::<Result<_, _>>()?;
        Snapshot::new(commit, files).map_err(|source| Error::NoModel {
            model: model.clone(),
            source,
        })
    }

    /// None for what no model needs.
    fn file(&self, entry: Entry) -> Option<Result<HubFile, Error>> {
        let Entry {
            kind,
            path,
            size,
            oid,
            lfs,
        } = entry;
        let name = path.parse().ok().filter(|_| kind == "file")?;
        let (oid, bytes) = match lfs {
            Some(Pointer { oid, size }) => (oid, size),
            None => (oid, size),
        };
        let digest = oid.parse::<Digest>();
        let digest = digest.map_err(|why| self.strange(format_args!("the hash of {path}: {why}")));
        Some(digest.map(|digest| HubFile {
            name,
            bytes,
            digest,
        }))
    }

    /// Downloads what the folder does not have of a model, and lets it be found there. `tell` hears how many
    /// bytes more are here.
    pub fn fetch(
        &self,
        cache: &Cache,
        model: &HubModel,
        snapshot: &Snapshot,
        mut tell: impl FnMut(u64),
    ) -> Result<(), Error> {
        cache.check_room(model, snapshot)?;
        for file in snapshot.files() {
            let mut told = 0;
            let mut tell = |bytes: u64| {
                // A file that was damaged is begun anew: not told twice.
                tell(bytes.saturating_sub(told));
                told = told.max(bytes);
            };
            self.download(cache, model, snapshot.commit(), file, &mut tell)?;
            tell(file.bytes);
        }
        Ok(cache.keep(model, snapshot)?)
    }

    /// Again and again, as long as it goes on.
    fn download(
        &self,
        cache: &Cache,
        model: &HubModel,
        commit: &Commit,
        file: &HubFile,
        tell: &mut impl FnMut(u64),
    ) -> Result<(), Error> {
        let (mut pauses, mut reached) = (pauses(), 0);
        loop {
            let Some(mut part) = cache.part(model, file)? else {
                return Ok(());
            };
            let whole = part.bytes() == 0;
            let got = self.fill(&mut part, model, commit, file, tell);
            let bytes = part.bytes();
            let error = match got.and_then(|()| Ok(part.finish()?)) {
                Ok(()) => return Ok(()),
                // What was here may have been spoilt here; what came in one piece stays what it is.
                Err(error @ Error::Disk(hub::Error::Damaged { .. })) if whole => return Err(error),
                Err(error) => error,
            };
            if bytes > reached {
                (pauses, reached) = (self::pauses(), bytes);
            }
            wait(error, &mut pauses)?;
        }
    }

    fn fill(
        &self,
        part: &mut Part,
        model: &HubModel,
        commit: &Commit,
        file: &HubFile,
        tell: &mut impl FnMut(u64),
    ) -> Result<(), Error> {
        tell(part.bytes());
        if part.bytes() == file.bytes {
            return Ok(());
        }
        let path = format!("/{}/resolve/{commit}/{}", model.repository, file.name);
        let mut response = self.get(model, &path, part.bytes())?;
        if response.status() == StatusCode::OK {
            // It sends all of it, whatever it was asked for.
            part.restart()?;
        } else {
            self.check_range(&response, part.bytes())?;
        }
        let mut body = response.body_mut().as_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match body.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => part.write(&chunk[..read])?,
                Err(why) => {
                    return Err(Error::Cut {
                        name: file.name.to_string(),
                        bytes: part.bytes(),
                        why: why.to_string(),
                    });
                }
            }
            tell(part.bytes());
        }
    }

    fn check_range(&self, response: &Response<Body>, from: u64) -> Result<(), Error> {
        let range = response.headers().get(header::CONTENT_RANGE);
        let range = range.and_then(|range| range.to_str().ok());
        let starts = format!("bytes {from}-");
        if range.is_some_and(|range| range.starts_with(&starts)) {
            return Ok(());
        }
        Err(self.strange(format_args!("the range {range:?} to one from {from}")))
    }

    fn json<T: DeserializeOwned>(&self, model: &HubModel, path: &str) -> Result<T, Error> {
        let mut response = self.get(model, path, 0)?;
        let text = response.body_mut().read_to_vec();
        let text = text.map_err(|error| self.unreachable(error))?;
        serde_json::from_slice(&text).map_err(|why| self.strange(format_args!("{why}")))
    }

    /// An answer with content, from this byte on.
    fn get(&self, model: &HubModel, path: &str, from: u64) -> Result<Response<Body>, Error> {
        let mut request = self.agent.get(format!("{}{path}", self.endpoint));
        if let Some(token) = &self.token {
            let token = format!("Bearer {}", token.expose_secret());
            request = request.header(header::AUTHORIZATION, token);
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| self.unreachable(error))?;
        let (endpoint, repository) = (self.endpoint.clone(), model.repository.clone());
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::PARTIAL_CONTENT if from > 0 => Ok(response),
            StatusCode::UNAUTHORIZED => Err(Error::NoAccess {
                endpoint,
                repository,
            }),
            StatusCode::FORBIDDEN => Err(Error::Forbidden {
                endpoint,
                repository,
            }),
            StatusCode::NOT_FOUND => Err(Error::NotFound {
                endpoint,
                model: model.clone(),
            }),
            status => Err(Error::Status { endpoint, status }),
        }
    }

    fn unreachable(&self, error: ureq::Error) -> Error {
        Error::Unreachable {
            endpoint: self.endpoint.clone(),
            source: Box::new(error),
        }
    }

    fn strange(&self, why: std::fmt::Arguments<'_>) -> Error {
        Error::Strange {
            endpoint: self.endpoint.clone(),
            why: why.to_string(),
        }
    }
}
