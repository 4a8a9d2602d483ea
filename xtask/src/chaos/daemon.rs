//! One of the product's daemons, which is hit and brought up again.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::witness::now_ms;
use crate::process;

const LOOK_EVERY: Duration = Duration::from_millis(20);

pub struct Daemon {
    pub name: String,
    command: Box<dyn Fn() -> Result<Command>>,
    log: PathBuf,
    child: Option<Child>,
    paused_since: Option<u64>,
    /// When it was killed without a word.
    killed: Vec<u64>,
    pauses: Vec<(u64, u64)>,
}

impl Daemon {
    pub fn new(
        name: String,
        log: PathBuf,
        command: impl Fn() -> Result<Command> + 'static,
    ) -> Self {
        Self {
            name,
            command: Box::new(command),
            log,
            child: None,
            paused_since: None,
            killed: Vec::new(),
            pauses: Vec::new(),
        }
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Started where it is down, continued where it was paused.
    pub fn up(&mut self) -> Result<()> {
        self.resume()?;
        if self.child.is_none() {
            let log = File::options().create(true).append(true).open(&self.log)?;
            let mut command = (self.command)()?;
            let command = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            let started = command.spawn();
            self.child = Some(started.with_context(|| format!("cannot start {}", self.name))?);
        }
        Ok(())
    }

    /// False when it was down.
    pub fn kill(&mut self) -> Result<bool> {
        let Some(mut child) = self.child.take() else {
            return Ok(false);
        };
        child.kill()?;
        child.wait()?;
        self.killed.push(now_ms());
        self.end_pause();
        Ok(true)
    }

    /// Asks it to end and waits; None when it was down, and an error when it has not ended by then.
    pub fn stop(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        self.resume()?;
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let asked = Instant::now();
        process::signal(child.id(), "TERM")?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(Some(status));
            }
            if asked.elapsed() > within {
                anyhow::bail!(
                    "{} was asked to stop and has not within {within:?}",
                    self.name
                );
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// False when it is down or paused.
    pub fn pause(&mut self) -> Result<bool> {
        let Some(pid) = self.pid().filter(|_| self.paused_since.is_none()) else {
            return Ok(false);
        };
        self.paused_since = Some(now_ms());
        process::signal(pid, "STOP")
    }

    pub fn resume(&mut self) -> Result<()> {
        if let (Some(pid), Some(_)) = (self.pid(), self.paused_since) {
            process::signal(pid, "CONT")?;
        }
        self.end_pause();
        Ok(())
    }

    fn end_pause(&mut self) {
        if let Some(since) = self.paused_since.take() {
            self.pauses.push((since, now_ms()));
        }
    }

    /// How it ended, when nobody made it: its status, and the last that it said.
    pub fn ended(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let Some(status) = child.try_wait()? else {
            return Ok(None);
        };
        self.child = None;
        let log = fs::read(&self.log)?;
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().next_back().unwrap_or_default();
        Ok(Some(format!("{status}: {last}")))
    }

    /// Whether it was killed before it had been awake for so long since then.
    pub fn was_killed_within(&self, awake_ms: u64, since: u64) -> bool {
        let asleep = |until: u64| -> u64 {
            let pauses = self.pauses.iter();
            pauses
                .map(|&(from, to)| to.min(until).saturating_sub(from.max(since)))
                .sum()
        };
        self.killed
            .iter()
            .any(|&at| at >= since && at - since - asleep(at) <= awake_ms)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its workers end with it, and nobody is left to hear of a failure.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
