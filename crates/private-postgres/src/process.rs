//! One running server: told apart from a stranger with the same pid, waited for, stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::folder::Layout;
use crate::sys::{self, Signal};
use crate::{Error, Installation, Result};

const POLL: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an immediate shutdown may take; it only has to end processes.
const IMMEDIATE_TIMEOUT: Duration = Duration::from_secs(10);
/// One earlier log is kept beside the current one.
const MAX_LOG_BYTES: u64 = 10 << 20;
const LOG_TAIL_BYTES: u64 = 2000;

#[derive(Debug)]
pub(crate) enum Process {
    /// Spawned by us, so its pid is its own until we reap it.
    Child(Child),
    /// Left by an owner that was killed; its pid is checked before each use.
    Orphan { pid: i32, cluster: PathBuf },
}

impl Process {
    pub(crate) fn pid(&self) -> i32 {
        match self {
            Self::Child(child) => child.id().cast_signed(),
            Self::Orphan { pid, .. } => *pid,
        }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        match self {
            Self::Child(child) => matches!(child.try_wait(), Ok(None)),
            Self::Orphan { pid, cluster } => serves(*pid, cluster),
        }
    }

    /// Fast shutdown; an immediate one when that takes too long.
    pub(crate) fn stop(&mut self, fast_timeout: Duration) -> Result<()> {
        for (signal, timeout) in [
            (Signal::Interrupt, fast_timeout),
            (Signal::Quit, IMMEDIATE_TIMEOUT),
        ] {
            if !self.is_alive() {
                return Ok(());
            }
            // A refusal here means that it ended in between, which the wait below notices.
            let sent = sys::signal(self.pid(), signal);
            tracing::debug!(
                pid = self.pid(),
                ?signal,
                ok = sent.is_ok(),
                "told postgres to stop"
            );
            if self.ended_within(timeout) {
                return Ok(());
            }
        }
        Err(Error::NotStopped {
            pid: self.pid(),
            after: fast_timeout + IMMEDIATE_TIMEOUT,
        })
    }

    fn ended_within(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Starting,
    Ready,
    Stopping,
}

/// What a server says about itself in `postmaster.pid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: i32,
    /// `None` while the server is still writing the file.
    pub(crate) port: Option<u16>,
    pub(crate) status: Status,
}

impl PidFile {
    fn path(cluster: &Path) -> PathBuf {
        cluster.join("postmaster.pid")
    }

    fn parse(text: &str) -> Option<Self> {
        // Lines: pid, folder, start time, port, socket folder, address, shared memory, status.
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        Some(Self {
            pid,
            port: lines.nth(2).and_then(|line| line.trim().parse().ok()),
            status: match lines.nth(3).map(str::trim) {
                Some("ready" | "standby") => Status::Ready,
                Some("stopping") => Status::Stopping,
                _ => Status::Starting,
            },
        })
    }

    /// The file of the server that runs on this cluster now. A file that nobody stands behind is
    /// removed when it would keep the server from starting: its pid belongs to a stranger, or it
    /// was cut short by a power loss.
    pub(crate) fn of_live_server(cluster: &Path) -> Result<Option<Self>> {
        let path = Self::path(cluster);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let file = Self::parse(&text);
        match file {
            Some(file) if serves(file.pid, cluster) => return Ok(Some(file)),
            Some(file) if !sys::exists(file.pid) => {}
            Some(_) | None => {
                tracing::warn!(file = %path.display(), "removed: it names no server of ours");
                fs::remove_file(&path).map_err(Error::file("remove", path))?;
            }
        }
        Ok(None)
    }
}

/// Whether this pid is a live Postgres of this cluster, and not a later process with its number.
fn serves(pid: i32, cluster: &Path) -> bool {
    if cfg!(target_os = "linux") {
        // A server works inside its cluster; a zombie has neither folder nor arguments.
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let program = fs::read(proc.join("cmdline")).unwrap_or_default();
        let program = program.split(|byte| *byte == 0).next().unwrap_or_default();
        return works_in(&proc, cluster) && program.ends_with(b"postgres");
    }
    let told = std::process::Command::new("/bin/ps")
        .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .output();
    told.is_ok_and(|output| {
        let line = String::from_utf8_lossy(&output.stdout);
        line.contains("postgres") && line.contains(&*cluster.to_string_lossy())
    })
}

/// By a process's folder in /proc.
fn works_in(proc: &Path, cluster: &Path) -> bool {
    fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd == cluster)
}

/// Ends what is left of a server of this cluster that was killed: a process of it that stands still cannot
/// notice, and keeps the memory without which no other server starts. What was committed is in the log.
/// Only on Linux, where a process's folder can be seen.
pub(crate) fn end_leftovers(cluster: &Path) {
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if !works_in(&entry.path(), cluster) {
            continue;
        }
        // Its children name what they do; the server itself has its program there.
        let told = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !told.starts_with(b"postgres: ") {
            return;
        }
        left.push(pid);
    }
    for pid in left {
        let sent = sys::signal(pid, Signal::Kill);
        tracing::warn!(
            pid,
            ok = sent.is_ok(),
            "ended a process that a killed server left"
        );
    }
}

/// Why a server that we spawned did not become ready.
#[derive(Debug)]
pub(crate) enum Failure {
    Ended(ExitStatus),
    NotReady,
}

/// Starts a server on this port; it outlives us unless it is stopped.
pub(crate) fn spawn(
    layout: &Layout,
    installation: &Installation,
    account: &Account,
    port: u16,
    settings: &[(String, String)],
) -> Result<Child> {
    let log = open_log(&layout.log())?;
    let program = installation.program("postgres");
    let mut command = account.command(&program);
    command.arg("-D").arg(layout.cluster());
    let port = port.to_string();
    let ours = [
        ("listen_addresses", "127.0.0.1"),
        ("port", &port),
        ("unix_socket_directories", ""),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
    ];
    let theirs = settings.iter().map(|(name, value)| (&**name, &**value));
    // The last one wins: what keeps the data safe and the port private is not up for change.
    for (name, value) in theirs.chain(ours) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let errors = log.try_clone().map_err(Error::file("open", layout.log()))?;
    command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Ctrl-C in a terminal is for us; we stop the server when nobody needs it any more.
        .process_group(0)
        .spawn()
        .map_err(Error::file("run", program))
}

/// Waits until the server accepts connections.
pub(crate) fn wait_ready(
    child: &mut Child,
    cluster: &Path,
    port: u16,
    deadline: Instant,
) -> Result<(), Failure> {
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::Ended(status));
        }
        let text = fs::read_to_string(PidFile::path(cluster)).unwrap_or_default();
        let ready = PidFile::parse(&text).is_some_and(|file| {
            file.pid == child.id().cast_signed() && file.status == Status::Ready
        });
        if ready && answers(port) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::NotReady);
        }
        std::thread::sleep(POLL);
    }
}

pub(crate) fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok()
}

pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

pub(crate) fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn open_log(path: &Path) -> Result<File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > MAX_LOG_BYTES) {
        let earlier = path.with_extension("1");
        fs::rename(path, &earlier).map_err(Error::file("rename", path))?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::file("open", path))
}

/// The end of the log, for an error message.
pub(crate) fn log_tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_else(|error| format!("(unreadable: {error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &str = "4242\n/d/cluster\n1700000000\n5499\n\n127.0.0.1\n  1 2\nready   \n";

    #[test]
    fn a_pid_file_is_read_at_every_stage_of_its_writing() {
        let ready = PidFile::parse(READY).unwrap();
        assert_eq!(
            ready,
            PidFile {
                pid: 4242,
                port: Some(5499),
                status: Status::Ready
            }
        );
        let stopping = PidFile::parse(&READY.replace("ready   ", "stopping")).unwrap();
        assert_eq!(stopping.status, Status::Stopping);
        let early = PidFile::parse("4242\n/d/cluster\n").unwrap();
        assert_eq!((early.port, early.status), (None, Status::Starting));
        assert_eq!(PidFile::parse(""), None);
        assert_eq!(PidFile::parse("rubbish"), None);
    }

    #[test]
    fn a_stranger_with_the_pid_is_no_server_and_its_file_is_removed() {
        let cluster = tempfile::tempdir().unwrap();
        let path = PidFile::path(cluster.path());
        let us = std::process::id().to_string();
        fs::write(&path, READY.replace("4242", &us)).unwrap();
        assert_eq!(PidFile::of_live_server(cluster.path()).unwrap(), None);
        assert!(!path.exists());
    }

    #[test]
    fn an_empty_pid_file_is_removed() {
        let cluster = tempfile::tempdir().unwrap();
        let path = PidFile::path(cluster.path());
        fs::write(&path, "").unwrap();
        assert_eq!(PidFile::of_live_server(cluster.path()).unwrap(), None);
        assert!(!path.exists());
    }

    #[test]
    fn a_large_log_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = File::create(&path).unwrap();
        log.set_len(MAX_LOG_BYTES + 1).unwrap();
        drop(open_log(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        let earlier = fs::metadata(path.with_extension("1")).unwrap();
        assert_eq!(earlier.len(), MAX_LOG_BYTES + 1);
    }
}
