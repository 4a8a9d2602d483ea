//! Grants for tests, and what a worker's end means.

use std::time::Duration;

use domain::ids::{JobId, LeaseId, RunId};
use domain::job::FAILURES_TO_PARK;
use domain::lease::Epoch;
use domain::model::ModelRef;
use domain::plan::Protocol;
use domain::suite::{Case, decode};

use super::verdict::{told, worse};
use super::*;
use crate::order::order;

/// A decode job with so many cases and launches of each.
pub fn grant(source: &str, cases: u64, launches: u32) -> Grant {
    let case = |index| {
        Case::Decode(decode::Case {
            new_tokens: 8 + index,
            depth: 0,
        })
    };
    Grant {
        lease_id: LeaseId::new(),
        job_id: JobId::new(),
        run_id: RunId::new(),
        epoch: Epoch(1),
        ttl: Duration::from_secs(30),
        model: Some(ModelRef {
            source: source.parse().unwrap(),
            dtype: None,
        }),
        cases: (0..cases).map(case).collect(),
        protocol: Protocol {
            launches,
            iterations: 2,
            gate_timeout: Duration::ZERO,
            ..Protocol::default()
        },
        finished: Vec::new(),
        failures: 0,
    }
}

fn ended(outcome: LaunchOutcome, blame: Option<FailureKind>) -> Ended {
    Ended {
        outcome,
        blame,
        message: "the reason".into(),
        finished: None,
        stderr_tail: String::new(),
        exit_code: None,
        signal: None,
    }
}

fn judge(outcome: LaunchOutcome, blame: Option<FailureKind>, failures: &mut u32) -> Verdict {
    let slot = order(&grant("synthetic:nano-llama", 1, 1)).remove(0);
    verdict(&ended(outcome, blame), &slot, failures)
}

#[test]
fn failed_launches_are_made_again_until_the_job_is_parked() {
    let mut failures = 0;
    let crashed = |failures: &mut u32| judge(LaunchOutcome::Crashed, None, failures);
    assert_eq!(crashed(&mut failures), Verdict::Again);
    assert_eq!(
        judge(LaunchOutcome::TimedOut, None, &mut failures),
        Verdict::Again
    );
    assert_eq!(
        judge(LaunchOutcome::Succeeded, None, &mut failures),
        Verdict::Next
    );
    let Verdict::End(JobOutcome::Parked, why) = crashed(&mut failures) else {
        panic!("not parked after {failures} failures");
    };
    assert_eq!(why, "3 failures; the last in new=8,depth=0 #0: the reason");
}

#[test]
fn failures_of_earlier_leases_count() {
    let mut failures = FAILURES_TO_PARK - 1;
    let verdict = judge(
        LaunchOutcome::Failed,
        Some(FailureKind::Internal),
        &mut failures,
    );
    assert!(matches!(verdict, Verdict::End(JobOutcome::Parked, _)));
}

#[test]
fn what_another_launch_would_meet_again_is_not_tried_again() {
    let because = "the reason".to_owned();
    assert_eq!(
        judge(LaunchOutcome::Failed, Some(FailureKind::Model), &mut 0),
        Verdict::End(JobOutcome::Failed, because.clone())
    );
    // Another case of the job may be possible.
    assert_eq!(
        judge(LaunchOutcome::Failed, Some(FailureKind::Case), &mut 0),
        Verdict::Drop(JobOutcome::Failed, because.clone())
    );
    assert_eq!(
        judge(LaunchOutcome::Skipped, Some(FailureKind::Skipped), &mut 0),
        Verdict::Drop(JobOutcome::Skipped, because)
    );
}

#[test]
fn a_job_tells_which_of_its_cases_were_not_measured() {
    let dropped = |cases: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(case, why): &(&str, &str)| ((*case).to_owned(), (*why).to_owned());
        cases.iter().map(owned).collect()
    };
    let one = dropped(&[("depth=9000", "would not fit")]);
    assert_eq!(
        told(&one, 3),
        "depth=9000: would not fit (2 of 3 cases measured)"
    );
    let all = dropped(&[
        ("depth=0", "quantised already"),
        ("depth=9", "quantised already"),
    ]);
    assert_eq!(told(&all, 2), "quantised already");
    assert_eq!(
        worse(JobOutcome::Failed, JobOutcome::Skipped),
        JobOutcome::Failed
    );
}
