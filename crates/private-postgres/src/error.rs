//! What can go wrong, each with where it happened and how to mend it.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::{fmt, io};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path}", path = path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{folder} is in use by another process (lock {lock}): stop that one, or use another data \
         folder",
        folder = folder.display(),
        lock = lock.display()
    )]
    Locked { folder: PathBuf, lock: PathBuf },
    #[error(
        "no usable PostgreSQL {wanted} found{refused}; run `deploy/setup`, or install it: \
         `apt install postgresql` (Debian, Ubuntu), `brew install postgresql@18` (macOS)",
        refused = Refused(refused)
    )]
    NotFound {
        wanted: String,
        refused: Vec<String>,
    },
    #[error("PostgreSQL in {path} cannot be used: {reason}", path = bin.display())]
    BadInstallation { bin: PathBuf, reason: String },
    #[error(
        "{cluster} was made by PostgreSQL {made_by}, and only {found} was found: install \
         PostgreSQL {made_by}, or dump the databases with it and restore them into a new data \
         folder",
        cluster = cluster.display()
    )]
    MajorVersion {
        cluster: PathBuf,
        made_by: u32,
        found: String,
    },
    #[error(
        "started as root, and PostgreSQL refuses root: there is no account `postgres` or \
         `nobody` to run it as; create one (`useradd --system postgres`) or start as another user"
    )]
    NoAccount,
    #[error(
        "the account `{account}` cannot enter {path}: give its parent folders o+x, or use another \
         data folder",
        path = path.display()
    )]
    Unreachable { account: String, path: PathBuf },
    #[error("{path} holds nonsense ({what}): {mend}", path = path.display())]
    Corrupt {
        path: PathBuf,
        what: String,
        mend: &'static str,
    },
    #[error("initdb failed ({status}) in {cluster}: {output}", cluster = cluster.display())]
    Initdb {
        cluster: PathBuf,
        status: ExitStatus,
        output: String,
    },
    #[error("postgres ended at start ({status}); the end of {log}:\n{tail}", log = log.display())]
    Ended {
        status: ExitStatus,
        log: PathBuf,
        tail: String,
    },
    #[error(
        "postgres was not ready after {after:?}; the end of {log}:\n{tail}",
        log = log.display()
    )]
    NotReady {
        after: Duration,
        log: PathBuf,
        tail: String,
    },
    #[error("no free port on 127.0.0.1 after {tries} tries; see {log}", log = log.display())]
    NoPort { tries: u32, log: PathBuf },
    #[error(
        "postgres (pid {pid}) did not stop within {after:?}, even at once: stop it by hand \
         (`kill -QUIT {pid}`)"
    )]
    NotStopped { pid: i32, after: Duration },
}

impl Error {
    /// Turns an I/O error into one that names the path.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

struct Refused<'a>(&'a [String]);

impl fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, " (refused: {})", self.0.join("; "))
    }
}
