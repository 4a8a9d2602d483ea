//! Simulated machines, and what their log says and when.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::world::World;
use crate::{process, repo};

/// Lines that nobody has read yet: some for each of the most machines.
const QUEUE: usize = 1 << 20;
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a machine told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Welcomed,
    Granted,
}

pub struct Simulation {
    child: Child,
    news: Receiver<(Told, OffsetDateTime)>,
    machines: u32,
}

#[derive(Deserialize)]
struct Line {
    timestamp: String,
    #[serde(default)]
    message: String,
}

impl Simulation {
    /// The machines of the world's folder, by this profile, all of them connected.
    pub fn start(world: &World, token: &str, machines: u32, profile: &str) -> Result<Self> {
        let file = world.folder.path().join("profile.toml");
        fs::write(&file, profile)?;
        let mut command = Command::new(repo::target_folder()?.join("release/mlx-fleet-agent"));
        command
            .args(["simulate", "--count", &machines.to_string()])
            .args([
                "--coordinator",
                &world.url,
                "--log-format",
                "json",
                "--profile",
            ])
            .arg(&file)
            .arg("--data-dir")
            .arg(world.folder.path().join("simulation"))
            .env("MLX_FLEET_JOIN_TOKEN", token);
        let simulation = Self::spawn(command, machines)?;
        simulation.wait(Told::Welcomed, machines)?;
        Ok(simulation)
    }

    /// An agent that logs as JSON.
    pub fn spawn(mut command: Command, machines: u32) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the agents")?;
        let lines = BufReader::new(child.stderr.take().context("a pipe")?).lines();
        let (sender, news) = sync_channel(QUEUE);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(Line { timestamp, message }) = serde_json::from_str(&line) else {
                    eprintln!("{line}");
                    continue;
                };
                let told = match message.as_str() {
                    "welcomed by the coordinator" => Told::Welcomed,
                    "job granted" => Told::Granted,
                    _ => continue,
                };
                let at = OffsetDateTime::parse(&timestamp, &Rfc3339);
                if at.is_ok_and(|at| sender.send((told, at)).is_err()) {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            news,
            machines,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When each of the next so many were told.
    pub fn wait(&self, wanted: Told, count: u32) -> Result<Vec<OffsetDateTime>> {
        let deadline = Instant::now() + PATIENCE;
        let mut times = Vec::new();
        while times.len() < count as usize {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left) {
                Ok((told, at)) if told == wanted => times.push(at),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!(
                    "{} of {count} machines told {wanted:?} within {PATIENCE:?}",
                    times.len()
                ),
                Err(RecvTimeoutError::Disconnected) => bail!("the agents have ended"),
            }
        }
        Ok(times)
    }

    /// Forgets what was told so far.
    pub fn forget(&self) {
        while self.news.try_recv().is_ok() {}
    }

    pub fn machines(&self) -> u32 {
        self.machines
    }

    pub fn stop(mut self) -> Result<()> {
        process::terminate(self.child.id())?;
        // Its last words must find a reader.
        while self.news.recv_timeout(PATIENCE).is_ok() {}
        let ended = self.child.wait()?;
        ensure!(ended.success(), "the agents ended badly: {ended}");
        Ok(())
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// A worker that only writes down when it was started.
pub fn clock_worker(folder: &Path) -> Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let worker = folder.join("worker");
    let starts = folder.join("worker-starts");
    fs::write(&starts, "")?;
    let script = format!("#!/bin/sh\nexec date +%s%N >>'{}'\n", starts.display());
    fs::write(&worker, script)?;
    fs::set_permissions(&worker, fs::Permissions::from_mode(0o755))?;
    Ok(worker)
}
