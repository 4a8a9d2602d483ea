//! macOS: the reports that the system leaves for the Console, which administrators may read. Untested on a
//! Mac; what the reports hold is read in [`crate::macos::output`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Reports;
use crate::macos::output;

/// A panic is written down while the system starts, a kill some moments after it. A panic's report that takes
/// longer than this is not told: the launch must end before the agent can take another, and its row is
/// written once. It then says that the machine was restarted.
pub const PANIC_PATIENCE: Duration = Duration::from_secs(15);
pub const MEMORY_PATIENCE: Duration = Duration::from_secs(5);

pub const REPORTS: [&str; 2] = [
    "/Library/Logs/DiagnosticReports",
    "/Library/Logs/DiagnosticReports/Retired",
];

pub const LOG: Option<&str> = None;

/// The report names the boot that it ended, so that no other panic is taken for it.
pub fn panic(reports: &Reports, boot_id: &str, since: SystemTime) -> Option<String> {
    let reports = written(&reports.folders, since)
        .filter(|path| path.extension().is_some_and(|it| it == "panic"));
    reports
        .filter_map(|path| output::panic_report(&fs::read_to_string(path).ok()?))
        .find(|report| report.boot_id.eq_ignore_ascii_case(boot_id))
        .map(|report| report.what)
}

pub fn memory_kill(reports: &Reports, pid: u32, since: SystemTime) -> Option<String> {
    kill_in(&reports.folders, pid, since)
}

fn kill_in(folders: &[impl AsRef<Path>], pid: u32, since: SystemTime) -> Option<String> {
    let events = written(folders, since).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("JetsamEvent")
    });
    events
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|report| output::memory_kill(&report, pid))
}

#[derive(Debug)]
pub struct MemoryWatch {
    since: SystemTime,
}

impl MemoryWatch {
    pub fn start() -> Self {
        Self {
            since: SystemTime::now(),
        }
    }
}

impl super::MemoryWatch for MemoryWatch {
    fn kill_of(&self, pid: u32) -> Option<String> {
        kill_in(&REPORTS, pid, self.since)
    }
}

/// Written since then.
fn written(folders: &[impl AsRef<Path>], since: SystemTime) -> impl Iterator<Item = PathBuf> {
    let entries = folders.iter().flat_map(fs::read_dir).flatten().flatten();
    entries.map(|entry| entry.path()).filter(move |path| {
        let modified = path.metadata().and_then(|it| it.modified());
        modified.is_ok_and(|modified| modified >= since)
    })
}
