//! A coordinator of the release build, for verbs that need one.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::repo;

/// What it lives in; the account that Postgres runs as has to enter it.
pub fn folder() -> Result<TempDir> {
    let open = Permissions::from_mode(0o755);
    Ok(tempfile::Builder::new().permissions(open).tempdir()?)
}

/// Its command, on a free port; environment, logs and more options are the caller's.
pub fn command(data_dir: &Path) -> Result<Command> {
    command_at("127.0.0.1:0", data_dir)
}

pub fn command_at(listen: &str, data_dir: &Path) -> Result<Command> {
    let mut command = Command::new(repo::target_folder()?.join("release/mlx-fleet"));
    command
        .args(["serve", "--listen", listen, "--data-dir"])
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Ok(command)
}

/// The address of its dashboard; None where it ends instead.
pub fn dashboard(coordinator: &mut Child) -> Result<Option<String>> {
    let stdout = coordinator.stdout.take().context("a pipe")?;
    for line in BufReader::new(stdout).lines() {
        if let Some(address) = line?.strip_prefix("dashboard at http://") {
            return Ok(Some(address.to_owned()));
        }
    }
    Ok(None)
}

/// The URL that it says it listens on; None where it ends instead.
pub fn url(coordinator: &mut Child) -> Result<Option<String>> {
    let stdout = coordinator.stdout.take().context("a pipe")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let url = line.trim().strip_prefix("listening on ");
    Ok(url.map(str::to_owned))
}
