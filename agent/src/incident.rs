//! What brought the machine down, or a worker, or the agent, by the system's own reports: a kernel's panic is
//! tied to the boot that it ended, a kill for want of memory to the process, and both to the launch that ran.
//!
//! Whatever cannot be read is not told: that a launch was interrupted or crashed is known without.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use domain::ids::LaunchId;
use tokio::time::sleep;

/// Between two looks for a report that is not written yet.
const AGAIN: Duration = Duration::from_secs(1);

/// Where the system leaves its reports.
#[derive(Clone, Debug)]
pub struct Reports {
    /// Of panics; on a Mac of kills for memory too.
    pub folders: Vec<PathBuf>,
    /// Linux's log, a record at each read.
    pub log: Option<PathBuf>,
}

impl Reports {
    pub fn of_system() -> Self {
        Self {
            folders: platform::REPORTS.map(PathBuf::from).to_vec(),
            log: platform::LOG.map(PathBuf::from),
        }
    }
}

/// The agent before this one, as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastAgent {
    /// As the inventory of that time told it.
    pub boot_id: String,
    pub pid: Option<u32>,
    /// Whether the machine was started anew since.
    pub rebooted: bool,
    /// The launch that it left open.
    pub launch: Option<LaunchId>,
}

/// What ended an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Restarted,
    /// How the system killed it, to get memory.
    KilledForMemory(String),
    Rebooted,
    /// The kernel's words.
    Panicked(String),
}

impl LastAgent {
    /// Looks for what the system reports of the launch. It writes some reports while agents start, so they
    /// are waited for a little.
    pub async fn fate(&self, reports: &Reports) -> Fate {
        let known = if self.rebooted {
            self.panic(reports).await.map(Fate::Panicked)
        } else {
            self.memory_kill(reports).await.map(Fate::KilledForMemory)
        };
        known.unwrap_or(if self.rebooted {
            Fate::Rebooted
        } else {
            Fate::Restarted
        })
    }

    async fn panic(&self, reports: &Reports) -> Option<String> {
        let since = since(self.launch?);
        let find = || platform::panic(reports, &self.boot_id, since);
        wait_for(platform::PANIC_PATIENCE, find).await
    }

    async fn memory_kill(&self, reports: &Reports) -> Option<String> {
        let (pid, since) = (self.pid?, since(self.launch?));
        let find = || platform::memory_kill(reports, pid, since);
        wait_for(platform::MEMORY_PATIENCE, find).await
    }
}

/// A launch's id holds the time of its making.
fn since(launch: LaunchId) -> SystemTime {
    let time = launch.0.get_timestamp();
    let (seconds, nanoseconds) = time.map_or((0, 0), |time| time.to_unix());
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

/// Looks from before a launch to after it.
pub trait MemoryWatch: Send + Sync {
    /// How the system killed this process since, to get memory. For one that was killed by somebody else.
    fn kill_of(&self, pid: u32) -> Option<String>;
}

/// How to begin to look.
pub type WatchMemory = fn() -> Box<dyn MemoryWatch>;

/// By this machine's own reports.
pub fn watch_memory() -> Box<dyn MemoryWatch> {
    Box::new(platform::MemoryWatch::start())
}

/// Asks again until a report that is late has come.
pub async fn memory_kill(watch: &dyn MemoryWatch, pid: u32) -> Option<String> {
    wait_for(platform::MEMORY_PATIENCE, || watch.kill_of(pid)).await
}

async fn wait_for(patience: Duration, find: impl Fn() -> Option<String>) -> Option<String> {
    let mut waited = Duration::ZERO;
    loop {
        let found = find();
        if found.is_some() || waited >= patience {
            return found;
        }
        sleep(AGAIN).await;
        waited += AGAIN;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_report_that_is_late_is_waited_for_and_one_that_never_comes_is_not_for_ever() {
        let looks = Cell::new(0);
        let third = || {
            looks.set(looks.get() + 1);
            (looks.get() == 3).then(|| "panic".to_owned())
        };
        assert_eq!(wait_for(AGAIN * 5, third).await.unwrap(), "panic");
        let began = tokio::time::Instant::now();
        assert_eq!(wait_for(AGAIN * 5, || None).await, None);
        assert_eq!(began.elapsed(), AGAIN * 5);
    }

    #[test]
    fn a_launch_tells_since_when_a_report_may_be_its() {
        let before = SystemTime::now() - Duration::from_secs(1);
        let since = since(LaunchId::new());
        assert!(since > before);
        assert!(since <= SystemTime::now());
    }
}
