//! One round: a plan runs, faults fall on it, and everything is given the time to end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::check::{Database, Findings};
use super::fleet::{self, AGENT_STOPS_WITHIN, Agent, COORDINATOR_STOPS_WITHIN, Fleet};
use super::proxy::Weather;
use super::schedule::{self, Blow, Step, Victim};
use super::witness;
use crate::process;

/// A worker that is to be hit comes within this time, or the blow is missed.
const WORKER_COMES_WITHIN: Duration = Duration::from_secs(3);
/// With everything up again the run ends without a hand: leases that nobody renews expire in thirty
/// seconds, three times at most for a job.
const RUN_ENDS_WITHIN: Duration = Duration::from_mins(5);
const SPOOL_DRAINS_WITHIN: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A keeper starts a daemon again that ended by itself, not at once.
const KEEPER_WAITS: Duration = Duration::from_millis(500);

/// Six jobs on each machine, with real workers that take about a second each.
fn plan(seed: u64) -> String {
    format!(
        r#"name = "chaos"
[protocol]
launches = 3
iterations = 4
min_region = "5ms"
warmup_max_iterations = 3
gate_timeout = "0s"
cooldown_max = "0s"
canary = false
launch_timeout = "60s"
seed = {seed}
[[model]]
source = "synthetic:nano-llama"
dtypes = ["f32"]
[[model]]
source = "synthetic:nano-qwen3"
dtypes = ["f32"]
[suite.load]
regimes = ["warm"]
[suite.prefill]
prompt_tokens = [64]
[suite.decode]
new_tokens = [32]
"#
    )
}

#[derive(Default)]
pub struct Outcome {
    pub faults: BTreeMap<String, u64>,
    pub jobs: BTreeMap<String, u64>,
    pub findings: Findings,
}

impl Outcome {
    pub fn add(&mut self, other: Self) {
        for (all, more) in [
            (&mut self.faults, other.faults),
            (&mut self.jobs, other.jobs),
        ] {
            for (name, count) in more {
                *all.entry(name).or_default() += count;
            }
        }
        self.findings.add(other.findings);
    }
}

pub struct Scene<'a> {
    fleet: &'a mut Fleet,
    folder: &'a Path,
    database: Database<'a>,
    seed: u64,
    number: u64,
    outcome: Outcome,
    /// A worker that was paused.
    paused: Vec<u32>,
}

impl<'a> Scene<'a> {
    pub fn new(
        fleet: &'a mut Fleet,
        runtime: &'a Runtime,
        folder: &'a Path,
        seed: u64,
        number: u64,
    ) -> Self {
        let database = Database {
            runtime,
            folder: fleet.postgres_folder(),
        };
        Self {
            fleet,
            folder,
            database,
            seed,
            number,
            outcome: Outcome::default(),
            paused: Vec::new(),
        }
    }

    pub fn play(&mut self) -> Result<Outcome> {
        for agent in self.fleet.everybody() {
            witness::forget(&agent.testimonies())?;
        }
        let file = self.folder.join("chaos.toml");
        fs::write(&file, plan(self.seed ^ self.number))?;
        let file = file.to_str().context("a path that is no text")?;
        let run_id = self.fleet.told(&["run", file, "--detach"])?;
        let run_id = run_id.trim();

        self.faults().context("while faults fell")?;
        self.all_up().context("after all faults")?;
        if self.run_ends(run_id).context("until the run ended")? {
            self.drain().context("until all was uploaded")?;
            self.check(run_id).context("at the check")?;
        }
        Ok(std::mem::take(&mut self.outcome))
    }

    fn faults(&mut self) -> Result<()> {
        let began = Instant::now();
        for due in schedule::draw(self.seed, self.number, self.fleet.agents.len()) {
            while began.elapsed() < due.at {
                self.keep()?;
                thread::sleep(LOOK_EVERY.min(due.at.saturating_sub(began.elapsed())));
            }
            let struck = self.perform(due.step);
            let struck = struck.with_context(|| format!("{:?}", due.step))?;
            if let Some(fault) = due.begins {
                let name = fault.name();
                let name = if struck {
                    name
                } else {
                    format!("{name}, missed")
                };
                *self.outcome.faults.entry(name).or_default() += 1;
            }
        }
        Ok(())
    }

    /// False when there was nothing to hit.
    fn perform(&mut self, step: Step) -> Result<bool> {
        match step {
            Step::Hit(Victim::Worker(agent), blow) => return self.hit_worker(agent, blow),
            Step::Hit(Victim::Agent(agent), blow) => {
                let daemon = &mut self.fleet.agents[agent].daemon;
                return match blow {
                    Blow::Kill => daemon.kill(),
                    Blow::Pause => daemon.pause(),
                    Blow::Stop => {
                        let was_up = daemon.pid().is_some();
                        let wrong = fleet::stop(daemon, AGENT_STOPS_WITHIN);
                        self.outcome.findings.broken.extend(wrong);
                        Ok(was_up)
                    }
                };
            }
            Step::Hit(Victim::Coordinator, blow) => {
                return match blow {
                    Blow::Kill => self.fleet.coordinator.kill(),
                    Blow::Pause => self.fleet.coordinator.pause(),
                    Blow::Stop => self.stop_coordinator(),
                };
            }
            Step::Hit(Victim::Postgres, blow) => return self.hit_postgres(blow),
            Step::Up(Victim::Worker(_)) => {
                for pid in std::mem::take(&mut self.paused) {
                    process::signal(pid, "CONT")?;
                }
            }
            Step::Up(Victim::Agent(agent)) => self.fleet.agents[agent].daemon.up()?,
            Step::Up(Victim::Coordinator) => self.fleet.coordinator.up()?,
            // Killed or stopped, the coordinator starts it again.
            Step::Up(Victim::Postgres) => drop(self.fleet.signal_postgres("CONT")?),
            Step::Weather(agent, weather) => self.fleet.agents[agent].proxy.set(weather),
            Step::TwinUp(agent) => self.fleet.twins[agent].daemon.up()?,
            Step::TwinDown(agent, Blow::Kill) => drop(self.fleet.twins[agent].daemon.kill()?),
            Step::TwinDown(agent, Blow::Stop | Blow::Pause) => {
                let wrong = fleet::stop(&mut self.fleet.twins[agent].daemon, AGENT_STOPS_WITHIN);
                self.outcome.findings.broken.extend(wrong);
            }
            Step::Expire(agent) => return Ok(self.expire(agent)),
            Step::Reboot(agent) => return self.reboot(agent),
            Step::PowerCut => self.power_cut()?,
            Step::StopAll => {
                let wrong = self.fleet.stop()?;
                self.outcome.findings.broken.extend(wrong);
            }
            Step::AllUp => self.start_all()?,
        }
        Ok(true)
    }

    fn hit_worker(&mut self, agent: usize, blow: Blow) -> Result<bool> {
        let began = Instant::now();
        while began.elapsed() < WORKER_COMES_WITHIN {
            // The second is the worker itself, behind its witness.
            if let [_, worker, ..] = self.fleet.agents[agent].worker()[..] {
                let signal = match blow {
                    Blow::Kill => "KILL",
                    Blow::Stop => "TERM",
                    Blow::Pause => {
                        self.paused.push(worker);
                        "STOP"
                    }
                };
                return process::signal(worker, signal);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(false)
    }

    fn stop_coordinator(&mut self) -> Result<bool> {
        // It would wait for a paused Postgres, and then kill it.
        self.fleet.signal_postgres("CONT")?;
        let daemon = &mut self.fleet.coordinator;
        let was_up = daemon.pid().is_some();
        let wrong = fleet::stop(daemon, COORDINATOR_STOPS_WITHIN);
        self.outcome.findings.broken.extend(wrong);
        Ok(was_up)
    }

    fn hit_postgres(&mut self, blow: Blow) -> Result<bool> {
        let Some(postmaster) = self.fleet.postmaster() else {
            return Ok(false);
        };
        match blow {
            Blow::Kill => process::signal(postmaster, "KILL"),
            // Of Postgres a fast shutdown.
            Blow::Stop => process::signal(postmaster, "INT"),
            Blow::Pause => self.fleet.signal_postgres("STOP"),
        }
    }

    /// False when Postgres does not answer, or nothing was leased.
    fn expire(&mut self, agent: Option<usize>) -> bool {
        let machine = agent.map(|agent| self.fleet.agents[agent].machine.as_str());
        self.database.expire(machine).unwrap_or(0) > 0
    }

    fn reboot(&mut self, agent: usize) -> Result<bool> {
        let agent = &mut self.fleet.agents[agent];
        let was_up = agent.kill_all()?;
        let boot = agent.folder.join("spool/boot-id");
        if boot.exists() {
            // The kernel's own does not change; what the agent remembers does.
            fs::write(boot, "before the reboot")?;
        }
        Ok(was_up)
    }

    fn power_cut(&mut self) -> Result<()> {
        for agent in self.fleet.everybody() {
            agent.kill_all()?;
        }
        self.fleet.coordinator.kill()?;
        self.fleet.signal_postgres("KILL")?;
        Ok(())
    }

    fn start_all(&mut self) -> Result<()> {
        self.fleet.coordinator.up()?;
        for agent in &mut self.fleet.agents {
            agent.daemon.up()?;
        }
        Ok(())
    }

    /// The end of all faults.
    fn all_up(&mut self) -> Result<()> {
        self.fleet.signal_postgres("CONT")?;
        for agent in self.fleet.everybody() {
            agent.proxy.set(Weather::Fair);
        }
        self.start_all()
    }

    /// As launchd and systemd do: what ended by itself is started again.
    fn keep(&mut self) -> Result<()> {
        let mut ended = Vec::new();
        for agent in self.fleet.everybody() {
            if let Some(status) = agent.daemon.ended()? {
                // Agents have no reason to: a coordinator that is away is their normal weather.
                let name = &agent.daemon.name;
                self.outcome
                    .findings
                    .broken
                    .push(format!("{name} ended by itself: {status}"));
                ended.push(agent.daemon.name.clone());
            }
        }
        if let Some(status) = self.fleet.coordinator.ended()? {
            let name = format!("coordinator ended by itself ({status}), started again");
            *self.outcome.faults.entry(name).or_default() += 1;
            thread::sleep(KEEPER_WAITS);
            self.fleet.coordinator.up()?;
        }
        let agents = self.fleet.agents.iter_mut();
        for agent in agents.filter(|agent| ended.contains(&agent.daemon.name)) {
            agent.daemon.up()?;
        }
        Ok(())
    }

    fn run_ends(&mut self, run_id: &str) -> Result<bool> {
        let began = Instant::now();
        loop {
            self.keep()?;
            match self.database.run_state(run_id) {
                Ok(state) if state != "active" => return Ok(true),
                state if began.elapsed() > RUN_ENDS_WITHIN => {
                    let what = format!("run {run_id} has not ended by itself: {state:?}");
                    self.outcome.findings.broken.push(what);
                    return Ok(false);
                }
                _ => thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Waits until every agent has uploaded what it holds. A twin does so while the first is away: with one
    /// certificate they would take turns.
    fn drain(&mut self) -> Result<()> {
        for number in 0..self.fleet.agents.len() {
            self.drained(|fleet| &mut fleet.agents[number])?;
            if self.fleet.twins[number].spooled()?.is_empty() {
                continue;
            }
            let wrong = fleet::stop(&mut self.fleet.agents[number].daemon, AGENT_STOPS_WITHIN);
            self.outcome.findings.broken.extend(wrong);
            self.fleet.twins[number].daemon.up()?;
            self.drained(|fleet| &mut fleet.twins[number])?;
            let wrong = fleet::stop(&mut self.fleet.twins[number].daemon, AGENT_STOPS_WITHIN);
            self.outcome.findings.broken.extend(wrong);
            self.fleet.agents[number].daemon.up()?;
        }
        Ok(())
    }

    fn drained(&mut self, whose: impl Fn(&mut Fleet) -> &mut Agent) -> Result<()> {
        let began = Instant::now();
        loop {
            self.keep()?;
            let agent = whose(self.fleet);
            let spooled = agent.spooled()?;
            if spooled.is_empty() {
                let refused = agent.refused()?.into_iter();
                let refused =
                    refused.map(|path| format!("a batch was refused: {}", path.display()));
                self.outcome.findings.broken.extend(refused);
                return Ok(());
            }
            if began.elapsed() > SPOOL_DRAINS_WITHIN {
                let what = format!("{} still holds {spooled:?}", agent.daemon.name);
                self.outcome.findings.broken.push(what);
                return Ok(());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn check(&mut self, run_id: &str) -> Result<()> {
        for (state, count) in self.database.job_states(run_id)? {
            *self.outcome.jobs.entry(state).or_default() += count as u64;
        }
        let rules = self.database.rules(run_id)?;
        self.outcome.findings.add(rules);
        let agents = self.fleet.agents.iter().chain(&self.fleet.twins);
        let iterations = self.database.iterations(run_id, agents)?;
        self.outcome.findings.add(iterations);
        Ok(())
    }
}
