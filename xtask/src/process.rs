//! What Linux says of a process (memory, threads, open files, children), and how it is sent a signal.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Of times in `/proc`, on every Linux that there is.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Default)]
pub struct Usage {
    /// Private memory: pages of files and of Postgres's shared buffers fill up and are no leak.
    pub anonymous_kb: f64,
    pub descriptors: f64,
    pub threads: f64,
    pub children: f64,
}

pub fn usage(pid: u32) -> Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let number = |key: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let text = line.with_context(|| format!("process {pid} has no {key}"))?;
        Ok(text.trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Usage {
        anonymous_kb: number("RssAnon:")?,
        threads: number("Threads:")?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64,
        children: children(pid)?.len() as f64,
    })
}

/// Direct children. The threads of a process each have their own.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread may end between the two looks.
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = listed.split_whitespace();
        found.extend(pids.filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(found)
}

/// Its pages in memory, those shared with others in proportion, in units of 10⁶ bytes.
pub fn pss_mb(pid: u32) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("process {pid} is gone"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kb = line.context("no Pss")?.trim().trim_end_matches(" kB");
    Ok(kb.parse::<f64>()? * 1024.0 / 1e6)
}

/// What it has computed since its start, children that have ended included.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The name before may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(4);
    let ticks = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_PER_SECOND)
}

/// Sends a signal, such as `KILL`; false when there is no such process.
pub fn signal(pid: u32, name: &str) -> Result<bool> {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status()?;
    Ok(sent.success())
}

/// Asks a process to end, softly.
pub fn terminate(pid: u32) -> Result<()> {
    ensure!(signal(pid, "TERM")?, "kill {pid}");
    Ok(())
}

/// Processes that were started with this folder for their temporary files, each with its name.
pub fn with_temporary_folder(folder: &Path) -> Result<Vec<(u32, String)>> {
    let mark = format!("TMPDIR={}\0", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        // Those of other users cannot be read, and those that just ended are gone.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let ours = environment
            .windows(mark.len())
            .any(|window| window == mark.as_bytes());
        let pid = entry.file_name().to_string_lossy().parse();
        if ours && let Ok(pid) = pid {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_with_what_it_holds() {
        let before = usage(std::process::id()).unwrap();
        let held: Vec<fs::File> = (0..40)
            .map(|_| fs::File::open("/proc/stat").unwrap())
            .collect();
        let after = usage(std::process::id()).unwrap();
        assert!(after.descriptors >= before.descriptors + held.len() as f64 - 20.0);
        assert!(after.threads >= 1.0 && after.anonymous_kb > 0.0);
    }
}
