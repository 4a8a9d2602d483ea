//! What brought the machine down, or a worker, by the system's own reports: a kernel's panic is tied to the
//! boot that it ended, a kill for want of memory to the worker's process, and both to the launch that ran.
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

use std::time::{Duration, SystemTime};

use domain::ids::LaunchId;
use tokio::time::sleep;

/// Between two looks for a report that is not written yet.
const AGAIN: Duration = Duration::from_secs(1);

/// A boot that has ended, and the launch that was at work in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastBoot {
    /// As the inventory of that time told it.
    pub boot_id: String,
    pub launch: LaunchId,
}

impl LastBoot {
    /// A launch's id holds the time of its making.
    fn since(&self) -> SystemTime {
        let time = self.launch.0.get_timestamp();
        let (seconds, nanoseconds) = time.map_or((0, 0), |time| time.to_unix());
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }

    /// The kernel's words when it panicked in the launch. The system writes its report while it starts, as
    /// agents do, so it is waited for a little.
    pub async fn panic(&self) -> Option<String> {
        let find = || platform::panic(&self.boot_id, self.since());
        wait_for(platform::PANIC_PATIENCE, find).await
    }
}

/// Looks from before a launch to after it.
#[derive(Debug)]
pub struct MemoryWatch(platform::MemoryWatch);

impl MemoryWatch {
    pub fn start() -> Self {
        Self(platform::MemoryWatch::start())
    }

    /// How the system killed this process since, to get memory. For one that was killed by somebody else.
    pub async fn kill_of(&self, pid: u32) -> Option<String> {
        wait_for(platform::MEMORY_PATIENCE, || self.0.kill_of(pid)).await
    }
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
        let boot = LastBoot {
            boot_id: String::new(),
            launch: LaunchId::new(),
        };
        assert!(boot.since() > before);
        assert!(boot.since() <= SystemTime::now());
    }
}
