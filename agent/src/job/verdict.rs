//! What a launch's end means for its job: go on, try again, give up the case, or end.

use domain::job::{FAILURES_TO_PARK, JobOutcome, LaunchOutcome};
use domain::worker::FailureKind;

use crate::order::Slot;
use crate::supervisor::Ended;

/// What follows from a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Next,
    Again,
    /// The case will not be measured, whatever else of the job is.
    Drop(JobOutcome, String),
    End(JobOutcome, String),
}

/// Of two cases' ends, the one that the job is called by.
pub fn worse(a: JobOutcome, b: JobOutcome) -> JobOutcome {
    if a == JobOutcome::Failed { a } else { b }
}

/// Why cases were not measured, and whether others were. Cases with the same reason share a line.
pub fn told(dropped: &[(String, String)], cases: usize) -> String {
    if dropped.len() == cases && dropped.iter().all(|(_, why)| *why == dropped[0].1) {
        return dropped[0].1.clone();
    }
    let each: Vec<String> = dropped
        .iter()
        .map(|(case, why)| format!("{case}: {why}"))
        .collect();
    let measured = cases - dropped.len();
    format!("{} ({measured} of {cases} cases measured)", each.join("; "))
}

/// What a launch's end means for its job.
pub fn verdict(ended: &Ended, slot: &Slot, failures: &mut u32) -> Verdict {
    let message = || ended.message.clone();
    match (ended.outcome, ended.blame) {
        (LaunchOutcome::Succeeded, _) => Verdict::Next,
        (LaunchOutcome::Skipped, _) => Verdict::Drop(JobOutcome::Skipped, message()),
        (LaunchOutcome::Interrupted, _) => Verdict::End(JobOutcome::Released, message()),
        (LaunchOutcome::Cancelled, _) => Verdict::End(JobOutcome::Cancelled, message()),
        (LaunchOutcome::Failed, Some(FailureKind::Model)) => {
            Verdict::End(JobOutcome::Failed, message())
        }
        (LaunchOutcome::Failed, Some(FailureKind::Case)) => {
            Verdict::Drop(JobOutcome::Failed, message())
        }
        (
            LaunchOutcome::Failed
            | LaunchOutcome::TimedOut
            | LaunchOutcome::Crashed
            | LaunchOutcome::ProtocolError,
            _,
        ) => {
            *failures += 1;
            if *failures < FAILURES_TO_PARK {
                return Verdict::Again;
            }
            let why = format!(
                "{failures} failures; the last in {} #{}: {}",
                slot.case.key(),
                slot.ordinal,
                ended.message
            );
            Verdict::End(JobOutcome::Parked, why)
        }
    }
}
