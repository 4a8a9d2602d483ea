//! What macOS's own tools print and its reports hold: pure functions of text, so that they are tested on
//! recorded outputs wherever the tests run. Those who run the tools and find the reports are the `macos`
//! modules of `inventory`, `sensors`, `incident` and `doctor`.

use std::time::Duration;

use crate::sensors::{GpuClient, PowerSource, Process};

/// `ioreg -rd1 -c IOPlatformExpertDevice`: the platform's UUID.
pub fn platform_uuid(said: &str) -> Option<String> {
    let line = said
        .lines()
        .find(|line| line.contains("\"IOPlatformUUID\""))?;
    let value = line.split('"').nth(3)?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// `ioreg -r -d 1 -w 0 -c AGXAccelerator`.
pub fn gpu_cores(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once("\"gpu-core-count\"")?;
    let value = rest.lines().next()?.trim_start_matches([' ', '=']);
    value.trim().parse().ok().filter(|&cores| cores > 0)
}

/// `pmset -g batt`.
pub fn power_source(said: &str) -> Option<PowerSource> {
    let first = said.lines().next()?;
    if first.contains("'AC Power'") {
        Some(PowerSource::Ac)
    } else if first.contains("'Battery Power'") {
        Some(PowerSource::Battery)
    } else {
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerMode {
    Automatic,
    Low,
    High,
}

/// `pmset -g`: ` lowpowermode 1`, on newer systems ` powermode 2`.
pub fn power_mode(said: &str) -> Option<PowerMode> {
    said.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        match (words.next()?, words.next()?) {
            ("lowpowermode" | "powermode", "0") => Some(PowerMode::Automatic),
            ("lowpowermode" | "powermode", "1") => Some(PowerMode::Low),
            ("powermode", "2") => Some(PowerMode::High),
            _ => None,
        }
    })
}

/// `pmset -g`: ` sleep 1 (sleep prevented by caffeinate)`, the minutes without work; 0 for never.
pub fn sleep_minutes(said: &str) -> Option<u32> {
    said.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let minutes = words
            .next()
            .filter(|&name| name == "sleep")
            .and(words.next())?;
        minutes.parse().ok()
    })
}

/// `ioreg -r -d 1 -w 0 -c AGXDeviceUserClient`: who uses the GPU, and for how long they have.
pub fn gpu_clients(said: &str) -> Vec<GpuClient> {
    said.split("+-o ").filter_map(gpu_client).collect()
}

fn gpu_client(entry: &str) -> Option<GpuClient> {
    let between = |text: &str, before: &str, after: char| -> Option<String> {
        let (_, rest) = text.split_once(before)?;
        Some(rest.split(after).next()?.to_owned())
    };
    let id = between(entry, ", id 0x", ',')?;
    let pid = between(entry, "\"IOUserClientCreator\" = \"pid ", ',')?;
    let times = entry.split("\"accumulatedGPUTime\"=").skip(1);
    let nanoseconds = times.map(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse::<u64>().ok())
    });
    Some(GpuClient {
        id: u64::from_str_radix(&id, 16).ok()?,
        pid: pid.parse().ok()?,
        busy: Duration::from_nanos(nanoseconds.flatten().fold(0, u64::saturating_add)),
    })
}

/// `ps -ax -o pid= -o time= -o ucomm=`, whose times are minutes, seconds and hundredths.
pub fn processes(said: &str) -> Vec<Process> {
    let process = |line: &str| {
        let (pid, rest) = line.trim_start().split_once(' ')?;
        let (time, name) = rest.trim_start().split_once(' ')?;
        let seconds = time.split(':').try_fold(0.0, |sum, part| {
            Some(sum * 60.0 + part.parse::<f64>().ok()?)
        })?;
        Some(Process {
            pid: pid.parse().ok()?,
            name: name.trim().to_owned(),
            cpu_time: Duration::try_from_secs_f64(seconds).ok()?,
        })
    };
    said.lines().filter_map(process).collect()
}

/// `tmutil status`: whether Time Machine copies files now.
pub fn backup_is_running(said: &str) -> Option<bool> {
    said.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim().trim_matches('"') == "Running")
            .then(|| value.trim().trim_end_matches(';') == "1")
    })
}

/// A file `*.panic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicReport {
    /// Of the boot that the panic ended: `kern.bootsessionuuid` as it was.
    pub boot_id: String,
    /// The kernel's own words, one line, and the process that it was at work for.
    pub what: String,
}

pub fn panic_report(text: &str) -> Option<PanicReport> {
    // A line of JSON about the report, then the report; older systems wrote plain text.
    let body = text.split_once('\n').and_then(|(_, body)| {
        let body: serde_json::Value = serde_json::from_str(body).ok()?;
        Some(body.get("panicString")?.as_str()?.to_owned())
    });
    let text = body.as_deref().unwrap_or(text);
    let after = |before: &str| {
        let line = text.lines().find_map(|line| line.split_once(before))?;
        Some(line.1.trim())
    };
    let said = text.lines().find(|line| line.starts_with("panic("))?;
    let said = said.split_once("): ").map_or(said, |(_, said)| said);
    let task = text.lines().find(|line| line.starts_with("Panicked task"));
    let task = task.and_then(|line| line.split_once("pid "));
    Some(PanicReport {
        boot_id: after("Boot session UUID: ")?.to_owned(),
        what: match task {
            Some((_, task)) => format!("{said} (in process {task})"),
            None => said.to_owned(),
        },
    })
}

/// A file `JetsamEvent-*.ips`: how the system killed this process to get memory, if it did.
pub fn memory_kill(text: &str, pid: u32) -> Option<String> {
    let (_, body) = text.split_once('\n')?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let page_bytes = body.pointer("/memoryStatus/pageSize")?.as_u64()?;
    let processes = body.get("processes")?.as_array()?;
    let ours = processes.iter().find(|process| {
        process.get("pid").and_then(serde_json::Value::as_u64) == Some(u64::from(pid))
    })?;
    // Those that were left alone have no reason.
    let reason = ours.get("reason")?.as_str()?;
    let pages = ours.get("rpages").and_then(serde_json::Value::as_u64);
    Some(match pages {
        Some(pages) => format!(
            "{reason}; it held {:.1} GB",
            pages as f64 * page_bytes as f64 / 1e9
        ),
        None => reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU_CLIENTS: &str = include_str!("../../tests/macos/ioreg-gpu-clients.txt");
    const TIMES: &str = include_str!("../../tests/macos/ps-times.txt");
    const SETTINGS: &str = include_str!("../../tests/macos/pmset.txt");
    const BACKUP: &str = include_str!("../../tests/macos/tmutil-status.txt");
    const PANIC: &str = include_str!("../../tests/macos/panic-full.panic");
    const JETSAM: &str = include_str!("../../tests/macos/JetsamEvent.ips");

    #[test]
    fn the_platforms_uuid_is_found_in_the_registry() {
        let said = "+-o J314  <class IOPlatformExpertDevice>\n    {\n      \
                    \"IOPlatformUUID\" = \"6F1E-AB\"\n";
        assert_eq!(platform_uuid(said).unwrap(), "6F1E-AB");
        assert_eq!(platform_uuid("{}"), None);
    }

    #[test]
    fn the_cores_of_the_gpu_are_found_in_the_registry() {
        let said = "+-o AGXAcceleratorG16G  <class AGXAcceleratorG16G>\n    {\n      \
                    \"model\" = \"Apple M4\"\n      \"gpu-core-count\" = 10\n    }\n";
        assert_eq!(gpu_cores(said), Some(10));
        assert_eq!(gpu_cores(&said.replace("10", "0")), None);
        assert_eq!(gpu_cores(&said.replace("10", "ten")), None);
        assert_eq!(gpu_cores("{}"), None);
    }

    #[test]
    fn the_power_source_and_mode_are_read_from_pmset() {
        let said = |source| format!("Now drawing from '{source} Power'\n -InternalBattery-0\n");
        assert_eq!(power_source(&said("AC")), Some(PowerSource::Ac));
        assert_eq!(power_source(&said("Battery")), Some(PowerSource::Battery));
        assert_eq!(power_source(""), None);
        assert_eq!(power_mode(SETTINGS), Some(PowerMode::Automatic));
        assert_eq!(power_mode(" lowpowermode 1\n"), Some(PowerMode::Low));
        assert_eq!(
            power_mode(" powermode            2\n"),
            Some(PowerMode::High)
        );
        assert_eq!(power_mode(" sleep 1\n"), None);
    }

    #[test]
    fn the_minutes_to_sleep_are_told_from_those_of_disk_and_display() {
        assert_eq!(sleep_minutes(SETTINGS), Some(1));
        assert_eq!(
            sleep_minutes(" disksleep 10\n sleep                0\n"),
            Some(0)
        );
        assert_eq!(
            sleep_minutes(" displaysleep 10\n Sleep On Power Button 1\n"),
            None
        );
    }

    #[test]
    fn the_users_of_the_gpu_are_told_with_their_times() {
        let client = |id, pid, milliseconds| GpuClient {
            id,
            pid,
            busy: Duration::from_millis(milliseconds),
        };
        let expected = [
            client(0x1_0000_0b1d, 397, 51_300),
            client(0x1_0000_1f02, 4245, 123_632),
            client(0x1_0000_1f10, 611, 0),
        ];
        assert_eq!(gpu_clients(GPU_CLIENTS), expected);
        assert_eq!(gpu_clients(""), []);
    }

    #[test]
    fn processes_are_told_with_their_cpu_time() {
        let all = processes(TIMES);
        assert_eq!(all.len(), 7);
        let stores = all.iter().find(|it| it.name == "mds_stores").unwrap();
        assert_eq!(stores.pid, 232);
        assert_eq!(stores.cpu_time, Duration::from_millis(7_540_070));
        assert_eq!(all[6].name, "Google Chrome He");
        assert_eq!(processes("PID TIME COMMAND\n"), []);
    }

    #[test]
    fn a_backup_that_runs_is_told_from_one_that_does_not() {
        assert_eq!(backup_is_running(BACKUP), Some(true));
        let idle = BACKUP.replace("Running = 1", "Running = 0");
        assert_eq!(backup_is_running(&idle), Some(false));
        assert_eq!(backup_is_running("tmutil: no"), None);
    }

    #[test]
    fn a_panic_is_told_with_its_boot_and_its_process_in_both_formats() {
        let expected = PanicReport {
            boot_id: "4E0E9A58-33B1-4D57-B791-8F7FC635081A".to_owned(),
            what: "\"completeMemory() prepare count underflow\" @IOGPUMemory.cpp:550 \
                   (in process 15624: mlx-fleet-suite)"
                .to_owned(),
        };
        assert_eq!(panic_report(PANIC), Some(expected));
        let plain = "Wed Apr  1\n*** Panic Report ***\npanic(cpu 1 caller 0x1): watchdog timeout\n\
                     Boot session UUID: AB\n";
        assert_eq!(panic_report(plain).unwrap().what, "watchdog timeout");
        assert_eq!(panic_report(JETSAM), None);
        assert_eq!(panic_report(""), None);
    }

    #[test]
    fn a_process_that_was_killed_for_memory_is_told_from_one_that_was_not() {
        assert_eq!(
            memory_kill(JETSAM, 4245).unwrap(),
            "vm-compressor-space-shortage; it held 154.0 GB"
        );
        assert_eq!(memory_kill(JETSAM, 91), None, "it was left alone");
        assert_eq!(memory_kill(JETSAM, 1), None);
        assert_eq!(memory_kill(PANIC, 4245), None);
    }
    #[test]
    fn a_text_that_is_cut_anywhere_is_read_as_far_as_it_goes() {
        for whole in [GPU_CLIENTS, TIMES, SETTINGS, BACKUP, PANIC, JETSAM] {
            let whole = whole.trim_end();
            for end in (0..whole.len()).filter(|&end| whole.is_char_boundary(end)) {
                let text = &whole[..end];
                assert!(gpu_clients(text).len() <= gpu_clients(whole).len());
                assert!(processes(text).len() <= processes(whole).len() + 1);
                assert!(power_mode(text).is_none_or(|_| SETTINGS.starts_with(text)));
                // The number of its line may be cut, and no other is taken for it.
                assert!(sleep_minutes(text).is_none_or(|minutes| minutes == 1));
                assert!(backup_is_running(text).is_none_or(|_| BACKUP.starts_with(text)));
                assert_eq!(memory_kill(text, 4245), None);
                assert_eq!(power_source(text), None);
                assert_eq!(platform_uuid(text), None);
                assert_eq!(gpu_cores(text), None);
                // What is left of a report may have the words, without the boot it is nobody's.
                assert!(panic_report(text).is_none_or(|it| !it.boot_id.is_empty()));
            }
        }
    }
}
