//! The verbs of `mlx-fleet-agent`, and what they share: how one joins a fleet, the data folder, the worker.

pub mod doctor;
pub mod enrol;
pub mod inventory;
pub mod preflight;
pub mod run;
pub mod simulate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agent::enrol::Wishes;
use agent::host_lock::{self, HostLock};
use agent::supervisor::Suite;
use anyhow::{Context, Result};
use domain::machine::Inventory;
use secrecy::SecretString;
use service::folders::{self, DataFolder};
use service::lifecycle::Ending;
use service::telemetry;
use tokio::runtime::Runtime;

/// From the first signal to the end: a worker gets its grace, the job's end is uploaded.
const GRACE: Duration = Duration::from_secs(10);
/// Two: one may sync a disk or read a pipe while the other beats.
const WORKER_THREADS: usize = 2;
/// Writes of the spool and of its readers; never more than a few at once.
const BLOCKING_THREADS: usize = 4;

/// The answer to what was asked is no.
const EXIT_NOT_SO: u8 = 1;

/// Which agent is looked at, by the verbs that only look.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Where the agent keeps its keys and its spool
    #[arg(long, value_name = "DIR", env = "MLX_FLEET_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The worker's program; by default mlx-fleet-suite beside this program
    #[arg(long, value_name = "PROGRAM", env = "MLX_FLEET_SUITE")]
    suite: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Lock {
    /// Lock that keeps measurements of all agents on this host apart
    #[arg(long, value_name = "FILE", env = "MLX_FLEET_HOST_LOCK", hide = true,
          default_value = host_lock::DEFAULT_PATH)]
    host_lock: PathBuf,
}

/// Where to join, by what, as what.
#[derive(Debug, clap::Args)]
pub struct Joining {
    /// The coordinator's URL; remembered after the first time. Several of one database, with commas
    /// or as further options: when one is away, the next is tried
    #[arg(
        long,
        value_name = "URL",
        env = "MLX_FLEET_COORDINATOR",
        value_delimiter = ','
    )]
    coordinator: Vec<String>,
    /// Join token, needed the first time, with a use for each machine. Other users may see it in the
    /// list of processes until this machine is enrolled: prefer --token-file or the environment
    #[arg(
        long,
        value_name = "TOKEN",
        env = "MLX_FLEET_JOIN_TOKEN",
        hide_env_values = true
    )]
    token: Option<SecretString>,
    /// File that holds the join token; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Where keys, certificates, spool and synthetic weights are kept
    #[arg(long, value_name = "DIR", env = "MLX_FLEET_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Label that plans can select by; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// What is logged, in the syntax of RUST_LOG
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    log: String,
    /// How the log looks: `human`, or `json` for one object a line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    log_format: telemetry::Format,
}

impl Joining {
    fn wishes(&self) -> Result<Wishes> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) if file.as_os_str() == "-" => {
                let text = std::io::read_to_string(std::io::stdin());
                let text = text.context("reading the join token from standard input")?;
                Some(SecretString::from(text.trim()))
            }
            (None, Some(file)) => Some(folders::read_secret(file)?),
            (None, None) => None,
        };
        Ok(Wishes {
            coordinators: self.coordinator.clone(),
            token,
            again: false,
        })
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }

    /// All that is known before a coordinator is asked.
    fn prepare(&self) -> Result<Prepared> {
        telemetry::init(self.log_format, &self.log)?;
        let folder = folder(self.data_dir.as_deref())?;
        folder.create()?;
        let lock = lock(&folder)?;
        let wishes = self.wishes()?;
        let fleet = agent::enrol::fleet(&folder, &wishes)?;
        let inventory = agent::inventory::read(self.labels(), &folder, fleet)?;
        Ok(Prepared {
            folder,
            wishes,
            inventory,
            _lock: lock,
        })
    }
}

/// An agent's data folder, its own for as long as this lives, and what it will join by and as.
struct Prepared {
    folder: DataFolder,
    wishes: Wishes,
    inventory: Inventory,
    _lock: HostLock,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form KEY=VALUE")),
    }
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("starting the runtime")
}

fn answer(is_so: bool) -> ExitCode {
    if is_so {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_SO)
    }
}

fn code_of(ending: Ending) -> Result<ExitCode> {
    match ending {
        Ending::Clean | Ending::Forced => Ok(ExitCode::SUCCESS),
        Ending::Abandoned { tasks } => anyhow::bail!("{tasks} tasks did not end"),
    }
}

/// MLX_FLEET_DATA_DIR also names a coordinator's folder, and two daemons do not share one.
fn folder(named: Option<&Path>) -> Result<DataFolder> {
    let folder = match named {
        Some(dir) => DataFolder::at(dir),
        None => DataFolder::at(DataFolder::default_location()?.root().join("agent")),
    };
    anyhow::ensure!(
        !folder.ca_key().exists(),
        "{} is a coordinator's data folder: name another with --data-dir, such as {0}/agent",
        folder.root().display()
    );
    Ok(folder)
}

fn suite(named: Option<&Path>) -> Result<Suite> {
    let program = match named {
        Some(program) => program.to_owned(),
        None => std::env::current_exe()
            .context("finding this program")?
            .with_file_name("mlx-fleet-suite"),
    };
    anyhow::ensure!(
        program.is_file(),
        "{} is missing: the worker belongs beside this program, or name it with --suite",
        program.display()
    );
    Ok(Suite::new(program))
}

fn lock_path(folder: &DataFolder) -> PathBuf {
    folder.root().join("agent.lock")
}

#[derive(Debug, thiserror::Error)]
#[error("another agent (pid {pid}) works in {folder}: stop that one, or use another --data-dir", folder = .folder.display())]
pub struct Busy {
    pid: String,
    folder: PathBuf,
}

/// The lock's file says who holds it.
fn lock(folder: &DataFolder) -> Result<HostLock> {
    let path = lock_path(folder);
    let lock = host_lock::try_take(&path).with_context(|| format!("locking {}", path.display()))?;
    let Some(lock) = lock else {
        let pid = std::fs::read_to_string(&path).unwrap_or_default();
        return Err(anyhow::Error::new(Busy {
            pid: pid.trim().to_owned(),
            folder: folder.root().to_owned(),
        }));
    };
    if let Err(error) = std::fs::write(&path, format!("{}\n", std::process::id())) {
        tracing::warn!(%error, "the lock does not say who holds it");
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinators_folder_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert!(folder(Some(dir.path())).is_ok());
        std::fs::write(dir.path().join("ca.key"), "").unwrap();
        let refused = folder(Some(dir.path())).unwrap_err().to_string();
        assert!(refused.contains("--data-dir"), "{refused}");
    }

    #[test]
    fn labels_need_a_key_and_a_value() {
        assert_eq!(label("room=lab"), Ok(("room".to_owned(), "lab".to_owned())));
        assert!(label("room").is_err() && label("=lab").is_err());
    }
}
