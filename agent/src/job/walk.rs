//! Through a job's launches in their order, to its last record; what makes them is the caller's.

use domain::job::JobOutcome;
use domain::lease::Grant;
use domain::record::{JobFinished, Record};
use tokio::sync::{mpsc, watch};

use super::Left;
use super::verdict::{Verdict, told, worse};
use crate::order::{Slot, order};
use crate::recorder::Recorder;
use crate::session::{Progress, Stop};

/// What makes the launches of a job.
pub trait Launches {
    /// Whether the case needs no further launch.
    fn is_precise(&self, case_key: &str) -> bool;

    /// One launch, recorded to its end.
    fn launch(&mut self, slot: &Slot) -> impl Future<Output = Verdict> + Send;
}

pub struct Walk<'a> {
    pub grant: &'a Grant,
    pub recorder: &'a Recorder,
    pub stop: watch::Receiver<Option<Stop>>,
    pub progress: mpsc::Sender<Progress>,
}

impl Walk<'_> {
    pub async fn through(&self, launches: &mut impl Launches) -> Left {
        let slots = order(self.grant);
        let mut total = self.grant.cases.len() as u32 * self.grant.protocol.launches;
        let mut done = total - slots.len() as u32;
        let (mut outcome, mut reason) = (JobOutcome::Succeeded, String::new());
        let mut dropped: Vec<(String, String)> = Vec::new();
        'job: for slot in &slots {
            let case_key = slot.case.key();
            let is_dropped = dropped.iter().any(|(case, _)| *case == case_key);
            if is_dropped || launches.is_precise(&case_key) {
                total -= 1;
                continue;
            }
            self.tell(done, total, slot);
            done += 1;
            loop {
                match launches.launch(slot).await {
                    Verdict::Next => break,
                    Verdict::Again => {}
                    Verdict::Drop(ending, why) => {
                        outcome = worse(outcome, ending);
                        dropped.push((case_key, why));
                        reason = told(&dropped, self.grant.cases.len());
                        break;
                    }
                    Verdict::End(ending, why) => {
                        (outcome, reason) = (ending, why);
                        break 'job;
                    }
                }
            }
        }
        let lease = self.grant.lease_id;
        match &*self.stop.borrow() {
            Some(Stop::Lost { .. }) => return Left::Unrecorded,
            Some(Stop::Refused { reason: why }) => {
                (outcome, reason) = (JobOutcome::Failed, why.clone());
            }
            Some(Stop::Cancelled | Stop::Released) | None => {}
        }
        tracing::info!(%outcome, reason, "job ended");
        let finished = JobFinished { outcome, reason };
        self.recorder.record(Record::JobFinished(finished)).await;
        match self.recorder.commit().await {
            Ok(()) => Left::Recorded,
            Err(error) => {
                tracing::error!(%lease, %error, "the job's end is not written; its lease will expire");
                Left::Unrecorded
            }
        }
    }

    fn tell(&self, launches_done: u32, launches_total: u32, slot: &Slot) {
        let progress = Progress {
            lease: self.grant.lease_id,
            launches_done,
            launches_total,
            note: format!("{} {}", slot.case.suite(), slot.case.key()),
        };
        // For watchers only: when nobody takes it, the next one will do.
        self.progress.try_send(progress).ok();
    }
}
