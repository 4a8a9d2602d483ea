//! `doctor`, `preflight` and `inventory`, as people and scripts see them. Each looks for some seconds.

use std::path::Path;
use std::process::{Command, Output};

use agent::doctor::{self, Finding, Patient, Verdict};
use agent::sensors::{Readout, Sensors};
use agent::{enrol, host_lock, inventory};
use serde_json::Value;
use service::folders::DataFolder;
use time::OffsetDateTime;

use crate::enrol::Coordinator;
use crate::fake_suite;

fn ask(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mlx-fleet-agent"))
        .args(args)
        .arg("--data-dir")
        .arg(dir.join("data"))
        .env("MLX_FLEET_HOST_LOCK", dir.join("host.lock"))
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

#[test]
fn the_doctor_tells_of_each_check_what_it_means_and_how_to_mend_it() {
    let dir = tempfile::tempdir().unwrap();
    let suite = fake_suite().program;
    let output = ask(
        dir.path(),
        &["doctor", "--json", "--suite", suite.to_str().unwrap()],
    );
    let told = json(&output);
    let findings = told["findings"].as_array().unwrap();
    let of = |check: &str| findings.iter().find(|it| it["check"] == check).unwrap();
    for finding in findings {
        let is_ok = finding["verdict"] == "ok";
        assert_eq!(finding["means"] == "", is_ok, "{finding}");
        assert_eq!(finding["mend"] == "", is_ok, "{finding}");
    }
    assert_eq!(of("MLX")["found"], "none on cpu, library unknown…");
    assert_eq!(of("fleet")["verdict"], "warn");
    assert!(
        of("fleet")["mend"]
            .as_str()
            .unwrap()
            .contains("token create")
    );
    for check in ["machine", "model size", "other programs", "memory", "disk"] {
        of(check);
    }
    let code = i32::from(told["sound"] != true);
    assert_eq!(output.status.code(), Some(code));
    assert!(!dir.path().join("data").exists(), "looking leaves nothing");
}

#[test]
fn without_a_worker_the_page_says_where_it_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let output = ask(dir.path(), &["doctor", "--suite", "/nonexistent/suite"]);
    let page = String::from_utf8_lossy(&output.stdout);
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("spoils worker /nonexistent/suite is missing"),
        "{page}"
    );
    assert!(words.contains("To mend it: build both"), "{page}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn preflight_sees_that_another_agent_measures() {
    let dir = tempfile::tempdir().unwrap();
    let lock = host_lock::try_take(&dir.path().join("host.lock")).unwrap();
    assert!(lock.is_some());
    let output = ask(dir.path(), &["preflight", "--json"]);
    let told = json(&output);
    assert_eq!(
        (&told["host_free"], &told["quiet"]),
        (&false.into(), &false.into())
    );
    assert!(told["seen"]["foreign_cpu_ratio"].as_f64().unwrap() >= 0.0);
    assert!(told["seen"]["backup_cpu_ratio"].as_f64().unwrap() >= 0.0);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_inventory_has_the_workers_mlx_and_an_identity_only_in_a_fleet() {
    let dir = tempfile::tempdir().unwrap();
    let suite = fake_suite().program;
    let args = ["inventory", "--json", "--suite", suite.to_str().unwrap()];
    let told = json(&ask(dir.path(), &args));
    assert!(told["identity"].is_null());
    assert_eq!(told["mlx"]["mlx_version"], "none");
    let told = json(&ask(
        dir.path(),
        &["inventory", "--json", "--suite", "/nonexistent"],
    ));
    assert!(told["mlx"]["error"].as_str().unwrap().contains("missing"));
}

struct Quiet;

impl Sensors for Quiet {
    fn look(&mut self, _: Option<u32>) -> Readout {
        Readout::default()
    }
}

#[tokio::test]
async fn a_machine_of_a_fleet_finds_its_coordinator_and_how_its_clock_goes() {
    let coordinator = Coordinator::start().await;
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::at(dir.path());
    let wishes = coordinator.wishes();
    let fleet = enrol::fleet(&folder, &wishes).unwrap();
    let inventory = inventory::read([].into(), &folder, fleet).unwrap();
    let now = OffsetDateTime::now_utc();
    enrol::join(&folder, wishes, &inventory, now).await.unwrap();
    let patient = Patient {
        folder: &folder,
        inventory: &inventory,
        suite: Ok(fake_suite()),
        host_lock: &dir.path().join("host.lock"),
        agent_lock: &dir.path().join("agent.lock"),
        sensors: || Box::new(Quiet),
    };
    let findings = doctor::examine(&patient).await;
    let of = |check: &str| -> Finding {
        let finding = findings.iter().find(|it| it.check == check);
        finding
            .unwrap_or_else(|| panic!("{check}: {findings:#?}"))
            .clone()
    };
    assert_eq!(
        of("coordinator").found,
        format!("{} answers", coordinator.url)
    );
    for check in ["coordinator", "certificate", "clock"] {
        assert_eq!(of(check).verdict, Verdict::Ok, "{:?}", of(check));
    }
}
