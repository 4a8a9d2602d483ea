//! What only macOS has: power modes and Time Machine's plans. Untested on a Mac; what its tools print is
//! read in [`crate::macos::output`].

use super::Finding;
use crate::macos::ask;
use crate::macos::output::{self, PowerMode};

pub fn findings() -> Vec<Finding> {
    let mode = ask("/usr/bin/pmset", &["-g"]).and_then(|said| output::power_mode(&said));
    let running = ask("/usr/bin/tmutil", &["status"]);
    let running = running.and_then(|said| output::backup_is_running(&said));
    let automatic = ask(
        "/usr/bin/defaults",
        &[
            "read",
            "/Library/Preferences/com.apple.TimeMachine",
            "AutoBackup",
        ],
    );
    let automatic = automatic.map(|said| said.trim() == "1");
    let mut findings = Vec::new();
    // Low-power mode has a finding of its own.
    findings.extend(mode.filter(|mode| *mode != PowerMode::Low).map(power_mode));
    findings.extend(running.map(|running| time_machine(running, automatic == Some(true))));
    findings
}

fn power_mode(mode: PowerMode) -> Finding {
    let found = match mode {
        PowerMode::Automatic => {
            "automatic (a Mac that has High Power holds its clocks longer in it)"
        }
        PowerMode::High => "high",
        PowerMode::Low => "low",
    };
    Finding::ok("power mode", found)
}

fn time_machine(running: bool, automatic: bool) -> Finding {
    const CHECK: &str = "Time Machine";
    match (running, automatic) {
        (true, _) => Finding::spoils(
            CHECK,
            "copies files now",
            "it takes the disk and memory bandwidth, and cold loads above all",
            "let it end, or `tmutil stopbackup`",
        ),
        (false, true) => Finding::warn(
            CHECK,
            "will begin by itself, every hour",
            "launches beside a backup are marked housekeeping",
            "`sudo tmutil disable` while plans run, and `sudo tmutil enable` after them",
        ),
        (false, false) => Finding::ok(CHECK, "rests"),
    }
}
