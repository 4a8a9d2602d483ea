//! A coordinator, its private Postgres and one agent, started and asked as a user would.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::growth::Processes;
use crate::{coordinator, process, repo};

/// How long the agent may take to join.
const JOIN_TRIES: u32 = 120;
const TRY_EVERY: Duration = Duration::from_millis(500);

/// What is left of it is killed when it is dropped.
pub struct Fleet {
    folder: PathBuf,
    binaries: PathBuf,
    coordinator: Child,
    agent: Option<Child>,
}

impl Fleet {
    pub fn start(folder: &Path) -> Result<Self> {
        let binaries = repo::target_folder()?.join("release");
        fs::create_dir(temporary(folder))?;
        fs::set_permissions(temporary(folder), Permissions::from_mode(0o1777))?;
        let coordinator = coordinator::command(&folder.join("coordinator"))?
            .env("TMPDIR", temporary(folder))
            .stderr(log(folder, "coordinator")?)
            .spawn()?;
        let mut fleet = Self {
            folder: folder.to_owned(),
            binaries,
            coordinator,
            agent: None,
        };
        let url = coordinator::url(&mut fleet.coordinator)?;
        let url = url.with_context(|| fleet.why_not("the coordinator did not come up"))?;
        let token = fleet.told(&["token", "create"])?;
        let agent = Command::new(fleet.binaries.join("mlx-fleet-agent"))
            .args(["run", "--coordinator", &url, "--data-dir"])
            .arg(folder.join("agent"))
            .env("MLX_FLEET_JOIN_TOKEN", token.trim())
            .env("TMPDIR", temporary(folder))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(folder, "agent")?)
            .spawn()?;
        fleet.agent = Some(agent);
        for _ in 0..JOIN_TRIES {
            let machines = fleet.told(&["machine", "list", "--json"])?;
            if serde_json::from_str::<Vec<Value>>(&machines)?.len() == 1 {
                return Ok(fleet);
            }
            thread::sleep(TRY_EVERY);
        }
        bail!(fleet.why_not("the agent did not join"))
    }

    /// With the ends of the logs, which go with the folder.
    fn why_not(&self, what: &str) -> String {
        let mut text = what.to_owned();
        for name in ["coordinator", "agent"] {
            let log = fs::read_to_string(self.folder.join(format!("{name}.log")));
            let log = log.unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            for line in last.iter().rev() {
                text = format!("{text}\n  {name}: {line}");
            }
        }
        text
    }

    fn operator(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join("mlx-fleet"));
        command
            .args(args)
            .arg("--data-dir")
            .arg(self.folder.join("coordinator"))
            .env("TMPDIR", temporary(&self.folder))
            .stdin(Stdio::null());
        command
    }

    /// What an operator's command prints.
    pub fn told(&self, args: &[&str]) -> Result<String> {
        let output = self.operator(args).output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{args:?}: {told}{errors}");
        Ok(told)
    }

    /// Runs a plan to its end and tells how many launches are done each time that it changes; the run's id.
    pub fn run(
        &self,
        plan: &Path,
        mut progress: impl FnMut(&Processes, u32) -> Result<()>,
    ) -> Result<String> {
        let plan = plan.to_str().context("a path that is no text")?;
        let mut command = self.operator(&["run", plan, "--json"]);
        let mut watching = command.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(watching.stdout.take().context("a pipe")?).lines();
        let (mut run_id, mut done) = (String::new(), 0);
        for line in lines {
            let state: Value = serde_json::from_str(&line?)?;
            let now = state["run"]["launches_done"].as_u64().context("a count")?;
            let now = u32::try_from(now)?;
            if now > done {
                done = now;
                progress(&self.processes()?, done)?;
            }
            if let Some(id) = state["run"]["run_id"].as_str() {
                id.clone_into(&mut run_id);
            }
        }
        let ended = watching.wait()?;
        ensure!(
            ended.success(),
            self.why_not(&format!("run {run_id}: {ended}"))
        );
        Ok(run_id)
    }

    /// All launches that count.
    pub fn launches(&self) -> Result<u32> {
        let query = "select count(*) from report.launch where counted";
        let told = self.told(&["sql", query, "--format", "csv"])?;
        Ok(told.lines().nth(1).context("a row")?.parse()?)
    }

    fn processes(&self) -> Result<Processes> {
        let postmaster = fs::read_to_string(self.postmaster_file())?;
        Ok(Processes {
            coordinator: self.coordinator.id(),
            agent: self.agent.as_ref().context("an agent")?.id(),
            postmaster: postmaster.lines().next().context("a pid")?.parse()?,
        })
    }

    fn postmaster_file(&self) -> PathBuf {
        self.folder
            .join("coordinator/postgres/cluster/postmaster.pid")
    }

    /// Asks everything to end, and says what is there that should not be.
    pub fn stop(mut self) -> Result<Vec<String>> {
        let agent = self.agent.as_mut().context("an agent")?;
        let workers = process::children(agent.id())?;
        let mut left = Vec::new();
        left.extend(workers.iter().map(|pid| format!("a worker, process {pid}")));
        for (name, child) in [("agent", agent), ("coordinator", &mut self.coordinator)] {
            process::terminate(child.id())?;
            let ended = child.wait()?;
            if !ended.success() {
                left.push(format!("the {name} ended badly: {ended}"));
            }
        }
        let running = process::with_temporary_folder(&temporary(&self.folder))?;
        left.extend(
            running
                .iter()
                .map(|(pid, name)| format!("process {pid} {name}")),
        );
        // MLX keeps the kernels that it compiled for the CPU, and the spool room for a full disk.
        let kept = ["tmp/mlx", "agent/spool/reserve"].map(|path| self.folder.join(path));
        for folder in [temporary(&self.folder), self.folder.join("agent/spool")] {
            each_below(&folder, &mut |path, _| {
                if !kept.iter().any(|kept| path.starts_with(kept)) {
                    left.push(path.display().to_string());
                }
            })?;
        }
        if self.postmaster_file().exists() {
            left.push("Postgres's postmaster.pid".to_owned());
        }
        sockets_below(&self.folder, &mut left)?;
        Ok(left)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.agent.iter_mut().chain([&mut self.coordinator]) {
            if matches!(child.try_wait(), Ok(None)) {
                // Politely, so that Postgres goes with it.
                process::terminate(child.id()).ok();
                child.wait().ok();
            }
        }
    }
}

/// The folder for temporary files, and by that what all processes of this fleet are known by.
fn temporary(folder: &Path) -> PathBuf {
    folder.join("tmp")
}

fn log(folder: &Path, name: &str) -> Result<File> {
    Ok(File::create(folder.join(format!("{name}.log")))?)
}

fn sockets_below(folder: &Path, found: &mut Vec<String>) -> Result<()> {
    each_below(folder, &mut |path, kind| {
        if kind.is_socket() {
            found.push(path.display().to_string());
        }
    })
}

fn each_below(folder: &Path, take: &mut impl FnMut(&Path, fs::FileType)) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        take(&entry.path(), kind);
        if kind.is_dir() {
            each_below(&entry.path(), take)?;
        }
    }
    Ok(())
}
