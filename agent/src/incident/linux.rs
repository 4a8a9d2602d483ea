//! Linux: the kernel's last words in pstore, its count of kills for memory, and its log where that may
//! be read.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Reports;

/// All is there when an agent starts, and when a process has died.
pub const PANIC_PATIENCE: Duration = Duration::ZERO;
pub const MEMORY_PATIENCE: Duration = Duration::ZERO;

/// Where the firmware keeps a panicking kernel's log, and where systemd moves it. Mostly root's alone.
pub const REPORTS: [&str; 2] = ["/sys/fs/pstore", "/var/lib/systemd/pstore"];

pub const LOG: Option<&str> = Some("/dev/kmsg");

/// Longer than one record of the kernel's log.
const RECORD_BYTES: usize = 8192;

/// No boot is named in these files: what was written since the launch began is of its boot.
pub fn panic(reports: &Reports, _boot_id: &str, since: SystemTime) -> Option<String> {
    panic_in(reports.folders.iter().flat_map(|dir| files(dir)), since)
}

/// Of a process that is gone, so that nothing but its name in the log tells.
pub fn memory_kill(reports: &Reports, pid: u32, since: SystemTime) -> Option<String> {
    let since_boot = uptime()?.saturating_sub(since.elapsed().unwrap_or_default());
    let log = kernel_log(reports.log.as_deref()?);
    let later = log
        .iter()
        .filter(|record| logged_at(record).is_some_and(|at| at >= since_boot));
    later.rev().find_map(|record| kill_in(record, pid))
}

fn uptime() -> Option<Duration> {
    let said = fs::read_to_string("/proc/uptime").ok()?;
    let seconds = said.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// A record's time since the machine started: `3,1042,5093,-;` is at 5.093 ms.
fn logged_at(record: &str) -> Option<Duration> {
    let microseconds = record.split(';').next()?.split(',').nth(2)?;
    Some(Duration::from_micros(microseconds.parse().ok()?))
}

fn panic_in(places: impl Iterator<Item = PathBuf>, since: SystemTime) -> Option<String> {
    let recent = |path: &PathBuf| {
        let modified = path.metadata().and_then(|it| it.modified());
        modified.is_ok_and(|modified| modified >= since)
    };
    places
        .filter(recent)
        .find_map(|path| panic_words(&fs::read_to_string(path).ok()?))
}

/// A folder's files, and those of its folders: systemd makes one for each panic.
fn files(dir: &Path) -> Vec<PathBuf> {
    let paths = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let (dirs, mut files): (Vec<_>, Vec<_>) =
        paths(dir).into_iter().partition(|path| path.is_dir());
    files.extend(dirs.iter().flat_map(|dir| paths(dir)));
    files
}

fn panic_words(log: &str) -> Option<String> {
    let said = |line: &str| {
        let (_, words) = line.split_once("Kernel panic - not syncing: ")?;
        Some(words.trim().to_owned())
    };
    // The first is the cause; "end Kernel panic" repeats it.
    log.lines().find_map(said)
}

#[derive(Debug)]
pub struct MemoryWatch {
    kills: Option<u64>,
}

impl MemoryWatch {
    pub fn start() -> Self {
        Self { kills: kills() }
    }
}

impl super::MemoryWatch for MemoryWatch {
    fn kill_of(&self, pid: u32) -> Option<String> {
        let more = kills()?.checked_sub(self.kills?)?;
        if more == 0 {
            return None;
        }
        // The log names the process, but is often root's alone; the count says only that there was one.
        let log = LOG.map(|path| kernel_log(Path::new(path)));
        let named = log
            .unwrap_or_default()
            .iter()
            .rev()
            .find_map(|record| kill_in(record, pid));
        Some(named.unwrap_or_else(|| format!("the kernel counts {more} such kills in this launch")))
    }
}

/// How many processes the kernel has killed for memory since it started.
fn kills() -> Option<u64> {
    kills_in(&fs::read_to_string("/proc/vmstat").ok()?)
}

fn kills_in(vmstat: &str) -> Option<u64> {
    let line = vmstat
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

/// The kernel's log, a record each; empty where this user may not read it.
fn kernel_log(path: &Path) -> Vec<String> {
    let mut records = Vec::new();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let Ok(mut log) = options.open(path) else {
        return records;
    };
    let mut record = vec![0; RECORD_BYTES];
    // Each read gives one record, and at the log's end an error.
    while let Ok(bytes @ 1..) = log.read(&mut record) {
        records.push(String::from_utf8_lossy(&record[..bytes]).into_owned());
    }
    records
}

fn kill_in(record: &str, pid: u32) -> Option<String> {
    let (_, killed) = record.split_once(&format!("Killed process {pid} ("))?;
    let kilobytes = |field: &str| -> Option<u64> {
        let (_, rest) = killed.split_once(field)?;
        rest.split_once("kB")?.0.parse().ok()
    };
    let bytes = kilobytes("anon-rss:")? * 1024;
    let whose = if record.contains("Memory cgroup out of memory") {
        "its control group was out of memory"
    } else {
        "the machine was out of memory"
    };
    Some(format!("{whose}; it held {:.1} GB", bytes as f64 / 1e9))
}

#[cfg(test)]
mod tests {
    use super::super::MemoryWatch as _;
    use super::*;

    const PANIC: &str = "<6>[   41.1] usb 1-1: new device\n\
        <0>[   42.0] Kernel panic - not syncing: Fatal exception in interrupt\n\
        <0>[   42.1] ---[ end Kernel panic - not syncing: Fatal exception in interrupt ]---\n";

    #[test]
    fn the_kernels_last_words_are_found_in_folders_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let before = SystemTime::now() - Duration::from_secs(5);
        let words = || panic_in(files(dir.path()).into_iter(), before);
        fs::write(dir.path().join("console-efi-0"), "all is well\n").unwrap();
        assert_eq!(words(), None);
        fs::create_dir(dir.path().join("1700000000")).unwrap();
        fs::write(dir.path().join("1700000000/dmesg.txt"), PANIC).unwrap();
        assert_eq!(words().unwrap(), "Fatal exception in interrupt");
        let later = SystemTime::now() + Duration::from_secs(5);
        assert_eq!(panic_in(files(dir.path()).into_iter(), later), None);
    }

    #[test]
    fn kills_for_memory_are_counted_and_named() {
        assert_eq!(kills_in("pgfault 7\noom_kill 3\nnuma_hit 1\n"), Some(3));
        assert_eq!(kills_in("pgfault 7\n"), None);
        let machine = "3,1042,5093,-;Out of memory: Killed process 4245 (mlx-fleet-suite) \
                       total-vm:9000000kB, anon-rss:2000000kB, file-rss:0kB, shmem-rss:0kB, UID:0";
        assert_eq!(
            kill_in(machine, 4245).unwrap(),
            "the machine was out of memory; it held 2.0 GB"
        );
        assert_eq!(kill_in(machine, 424), None);
        let group = machine.replace("Out of memory", "Memory cgroup out of memory");
        assert!(
            kill_in(&group, 4245)
                .unwrap()
                .starts_with("its control group")
        );
    }

    #[test]
    fn where_nothing_was_killed_nothing_is_told() {
        assert_eq!(MemoryWatch::start().kill_of(std::process::id()), None);
    }

    #[test]
    fn a_kill_of_an_agent_counts_when_it_is_younger_than_the_launch() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("kmsg");
        let reports = Reports {
            folders: Vec::new(),
            log: Some(log.clone()),
        };
        let now = uptime().unwrap().as_micros();
        let record = format!("3,7,{now},-;Out of memory: Killed process 42 (x) anon-rss:2000000kB");
        fs::write(&log, record).unwrap();
        let began = SystemTime::now() - Duration::from_mins(1);
        let told = memory_kill(&reports, 42, began).unwrap();
        assert_eq!(told, "the machine was out of memory; it held 2.0 GB");
        assert_eq!(memory_kill(&reports, 43, began), None);
        fs::write(
            &log,
            "3,7,0,-;Out of memory: Killed process 42 (x) anon-rss:2kB",
        )
        .unwrap();
        assert_eq!(memory_kill(&reports, 42, SystemTime::now()), None);
    }
}
