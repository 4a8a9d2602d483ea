//! Canaries and cool-down around launches, with fake workers.

use std::path::Path;
use std::time::{Duration, Instant};

use domain::lease::Grant;
use domain::reason::Reason;
use domain::record::{LaunchFinished, LaunchHeat, Record};

use crate::coordinator::{Coordinator, Seen};
use crate::driver::{Agent, finished, started};
use crate::{DEADLINE, grant};

fn heats(records: &[Record]) -> Vec<&LaunchHeat> {
    let heats = records.iter().filter_map(|record| match record {
        Record::LaunchHeat(heat) => Some(heat),
        _ => None,
    });
    heats.collect()
}

/// A job of two launches with canaries, which behave so.
fn with_canaries(dir: &Path, behaviour: &str) -> Grant {
    std::fs::create_dir_all(dir.join("cache")).unwrap();
    std::fs::write(dir.join("cache/canary"), behaviour).unwrap();
    let mut grant = grant("good", 1, 2);
    grant.protocol.canary = true;
    grant
}

fn canaries(dir: &Path) -> usize {
    let told = std::fs::read_to_string(dir.join("cache/canaries")).unwrap_or_default();
    told.lines().count()
}

#[tokio::test]
async fn a_canary_slower_than_the_best_taints_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let fast = with_canaries(dir.path(), "1");
    coordinator.grant(&fast).await;
    assert_eq!(coordinator.job_finished(fast.lease_id).await.0, "succeeded");
    let records = coordinator.records(fast.lease_id);
    // Before the first, of which the cost of the sensors is learnt; then what comes after is the next
    // one's before.
    assert_eq!(canaries(dir.path()), 1 + 20 + 3);
    for heat in heats(&records) {
        let cost = heat.sensors_cost.unwrap();
        assert_eq!((cost.percent, cost.low, cost.high), (0.0, 0.0, 0.0));
        for canary in [heat.canary_before, heat.canary_after] {
            let canary = canary.unwrap();
            assert_eq!((canary.gemm_tflops, canary.stream_gbps), (10.0, 10.0));
            assert_eq!((canary.gemm_ratio, canary.stream_ratio), (1.0, 1.0));
        }
    }
    let slow = |ended: &&LaunchFinished| ended.reasons.contains(&Reason::ThrottledCanary);
    assert_eq!(finished(&records).iter().filter(|it| slow(it)).count(), 0);
    coordinator.ready().await;
    agent.kill().await;

    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let slowed = with_canaries(dir.path(), "0.9");
    coordinator.grant(&slowed).await;
    assert_eq!(
        coordinator.job_finished(slowed.lease_id).await.0,
        "succeeded"
    );
    let records = coordinator.records(slowed.lease_id);
    assert_eq!(heats(&records).len(), 2);
    assert_eq!(canaries(dir.path()), 24 + 3, "the cost is known");
    for heat in heats(&records) {
        assert!(heat.sensors_cost.is_some());
        let ratio = heat.canary_after.unwrap().gemm_ratio;
        assert!((ratio - 0.9).abs() < 1e-12, "{ratio}");
    }
    assert_eq!(finished(&records).iter().filter(|it| slow(it)).count(), 2);
    agent.kill().await;
}

#[tokio::test]
async fn a_canary_that_dies_costs_no_launch_and_is_not_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = with_canaries(dir.path(), "crash");
    coordinator.grant(&grant).await;
    assert_eq!(
        coordinator.job_finished(grant.lease_id).await.0,
        "succeeded"
    );
    let records = coordinator.records(grant.lease_id);
    let is_bare = |heat: &&LaunchHeat| heat.canary_before.is_none() && heat.canary_after.is_none();
    assert_eq!(heats(&records).iter().filter(|it| is_bare(it)).count(), 2);
    assert_eq!(canaries(dir.path()), 1);
    agent.kill().await;
}

#[tokio::test]
async fn nobody_waits_for_the_canary_of_a_cancelled_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = with_canaries(dir.path(), "hang");
    coordinator.grant(&grant).await;
    while canaries(dir.path()) == 0 {
        coordinator
            .wait(|seen| matches!(seen, Seen::Heartbeat(_)))
            .await;
    }
    let asked = Instant::now();
    coordinator.cancel(grant.lease_id).await;
    assert_eq!(
        coordinator.job_finished(grant.lease_id).await.0,
        "cancelled"
    );
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(started(&coordinator.records(grant.lease_id)), 0);
    coordinator.ready().await;
    agent.kill().await;
}

/// The quiet machine tells no temperature, so the plan's pause is what it cools for.
#[tokio::test]
async fn a_cancelled_job_does_not_cool_down_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let mut grant = grant("good", 1, 2);
    grant.protocol.cooldown_max = DEADLINE;
    grant.protocol.cooldown_pause = DEADLINE;
    coordinator.grant(&grant).await;
    let ended = |record: &Record| matches!(record, Record::LaunchFinished(_));
    coordinator.record(grant.lease_id, ended).await;
    coordinator.cancel(grant.lease_id).await;
    assert_eq!(
        coordinator.job_finished(grant.lease_id).await.0,
        "cancelled"
    );
    let records = coordinator.records(grant.lease_id);
    assert_eq!(started(&records), 1);
    assert!(heats(&records)[0].cooldown.is_zero());
    coordinator.ready().await;
    agent.kill().await;
}
