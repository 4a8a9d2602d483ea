//! Which account the server runs as: ours, or, since Postgres refuses root, an unprivileged one.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Error, Result, sys};

/// Where Postgres is packaged it brings its account; `nobody` exists everywhere.
const CANDIDATES: [&std::ffi::CStr; 3] = [c"postgres", c"_postgres", c"nobody"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// The one that we run as.
    Ours,
    /// We are root: the server runs as this one.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    pub(crate) fn choose() -> Result<Self> {
        if sys::effective_uid() != 0 {
            return Ok(Self::Ours);
        }
        for candidate in CANDIDATES {
            let ids = sys::account_ids(candidate)
                .map_err(Error::file("look up an account in", "the user database"))?;
            if let Some((uid, gid)) = ids.filter(|(uid, _)| *uid != 0) {
                let name = candidate.to_string_lossy().into_owned();
                return Ok(Self::Other { name, uid, gid });
            }
        }
        Err(Error::NoAccount)
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Ours => "the current user",
            Self::Other { name, .. } => name,
        }
    }

    /// A command that runs as this account, in the C locale, untouched by the caller's `PG*`
    /// variables.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("PG") || name_text.starts_with("LC_") || name == "LANG" {
                command.env_remove(&name);
            }
        }
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
        if let Self::Other { uid, gid, .. } = self {
            // std also drops our supplementary groups when root sets a uid.
            command.uid(*uid).gid(*gid);
        }
        command
    }

    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        match self {
            Self::Ours => Ok(()),
            Self::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid))
                .map_err(Error::file("change the owner of", path)),
        }
    }

    /// Whether this account can enter a folder, asked of the kernel: permission bits alone miss
    /// access lists and mount options.
    pub(crate) fn can_enter(&self, folder: &Path) -> bool {
        match self {
            Self::Ours => true,
            // The child changes folder after it has changed its uid, so a refusal shows here.
            Self::Other { .. } => self
                .command(Path::new("/bin/sh"))
                .args(["-c", ":"])
                .current_dir(folder)
                .stdin(Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
        }
    }
}
