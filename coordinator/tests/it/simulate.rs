//! Simulated machines: they speak the real protocol, run what asks for them and nothing else, and are
//! never taken for real ones.

use std::fs;
use std::process::{Command, Stdio};

use crate::e2e::SMALL;
use crate::fleet::{Fleet, Process, binary, eventually, stderr};

const MACHINES: &str = "3";

fn start(fleet: &Fleet, profile: &str) -> Process {
    let token = fleet.ok(&["token", "create", "--uses", MACHINES]);
    let file = fleet.dir.path().join("profile.toml");
    fs::write(&file, profile).unwrap();
    let log = fs::File::create(fleet.dir.path().join("simulation.log")).unwrap();
    let child = Command::new(binary("mlx-fleet-agent"))
        .args(["simulate", "--count", MACHINES, "--coordinator", &fleet.url])
        .arg("--profile")
        .arg(&file)
        .arg("--data-dir")
        .arg(fleet.dir.path().join("simulation"))
        .env("MLX_FLEET_JOIN_TOKEN", token.trim())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let simulation = Process::new(child);
    eventually("all machines have joined", || {
        let joined = fleet.value("select count(*) from report.machine where simulated");
        (joined == MACHINES).then_some(())
    });
    simulation
}

/// As many launches that crash as a job survives, and then some.
const CRASHING: &str = "launch_ms = 0\nfailures = 1.0";

#[test]
fn simulated_machines_run_what_asks_for_them_and_are_compared_with_nothing_real() {
    let mut fleet = Fleet::start();
    let simulation = start(
        &fleet,
        "launch_ms = 50\nsamples = 3\ntokens = 4\nreadings = 2",
    );
    let plan = fleet.write_plan(SMALL);
    let refused = fleet.command(&["run", &plan, "--detach"]);
    assert_eq!(refused.status.code(), Some(3));
    let why = stderr(&refused);
    assert!(why.contains("is simulated, the plan asks"), "{why}");

    let asking = SMALL.replace("[protocol]", "[machines]\nsimulated = true\n[protocol]");
    fleet.start_agent();
    let simulated = fleet.ok(&["run", &fleet.write_plan(&asking), "--detach"]);
    let simulated = simulated.trim();
    fleet.ok(&["watch", simulated]);
    let real = fleet.ok(&["run", &fleet.write_plan(SMALL), "--detach"]);
    let real = real.trim();
    fleet.ok(&["watch", real]);

    let told = |query: &str| fleet.value(&query.replace("SIM", simulated).replace("REAL", real));
    // Three machines, suites and twice two launches of two iterations; each iteration with three samples.
    let sizes = "select concat_ws(' ', count(*), count(distinct machine), min(label), max(label))
                 from report.sample where run_id = 'SIM'";
    assert_eq!(told(sizes), "108 3 simulated simulated");
    let readings = "select count(*) > 0 from report.reading where run_id = 'SIM'";
    assert_eq!(told(readings), "t");
    let excluded =
        "select count(*) from report.coverage where run_id = 'REAL' and machine like 'simulated-%'
                    and reason like '%is simulated%'";
    assert_eq!(told(excluded), MACHINES);

    let compared =
        "select concat_ws(' ', count(*) > 0, bool_or(ratio is not null or verdict is not null),
                        bool_and('simulated' = any(differences) and 'label' = any(differences)))
                    from report.pair where run_id = 'SIM' and baseline_run_id = 'REAL'";
    assert_eq!(told(compared), "t f t");
    let ranked = "select count(*) from report.which_machine
                  where machine like 'simulated-%' or model_source like 'simulated:%'";
    assert_eq!(told(ranked), "0");
    let series =
        "select count(*) from report.regression where label = 'simulated' and run_id <> 'SIM'";
    assert_eq!(told(series), "0");
    let fits = "select count(*) from report.model where model_source like 'simulated:%'";
    assert_eq!(
        told(fits),
        "1",
        "their weights are told apart from real ones"
    );

    assert_eq!(simulation.stop(), Some(0));
    let again = start(&fleet, CRASHING);
    let parked = fleet.command(&["run", &fleet.write_plan(&asking)]);
    assert_eq!(parked.status.code(), Some(4), "{}", stderr(&parked));
    let ends = "select string_agg(distinct outcome || ' ' || message, ',') from report.launch
                join report.run using (run_id) where run_id not in ('SIM', 'REAL')";
    assert_eq!(told(ends), "crashed a simulated crash");
    let machines = "select count(*) from report.machine where simulated";
    assert_eq!(told(machines), MACHINES, "the folder's machines came again");
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn a_simulation_with_a_token_for_fewer_machines_ends_with_the_refusal() {
    let fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "1"]);
    let output = Command::new(binary("mlx-fleet-agent"))
        .args(["simulate", "--count", "2", "--coordinator", &fleet.url])
        .arg("--data-dir")
        .arg(fleet.dir.path().join("simulation"))
        .env("MLX_FLEET_JOIN_TOKEN", token.trim())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("unknown, expired or used up"), "{told}");
}
