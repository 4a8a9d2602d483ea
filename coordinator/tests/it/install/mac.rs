//! The script's steps for a Mac, on no Mac: bash, curl, tar and the agent are Linux's, and launchd, `sw_vers`,
//! `uname` and sudo are stand-ins (`launchctl`, `mac`). It shows what the script asks of them, in which order,
//! and what the daemon's definition says; not that macOS does it.

use serde_json::{Value, json};

use super::machine::{NewMachine, System, is_root};
use super::releases::Releases;
use super::{SCRIPT, is, line_of};
use crate::fleet::Fleet;

const PLIST: &str = "/Library/LaunchDaemons/org.mlx-fleet.agent.plist";

#[test]
fn a_mac_of_stand_ins_installs_upgrades_goes_back_and_leaves() {
    let mut fleet = Fleet::start();
    let releases = Releases::of(&fleet, "macos15-arm64");
    releases.offer_good("one");
    let Some(machine) = NewMachine::boot(System::Mac) else {
        return;
    };
    if is_root() {
        machine.ok("/usr/sbin/useradd --no-create-home ana");
    }
    // As sudo leaves it for the script: whoever called it is whose account runs the agent.
    let said = machine.ok(&format!("export SUDO_USER=ana\n{}", line_of(&fleet)));
    assert!(said.contains("runs as"), "{said}");
    assert!(said.contains(" in order\n"), "{said}");
    is(&fleet, "idle");
    is_a_daemon(&machine);

    releases.offer_good("two");
    machine.ok(&format!("{SCRIPT} upgrade"));
    assert_eq!(machine.note(), "two");
    is(&fleet, "idle");
    releases.offer_broken();
    let told = machine.fails(&format!("{SCRIPT} upgrade"));
    assert!(told.contains("does not stay up"), "{told}");
    machine.ok(&format!("{SCRIPT} rollback"));
    assert_eq!(machine.note(), "one");
    is(&fleet, "idle");
    releases.offer_good("three");
    let said = fleet.ok(&["machine", "upgrade"]);
    assert!(said.contains("upgraded"), "{said}");
    assert_eq!(machine.note(), "three");

    does_not_wait_for_ever(&machine);
    machine.ok(&format!("{SCRIPT} uninstall"));
    assert_eq!(machine.agents(), 0);
    let left = machine.ok("ls /opt/mlx-fleet /Library/LaunchDaemons");
    assert_eq!(left, "/Library/LaunchDaemons:\n\n/opt/mlx-fleet:\ndata\n");
    fleet.stop();
}

/// The whole definition, so that nothing is missing and nothing else, such as a token, is in it.
fn is_a_daemon(machine: &NewMachine) {
    let user = if is_root() { "ana" } else { "root" };
    let read = format!(
        "python3 -c 'import json, plistlib; print(json.dumps(plistlib.load(open(\"{PLIST}\", \"rb\"))))'"
    );
    let plist: Value = serde_json::from_str(&machine.ok(&read)).unwrap();
    let log = "/opt/mlx-fleet/log/agent.log";
    let expected = json!({
        "Label": "org.mlx-fleet.agent",
        "ProgramArguments": [
            "/opt/mlx-fleet/current/bin/mlx-fleet-agent",
            "run",
            "--data-dir",
            "/opt/mlx-fleet/data",
            "--upgrade-wish",
            "/opt/mlx-fleet/data/upgrade",
        ],
        "UserName": user,
        "ProcessType": "Interactive",
        "RunAtLoad": true,
        "KeepAlive": true,
        "ThrottleInterval": 10,
        "ExitTimeOut": 30,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    });
    assert_eq!(plist, expected);
    let owner = machine.ok(&format!("stat -c '%U %a' {PLIST}"));
    assert_eq!(owner, "root 644\n");
    let runs = machine.ok("stat -c %U /proc/$(cat /opt/mlx-fleet/data/welcomed)");
    assert_eq!(runs.trim(), user);
    assert!(machine.ok(&format!("cat {log}")).contains("welcomed"));
}

/// Where launchd keeps the daemon, whatever is asked.
fn does_not_wait_for_ever(machine: &NewMachine) {
    let told = machine.fails(
        "touch /run/launchd-is-stuck\n\
         sed s/^seconds_gone=60$/seconds_gone=2/ /opt/mlx-fleet/install-agent.sh >/tmp/install-agent.sh\n\
         bash /tmp/install-agent.sh uninstall"
    );
    assert!(told.contains("does not stop"), "{told}");
    machine.ok(&format!("[ -e {PLIST} ] && rm /run/launchd-is-stuck"));
}
