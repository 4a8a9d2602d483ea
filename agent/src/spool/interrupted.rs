//! What a killed agent left open is ended by the next one. When the machine was started anew in between,
//! the launch may have brought it down, and when the system killed the agent for memory, it may have taken that:
//! the launch's row says so, with the system's words where they are known.

use std::fs;
use std::sync::Arc;

use domain::job::{JobOutcome, LaunchOutcome};
use domain::reason::Reason;
use domain::record::{JobFinished, LaunchFinished, Record};
use time::OffsetDateTime;

use super::{Error, Spool, Unfinished};
use crate::incident::{Fate, LastAgent, Reports};

/// The boot in which an agent was last here, and its process.
const BOOT_ID: &str = "boot-id";
const PID: &str = "pid";

impl Spool {
    /// Ends what the agent before this one left open, with what the system reports of its end.
    pub async fn recover(self: &Arc<Self>, boot_id: &str, reports: &Reports) -> Result<(), Error> {
        let fate = self.last_agent(boot_id).fate(reports).await;
        self.end_interrupted(OffsetDateTime::now_utc(), boot_id, &fate)
    }

    /// Whoever was here before. `boot_id` is empty where the platform tells no boot from another.
    pub fn last_agent(&self, boot_id: &str) -> LastAgent {
        let Some(dir) = &self.dir else {
            return LastAgent::default(); // In memory nothing outlives its agent.
        };
        let kept = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        let before = kept(BOOT_ID);
        LastAgent {
            rebooted: !before.is_empty() && !boot_id.is_empty() && before != boot_id,
            boot_id: before,
            pid: kept(PID).parse().ok(),
            launch: self.unfinished().iter().find_map(|it| it.open_launch),
        }
    }

    /// Ends every lease that a killed agent left open: its launch was interrupted, its job goes back.
    pub fn end_interrupted(
        self: &Arc<Self>,
        now: OffsetDateTime,
        boot_id: &str,
        fate: &Fate,
    ) -> Result<(), Error> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        let (why, reasons) = match fate {
            Fate::Restarted => ("the agent was restarted".to_owned(), Vec::new()),
            Fate::KilledForMemory(how) => (
                format!("the agent was killed by the system, which wanted its memory ({how})"),
                vec![Reason::MemoryKill],
            ),
            Fate::Rebooted => (
                "the machine was restarted".to_owned(),
                vec![Reason::Rebooted],
            ),
            Fate::Panicked(words) => (
                format!("the machine was restarted by a kernel panic: {words}"),
                vec![Reason::Rebooted, Reason::KernelPanic],
            ),
        };
        for Unfinished { lease, open_launch } in self.unfinished() {
            tracing::info!(%lease, "ending a lease that was interrupted");
            let interrupted = open_launch.map(|launch_id| {
                Record::LaunchFinished(LaunchFinished {
                    launch_id,
                    outcome: LaunchOutcome::Interrupted,
                    message: why.clone(),
                    finished_at: now,
                    steady: false,
                    warmup_iterations: 0,
                    reasons: reasons.clone(),
                    stderr_tail: String::new(),
                    exit_code: None,
                    signal: None,
                })
            });
            let given_back = Record::JobFinished(JobFinished {
                outcome: JobOutcome::Interrupted,
                reason: why.clone(),
            });
            let records: Vec<_> = interrupted.into_iter().chain([given_back]).collect();
            let end = || self.writer(lease)?.append(records.clone());
            let ended = end().or_else(|error| {
                let again = error.is_full_disk() && self.give_up_reserve();
                if again { end() } else { Err(error) }
            });
            match ended {
                Err(error) if error.is_full_disk() => {
                    tracing::warn!(%lease, %error, "its end is not written; it will expire");
                    self.abandon(lease)?;
                }
                ended => drop(ended?),
            }
        }
        // After the leases: whoever is killed in between finds the same again.
        let pid = std::process::id().to_string();
        for (name, value) in [(BOOT_ID, boot_id), (PID, pid.as_str())] {
            if let Err(error) = fs::write(dir.join(name), value) {
                tracing::warn!(%error, name, "what ends this agent may go unnoticed");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
