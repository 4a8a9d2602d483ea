//! Daemons that are stopped, killed or left alone: nothing that they began outlives them, and the next
//! one finds its way.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::e2e::SMALL;
use crate::fleet::{Fleet, JOIN_TOKEN, Process, binary, eventually, mlx_fleet, stderr};

/// A daemon asks what it does to end, and drops after ten seconds what has not; five more are for that.
const SOFT_AND_HARD: Duration = Duration::from_secs(15);

/// `up` with a plan that takes longer than any test.
struct Up {
    process: Process,
    dir: TempDir,
    agent: String,
}

impl Up {
    /// Returns when the run has begun.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let long = SMALL.replace("launches = 2", "launches = 900");
        let log = File::create(dir.path().join("log")).unwrap();
        let child = up(dir.path(), &long).stderr(log).spawn().unwrap();
        let process = Process::new(child);
        eventually("the run begins", || {
            said(dir.path()).contains("jobs").then_some(())
        });
        let agent = fs::read_to_string(data(dir.path()).join("agent/agent.lock")).unwrap();
        let agent = agent.trim().to_owned();
        assert!(is_alive(&agent));
        Self {
            process,
            dir,
            agent,
        }
    }
}

fn up(dir: &Path, plan: &str) -> Command {
    let file = dir.join("plan.toml");
    fs::write(&file, plan).unwrap();
    let mut command = mlx_fleet();
    command.args(["up", "--plan"]).arg(file);
    command.arg("--data-dir").arg(data(dir));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn said(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap()
}

fn is_alive(pid: &str) -> bool {
    let mut kill = Command::new("kill");
    kill.args(["-0", pid]).stderr(Stdio::null());
    kill.status().unwrap().success()
}

#[test]
fn up_ends_when_its_agent_dies_and_says_why() {
    let Up {
        process,
        dir,
        agent,
    } = Up::start();
    let kill = Command::new("kill").args(["-KILL", &agent]).status();
    assert!(kill.unwrap().success());
    assert_eq!(process.ended(), Some(1));
    let said = said(dir.path());
    assert!(said.contains("the agent ended with signal: 9"), "{said}");
    assert!(said.contains("is cancelled"), "{said}");
}

#[test]
fn a_closed_terminal_ends_up_and_all_that_it_began() {
    let Up {
        process,
        dir,
        agent,
    } = Up::start();
    process.send("-HUP");
    assert_eq!(process.ended(), Some(130));
    assert!(said(dir.path()).contains("is cancelled"));
    assert!(!is_alive(&agent));
    let postmaster = data(dir.path()).join("postgres/cluster/postmaster.pid");
    assert!(!postmaster.exists());
}

#[test]
fn a_killed_up_takes_its_agent_along_and_the_next_one_leaves_its_run_alone() {
    let Up {
        process,
        dir,
        agent,
    } = Up::start();
    process.kill();
    eventually("the agent ends", || (!is_alive(&agent)).then_some(()));
    let output = up(dir.path(), SMALL).output().unwrap();
    let err = stderr(&output);
    assert!(output.status.success(), "{err}");
    assert!(err.contains("a run was left unfinished here"), "{err}");
    assert!(err.contains("[3/3]"), "its own jobs alone: {err}");
}

#[test]
fn a_coordinator_that_waits_for_its_database_heeds_a_signal() {
    // A server that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("postgres://me:secret@{}/db", silent.local_addr().unwrap());
    let serve = |url: &str| {
        let mut command = mlx_fleet();
        command.args(["serve", "--database-url", url, "--data-dir"]);
        command.arg(dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let process = Process::new(serve(&url).spawn().unwrap());
    let (_connection, _) = silent.accept().unwrap();
    assert_eq!(process.stop(), Some(0));

    drop(silent);
    let refused = serve(&url).stderr(Stdio::piped()).output().unwrap();
    let err = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{err}");
    let place = url.split_once('@').unwrap().1.replace("/db", "");
    for word in ["`db`", &place, "--database-url", "DATABASE_URL"] {
        assert!(err.contains(word), "{word}: {err}");
    }
    assert!(!err.contains("secret"), "{err}");
}

#[test]
fn an_agent_that_waits_to_enrol_heeds_a_signal() {
    let fleet = Fleet::start();
    let token = fleet.ok(&["token", "create"]);
    // A server that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let mut command = Command::new(binary("mlx-fleet-agent"));
    command.args(["run", "--coordinator", &url, "--data-dir"]);
    command.arg(fleet.agent_dir()).stdin(Stdio::null());
    command.env("MLX_FLEET_JOIN_TOKEN", token.trim());
    let process = Process::new(command.spawn().unwrap());
    let (_connection, _) = silent.accept().unwrap();
    assert_eq!(process.stop(), Some(0));
}

/// With a token it becomes another process once it has joined, and must not lose a signal meanwhile.
#[test]
fn an_agent_that_is_stopped_while_it_starts_ends() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    assert_eq!(fleet.agents.pop().unwrap().stop(), Some(0));
    for wait_ms in 0..40 {
        let child = Command::new(binary("mlx-fleet-agent"))
            .args(["run", "--data-dir"])
            .arg(fleet.agent_dir())
            .env(JOIN_TOKEN, &fleet.join_token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Process::new(child);
        std::thread::sleep(Duration::from_millis(wait_ms));
        // By the signal itself where it came before the agent listened.
        let code = agent.stop();
        assert!(
            matches!(code, Some(0) | None),
            "{code:?} after {wait_ms} ms"
        );
    }
}

#[test]
fn an_agent_starts_on_a_full_disk() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    assert_eq!(fleet.agents.pop().unwrap().stop(), Some(0));
    fs::remove_file(fleet.agent_dir().join("spool/reserve")).unwrap();
    // Files that may not grow stand for the full disk.
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .arg(binary("mlx-fleet-agent"))
        .args(["run", "--data-dir"])
        .arg(fleet.agent_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let _process = Process::new(child);
    let mut said = String::new();
    for line in log.lines().map(Result::unwrap) {
        said = format!("{said}{line}\n");
        if line.contains("welcomed by the coordinator") {
            break;
        }
    }
    for words in ["the disk is full", "welcomed by the coordinator"] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_job_on_a_full_disk_is_parked_with_its_reason_and_keeps_what_was_measured() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    // The weights are there before the disk is full.
    let plan = fleet.write_plan(SMALL);
    assert_eq!(fleet.command(&["run", &plan]).status.code(), Some(0));
    assert_eq!(fleet.agents.pop().unwrap().stop(), Some(0));
    fs::remove_file(fleet.agent_dir().join("spool/reserve")).unwrap();
    // Files that may not grow stand for the full disk: a few launches fit in.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 24; exec \"$@\"", "sh"])
        .arg(binary("mlx-fleet-agent"))
        .args(["run", "--data-dir"])
        .arg(fleet.agent_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    fleet.agents.push(Process::new(child));
    let decode = SMALL.replace("[suite.load]\nregimes = [\"warm\"]\n", "");
    let decode = decode.replace("[suite.prefill]\nprompt_tokens = [64]\n", "");
    let plan = fleet.write_plan(&decode.replace("launches = 2", "launches = 900"));
    let ran = fleet.command(&["run", &plan]);
    assert_eq!(ran.status.code(), Some(4), "{}", stderr(&ran));
    let row = "select concat_ws(' ', state, launches_counted > 0, launches_failed, reason)
               from report.job where launches_total = 900";
    let told = fleet.value(row);
    assert!(
        told.contains("parked t 3 3 failures; the last in "),
        "{told}"
    );
    assert!(told.contains("the spool could not be written"), "{told}");
    assert!(told.contains("File too large"), "{told}");
}

/// A connection whose other side is there and does not answer.
#[test]
fn daemons_end_in_time_though_the_other_side_of_an_open_stream_does_not_answer() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    let agent = fleet.agents.pop().unwrap();
    fleet.coordinator().send("-STOP");
    let asked = Instant::now();
    assert_eq!(agent.stop(), Some(0));
    assert!(asked.elapsed() < SOFT_AND_HARD, "{:?}", asked.elapsed());
    fleet.coordinator().send("-CONT");

    fleet.start_agent();
    let agent = fleet.agents.pop().unwrap();
    agent.send("-STOP");
    let asked = Instant::now();
    assert_eq!(fleet.stop(), [Some(0)], "the coordinator");
    assert!(asked.elapsed() < SOFT_AND_HARD, "{:?}", asked.elapsed());
    agent.send("-CONT");
    assert_eq!(agent.stop(), Some(0));
}

#[test]
fn a_reader_that_has_gone_is_a_quiet_end() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("plan.toml");
    fs::write(&plan, SMALL).unwrap();
    let mut child = mlx_fleet()
        .args(["plan", "check", "--offline"])
        .arg(&plan)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    let mut pipe = child.stderr.take().unwrap();
    pipe.read_to_string(&mut err).unwrap();
    assert_eq!(err, "");
    assert!(child.wait().unwrap().success());
}
