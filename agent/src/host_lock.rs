//! One measurement at a time on a machine, whoever runs the agents: a lock file that all users share.
//!
//! The file stands at the same path for every user, so it is opened for reading only (which is
//! enough for a lock), and never through a link. The lock goes with the process that holds it.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

/// Where agents of all users meet.
pub const DEFAULT_PATH: &str = "/tmp/mlx-fleet-host.lock";

/// How often a held lock is tried again; only while another agent measures.
const RETRY: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
#[error("cannot lock {path}: {source}", path = path.display())]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

/// The right to measure on this host, while it lives.
#[derive(Debug)]
pub struct HostLock(#[expect(dead_code, reason = "held, not read")] File);

impl HostLock {
    /// Waits until no other agent measures; `on_wait` is called once when it has to.
    pub async fn take(path: &Path, on_wait: impl FnOnce()) -> Result<Self, Error> {
        let mut on_wait = Some(on_wait);
        loop {
            let tried = try_take(path).map_err(|source| Error {
                path: path.to_owned(),
                source,
            })?;
            if let Some(lock) = tried {
                return Ok(lock);
            }
            if let Some(tell) = on_wait.take() {
                tell();
            }
            sleep(RETRY).await;
        }
    }
}

/// Locks a file, made where it is missing, or says that somebody else has it.
pub fn try_take(path: &Path) -> io::Result<Option<HostLock>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // A cleaner of temporary files may have taken the name away between opening and locking.
    let same = fs::symlink_metadata(path).is_ok_and(|now| {
        file.metadata()
            .is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino()))
    });
    Ok(same.then_some(HostLock(file)))
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        result => return result,
    }
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path);
    match made {
        Ok(file) => {
            file.set_permissions(Permissions::from_mode(0o644))?;
            Ok(file)
        }
        // Another agent was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_second_waits_until_the_first_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.lock");
        let first = HostLock::take(&path, || panic!("nobody holds it"))
            .await
            .unwrap();
        let (waits, told) = tokio::sync::oneshot::channel();
        let second = HostLock::take(&path, || waits.send(()).unwrap());
        let release = async {
            told.await.unwrap();
            drop(first);
        };
        let (second, ()) = tokio::join!(second, release);
        second.unwrap();
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.lock");
        std::os::unix::fs::symlink(dir.path().join("victim"), &path).unwrap();
        assert!(try_take(&path).is_err());
        assert!(!dir.path().join("victim").exists());
    }
}
