//! Keeps the machine from sleeping while a job runs: a measurement across a sleep is worth nothing.

use std::io::ErrorKind;
use std::process::Stdio;

use tokio::process::{Child, Command};

/// macOS's own tool; it lets the machine sleep again when it, or the agent, is gone.
pub(crate) const CAFFEINATE: &str = "/usr/bin/caffeinate";

/// Its like where systemd is: it holds the machine awake as long as what it runs.
const INHIBIT: &str = "systemd-inhibit";

/// The machine stays awake while this lives.
#[derive(Debug)]
pub struct Awake(#[expect(dead_code, reason = "held, killed when dropped")] Option<Child>);

impl Awake {
    pub fn hold() -> Self {
        let mut command = if cfg!(target_os = "macos") {
            caffeinate()
        } else {
            inhibit()
        };
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        match &child {
            Err(error) if cfg!(target_os = "macos") || error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, "this machine may fall asleep while it measures");
            }
            // Without systemd a Linux machine does not sleep by itself.
            Ok(_) | Err(_) => {}
        }
        Self(child.ok())
    }
}

fn caffeinate() -> Command {
    let mut command = Command::new(CAFFEINATE);
    command
        .args(["-i", "-m", "-s", "-w", &std::process::id().to_string()])
        .stdin(Stdio::null());
    command
}

/// It ends with the agent even when that is killed: `cat` has the end of its standard input then.
fn inhibit() -> Command {
    let mut command = Command::new(INHIBIT);
    command
        .args(["--what=sleep:idle", "--mode=block", "--who=mlx-fleet-agent"])
        .args(["--why=a benchmark is running", "cat"])
        .stdin(Stdio::piped());
    command
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn words(command: &Command) -> Vec<String> {
        let command = command.as_std();
        let all = std::iter::once(command.get_program()).chain(command.get_args());
        all.map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn sleep_is_blocked_and_not_only_delayed() {
        let words = words(&inhibit());
        assert_eq!(words[..3], [INHIBIT, "--what=sleep:idle", "--mode=block"]);
        assert_eq!(words.last().unwrap(), "cat");
    }

    #[test]
    fn caffeinate_waits_for_this_agent() {
        let pid = std::process::id().to_string();
        let expected = [CAFFEINATE, "-i", "-m", "-s", "-w", pid.as_str()];
        assert_eq!(words(&caffeinate()), expected);
    }

    #[tokio::test]
    async fn what_holds_the_machine_awake_ends_with_whoever_started_it() {
        // As systemd-inhibit runs it, since few machines that test have that.
        let inhibit = inhibit();
        let held = inhibit.as_std().get_args().last().unwrap();
        let mut child = Command::new(held).stdin(Stdio::piped()).spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        drop(child.stdin.take());
        let ended = timeout(Duration::from_secs(10), child.wait()).await;
        assert!(ended.unwrap().unwrap().success());
    }
}
