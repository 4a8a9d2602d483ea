//! What a killed agent left open is ended by the next one. When the machine was started anew in between,
//! the launch may have brought it down: its row says so, with the kernel's words where they are known.

use std::fs;
use std::sync::Arc;

use domain::job::{JobOutcome, LaunchOutcome};
use domain::reason::Reason;
use domain::record::{JobFinished, LaunchFinished, Record};
use time::OffsetDateTime;

use super::{Error, Spool, Unfinished};
use crate::incident::LastBoot;

/// The boot in which an agent was last here.
const BOOT_ID: &str = "boot-id";

impl Spool {
    /// The boot before this one, if the machine was restarted in the middle of a launch. `boot_id` is
    /// empty where the platform tells no boot from another.
    pub fn broken_boot(&self, boot_id: &str) -> Option<LastBoot> {
        let before = fs::read_to_string(self.dir.as_ref()?.join(BOOT_ID)).unwrap_or_default();
        let rebooted = !before.is_empty() && !boot_id.is_empty() && before != boot_id;
        let launch = self.unfinished().iter().find_map(|it| it.open_launch);
        launch.filter(|_| rebooted).map(|launch| LastBoot {
            boot_id: before,
            launch,
        })
    }

    /// Ends every lease that a killed agent left open: its launch was interrupted, its job goes back.
    /// `panic` has the words of the kernel that went down in it.
    pub fn end_interrupted(
        self: &Arc<Self>,
        now: OffsetDateTime,
        boot_id: &str,
        panic: Option<&str>,
    ) -> Result<(), Error> {
        let Some(dir) = &self.dir else {
            return Ok(()); // In memory nothing outlives its agent.
        };
        let path = dir.join(BOOT_ID);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let rebooted = !before.is_empty() && !boot_id.is_empty() && before != boot_id;
        let (why, reasons) = match panic {
            Some(words) if rebooted => (
                format!("the machine was restarted by a kernel panic: {words}"),
                vec![Reason::Rebooted, Reason::KernelPanic],
            ),
            _ if rebooted => (
                "the machine was restarted".to_owned(),
                vec![Reason::Rebooted],
            ),
            _ => ("the agent was restarted".to_owned(), Vec::new()),
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
        if before != boot_id
            && let Err(error) = fs::write(&path, boot_id)
        {
            tracing::warn!(%error, path = %path.display(), "a reboot may go unnoticed");
        }
        Ok(())
    }
}
