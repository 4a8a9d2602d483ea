//! The machine that an agent is installed on, made of nothing but namespaces.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::fleet::{Process, stderr, stdout};

/// It has this one's programs, and folders of its own where it changes anything.
pub struct NewMachine {
    _holder: Process,
    pid: u32,
    _dir: TempDir,
}

/// Where a container forbids namespaces within.
const NO_NAMESPACES: &str = "MLX_FLEET_NO_NAMESPACES";

/// Which system's service it has, or rather what stands in for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum System {
    Linux,
    /// Linux in truth, under the names of a Mac's programs.
    Mac,
}

const BOOT: &str = r#"
set -e
root=$1 stands_in=$2
mount -t tmpfs none "$root"
for path in /*; do
  case $path in
    /etc | /opt | /proc | /run | /tmp) ;;
    *)
      if [ -L "$path" ]; then
        cp -a "$path" "$root"
      elif [ -d "$path" ]; then
        mkdir "$root$path"
        mount --rbind "$path" "$root$path"
      fi
      ;;
  esac
done
# What only root may read is nothing that a machine without root needs.
cp -a /etc "$root" 2>/dev/null || true
mkdir -p "$root/opt" "$root/proc" "$root/run/bin" "$root/tmp"
chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
mount -t tmpfs none "$root/var/log"
if [ "$3" = linux ]; then
  mkdir -p "$root/etc/systemd/system"
  cp "$stands_in/systemctl" "$root/run/bin"
else
  mkdir -p "$root/Library/LaunchDaemons"
  cp "$stands_in/launchctl" "$root/run/bin"
  for name in uname sw_vers sudo systemctl runuser useradd; do
    cp "$stands_in/mac" "$root/run/bin/$name"
  done
fi
exec chroot "$root" bash -c "echo ready; trap 'exit 0' TERM; while :; do sleep 1 & wait \$! || true; done"
"#;

impl NewMachine {
    fn apart() -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
    }

    /// None: whoever runs the tests says that there can be none.
    #[expect(
        clippy::disallowed_methods,
        reason = "the tester's wish, read in this place"
    )]
    pub fn boot(system: System) -> Option<Self> {
        if std::env::var_os(NO_NAMESPACES).is_some() {
            eprintln!("SKIPPED, nothing is installed: {NO_NAMESPACES} is set");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let stands_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/install");
        let system = match system {
            System::Linux => "linux",
            System::Mac => "mac",
        };
        let mut command = Self::apart();
        command.args(["bash", "-c", BOOT, "boot"]);
        command.arg(dir.path()).arg(stands_in).arg(system);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        let mut said = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut said, &mut ready).unwrap_or_else(|_| {
            panic!("no namespaces can be made here; {NO_NAMESPACES}=1 leaves this test out")
        });
        let outer = child.id();
        let children = format!("/proc/{outer}/task/{outer}/children");
        let children = fs::read_to_string(children).unwrap();
        let pid = children.split_whitespace().next().unwrap().parse().unwrap();
        Some(Self {
            _holder: Process::new(child),
            pid,
            _dir: dir,
        })
    }

    /// What somebody types into a terminal there.
    pub fn types(&self, text: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.pid.to_string(),
            "--mount",
            "--pid",
            "--root",
            "--wd",
        ]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        let mut child = command
            .arg("bash")
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

    pub fn ok(&self, text: &str) -> String {
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
    pub fn fails(&self, text: &str) -> String {
        let output = self.types(text);
        assert!(!output.status.success(), "{text}: {}", stdout(&output));
        stderr(&output)
    }

    /// The words of its page, as the account of the agent sees it.
    pub fn doctor(&self) -> String {
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

    pub fn release(&self) -> String {
        self.ok("readlink /opt/mlx-fleet/current").trim().to_owned()
    }

    pub fn note(&self) -> String {
        self.ok("cat /opt/mlx-fleet/current/note")
    }

    pub fn agents(&self) -> usize {
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

pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    stdout(&id).trim() == "0"
}
