//! A new machine, from the line that `machine add` prints to its uninstallation: namespaces with folders of
//! their own, a real coordinator outside, real downloads, a real job.
//!
//! Only systemd is not there: what `install/systemctl` does in its place is what the script asks of it.

#![cfg(target_os = "linux")]

mod mac;
mod machine;
mod releases;

use std::fs;
use std::path::Path;

use domain::ids::MachineId;
use service::tls::{AgentKey, Authority};
use time::OffsetDateTime;

use crate::e2e::SMALL;
use crate::fleet::{Fleet, eventually, stderr, stdout};
use crate::secrets::check_processes;
use machine::{NewMachine, System, is_root};
use releases::Releases;

const SCRIPT: &str = "bash /opt/mlx-fleet/install-agent.sh";

/// The only machine's state, as the fleet sees it.
fn is(fleet: &Fleet, state: &str) {
    eventually(state, || {
        let machines = fleet.json(&["machine", "list", "--json"]);
        let [machine] = &machines.as_array()?[..] else {
            return None;
        };
        (machine["state"] == state).then_some(())
    });
}

#[test]
fn a_new_machine_installs_works_upgrades_goes_back_and_leaves() {
    let mut fleet = Fleet::start();
    // Nothing to install from is told before anybody walks to the machine.
    let refused = fleet.command(&["machine", "add"]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("cargo xtask dist"));
    let releases = Releases::of(&fleet, &linux());
    releases.offer_good("one");

    let Some(machine) = NewMachine::boot(System::Linux) else {
        return;
    };
    let line = line_of(&fleet);
    refuses_another_authority(&machine, &line);
    let said = shows_no_secret_meanwhile(&line, || machine.ok(&line));
    assert!(said.contains("runs as"), "{said}");
    // The last words of doctor's page: that it is shown is part of the installation.
    assert!(said.contains(" in order\n"), "{said}");
    is(&fleet, "idle");
    leaves_no_secret_and_no_open_door(&machine, &secret_of(&line));
    systemd_takes_the_units(&machine);
    upgrades_by_hand(&fleet, &machine, &releases);
    upgrades_by_the_fleet(&fleet, &machine, &releases);
    leaves(&fleet, &machine, &releases);
    fleet.stop();
}

fn line_of(fleet: &Fleet) -> String {
    let line = fleet.ok(&["machine", "add", "--allow-upgrades"]);
    assert_eq!(line.lines().count(), 1, "{line}");
    if is_root() {
        return line;
    }
    // In a namespace of somebody's there is no second account.
    line.replace("install --coordinator", "install --user root --coordinator")
}

fn linux() -> String {
    format!("linux-{}", std::env::consts::ARCH)
}

/// Thrown out, or with a certificate that has ended: a new line mends both, and it is the same machine.
#[test]
fn a_machine_that_is_out_comes_back_by_another_line() {
    let mut fleet = Fleet::start();
    Releases::of(&fleet, &linux()).offer_good("one");
    let Some(machine) = NewMachine::boot(System::Linux) else {
        return;
    };
    let used = line_of(&fleet);
    machine.ok(&used);
    is(&fleet, "idle");
    let id = || fleet.json(&["machine", "list", "--json"])[0]["machine_id"].clone();
    let (first, spool) = (id(), "/opt/mlx-fleet/data/spool/of-before");
    machine.ok(&format!("touch {spool}"));
    // One that is used up does no harm to a machine that is well.
    let told = stderr(&machine.types(&used));
    assert!(
        told.contains("used up") && told.contains("is kept"),
        "{told}"
    );
    is(&fleet, "idle");

    fleet.ok(&["machine", "revoke", first.as_str().unwrap()]);
    is(&fleet, "revoked");
    let mend = "paste its line into a terminal of this machine";
    let told = machine.doctor();
    assert!(told.contains("revoked") && told.contains(mend), "{told}");
    machine.ok(&line_of(&fleet));
    is(&fleet, "idle");

    machine.ok(&format!(
        "cat >/opt/mlx-fleet/data/agent.pem <<'END'\n{}END\nsystemctl restart",
        ended_certificate()
    ));
    is(&fleet, "offline");
    let told = machine.doctor();
    assert!(told.contains("ended on") && told.contains(mend), "{told}");
    machine.ok(&line_of(&fleet));
    is(&fleet, "idle");
    assert_eq!(id(), first);
    machine.ok(&format!("rm {spool}"));
    fleet.stop();
}

fn ended_certificate() -> String {
    let then = OffsetDateTime::now_utc() - time::Duration::days(1000);
    let (authority, _) = Authority::generate(then).unwrap();
    let request = AgentKey::generate().unwrap().request().unwrap();
    let signed = authority.sign_agent(&request, MachineId::new(), then);
    signed.unwrap()
}

fn upgrades_by_hand(fleet: &Fleet, machine: &NewMachine, releases: &Releases) {
    let first = machine.release();
    let archive = releases.offer_good("two");
    assert_eq!(machine.release(), first, "nobody asked for it yet");
    machine.ok(&format!("{SCRIPT} upgrade"));
    let second = machine.release();
    assert_ne!(first, second);
    is(fleet, "idle");
    let said = machine.ok(&format!("{SCRIPT} upgrade"));
    assert!(said.contains("runs already"), "{said}");

    // An archive that is not what its checksum says.
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    releases.offer_good("three");
    fs::write(&archive, bytes).unwrap();
    let told = machine.fails(&format!("{SCRIPT} upgrade"));
    assert!(told.contains("checksum"), "{told}");
    releases.offer_broken();
    let told = machine.fails(&format!("{SCRIPT} upgrade"));
    assert!(told.contains("does not stay up"), "{told}");
    assert_eq!(machine.release(), second);
    // One that stays, and does nothing. Nobody here waits for two minutes.
    machine.ok("sed -i s/^seconds_welcome=120$/seconds_welcome=3/ /opt/mlx-fleet/install-agent.sh");
    releases.offer_mute();
    let told = machine.fails(&format!("{SCRIPT} upgrade"));
    assert!(told.contains("is not welcomed"), "{told}");
    assert!(told.contains("runs again"), "{told}");
    machine.ok("sed -i s/^seconds_welcome=3$/seconds_welcome=120/ /opt/mlx-fleet/install-agent.sh");
    assert_eq!(machine.release(), second);
    assert_eq!(machine.agents(), 1);
    is(fleet, "idle");
}

/// What systemd itself reads in the units; it is no part of the machine, and need not run for that.
fn systemd_takes_the_units(machine: &NewMachine) {
    if !machine.types("command -v systemd-analyze").status.success() {
        eprintln!(
            "NOT VERIFIED: there is no systemd-analyze here to read the units (apt-get install systemd)"
        );
        return;
    }
    let coordinators = include_str!("../../../deploy/mlx-fleet.service");
    let programs = "/opt/mlx-fleet-coordinator/bin";
    machine.ok(&format!(
        "mkdir -p {programs} && cp /bin/true {programs}/mlx-fleet\n\
         cat >/tmp/mlx-fleet.service <<'END'\n{coordinators}END\n"
    ));
    let units = "/etc/systemd/system/mlx-fleet-agent.service \
                 /etc/systemd/system/mlx-fleet-agent-upgrade.service \
                 /etc/systemd/system/mlx-fleet-agent-upgrade.path /tmp/mlx-fleet.service";
    let verified = machine.types(&format!("systemd-analyze verify --man=no {units}"));
    let told = stderr(&verified);
    assert!(verified.status.success() && told.is_empty(), "{told}");
}

fn upgrades_by_the_fleet(fleet: &Fleet, machine: &NewMachine, releases: &Releases) {
    let run = fleet.ok(&["run", &fleet.write_plan(SMALL), "--detach"]);
    releases.offer_good("four");
    // In the midst of a run: the job at work is finished, the others come after.
    let said = fleet.ok(&["machine", "upgrade"]);
    assert!(said.contains("upgraded"), "{said}");
    assert_eq!(machine.note(), "four");
    let watched = fleet.command(&["watch", run.trim()]);
    assert_eq!(watched.status.code(), Some(0), "{}", stderr(&watched));
    let stopped = "select count(*) from report.launch where outcome <> 'succeeded'";
    assert_eq!(fleet.value(stopped), "0");
    let said = fleet.ok(&["machine", "upgrade"]);
    assert!(said.contains("already"), "{said}");

    releases.offer_broken();
    let told = fleet.command(&["machine", "upgrade", "--timeout", "20s"]);
    assert_eq!(told.status.code(), Some(1), "{}", stdout(&told));
    assert!(stderr(&told).contains("went back"), "{}", stderr(&told));
    assert_eq!(machine.note(), "four");
    is(fleet, "idle");
}

fn secret_of(line: &str) -> String {
    let (_, token) = line.split_once("mlxfleet_join_").unwrap();
    let secret = token.split('_').nth(1).unwrap();
    assert_eq!(secret.len(), 64);
    secret.to_owned()
}

/// No process on this computer shows the token while this is done.
fn shows_no_secret_meanwhile<T: Send>(line: &str, doing: impl Fn() -> T + Sync) -> T {
    let secrets = vec![("the join token", secret_of(line))];
    std::thread::scope(|scope| {
        let done = scope.spawn(&doing);
        let mut looks = 0;
        while !done.is_finished() {
            looks += check_processes(&secrets);
        }
        assert!(looks > 0);
        done.join().unwrap()
    })
}

/// Somebody in between, who has a certificate for the name, of an authority of their own.
fn refuses_another_authority(machine: &NewMachine, line: &str) {
    let (other, _) = Authority::generate(OffsetDateTime::now_utc()).unwrap();
    let other: Vec<String> = other
        .certificate()
        .pem()
        .lines()
        .map(|line| format!("'{line}'"))
        .collect();
    let (before, rest) = line.split_once("'-----BEGIN CERTIFICATE-----'").unwrap();
    let (_, after) = rest.split_once("'-----END CERTIFICATE-----'").unwrap();
    let told = machine.fails(&format!("{before}{}{after}", other.join(" ")));
    assert!(told.contains("certificate"), "{told}");
    machine.ok("[ ! -e /opt/mlx-fleet ]");
}

fn leaves_no_secret_and_no_open_door(machine: &NewMachine, secret: &str) {
    machine.fails(&format!(
        "grep -rqs {secret} /opt/mlx-fleet /etc/systemd /var/log /tmp /run"
    ));
    let owners = machine.ok(
        "cd /opt/mlx-fleet; stat -c '%U %a %n' . releases data ca.pem current/bin/mlx-fleet-agent",
    );
    let owners: Vec<&str> = owners.lines().collect();
    let user = if is_root() { "mlx-fleet" } else { "root" };
    assert_eq!(
        owners,
        [
            "root 755 .",
            "root 755 releases",
            &format!("{user} 700 data"),
            "root 644 ca.pem",
            "root 755 current/bin/mlx-fleet-agent",
        ]
    );
    let runs = machine.ok("stat -c %U /proc/$(systemctl show)");
    assert_eq!(runs.trim(), user);
}

fn leaves(fleet: &Fleet, machine: &NewMachine, releases: &Releases) {
    releases.offer_good("five");
    machine.ok(&format!("{SCRIPT} rollback"));
    is(fleet, "idle");
    assert_eq!(machine.note(), "two");
    machine.ok(&format!("{SCRIPT} uninstall"));
    assert_eq!(machine.agents(), 0);
    is(fleet, "offline");
    let left = machine.ok(
        "ls /opt/mlx-fleet; ls /etc/systemd/system/mlx-fleet-agent.service 2>/dev/null || true",
    );
    assert_eq!(left, "data\n");

    // The same machine again: no token is needed, and none is asked for.
    let install = "bash /tmp/install-agent.sh install --ca /tmp/ca.pem --coordinator";
    let (script, authority) = (
        fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/install-agent.sh"),
        )
        .unwrap(),
        fs::read_to_string(fleet.data_dir().join("ca.pem")).unwrap(),
    );
    machine.ok(&format!("cat >/tmp/install-agent.sh <<'END'\n{script}END\ncat >/tmp/ca.pem <<'END'\n{authority}END\n"));
    machine.ok(&format!("{install} {}", fleet.url));
    is(fleet, "idle");
    assert_eq!(machine.note(), "five");
    machine.ok(&format!(
        "{SCRIPT} uninstall --purge && [ ! -e /opt/mlx-fleet ]"
    ));
}
