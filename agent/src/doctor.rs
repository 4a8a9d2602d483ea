//! What will spoil measurements on this machine, what that means for results, and how to mend it.
//!
//! Each check is a function from what was seen to a [`Finding`]: of the agent and its fleet in [`fleet`],
//! of the worker and its MLX in [`worker`], of the machine in [`machine`], and of what only one system has
//! in `linux` and `macos`. What a system does not tell has no finding.

mod fleet;
#[cfg(target_os = "linux")]
mod linux;
mod machine;
#[cfg(any(target_os = "macos", test))]
mod macos;
mod page;
mod worker;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

pub use page::{to_json, to_text};

use std::path::Path;
use std::time::Instant;

use domain::machine::Inventory;
use service::folders::DataFolder;

use crate::host_lock;
use crate::preflight::Outlook;
use crate::sensors::{self, busiest};
use crate::software;
use crate::supervisor::Suite;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    /// Results are sound, but less good than they could be, or will not stay so.
    Warn,
    /// Launches are marked or invalid, or none can be made.
    Spoils,
}

/// One line of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// For results; empty where all is well.
    pub means: String,
    pub mend: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            means: String::new(),
            mend: String::new(),
        }
    }

    fn warn(check: &'static str, found: impl Into<String>, means: &str, mend: &str) -> Self {
        Self {
            verdict: Verdict::Warn,
            means: means.to_owned(),
            mend: mend.to_owned(),
            ..Self::ok(check, found)
        }
    }

    fn spoils(check: &'static str, found: impl Into<String>, means: &str, mend: &str) -> Self {
        Self {
            verdict: Verdict::Spoils,
            ..Self::warn(check, found, means, mend)
        }
    }
}

/// What is examined.
#[derive(Debug)]
pub struct Patient<'a> {
    pub folder: &'a DataFolder,
    pub inventory: &'a Inventory,
    /// Or why there is none.
    pub suite: Result<Suite, String>,
    pub host_lock: &'a Path,
    pub agent_lock: &'a Path,
    pub sensors: sensors::Open,
}

/// Looks at everything; it takes some seconds, in which nothing should be measured.
pub async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let Patient {
        folder,
        inventory,
        suite,
        host_lock: host,
        agent_lock: agent,
        sensors,
    } = patient;
    let measuring = matches!(host_lock::try_take(host), Ok(None));
    // The worker's own start would be load on the machine, so it comes after the look.
    let before = sensors::processes().unwrap_or_default();
    let began = Instant::now();
    let outlook = Outlook::look(*sensors, inventory.virtual_machine).await;
    let after = sensors::processes().unwrap_or_default();
    let busy = busiest(&before, &after, began.elapsed());

    let mut findings = match suite {
        Ok(suite) => worker::findings(software::ask(suite).await, inventory),
        Err(why) => vec![worker::missing(why, inventory)],
    };
    findings.extend(fleet::findings(folder, host, agent).await);
    findings.extend(machine::findings(
        inventory,
        &outlook.ticks,
        &busy,
        measuring,
    ));
    findings.extend(platform::findings());
    findings
}

/// Whether nothing spoils.
pub fn is_sound(findings: &[Finding]) -> bool {
    findings.iter().all(|it| it.verdict < Verdict::Spoils)
}
