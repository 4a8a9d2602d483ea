//! A new machine, from the line that `machine add` prints to its uninstallation: namespaces with folders of
//! their own, a real coordinator outside, real downloads, a real job.
//!
//! Only systemd is not there: what `install/systemctl` does in its place is what the script asks of it.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use domain::ids::MachineId;
use service::tls::{AgentKey, Authority};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::e2e::SMALL;
use crate::fleet::{Fleet, Process, binary, eventually, stderr, stdout};
use crate::secrets::check_processes;

/// Of nothing but namespaces: it has this one's programs, and folders of its own where it changes anything.
struct NewMachine {
    _holder: Process,
    pid: u32,
    _dir: TempDir,
}

const BOOT: &str = r#"
set -e
mount -t tmpfs none "$1"
# What only root may read is nothing that a machine without root needs.
cp -a /etc "$1" 2>/dev/null || true
mount --bind "$1/etc" /etc
mkdir -p /etc/systemd/system
mount -t proc proc /proc
mount -t tmpfs none /run
mkdir /run/bin
cp "$2" /run/bin/systemctl
for folder in /opt /tmp /var/log; do mount -t tmpfs none "$folder"; done
chmod 1777 /tmp
echo ready
trap 'exit 0' TERM
while :; do sleep 1 & wait $! || true; done
"#;

impl NewMachine {
    /// A container may forbid namespaces within.
    fn is_possible() -> bool {
        let tried = Self::apart()
            .args(["mount", "-t", "tmpfs", "none", "/mnt"])
            .output();
        tried.is_ok_and(|tried| tried.status.success())
    }

    fn apart() -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
    }

    fn boot() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let systemctl = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/install/systemctl");
        let mut command = Self::apart();
        command.args(["bash", "-c", BOOT, "boot"]);
        command.arg(dir.path()).arg(systemctl);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        let mut said = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut said, &mut ready)
            .expect("a machine: are namespaces allowed here?");
        let outer = child.id();
        let children = format!("/proc/{outer}/task/{outer}/children");
        let children = fs::read_to_string(children).unwrap();
        let pid = children.split_whitespace().next().unwrap().parse().unwrap();
        Self {
            _holder: Process::new(child),
            pid,
            _dir: dir,
        }
    }

    /// What somebody types into a terminal there.
    fn types(&self, text: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--mount", "--pid"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        let mut child = command
            .arg("bash")
            .current_dir("/")
            .env_clear()
            .env("PATH", "/run/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut terminal = child.stdin.take().unwrap();
        terminal.write_all(text.as_bytes()).unwrap();
        drop(terminal);
        child.wait_with_output().unwrap()
    }

    fn ok(&self, text: &str) -> String {
        let output = self.types(text);
        assert!(
            output.status.success(),
            "{text}: {}{}",
            stdout(&output),
            stderr(&output)
        );
        stdout(&output)
    }

    /// Must fail; what it says of it.
    fn fails(&self, text: &str) -> String {
        let output = self.types(text);
        assert!(!output.status.success(), "{text}: {}", stdout(&output));
        stderr(&output)
    }

    /// The words of its page, as the account of the agent sees it.
    fn doctor(&self) -> String {
        let agent =
            "/opt/mlx-fleet/current/bin/mlx-fleet-agent doctor --data-dir /opt/mlx-fleet/data";
        let account = if is_root() {
            "runuser -u mlx-fleet --"
        } else {
            ""
        };
        let page = stdout(&self.types(&format!("{account} {agent}")));
        page.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn release(&self) -> String {
        self.ok("readlink /opt/mlx-fleet/current").trim().to_owned()
    }

    fn note(&self) -> String {
        self.ok("cat /opt/mlx-fleet/current/note")
    }

    fn agents(&self) -> usize {
        // One that is listed may be gone before it is read.
        let listed = self.ok("cat /proc/[0-9]*/comm 2>&1 || true");
        listed
            .lines()
            .filter(|name| *name == "mlx-fleet-agent")
            .count()
    }
}

impl Drop for NewMachine {
    /// The whole machine ends with its first process.
    fn drop(&mut self) {
        let pid = self.pid.to_string();
        drop(Command::new("kill").args(["-KILL", &pid]).status());
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    stdout(&id).trim() == "0"
}

/// Archives like `cargo xtask dist`'s, of the programs that are tested here, offered by the fleet.
struct Releases {
    folder: PathBuf,
    programs: PathBuf,
    /// The MLX that the worker was linked with.
    wheel: PathBuf,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Releases {
    fn of(fleet: &Fleet) -> Self {
        let folder = fleet.data_dir().join("releases");
        let programs = fleet.dir.path().join("programs");
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&programs).unwrap();
        for name in ["mlx-fleet-agent", "mlx-fleet-suite"] {
            // What a debugger wants would be most of the archive.
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(programs.join(name)).arg(binary(name));
            assert!(strip.status().unwrap().success());
        }
        Self {
            folder,
            programs,
            wheel: wheel(),
        }
    }

    fn name() -> String {
        format!("mlx-fleet-{VERSION}-linux-{}", std::env::consts::ARCH)
    }

    /// Offers this release alone; `note` tells it from others, `agent` is its agent.
    fn offer(&self, note: &str, agent: &Path) -> PathBuf {
        let stage = tempfile::tempdir().unwrap();
        let root = stage.path().join(Self::name());
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy(agent, root.join("bin/mlx-fleet-agent")).unwrap();
        fs::copy(
            self.programs.join("mlx-fleet-suite"),
            root.join("bin/mlx-fleet-suite"),
        )
        .unwrap();
        fs::write(root.join("note"), note).unwrap();
        for library in ["mlx/lib", "mlx_cpu.libs"] {
            let into = root.join("lib").join(library);
            fs::create_dir_all(&into).unwrap();
            for file in fs::read_dir(self.wheel.join(library)).unwrap() {
                let path = file.unwrap().path();
                if path.is_file() {
                    fs::copy(&path, into.join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        let archive = self.folder.join(format!("{}.tar.gz", Self::name()));
        let mut tar = Command::new("tar");
        tar.args(["-I", "gzip -1"])
            .arg("-C")
            .arg(stage.path())
            .arg("-cf")
            .arg(&archive)
            .arg(Self::name());
        assert!(tar.status().unwrap().success());
        self.write_sums();
        archive
    }

    fn offer_good(&self, note: &str) -> PathBuf {
        self.offer(note, &self.programs.join("mlx-fleet-agent"))
    }

    /// It starts, and ends.
    fn offer_broken(&self) {
        let broken = self.programs.join("broken");
        fs::write(&broken, "#!/bin/sh\n[ \"$1\" = --version ]\n").unwrap();
        fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
        self.offer("broken", &broken);
    }

    fn write_sums(&self) {
        let sums = "sha256sum -- *.tar.gz >SHA256SUMS";
        let done = Command::new("sh")
            .args(["-c", sums])
            .current_dir(&self.folder)
            .status();
        assert!(done.unwrap().success());
    }
}

/// Where the loader finds it for the worker, in the tree that it was published in.
fn wheel() -> PathBuf {
    let told = Command::new("ldd")
        .arg(binary("mlx-fleet-suite"))
        .output()
        .unwrap();
    let told = stdout(&told);
    let library = told
        .lines()
        .find_map(|line| line.trim().strip_prefix("libmlx.so => "));
    let library = library
        .and_then(|rest| rest.split(" (").next())
        .expect("libmlx.so");
    Path::new(library).ancestors().nth(3).unwrap().to_owned()
}

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
    let releases = Releases::of(&fleet);
    releases.offer_good("one");

    if !NewMachine::is_possible() {
        eprintln!("SKIPPED, nothing is installed: no namespaces can be made here");
        return;
    }
    let machine = NewMachine::boot();
    let line = line_of(&fleet);
    refuses_another_authority(&machine, &line);
    let said = shows_no_secret_meanwhile(&line, || machine.ok(&line));
    assert!(said.contains("runs as"), "{said}");
    is(&fleet, "idle");
    leaves_no_secret_and_no_open_door(&machine, &secret_of(&line));
    comes_back_by_another_line(&fleet, &machine, &line);
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

/// Thrown out, or with a certificate that has ended: a new line mends both, and it is the same machine.
fn comes_back_by_another_line(fleet: &Fleet, machine: &NewMachine, used: &str) {
    let id = || fleet.json(&["machine", "list", "--json"])[0]["machine_id"].clone();
    let (first, spool) = (id(), "/opt/mlx-fleet/data/spool/of-before");
    machine.ok(&format!("touch {spool}"));
    // One that is used up does no harm to a machine that is well.
    let told = stderr(&machine.types(used));
    assert!(
        told.contains("used up") && told.contains("is kept"),
        "{told}"
    );
    is(fleet, "idle");

    fleet.ok(&["machine", "revoke", first.as_str().unwrap()]);
    is(fleet, "revoked");
    let mend = "paste its line into a terminal of this machine";
    let told = machine.doctor();
    assert!(told.contains("revoked") && told.contains(mend), "{told}");
    machine.ok(&line_of(fleet));
    is(fleet, "idle");

    machine.ok(&format!(
        "cat >/opt/mlx-fleet/data/agent.pem <<'END'\n{}END\nsystemctl restart",
        ended_certificate()
    ));
    is(fleet, "offline");
    let told = machine.doctor();
    assert!(told.contains("ended on") && told.contains(mend), "{told}");
    machine.ok(&line_of(fleet));
    is(fleet, "idle");
    assert_eq!(id(), first);
    machine.ok(&format!("rm {spool}"));
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
    assert_eq!(machine.agents(), 1);
    is(fleet, "idle");
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
