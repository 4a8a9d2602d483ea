//! The fleet that things happen to: a coordinator with its private Postgres, and agents that each are a
//! machine of their own, behind a network of their own.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::daemon::Daemon;
use super::proxy::Proxy;
use super::witness;
use crate::process;

/// An agent has ten seconds to give its work back, and five to be dropped.
pub const AGENT_STOPS_WITHIN: Duration = Duration::from_secs(15);
/// The coordinator as well, and then Postgres writes what it has in memory.
pub const COORDINATOR_STOPS_WITHIN: Duration = Duration::from_secs(30);
const START_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What an agent knows itself by, and is known by.
const MEMBERSHIP: [&str; 5] = [
    "machine-id",
    "agent.json",
    "agent.key",
    "agent.pem",
    "agent-ca.pem",
];
/// One that comes before a daemon listens for it ends it at once.
const SIGTERM: i32 = 15;

pub struct Agent {
    pub daemon: Daemon,
    /// The name of its machine.
    pub machine: String,
    pub folder: PathBuf,
    pub proxy: Proxy,
}

impl Agent {
    pub fn testimonies(&self) -> PathBuf {
        self.folder.with_extension("witness")
    }

    /// Leases of which something is not acknowledged.
    pub fn spooled(&self) -> Result<Vec<String>> {
        let spool = self.folder.join("spool");
        let mut leases = Vec::new();
        for entry in fs::read_dir(spool).into_iter().flatten() {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                leases.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(leases)
    }

    /// Batches that the coordinator would not take.
    pub fn refused(&self) -> Result<Vec<PathBuf>> {
        let files = fs::read_dir(self.folder.join("spool"))
            .into_iter()
            .flatten();
        let paths = files.map(|entry| Ok(entry?.path()));
        let paths = paths.collect::<Result<Vec<_>>>()?.into_iter();
        Ok(paths
            .filter(|path| path.to_string_lossy().contains("refused"))
            .collect())
    }

    /// The processes of its worker, the witness first.
    pub fn worker(&self) -> Vec<u32> {
        let mut found = Vec::new();
        if let Some(pid) = self.daemon.pid() {
            // Each may be gone between two looks.
            for witness in process::children(pid).unwrap_or_default() {
                found.push(witness);
                found.extend(process::children(witness).unwrap_or_default());
            }
        }
        found
    }

    /// With its worker, as when the power goes.
    pub fn kill_all(&mut self) -> Result<bool> {
        let worker = self.worker();
        let was_up = self.daemon.kill()?;
        for pid in worker {
            process::signal(pid, "KILL")?;
        }
        Ok(was_up)
    }
}

/// As `machine list --json` has it.
#[derive(Deserialize)]
struct Machine {
    name: String,
}

pub struct Fleet {
    pub agents: Vec<Agent>,
    /// The same machines once more.
    pub twins: Vec<Agent>,
    pub coordinator: Daemon,
    binaries: PathBuf,
    folder: PathBuf,
}

impl Fleet {
    pub fn start(folder: &Path, binaries: &Path, runtime: &Runtime, agents: usize) -> Result<Self> {
        fs::create_dir(temporary(folder))?;
        fs::set_permissions(temporary(folder), Permissions::from_mode(0o1777))?;
        let address = free_address()?;
        let data = folder.join("coordinator");
        let serve = {
            let (program, data) = (binaries.join("mlx-fleet"), data.clone());
            let temporary = temporary(folder);
            move || {
                let mut command = Command::new(&program);
                let listen = address.to_string();
                command
                    .args(["serve", "--listen", &listen, "--data-dir"])
                    .arg(&data);
                command.env("TMPDIR", &temporary).env_remove("DATABASE_URL");
                Ok(command)
            }
        };
        let log = folder.join("coordinator.log");
        let mut fleet = Self {
            agents: Vec::new(),
            twins: Vec::new(),
            coordinator: Daemon::new("the coordinator".to_owned(), log, serve),
            binaries: binaries.to_owned(),
            folder: folder.to_owned(),
        };
        fleet.coordinator.up()?;
        within("the coordinator listens", || {
            Ok(data.join("coordinator.json").exists())
        })?;
        for number in 0..agents {
            let agent = fleet.agent(&format!("agent{number}"), runtime, address)?;
            let twin = fleet.agent(&format!("agent{number}-twin"), runtime, address)?;
            fleet.agents.push(agent);
            fleet.twins.push(twin);
        }
        for number in 0..agents {
            fleet.join(number)?;
        }
        Ok(fleet)
    }

    fn agent(&self, name: &str, runtime: &Runtime, coordinator: SocketAddr) -> Result<Agent> {
        let proxy = Proxy::start(runtime.handle(), coordinator)?;
        let folder = self.folder.join(name);
        fs::create_dir(&folder)?;
        let suite = self.folder.join(format!("{name}-worker"));
        witness::install(&suite, &self.binaries, &folder.with_extension("witness"))?;
        let run = {
            let (program, url) = (self.binaries.join("mlx-fleet-agent"), proxy.url());
            let (folder, temporary) = (folder.clone(), temporary(&self.folder));
            move || {
                let mut command = Command::new(&program);
                command
                    .args(["run", "--coordinator", &url, "--data-dir"])
                    .arg(&folder);
                // Machines do not share a lock, nor does a machine share one with its twin.
                command.arg("--host-lock").arg(folder.join("host.lock"));
                command.arg("--suite").arg(&suite).env("TMPDIR", &temporary);
                let token = folder.with_extension("token");
                if token.exists() {
                    command.arg("--token-file").arg(token);
                }
                Ok(command)
            }
        };
        let log = folder.with_extension("log");
        Ok(Agent {
            daemon: Daemon::new(name.to_owned(), log, run),
            machine: String::new(),
            folder,
            proxy,
        })
    }

    /// Makes an agent a machine of its own in the fleet, and gives its twin what it knows itself by.
    fn join(&mut self, number: usize) -> Result<()> {
        let folder = self.agents[number].folder.clone();
        fs::write(folder.join("machine-id"), format!("chaos {number}\n"))?;
        let token = self.told(&["token", "create"])?;
        let file = folder.with_extension("token");
        fs::write(&file, token)?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        self.agents[number].daemon.up()?;
        let known: Vec<String> = self
            .agents
            .iter()
            .map(|agent| agent.machine.clone())
            .collect();
        let mut joined = None;
        within("an agent joins", || {
            let machines = self.told(&["machine", "list", "--json"])?;
            let machines: Vec<Machine> = serde_json::from_str(&machines)?;
            joined = machines
                .into_iter()
                .find(|machine| !known.contains(&machine.name));
            let kept = MEMBERSHIP.iter().all(|name| folder.join(name).exists());
            Ok(joined.is_some() && kept)
        })?;
        self.agents[number].machine = joined.context("a machine")?.name;
        fs::remove_file(file)?;
        for name in MEMBERSHIP {
            fs::copy(folder.join(name), self.twins[number].folder.join(name))?;
        }
        Ok(())
    }

    /// What an operator's command prints.
    pub fn told(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(self.binaries.join("mlx-fleet"))
            .args(args)
            .arg("--data-dir")
            .arg(self.folder.join("coordinator"))
            .env("TMPDIR", temporary(&self.folder))
            .stdin(Stdio::null())
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{args:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }

    pub fn everybody(&mut self) -> impl Iterator<Item = &mut Agent> {
        self.agents.iter_mut().chain(&mut self.twins)
    }

    pub fn postgres_folder(&self) -> PathBuf {
        self.folder.join("coordinator/postgres")
    }

    /// Postgres's first process, while it runs.
    pub fn postmaster(&self) -> Option<u32> {
        let file = fs::read_to_string(self.postgres_folder().join("cluster/postmaster.pid"));
        let pid: u32 = file.ok()?.lines().next()?.trim().parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        name.starts_with("postgres").then_some(pid)
    }

    /// All of Postgres's processes, the first one first.
    pub fn postgres(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.postmaster().into_iter().collect();
        if let Some(&postmaster) = pids.first() {
            pids.extend(process::children(postmaster).unwrap_or_default());
        }
        pids
    }

    /// To every process of Postgres; false when there is none.
    pub fn signal_postgres(&self, name: &str) -> Result<bool> {
        let pids = self.postgres();
        for &pid in &pids {
            process::signal(pid, name)?;
        }
        Ok(!pids.is_empty())
    }

    /// Asks everything to end, agents first; what did not end as it should.
    pub fn stop(&mut self) -> Result<Vec<String>> {
        self.signal_postgres("CONT")?;
        let mut bad = Vec::new();
        let agents = self.agents.iter_mut().chain(&mut self.twins);
        let agents = agents.map(|agent| (&mut agent.daemon, AGENT_STOPS_WITHIN));
        for (daemon, within) in agents.chain([(&mut self.coordinator, COORDINATOR_STOPS_WITHIN)]) {
            bad.extend(stop(daemon, within));
        }
        Ok(bad)
    }

    /// What still runs.
    pub fn left(&self) -> Result<Vec<String>> {
        let left = process::with_temporary_folder(&temporary(&self.folder))?;
        let told = left
            .iter()
            .map(|(pid, name)| format!("process {pid} {name} is left running"));
        Ok(told.collect())
    }

    /// The daemons' own words that should never be said.
    pub fn panics(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            let lines = text.lines().filter(|line| line.contains("panicked"));
            found.extend(lines.map(|line| format!("{}: {line}", path.display())));
        }
        Ok(found)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Postgres ends with a coordinator that ends politely; nobody is left to hear of a failure.
        self.stop().ok();
        self.signal_postgres("KILL").ok();
    }
}

/// Asks a daemon to end; what was wrong with how it did.
pub fn stop(daemon: &mut Daemon, within: Duration) -> Option<String> {
    match daemon.stop(within) {
        Ok(Some(status)) if !status.success() && status.signal() != Some(SIGTERM) => {
            Some(format!("{} was stopped: {status}", daemon.name))
        }
        Ok(_) => None,
        Err(error) => {
            let name = daemon.name.clone();
            daemon.kill().ok();
            Some(format!("{name}: {error:#}"))
        }
    }
}

fn temporary(folder: &Path) -> PathBuf {
    folder.join("tmp")
}

/// One that stays the same over restarts.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn within(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !is_so().with_context(|| what.to_owned())? {
        if began.elapsed() > START_WITHIN {
            bail!("waited in vain: {what}");
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
