//! `soak`: two agents on this machine measure one plan over hundreds of launches. Nothing may leak,
//! neither memory nor descriptors nor processes; and as both are the same machine, no verdict may tell
//! them apart (gate G10, the A/A test of the whole system).

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::repo;

const AGENTS: u32 = 2;

/// Seldom enough not to be what is measured.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
#[command(about = "Hundreds of launches on two agents: leaks, and verdicts where nothing differs")]
pub struct Args {
    /// Launches of each case on each agent; there are ten cases
    #[arg(long, default_value_t = 10)]
    launches: u32,
}

/// Ten cases of suites that differ in what they load and keep.
fn plan(launches: u32) -> String {
    format!(
        r#"name = "soak"
[protocol]
launches = {launches}
iterations = 3
min_region = "100ms"
warmup_max_iterations = 4
gate_timeout = "0s"
[[model]]
source = "synthetic:nano-llama"
dtypes = ["f32"]
[[model]]
source = "synthetic:nano-qwen3"
dtypes = ["f32"]
[suite.prefill]
prompt_tokens = [64, 256]
[suite.decode]
new_tokens = [32]
depths = [0, 128]
[suite.load]
regimes = ["warm"]
"#
    )
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "reads /proc: Linux only");
    let build = ["build", "--release", "--workspace", "--bins", "--locked"];
    repo::output_of("cargo", &build)?;
    let dir = tempfile::tempdir()?;
    let mut fleet = Fleet::start(dir.path())?;
    let plan_file = dir.path().join("soak.toml");
    fs::write(&plan_file, plan(args.launches))?;
    let plan_file = plan_file.to_str().context("a path that is no text")?;
    let run = fleet.told(&["run", plan_file, "--detach"])?;
    let began = Instant::now();
    let looks = fleet.look_until_the_end(run.trim())?;
    let launches = fleet.launches()?;
    println!(
        "{launches} launches in {:.0} s on {AGENTS} agents",
        began.elapsed().as_secs_f64()
    );
    let sound = tell_leaks(&looks);
    let alike = fleet.tell_verdicts()?;
    let left = fleet.stop()?;
    println!("processes left: {left}");
    ensure!(sound, "something grows");
    ensure!(alike, "verdicts tell a machine from itself");
    ensure!(left == 0, "something is left running");
    Ok(())
}

/// A coordinator, its private Postgres and the agents. What is left is killed when it is dropped.
struct Fleet {
    folder: PathBuf,
    binaries: PathBuf,
    coordinator: Child,
    agents: Vec<Child>,
}

/// One look at the processes of the fleet.
struct Look {
    /// The coordinator's and the agents', in that order.
    each: Vec<Usage>,
}

#[derive(Clone, Copy)]
struct Usage {
    resident_kb: f64,
    descriptors: f64,
    children: f64,
}

impl Fleet {
    fn start(folder: &Path) -> Result<Self> {
        let binaries = repo::target_folder()?.join("release");
        let mut coordinator = Command::new(binaries.join("mlx-fleet"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("coordinator"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log(folder, "coordinator")?)
            .spawn()?;
        let stdout = coordinator.stdout.take().context("a pipe")?;
        let mut fleet = Self {
            folder: folder.to_owned(),
            binaries,
            coordinator,
            agents: Vec::new(),
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ");
        let url = url.with_context(|| format!("the coordinator did not come up: {line}"))?;
        for index in 0..AGENTS {
            let name = format!("agent-{index}");
            let token = fleet.told(&["token", "create"])?;
            let child = Command::new(fleet.binaries.join("mlx-fleet-agent"))
                .args(["run", "--coordinator", url, "--data-dir"])
                .arg(folder.join(&name))
                .env("MLX_FLEET_JOIN_TOKEN", token.trim())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log(folder, &name)?)
                .spawn()?;
            fleet.agents.push(child);
        }
        let there = |machines: &Value| machines.as_array().map_or(0, Vec::len);
        for _ in 0..120 {
            let machines = fleet.told(&["machine", "list", "--json"])?;
            if there(&serde_json::from_str(&machines)?) == AGENTS as usize {
                return Ok(fleet);
            }
            thread::sleep(Duration::from_millis(500));
        }
        bail!(
            "the agents did not join; see the logs in {}",
            folder.display()
        )
    }

    /// What an operator's command prints.
    fn told(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(self.binaries.join("mlx-fleet"))
            .args(args)
            .arg("--data-dir")
            .arg(self.folder.join("coordinator"))
            .stdin(Stdio::null())
            .output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "{args:?}: {told}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(told)
    }

    fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let text = self.told(&["sql", sql, "--format", "csv"])?;
        let row = |line: &str| line.split(',').map(str::to_owned).collect();
        Ok(text.lines().skip(1).map(row).collect())
    }

    fn launches(&self) -> Result<String> {
        let rows = self.query("select count(*) from report.launch where counted")?;
        Ok(rows[0][0].clone())
    }

    fn look_until_the_end(&mut self, run: &str) -> Result<Vec<Look>> {
        let mut looks = Vec::new();
        loop {
            let pids = [self.coordinator.id()]
                .into_iter()
                .chain(self.agents.iter().map(Child::id));
            let each = pids.map(usage).collect::<Result<Vec<_>>>()?;
            looks.push(Look { each });
            // A look at the database is a look: seldom, so that the coordinator is left in peace.
            if looks.len() % 5 == 0 {
                let state = format!("select state from report.run where run_id = '{run}'");
                if self.query(&state)?[0][0] != "active" {
                    return Ok(looks);
                }
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Prints how many pairs have which verdict; whether at most one in twenty is a difference.
    fn tell_verdicts(&self) -> Result<bool> {
        let rows = self.query(
            "select case when verdict in ('equivalent', 'inconclusive') then verdict else 'different' end,
                 count(*)
             from report.comparison where machine < baseline and verdict is not null
             group by 1 order by 1",
        )?;
        let mut total = 0;
        let mut different = 0;
        for row in &rows {
            let count: u32 = row[1].parse()?;
            println!("A/A pairs {}: {count}", row[0]);
            total += count;
            if row[0] == "different" {
                different = count;
            }
        }
        ensure!(total > 0, "there is no pair");
        let told = self.query(
            "select suite, case_key, metric, ratio, ci_low, ci_high from report.comparison
             where machine < baseline and verdict not in ('equivalent', 'inconclusive')
             order by 1, 2, 3",
        )?;
        for row in told {
            println!("  {}", row.join(" "));
        }
        Ok(different * 20 <= total)
    }

    /// Asks everything to end; how many processes are still there.
    fn stop(mut self) -> Result<usize> {
        let mut family: Vec<u32> = Vec::new();
        for child in self.agents.iter_mut().chain([&mut self.coordinator]) {
            family.push(child.id());
            family.extend(children(child.id())?);
            let pid = child.id().to_string();
            let asked = Command::new("kill").args(["-TERM", &pid]).status()?;
            ensure!(asked.success(), "kill {pid}");
            child.wait()?;
        }
        let alive = |pid: &&u32| Path::new(&format!("/proc/{pid}")).exists();
        Ok(family.iter().filter(alive).count())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.agents.iter_mut().chain([&mut self.coordinator]) {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn log(folder: &Path, name: &str) -> Result<fs::File> {
    Ok(fs::File::create(folder.join(format!("{name}.log")))?)
}

fn usage(pid: u32) -> Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.trim().strip_suffix(" kB"));
    Ok(Usage {
        resident_kb: resident.context("no VmRSS")?.parse()?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64,
        children: children(pid)?.len() as f64,
    })
}

/// Direct children. The threads of a process each have their own.
fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread may end between the two looks.
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(
            listed
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    Ok(found)
}

/// Prints the means of the second and the last quarter; whether they are alike. The first is warming up.
fn tell_leaks(looks: &[Look]) -> bool {
    let quarter = looks.len() / 4;
    let (early, late) = (
        &looks[quarter..2 * quarter],
        &looks[looks.len() - quarter..],
    );
    let mut sound = true;
    for (index, name) in (0..=AGENTS as usize).zip(["coordinator", "agent 0", "agent 1"]) {
        let mean = |looks: &[Look], value: fn(&Usage) -> f64| {
            let values = looks.iter().map(|look| value(&look.each[index]));
            values.sum::<f64>() / looks.len().max(1) as f64
        };
        let mut row = |what, value: fn(&Usage) -> f64, slack: f64| {
            let (before, after) = (mean(early, value), mean(late, value));
            println!("{name:12} {what:12} {before:10.1} {after:10.1}");
            sound &= after <= before + slack;
        };
        // An allocator's own noise; a leak of ten kB a launch is more over some hundred launches.
        row("resident kB", |usage| usage.resident_kb, 2048.0);
        row("descriptors", |usage| usage.descriptors, 2.0);
        row("children", |usage| usage.children, 1.0);
    }
    sound
}
