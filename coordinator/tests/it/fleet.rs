//! A real fleet on this machine for the end-to-end tests: real processes, real Postgres, real MLX.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on two busy cores; a test that waits so long has failed.
pub const DEADLINE: Duration = Duration::from_mins(4);

/// Where daemons find the filter of their log, and an agent its join token.
const LOG: &str = "RUST_LOG";
pub const JOIN_TOKEN: &str = "MLX_FLEET_JOIN_TOKEN";

/// One of our binaries; all stand in one folder.
pub fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_mlx-fleet")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --workspace",
        path.display()
    );
    path
}

/// `mlx-fleet` with nothing of the tester's environment that could lead it elsewhere.
pub fn mlx_fleet() -> Command {
    let mut command = Command::new(binary("mlx-fleet"));
    for name in [
        "MLX_FLEET_COORDINATOR",
        "MLX_FLEET_TOKEN_FILE",
        "MLX_FLEET_DATA_DIR",
        "DATABASE_URL",
    ] {
        command.env_remove(name);
    }
    command
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `probe` gives a value.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A process that is asked to stop at the end of the test, and waited for.
pub struct Process(Child);

impl Process {
    pub fn new(child: Child) -> Self {
        Self(child)
    }

    pub fn send(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill {signal} {}",
            self.0.id()
        );
    }

    /// The way a machine loses power, as far as a process can tell.
    pub fn kill(mut self) {
        self.send("-KILL");
        self.0.wait().expect("a killed process ends");
    }

    /// Asks politely; the exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.send("-TERM");
        self.wait()
    }

    /// Waits for its own end; the exit code.
    pub fn ended(mut self) -> Option<i32> {
        self.wait()
    }

    fn wait(&mut self) -> Option<i32> {
        eventually("a process ends", || {
            self.0.try_wait().expect("our own child")
        })
        .code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.send("-TERM");
            self.wait();
        }
    }
}

/// A coordinator with its private Postgres. Agents are stopped before it.
pub struct Fleet {
    pub agents: Vec<Process>,
    /// What the agent joined with; empty before.
    pub join_token: String,
    log: &'static str,
    coordinator: Option<Process>,
    pub url: String,
    pub dir: TempDir,
}

impl Fleet {
    pub fn start() -> Self {
        Self::logging("info")
    }

    /// With another filter for the logs of its daemons.
    pub fn logging(log: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (coordinator, url) = serve(
            &dir.path().join("coordinator"),
            "127.0.0.1:0",
            &[(LOG, log)],
        );
        Self {
            agents: Vec::new(),
            join_token: String::new(),
            log,
            coordinator: Some(coordinator),
            url,
            dir,
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("coordinator")
    }

    pub fn agent_dir(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    pub fn coordinator(&self) -> &Process {
        self.coordinator.as_ref().expect("a coordinator")
    }

    /// Kills the coordinator without a word and starts it again at the same address.
    pub fn crash_and_restart_coordinator(&mut self) {
        self.coordinator.take().expect("a coordinator").kill();
        let address = self.url.trim_start_matches("https://").to_owned();
        let (coordinator, url) = serve(&self.data_dir(), &address, &[(LOG, self.log)]);
        assert_eq!(url, self.url);
        self.coordinator = Some(coordinator);
    }

    /// Ends everything politely; the exit codes of the agents and, last, of the coordinator.
    pub fn stop(&mut self) -> Vec<Option<i32>> {
        let processes = self.agents.drain(..).chain(self.coordinator.take());
        processes.map(Process::stop).collect()
    }

    /// An operator's command against this fleet.
    pub fn command(&self, args: &[&str]) -> Output {
        command_at(&self.data_dir(), args)
    }

    /// The same, which must succeed; its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        ok_at(&self.data_dir(), args)
    }

    /// Starts this machine's agent; the first time it joins with a fresh token.
    pub fn start_agent(&mut self) {
        let mut env = vec![(LOG, self.log)];
        if self.join_token.is_empty() {
            let token = self.ok(&["token", "create"]);
            token.trim().clone_into(&mut self.join_token);
            env.push((JOIN_TOKEN, &self.join_token));
        }
        let agent = start_agent(&self.agent_dir(), &self.url, &env);
        self.agents.push(agent);
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("JSON")
    }

    /// One value of a query, as text.
    pub fn value(&self, query: &str) -> String {
        let text = self.ok(&["sql", query, "--format", "csv"]);
        text.lines().nth(1).unwrap_or_default().to_owned()
    }

    pub fn write_plan(&self, text: &str) -> String {
        let path = self.dir.path().join("plan.toml");
        fs::write(&path, text).expect("the plan is written");
        path.to_str().expect("an ordinary path").to_owned()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.agents.clear();
        self.coordinator = None;
    }
}

/// An operator's command against the coordinator of this folder.
pub fn command_at(data_dir: &Path, args: &[&str]) -> Output {
    let mut command = mlx_fleet();
    command.args(args).arg("--data-dir").arg(data_dir);
    command
        .stdin(Stdio::null())
        .output()
        .expect("the command starts")
}

/// The same, which must succeed; its standard output.
pub fn ok_at(data_dir: &Path, args: &[&str]) -> String {
    let output = command_at(data_dir, args);
    assert!(
        output.status.success(),
        "{args:?}: {}{}",
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

/// An agent for the coordinators at these URLs, welcomed by one of them; its join token is in this
/// environment.
pub fn start_agent(dir: &Path, coordinators: &str, env: &[(&str, &str)]) -> Process {
    let mut command = Command::new(binary("mlx-fleet-agent"));
    command
        .args(["run", "--log-format", "json", "--coordinator", coordinators])
        .arg("--data-dir")
        .arg(dir);
    fs::create_dir_all(dir).expect("the agent's folder");
    let log = dir.join("test.log");
    let child = command
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("the agent's log"))
        .spawn()
        .expect("the agent starts");
    let agent = Process::new(child);
    eventually("the agent joins", || {
        let said = fs::read_to_string(&log).expect("the agent's log");
        said.contains("welcomed by the coordinator").then_some(())
    });
    agent
}

/// A coordinator in this folder, with this environment; the second value is where it listens.
pub fn serve(data_dir: &Path, listen: &str, env: &[(&str, &str)]) -> (Process, String) {
    fs::create_dir_all(data_dir).expect("the coordinator's folder");
    let file = fs::File::options()
        .create(true)
        .append(true)
        .open(data_dir.join("test.log"))
        .expect("the coordinator's log");
    let mut child = mlx_fleet()
        .args([
            "serve",
            "--log-format",
            "json",
            "--listen",
            listen,
            "--data-dir",
        ])
        .arg(data_dir)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .expect("the coordinator starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("a line");
    let url = line.trim().strip_prefix("listening on ").map(str::to_owned);
    let url = url.unwrap_or_else(|| {
        let log = fs::read_to_string(data_dir.join("test.log")).unwrap_or_default();
        panic!("the coordinator did not come up: {line}{log}")
    });
    (Process::new(child), url)
}
