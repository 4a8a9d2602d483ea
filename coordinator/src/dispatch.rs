//! What the coordinator decides. It knows nothing of the wire and no SQL: messages come in as domain
//! types, and statements are `store`'s.
//!
//! ```text
//!   rpc ──▶ enrol  runs  grant  leases  pulse  ingest  watch  import  machines  events  tokens  query  report
//!                    ▲     ▲                      ▲                           each of them ──▶ store
//!       schedules ───┤     │                      │
//!                    └─────┴──────── hub ─────────┘   wakes sessions and watchers of this process
//!                                   ▲
//!                                   └── Postgres' notifications, from any coordinator
//! ```

pub mod attempts;
pub mod backup;
pub mod enrol;
pub mod events;
pub mod grant;
pub mod import;
pub mod ingest;
pub mod leases;
pub mod ledger;
pub mod machines;
pub mod models;
pub mod monitor;
pub mod prune;
pub mod pulse;
pub mod query;
pub mod report;
pub mod runs;
pub mod schedules;
pub mod tokens;
pub mod watch;

pub mod housekeeping;
pub mod hub;

mod changes;
mod estimate;

#[cfg(test)]
mod histories;

use std::sync::Arc;

use secrecy::SecretString;
use service::tls::Authority;

use crate::store;
use hub::Hub;
use ingest::Intake;
use pulse::Pulse;

/// Which version of the coordinator this is; agents of another one are told so.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What every request needs; cheap to clone.
#[derive(Clone)]
pub struct Dispatch {
    pool: store::Pool,
    hub: Arc<Hub>,
    looks: Arc<watch::Looks>,
    intake: Intake,
    pulse: Pulse,
    desk: Arc<query::Desk>,
    tools: store::dump::Tools,
    counts: Arc<monitor::Counts>,
    attempts: Arc<attempts::Attempts>,
    authority: Arc<Authority>,
    approve_machines: bool,
}

/// Why a request was not done. Each becomes one gRPC code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no {noun} `{name}`{help}")]
    NotFound {
        noun: &'static str,
        name: String,
        help: &'static str,
    },
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unauthenticated(String),
    /// A token that was never given out.
    #[error("{0}")]
    Guessed(&'static str),
    #[error("{0}")]
    Denied(String),
    /// Sound, but not now.
    #[error("{0}")]
    Precondition(String),
    #[error("{0}")]
    TooMuch(String),
    /// The same may be done when it is asked for again.
    #[error("{0}")]
    Unavailable(&'static str),
    #[error("{0}")]
    Internal(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

/// What a coordinator is put together from.
pub struct Parts {
    pub pool: store::Pool,
    /// None where this database's user may not make logins.
    pub reader: Option<store::reader::Reader>,
    pub tools: store::dump::Tools,
    pub authority: Arc<Authority>,
    /// Whether a machine that enrols waits until an operator lets it in.
    pub approve_machines: bool,
}

impl Dispatch {
    /// The others are for [`ingest::work`] and [`pulse::work`], each of which one task runs.
    pub fn new(parts: Parts) -> (Self, ingest::Queue, pulse::Beats) {
        let Parts {
            pool,
            reader,
            tools,
            authority,
            approve_machines,
        } = parts;
        let (intake, queue) = ingest::intake();
        let (pulse, beats) = pulse::pulse();
        let dispatch = Self {
            pool,
            hub: Arc::new(Hub::default()),
            looks: Arc::default(),
            intake,
            pulse,
            desk: Arc::new(query::Desk::new(reader)),
            tools,
            counts: Arc::default(),
            attempts: Arc::default(),
            authority,
            approve_machines,
        };
        (dispatch, queue, beats)
    }

    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

/// An error with all its causes, in one line for the log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Letters and digits that nobody can guess, for a login that only machines use.
pub fn random_password() -> SecretString {
    use rand::RngExt;
    SecretString::from(hex::encode(rand::rng().random::<[u8; 32]>()))
}
