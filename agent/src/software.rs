//! Which MLX the worker on this machine runs: asked of the worker itself, outside of any launch.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use domain::worker::Started;
use tokio::process::Command;
use tokio::time::timeout;

use crate::supervisor::Suite;

/// It loads MLX, finds the device and reads the kernels' file once.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot start {program}: {source}", program = program.display())]
    Start {
        program: PathBuf,
        source: std::io::Error,
    },
    #[error("{program} said nothing for {patience:?}", program = program.display(), patience = PATIENCE)]
    Silent { program: PathBuf },
    /// A library that is missing is told here, by the system's loader.
    #[error("{program} does not run: {said}", program = program.display())]
    Failed { program: PathBuf, said: String },
    #[error("{program} answers what this agent does not understand: {source}", program = program.display())]
    Answer {
        program: PathBuf,
        source: serde_json::Error,
    },
}

/// Starts a worker that measures nothing and tells what it runs on.
pub async fn ask(suite: &Suite) -> Result<Started, Error> {
    let program = suite.program.clone();
    let asked = Command::new(&program)
        .arg("environment")
        .envs(suite.env.iter().map(|(key, value)| (key, value)))
        .env_remove("MLX_FLEET_JOIN_TOKEN")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = match timeout(PATIENCE, asked).await {
        Err(_) => return Err(Error::Silent { program }),
        Ok(Err(source)) => return Err(Error::Start { program, source }),
        Ok(Ok(output)) => output,
    };
    if !status.success() {
        let stderr = String::from_utf8_lossy(&stderr);
        let said = match stderr.lines().find(|line| !line.trim().is_empty()) {
            Some(line) => line.trim().to_owned(),
            None => status.to_string(),
        };
        return Err(Error::Failed { program, said });
    }
    serde_json::from_slice(&stdout).map_err(|source| Error::Answer { program, source })
}
