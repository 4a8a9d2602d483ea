//! Secrets stay where they belong: real processes run a plan with all that they could say, and neither their
//! logs nor what the system tells of them holds a token, a password or a key.

use std::fs;
use std::path::{Path, PathBuf};

use crate::e2e::SMALL;
use crate::fleet::Fleet;

/// What must be seen nowhere, by what it is.
type Secrets = Vec<(&'static str, String)>;

#[test]
fn no_secret_is_in_a_log_a_command_line_or_an_environment() {
    let mut fleet = Fleet::logging("debug");
    fleet.start_agent();
    let run = fleet.ok(&["run", &fleet.write_plan(SMALL), "--detach"]);
    let secrets = secrets(&fleet);
    // As long as it lasts: workers come and go.
    let ended = format!(
        "select state <> 'active' from report.run where run_id = '{}'",
        run.trim()
    );
    let mut looks = 0;
    while fleet.value(&ended) != "t" {
        looks += check_processes(&secrets);
    }
    looks += check_processes(&secrets);
    assert!(
        looks > 0 || !cfg!(target_os = "linux"),
        "processes were seen"
    );
    // A token that is refused is told of, without its secret.
    let forged = fleet.dir.path().join("forged");
    let mut parts: Vec<&str> = fleet.join_token.split('_').collect();
    let other = "7".repeat(64);
    (parts[1], parts[3]) = ("op", &other);
    service::folders::write_secret(&forged, &parts.join("_").into()).unwrap();
    let file = forged.to_str().unwrap();
    let refused = ["runs", "--coordinator", &fleet.url, "--token-file", file];
    let refused = crate::fleet::mlx_fleet().args(refused).output().unwrap();
    assert_eq!(refused.status.code(), Some(6));
    fleet.stop();

    let mut read = 0;
    for file in files(fleet.dir.path()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let is_log = name == "log" || name.ends_with(".log");
        if !is_log {
            continue;
        }
        read += 1;
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for (what, secret) in secrets.iter().chain([&("a refused token", other.clone())]) {
            assert!(!text.contains(secret), "{what} is in {}", file.display());
        }
    }
    assert!(
        read >= 3,
        "of coordinator, agent and Postgres, {read} were read"
    );
}

fn secrets(fleet: &Fleet) -> Secrets {
    let file = |path: PathBuf| fs::read_to_string(path).unwrap();
    let of_token = |text: &str| text.split('_').nth(3).unwrap().to_owned();
    // One line of its middle stands for a key.
    let of_key = |text: &str| text.lines().nth(1).unwrap().to_owned();
    let (ours, agent) = (fleet.data_dir(), fleet.agent_dir());
    let server = file(ours.join("server.pem"));
    let (_, server) = server.split_once("PRIVATE KEY-----").unwrap();
    vec![
        ("the join token", of_token(&fleet.join_token)),
        (
            "the operator's token",
            of_token(&file(ours.join("operator.token"))),
        ),
        (
            "the database's password",
            file(ours.join("postgres/password")).trim().to_owned(),
        ),
        ("the authority's key", of_key(&file(ours.join("ca.key")))),
        ("the server's key", of_key(server)),
        ("the agent's key", of_key(&file(agent.join("agent.key")))),
    ]
}

/// Says how many processes of ours were looked at.
#[cfg(target_os = "linux")]
pub fn check_processes(secrets: &Secrets) -> usize {
    let mut ours = 0;
    for entry in fs::read_dir("/proc").unwrap() {
        let folder = entry.unwrap().path();
        // One that has ended, or is none.
        let Ok(line) = fs::read(folder.join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).into_owned();
        ours += usize::from(line.contains("mlx-fleet") || line.contains("postgres"));
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        for (what, secret) in secrets {
            assert!(
                !line.contains(secret),
                "{what} is in a command line: {line}"
            );
            assert!(
                !environment.contains(secret),
                "{what} is in the environment of {line}"
            );
        }
    }
    ours
}

#[cfg(not(target_os = "linux"))]
fn check_processes(_: &Secrets) -> usize {
    0
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}
