//! Keeps a Mac from sleeping while a job runs: a measurement across a sleep is worth nothing.

use std::process::Stdio;

use tokio::process::{Child, Command};

/// The system's own tool; it lets the machine sleep again when it, or the agent, is gone.
const CAFFEINATE: &str = "/usr/bin/caffeinate";

/// The machine stays awake while this lives.
#[derive(Debug)]
pub struct Awake(#[expect(dead_code, reason = "held, killed when dropped")] Option<Child>);

impl Awake {
    pub fn hold() -> Self {
        if cfg!(not(target_os = "macos")) {
            // Machines that run Linux for measurements are not laptops that fall asleep.
            return Self(None);
        }
        let child = Command::new(CAFFEINATE)
            .args(["-i", "-m", "-s", "-w", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        if let Err(error) = &child {
            tracing::warn!(%error, "this machine may fall asleep while it measures");
        }
        Self(child.ok())
    }
}
