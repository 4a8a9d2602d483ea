//! What only macOS has: power modes, sleep, the system's reports and Time Machine's plans. Untested on a Mac;
//! what its tools print is read in [`crate::macos::output`].

use super::Finding;
use crate::macos::output::{self, PowerMode};

/// What was found; None where a tool does not tell.
#[derive(Clone, Debug)]
struct Seen {
    /// What `pmset -g` prints.
    settings: Option<String>,
    backup_runs: Option<bool>,
    backup_is_automatic: bool,
    /// Or why the folder of the system's reports cannot be read.
    reports: Result<(), String>,
    has_caffeinate: bool,
}

#[cfg(target_os = "macos")]
pub fn findings() -> Vec<Finding> {
    use std::{fs, path::Path};

    use crate::awake::CAFFEINATE;
    use crate::incident::Reports;
    use crate::macos::ask;

    let running = ask("/usr/bin/tmutil", &["status"]);
    let automatic = ask(
        "/usr/bin/defaults",
        &[
            "read",
            "/Library/Preferences/com.apple.TimeMachine",
            "AutoBackup",
        ],
    );
    let folder = Reports::of_system().folders.swap_remove(0);
    judge(&Seen {
        settings: ask("/usr/bin/pmset", &["-g"]),
        backup_runs: running.and_then(|said| output::backup_is_running(&said)),
        backup_is_automatic: automatic.is_some_and(|said| said.trim() == "1"),
        reports: match fs::read_dir(&folder) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{}: {error}", folder.display())),
        },
        has_caffeinate: Path::new(CAFFEINATE).exists(),
    })
}

fn judge(seen: &Seen) -> Vec<Finding> {
    let settings = seen.settings.as_deref().unwrap_or_default();
    let mut findings = Vec::new();
    // Low-power mode has a finding of its own.
    let mode = output::power_mode(settings).filter(|mode| *mode != PowerMode::Low);
    findings.extend(mode.map(power_mode));
    findings.extend(output::sleep_minutes(settings).map(sleep));
    findings.extend(caffeinate(seen.has_caffeinate));
    findings.push(reports(&seen.reports));
    let backup = seen.backup_runs;
    findings.extend(backup.map(|running| time_machine(running, seen.backup_is_automatic)));
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

fn sleep(minutes: u32) -> Finding {
    const CHECK: &str = "sleep";
    match minutes {
        0 => Finding::ok(CHECK, "never"),
        _ => Finding::warn(
            CHECK,
            format!("after {minutes} min without work"),
            "between jobs the machine goes away, and what waits for it waits until somebody wakes it; the \
             agent keeps it awake only while it measures",
            "`sudo pmset -a sleep 0`",
        ),
    }
}

fn caffeinate(is_there: bool) -> Option<Finding> {
    (!is_there).then(|| {
        Finding::warn(
            "caffeinate",
            "missing",
            "nothing keeps the machine awake while it measures, and a launch across a sleep is invalid (g9)",
            "`sudo pmset -a sleep 0`, and bring /usr/bin/caffeinate back: it is a part of macOS",
        )
    })
}

fn reports(reports: &Result<(), String>) -> Finding {
    const CHECK: &str = "system's reports";
    match reports {
        Ok(()) => Finding::ok(CHECK, "can be read"),
        Err(why) => Finding::warn(
            CHECK,
            why,
            "panics and kills for memory are not told: such launches say only that they were interrupted, or \
             crashed",
            "run the agent as root, or as a user of the group admin",
        ),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn sound() -> Seen {
        Seen {
            settings: Some(" sleep 0\n powermode 0\n".to_owned()),
            backup_runs: Some(false),
            backup_is_automatic: false,
            reports: Ok(()),
            has_caffeinate: true,
        }
    }

    fn bad(seen: &Seen) -> Vec<(Verdict, &'static str)> {
        let mut findings = judge(seen);
        findings.retain(|it| it.verdict > Verdict::Ok);
        findings.iter().map(|it| (it.verdict, it.check)).collect()
    }

    #[test]
    fn a_mac_as_it_should_be_has_nothing_to_mend() {
        assert_eq!(bad(&sound()), []);
        assert_eq!(judge(&sound()).len(), 4);
        let silent = Seen {
            settings: None,
            backup_runs: None,
            ..sound()
        };
        assert_eq!(bad(&silent), []);
    }

    #[test]
    fn sleep_reports_and_a_missing_caffeinate_are_told() {
        let seen = Seen {
            settings: Some(include_str!("../../tests/macos/pmset.txt").to_owned()),
            backup_is_automatic: true,
            reports: Err("/Library/Logs/DiagnosticReports: Permission denied".to_owned()),
            has_caffeinate: false,
            ..sound()
        };
        let warned = ["sleep", "caffeinate", "system's reports", "Time Machine"];
        assert_eq!(bad(&seen), warned.map(|check| (Verdict::Warn, check)));
        let sleep = judge(&seen).remove(1);
        assert_eq!(sleep.found, "after 1 min without work");
        assert_eq!(sleep.mend, "`sudo pmset -a sleep 0`");
        let copying = Seen {
            backup_runs: Some(true),
            ..sound()
        };
        assert_eq!(bad(&copying), [(Verdict::Spoils, "Time Machine")]);
    }
}
