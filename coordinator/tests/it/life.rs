//! What operators do with a fleet that lives: real processes, real Postgres, real MLX.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use private_postgres::{Options, Server};
use serde_json::Value;

use crate::e2e::SMALL;
use crate::fleet::{
    Fleet, JOIN_TOKEN, Process, command_at, eventually, mlx_fleet, ok_at, serve, start_agent,
    stderr, stdout,
};

/// One launch that would go on for minutes.
const LONG: &str = r#"
name = "long"
[protocol]
launches = 1
gate_timeout = "0s"
canary = false
[[model]]
source = "synthetic:nano-llama"
[suite.sustained]
seconds = [300]
"#;

#[test]
fn a_cancelled_run_ends_its_worker_and_a_resumed_one_starts_another() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    let run = fleet.ok(&["run", &fleet.write_plan(LONG), "--detach"]);
    let run = run.trim();
    let launches = |fleet: &Fleet, outcome: &str| {
        fleet.value(&format!(
            "select count(*) from report.launch where run_id = '{run}' and outcome = '{outcome}' \
             and environment_id is not null"
        ))
    };
    let count_is = |fleet: &Fleet, outcome: &str, count: &str| {
        eventually(outcome, || {
            (launches(fleet, outcome) == count).then_some(())
        });
    };
    // Its conditions are known: the worker is at work.
    count_is(&fleet, "running", "1");
    fleet.ok(&["cancel", run]);
    count_is(&fleet, "cancelled", "1");

    // The worker's end comes after the order and before anything else of this lease.
    let story = fleet.json(&["events", run, "--json"]);
    let last = story.as_array().unwrap().last().unwrap();
    assert_eq!(last["event"], "lease_cancelled", "{story}");
    let took = fleet.value(&format!(
        "select extract(epoch from finished_at - '{}') from report.launch where run_id = '{run}'",
        last["at"].as_str().unwrap()
    ));
    println!("from the order to the worker's end: {took} s");
    assert!(took.parse::<f64>().unwrap() > 0.0, "{took}");

    fleet.ok(&["resume", run]);
    count_is(&fleet, "running", "1");
    fleet.ok(&["cancel", run]);
    count_is(&fleet, "cancelled", "2");
    let twice = fleet.command(&["resume", "0000"]);
    assert_eq!(twice.status.code(), Some(3), "no such run");
}

#[test]
fn agents_move_to_the_other_coordinator_of_their_database_when_theirs_is_killed() {
    let dir = tempfile::Builder::new()
        // Postgres runs as another user when the tests run as root.
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let mut options = Options::new(dir.path().join("database"));
    options.fallback_dir = dir.path().join("cluster");
    let postgres = Server::start(&options).unwrap();
    let env = [("DATABASE_URL", &*postgres.url("postgres"))];
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    let (killed, here_url) = serve(&here, "127.0.0.1:0", &env);
    fs::create_dir(&there).unwrap();
    for file in ["ca.pem", "ca.key"] {
        fs::copy(here.join(file), there.join(file)).unwrap();
    }
    let (_other, there_url) = serve(&there, "127.0.0.1:0", &env);
    let coordinators = format!("{here_url},{there_url}");
    let token = ok_at(&here, &["token", "create"]);
    let join = [(JOIN_TOKEN, token.trim())];
    let agent = start_agent(&dir.path().join("agent"), &coordinators, &join);

    let plan = dir.path().join("plan.toml");
    fs::write(&plan, SMALL.replace("launches = 2", "launches = 6")).unwrap();
    let run = ok_at(&here, &["run", plan.to_str().unwrap(), "--detach"]);
    let run = run.trim();
    let counted = |data_dir| {
        let query =
            format!("select count(*) from report.launch where run_id = '{run}' and counted");
        let told = ok_at(data_dir, &["sql", &query, "--format", "csv"]);
        told.lines().nth(1).unwrap().parse::<u32>().unwrap()
    };
    eventually("the first launches are in", || {
        (counted(&here) >= 2).then_some(())
    });
    let watcher = mlx_fleet()
        .args(["watch", run, "--coordinator", &coordinators, "--token-file"])
        .arg(here.join("operator.token"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let watcher = Process::new(watcher.unwrap());
    killed.kill();
    assert!(counted(&there) < 18, "it was in the midst");

    // Who names both, as agents do, reaches the one that is there.
    let listed = mlx_fleet()
        .args([
            "runs",
            "--json",
            "--coordinator",
            &coordinators,
            "--token-file",
        ])
        .arg(there.join("operator.token"))
        .output()
        .unwrap();
    assert!(stdout(&listed).contains(run), "{}", stderr(&listed));

    // So does who watched already.
    assert_eq!(watcher.ended(), Some(0));
    assert_eq!(counted(&there), 18, "three suites of six launches");
    // The lease went along: no job was granted twice, and no launch was made twice.
    let story: Value = serde_json::from_str(&ok_at(&there, &["events", run, "--json"])).unwrap();
    let told = |kind| {
        let story = story.as_array().unwrap().iter();
        story.filter(|event| event["event"] == kind).count()
    };
    assert_eq!(
        (told("job_granted"), told("lease_expired")),
        (3, 0),
        "{story}"
    );
    let all = format!("select count(*) from report.launch where run_id = '{run}'");
    assert!(ok_at(&there, &["sql", &all, "--format", "csv"]).ends_with("18\n"));
    assert_eq!(agent.stop(), Some(0));
}

#[test]
fn a_fleet_goes_on_from_its_backup_with_every_row_and_every_machine() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    let ran = fleet.command(&["run", &fleet.write_plan(SMALL)]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("data/seed.csv");
    fleet.ok(&["import", seed.to_str().unwrap()]);
    let file = fleet.dir.path().join("fleet.backup");
    let file = file.to_str().unwrap();
    fleet.ok(&["backup", file]);
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = fleet.command(&["backup", file]);
    assert_eq!(again.status.code(), Some(3), "{}", stderr(&again));
    let before = told(&fleet.data_dir());
    // Into a folder that serves a fleet nothing is restored.
    let taken = fleet.command(&["restore", file]);
    assert_eq!(taken.status.code(), Some(3), "{}", stderr(&taken));
    assert_eq!(fleet.stop(), [Some(0), Some(0)]);
    let taken = fleet.command(&["restore", file]);
    assert_eq!(taken.status.code(), Some(3), "{}", stderr(&taken));

    let anew = fleet.dir.path().join("anew");
    let restored = command_at(&anew, &["restore", file]);
    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    assert!(
        stderr(&restored).contains("ca.key"),
        "{}",
        stderr(&restored)
    );
    for secret in ["ca.pem", "ca.key", "operator.token"] {
        fs::copy(fleet.data_dir().join(secret), anew.join(secret)).unwrap();
    }
    let address = fleet.url.trim_start_matches("https://");
    let (_coordinator, url) = serve(&anew, address, &[]);
    assert_eq!(url, fleet.url);
    assert_eq!(told(&anew), before);
    // Its machine comes back by itself, and measures on.
    let agent = start_agent(&fleet.agent_dir(), &url, &[]);
    let ran = command_at(&anew, &["run", &fleet.write_plan(SMALL)]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    assert_eq!(agent.stop(), Some(0));
}

/// What a coordinator says of its past: every row that views show, the story and the figures of each run.
fn told(data_dir: &Path) -> Vec<String> {
    let views = [
        "run",
        "job",
        "launch",
        "launch_summary",
        "iteration",
        "sample",
        "reading",
        "environment",
    ];
    let rows = views.iter().map(|view| {
        let query = format!(
            "select count(*), md5(string_agg(md5(it::text), '' order by md5(it::text)))
             from report.{view} as it"
        );
        ok_at(data_dir, &["sql", &query, "--format", "csv"])
    });
    let mut all: Vec<String> = rows.collect();
    let runs = ok_at(data_dir, &["runs", "--json"]);
    let runs: Value = serde_json::from_str(&runs).unwrap();
    let out = data_dir.join("told");
    for run in runs.as_array().unwrap() {
        let run = run["run_id"].as_str().unwrap();
        all.push(ok_at(data_dir, &["events", run, "--json"]));
        let report = [
            "report",
            run,
            "--format",
            "txt",
            "--out",
            out.to_str().unwrap(),
        ];
        let path = ok_at(data_dir, &report);
        all.push(fs::read_to_string(path.trim()).unwrap());
    }
    assert_eq!(all.len(), views.len() + 4, "two runs");
    all
}

#[test]
fn every_line_of_a_log_says_which_run_job_and_machine_it_is_about() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    let plan = fleet.write_plan(LONG);
    let run = fleet.ok(&["run", &plan, "--detach"]);
    let running = "select count(*) from report.launch where outcome = 'running'";
    eventually("a worker", || (fleet.value(running) == "1").then_some(()));
    let job = fleet.value("select job_id from report.job");
    let machine = fleet.value("select machine_id from report.machine");
    fleet.ok(&["cancel", run.trim()]);
    let log = |dir: &Path| -> Vec<Value> {
        let text = fs::read_to_string(dir.join("test.log")).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    };
    let (agent, coordinator) = (fleet.agent_dir(), fleet.data_dir());
    for (dir, message) in [
        (&agent, "job ended"),
        (&coordinator, "an agent is told of its lease's end"),
    ] {
        let line = eventually(message, || {
            log(dir).into_iter().find(|line| line["message"] == message)
        });
        let spans = line["spans"].as_array().unwrap();
        let field = |name| spans.iter().find_map(|span| span[name].as_str());
        assert_eq!(
            (field("run_id"), field("job_id"), field("machine_id")),
            (Some(run.trim()), Some(&*job), Some(&*machine)),
            "{line}"
        );
    }
}
