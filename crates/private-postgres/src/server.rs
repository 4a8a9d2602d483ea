//! The owner of one data folder's server.
//!
//! ```text
//!             +-- a live one is there --> attach --+
//!   start ----+                                    +--> running --stop/drop--> stopped
//!             +-- none ----> spawn, wait ready ----+       |
//!                              ^   |  port taken           | killed from outside
//!                              +---+  next port            +--> ensure_running: as start
//! ```
//!
//! Running: the lock is held, `process` is the server. Stopped: `process` is `None`; the lock goes
//! with the value.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::cluster::{self, hex_digits};
use crate::folder::{self, Layout};
use crate::install::{self, Installation};
use crate::process::{self, Failure, PidFile, Process, Status};
use crate::{Error, Result};

/// Each try takes another free port; somebody else would have to take all of them.
const MAX_PORT_TRIES: u32 = 5;
const POLL: Duration = Duration::from_millis(50);
/// What Postgres says while children of a killed server are still ending.
const STILL_ENDING: &str = "pre-existing shared memory block";
/// How long they have for it.
const END_BY_THEMSELVES: Duration = Duration::from_secs(3);
/// A server that somebody kills as it starts is started again.
const MAX_KILLS: u32 = 3;

/// How to start a server; [`Options::new`] has what most callers want.
#[derive(Debug, Clone)]
pub struct Options {
    /// Made, mode 0700, when it is missing.
    pub data_dir: PathBuf,
    /// Where `postgres` and `initdb` are, as the user says; nothing else is tried then.
    pub bin_dir: Option<PathBuf>,
    /// Private copies, tried after every installation of the system.
    pub private_bin_dirs: Vec<PathBuf>,
    /// Where root keeps the files of a data folder whose parents its account cannot enter.
    pub fallback_dir: PathBuf,
    /// Server settings (`name`, `value`) beyond `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// Recovery after a crash counts as starting.
    pub start_timeout: Duration,
    /// After this a fast shutdown turns into an immediate one.
    pub stop_timeout: Duration,
}

impl Options {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            bin_dir: None,
            private_bin_dirs: Vec::new(),
            fallback_dir: PathBuf::from("/var/lib/mlx-fleet/clusters"),
            settings: Vec::new(),
            start_timeout: Duration::from_mins(2),
            stop_timeout: Duration::from_secs(30),
        }
    }
}

/// How the running server came to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Started,
    /// It was running already: its former owner was killed.
    Attached,
}

/// A running server; dropping it stops it.
pub struct Server {
    options: Options,
    layout: Layout,
    installation: Installation,
    account: Account,
    password: String,
    port: u16,
    origin: Origin,
    /// `None` once stopped.
    process: Option<Process>,
    /// Held as long as we own the folder.
    _lock: File,
}

impl Server {
    /// Starts the data folder's server, or attaches to it where it runs; returns when it accepts
    /// connections.
    pub fn start(options: &Options) -> Result<Self> {
        let data_dir = folder::open_data_dir(&options.data_dir)?;
        let lock = lock(&data_dir)?;
        let account = folder::account_for(&data_dir)?;
        let layout = folder::settle(&data_dir, &account, &options.fallback_dir)?;
        let major = cluster::major(&layout)?;

        #[expect(
            clippy::disallowed_methods,
            reason = "where programs are is the user's setting"
        )]
        let search_path = std::env::var_os("PATH");
        let places = install::Places {
            chosen: options.bin_dir.as_deref(),
            path: search_path.as_deref(),
            private: &options.private_bin_dirs,
        };
        let made_by = layout.cluster();
        let made_by = major.map(|major| (made_by.as_path(), major));
        let installation = install::find(&places, &account, made_by)?;
        if major.is_none() {
            cluster::create(&layout, &installation, &account, &mut rand::rng())?;
        }
        let password = cluster::read_password(&layout)?;
        let (process, port, origin) = bring_up(options, &layout, &installation, &account)?;
        tracing::info!(
            pid = process.pid(),
            port,
            ?origin,
            version = installation.major(),
            folder = %layout.root().display(),
            "postgres is ready"
        );
        Ok(Self {
            options: options.clone(),
            layout,
            installation,
            account,
            password,
            port,
            origin,
            process: Some(process),
            _lock: lock,
        })
    }

    /// Where to connect, password included: keep it out of logs. The database may not exist yet;
    /// `postgres` always does.
    pub fn url(&self, database: &str) -> String {
        let database = percent_encode(database);
        let (user, password, port) = (cluster::SUPERUSER, &self.password, self.port);
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    pub fn origin(&self) -> Origin {
        self.origin
    }

    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Where the server's files really are.
    pub fn folder(&self) -> &Path {
        self.layout.root()
    }

    /// Whether they are outside the data folder, because the server's account cannot enter it.
    pub fn is_relocated(&self) -> bool {
        self.layout.relocated
    }

    pub fn log_file(&self) -> PathBuf {
        self.layout.log()
    }

    /// Starts the server again when it was killed or has crashed; says whether that was needed.
    /// The port, and so [`Server::url`], stays the same unless somebody took it meanwhile.
    pub fn ensure_running(&mut self) -> Result<bool> {
        if self.process.as_mut().is_some_and(Process::is_alive) {
            return Ok(false);
        }
        self.process = None;
        let (process, port, origin) = bring_up(
            &self.options,
            &self.layout,
            &self.installation,
            &self.account,
        )?;
        tracing::warn!(
            pid = process.pid(),
            port,
            "postgres had ended and was started again"
        );
        (self.process, self.port, self.origin) = (Some(process), port, origin);
        Ok(true)
    }

    /// Fast shutdown with a deadline, then an immediate one. Repeating it does nothing.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process {
            process.stop(self.options.stop_timeout)?;
            tracing::info!(port = self.port, "postgres has stopped");
        }
        self.process = None;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "postgres was left running");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("folder", &self.layout.root())
            .field("port", &self.port)
            .field("origin", &self.origin)
            .field("process", &self.process)
            .field("password", &"redacted")
            .finish_non_exhaustive()
    }
}

/// One owner per data folder; the kernel gives the lock back when its owner dies.
fn lock(data_dir: &Path) -> Result<File> {
    let path = data_dir.join("postgres.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(Error::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            folder: data_dir.to_owned(),
            lock: path,
        }),
        Err(TryLockError::Error(error)) => Err(Error::file("lock", path)(error)),
    }
}

fn bring_up(
    options: &Options,
    layout: &Layout,
    installation: &Installation,
    account: &Account,
) -> Result<(Process, u16, Origin)> {
    let deadline = Instant::now() + options.start_timeout;
    let cluster = layout.cluster();
    let mut tries = 0;
    let mut kills = 0;
    let mut ending_since = None;
    loop {
        if let Some((pid, port)) = attach(layout, options, deadline)? {
            return Ok((Process::Orphan { pid, cluster }, port, Origin::Attached));
        }
        let port = settle_port(layout)?;
        let mut child = process::spawn(layout, installation, account, port, &options.settings)?;
        let log = layout.log();
        match process::wait_ready(&mut child, &cluster, port, deadline) {
            Ok(()) => return Ok((Process::Child(child), port, Origin::Started)),
            Err(Failure::NotReady) => {
                Process::Child(child).stop(Duration::ZERO)?;
                return Err(not_ready(layout, options));
            }
            Err(Failure::Ended(status)) => {
                let tail = process::log_tail(&log);
                // Or a server of a killed owner only now wrote its pid file.
                let other = PidFile::of_live_server(&cluster)?.is_some();
                let ending = other || tail.contains(STILL_ENDING);
                let ending = ending && Instant::now() < deadline;
                if ending && !other {
                    let since = *ending_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > END_BY_THEMSELVES {
                        process::end_leftovers(&cluster);
                    }
                }
                if status.signal() == Some(libc::SIGKILL) && kills < MAX_KILLS {
                    kills += 1;
                    continue;
                }
                // Between our look and its bind somebody took the port.
                let taken = !process::is_free(port);
                match (ending, taken) {
                    (true, _) => std::thread::sleep(POLL),
                    (false, true) if tries < MAX_PORT_TRIES => tries += 1,
                    (false, true) => return Err(Error::NoPort { tries, log }),
                    (false, false) => return Err(Error::Ended { status, log, tail }),
                }
            }
        }
    }
}

/// The pid and port of a server that an earlier owner left; waits while it starts or ends.
fn attach(layout: &Layout, options: &Options, deadline: Instant) -> Result<Option<(i32, u16)>> {
    loop {
        let Some(file) = PidFile::of_live_server(&layout.cluster())? else {
            return Ok(None);
        };
        match (file.status, file.port) {
            (Status::Ready, Some(port)) if process::answers(port) => {
                return Ok(Some((file.pid, port)));
            }
            (Status::Ready | Status::Starting | Status::Stopping, _) => {}
        }
        if Instant::now() >= deadline {
            return Err(not_ready(layout, options));
        }
        std::thread::sleep(POLL);
    }
}

fn not_ready(layout: &Layout, options: &Options) -> Error {
    Error::NotReady {
        after: options.start_timeout,
        tail: process::log_tail(&layout.log()),
        log: layout.log(),
    }
}

/// The port of last time while it is free, else another one.
fn settle_port(layout: &Layout) -> Result<u16> {
    let path = layout.port();
    let last = std::fs::read_to_string(&path).ok();
    let last = last.and_then(|text| text.trim().parse().ok());
    if let Some(port) = last.filter(|port| *port != 0 && process::is_free(*port)) {
        return Ok(port);
    }
    let port = process::free_port().map_err(Error::file("find a free port for", &path))?;
    cluster::replace(&path, &format!("{port}\n"))?;
    Ok(port)
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend(hex_digits(byte));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_cannot_leave_its_place_in_the_url() {
        assert_eq!(percent_encode("mlx_fleet"), "mlx_fleet");
        assert_eq!(percent_encode("a/b?c#ä"), "a%2fb%3fc%23%c3%a4");
    }

    #[test]
    fn two_owners_never_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        drop(held);
        lock(dir.path()).unwrap();
    }
}
