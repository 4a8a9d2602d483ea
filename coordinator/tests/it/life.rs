//! What operators do with a fleet that lives: real processes, real Postgres, real MLX.

use crate::fleet::{Fleet, eventually};

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
