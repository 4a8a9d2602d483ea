//! The whole agent, without its TLS, through lost links, lost leases and orders to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::driver::Driver;
use agent::incident::{Fate, MemoryWatch};
use agent::inventory;
use agent::job::Bench;
use agent::models::Models;
use agent::sensors::{Readout, Sensors};
use agent::spool::Spool;
use agent::supervisor::LEAVE;
use agent::task::Task;
use domain::job::LaunchOutcome;
use domain::lease::FinishedLaunch;
use domain::plan::LEAST_LAUNCHES;
use domain::reason::Reason;
use domain::record::{LaunchFinished, LaunchModel, Record};
use domain::suite::Case;
use service::folders::DataFolder;
use service::hub::Cache;
use service::lifecycle::{Lifecycle, Stop};
use service::tls;
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::coordinator::{Coordinator, Seen};
use crate::{DEADLINE, fake_suite, grant};

/// A machine on which nothing else happens.
struct Quiet;

impl Sensors for Quiet {
    fn look(&mut self, _: Option<u32>) -> Readout {
        Readout {
            values: vec![("foreign_cpu_ratio", 0.0)],
            ..Readout::default()
        }
    }
}

/// A machine that is short of memory: whoever is killed on it was killed for that.
struct Short;

impl MemoryWatch for Short {
    fn kill_of(&self, pid: u32) -> Option<String> {
        Some(format!("{pid} held 9.9 GB"))
    }
}

pub struct Agent {
    stop: Stop,
    task: Task<()>,
    spool: Arc<Spool>,
    _life: Lifecycle,
}

impl Agent {
    pub fn start(dir: &Path, coordinator: &Coordinator) -> Self {
        let spool = Spool::open(dir.join("spool")).unwrap();
        let fleet = tls::Fingerprint::of(b"a CA");
        let inventory = inventory::read([].into(), &DataFolder::at(dir), Some(fleet)).unwrap();
        let now = OffsetDateTime::now_utc();
        // Without a look for reports, which a Mac waits for.
        let fate = if spool.last_agent(&inventory.boot_id).rebooted {
            Fate::Rebooted
        } else {
            Fate::Restarted
        };
        spool
            .end_interrupted(now, &inventory.boot_id, &fate)
            .unwrap();
        let endpoint = tls::endpoint(&coordinator.url, None, None).unwrap();
        let bench = Bench {
            suite: fake_suite(),
            inventory,
            kernel: inventory::kernel(),
            cache_dir: dir.join("cache"),
            models: Models::new(vec![endpoint.clone()], Cache::at(dir.join("hub"))),
            host_lock: dir.join("host.lock"),
            sensors: || Box::new(Quiet),
            watch_memory: || Box::new(Short),
            wired_limit_bytes: || Some(5_000_000_000),
            gate: tokio::sync::Mutex::default(),
            cooldown: tokio::sync::Mutex::default(),
            canary_file: dir.join("canary.json"),
            leave: LEAVE,
        };
        let life = Lifecycle::new();
        let stop = life.stop_handle();
        let driver = Driver::new(
            vec![endpoint],
            Arc::clone(&spool),
            Arc::new(bench),
            stop.clone(),
        )
        .upgraded_through(Some(dir.join("upgrade")));
        Self {
            stop,
            task: Task::start(driver.run()),
            spool,
            _life: life,
        }
    }

    /// As kill -9 would, as far as that goes inside one process.
    pub async fn kill(self) {
        self.stop.hard_token().cancel();
        timeout(DEADLINE, self.task).await.unwrap().unwrap();
    }
}

pub fn finished(records: &[Record]) -> Vec<&LaunchFinished> {
    let launches = records.iter().filter_map(|record| match record {
        Record::LaunchFinished(finished) => Some(finished),
        _ => None,
    });
    launches.collect()
}

pub fn started(records: &[Record]) -> usize {
    let is_start = |record: &&Record| matches!(record, Record::LaunchStarted(_));
    records.iter().filter(is_start).count()
}

fn is_iteration(record: &Record) -> bool {
    matches!(record, Record::Iteration { .. })
}

#[tokio::test]
async fn a_job_runs_to_its_end_and_ready_comes_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = grant("good", 2, 2);
    coordinator.grant(&grant).await;
    let ended = coordinator.job_finished(grant.lease_id).await;
    assert_eq!(ended, ("succeeded".into(), String::new()));
    let heard = coordinator.ready().await;
    assert!(
        !heard.contains(&Seen::Heartbeat(String::new())),
        "idle before the end is known"
    );

    let records = coordinator.records(grant.lease_id);
    assert_eq!((started(&records), finished(&records).len()), (4, 4));
    assert_eq!(
        records.iter().filter(|record| is_iteration(record)).count(),
        8
    );
    let mut positions: Vec<u32> = records
        .iter()
        .filter_map(|record| match record {
            Record::LaunchStarted(started) => Some(started.position),
            _ => None,
        })
        .collect();
    positions.dedup();
    assert_eq!(positions, [0, 1, 2, 3]);
    let models: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::LaunchModel(model) => Some(model),
            _ => None,
        })
        .collect();
    assert_eq!(models.len(), 4);
    // What the inventory of the start did not know.
    let is_current = |it: &&LaunchModel| it.environment.wired_limit_bytes == Some(5_000_000_000);
    assert!(models.iter().all(is_current), "{models:?}");
    let seqs = coordinator.seqs(grant.lease_id);
    assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "{seqs:?}");
    assert!(agent.spool.leases().is_empty());
    agent.kill().await;
}

#[tokio::test]
async fn a_worker_that_the_system_killed_for_memory_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = grant("killed-once", 1, 1);
    coordinator.grant(&grant).await;
    coordinator.job_finished(grant.lease_id).await;
    let records = coordinator.records(grant.lease_id);
    let [killed, again] = finished(&records)[..] else {
        panic!("{records:?}");
    };
    assert_eq!(killed.outcome, LaunchOutcome::Crashed);
    assert!(killed.reasons.contains(&Reason::MemoryKill));
    let pid = std::fs::read_to_string(dir.path().join("cache/killed")).unwrap();
    let words = format!("by the system, which wanted its memory ({pid} held 9.9 GB)");
    assert!(killed.message.ends_with(&words), "{}", killed.message);
    assert_eq!(again.outcome, LaunchOutcome::Succeeded);
    assert!(!again.reasons.contains(&Reason::MemoryKill));
    agent.kill().await;
}

#[tokio::test]
async fn a_lost_link_stops_no_worker() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = grant("waits", 1, 1);
    let lease = grant.lease_id.to_string();
    coordinator.grant(&grant).await;
    coordinator.record(grant.lease_id, is_iteration).await;
    coordinator
        .wait(|seen| *seen == Seen::Heartbeat(lease.clone()))
        .await;
    coordinator.cut().await;
    coordinator
        .wait(|seen| *seen == Seen::Hello([lease.clone()].into()))
        .await;
    std::fs::create_dir_all(dir.path().join("cache")).unwrap();
    std::fs::write(dir.path().join("cache/go"), "").unwrap();
    assert_eq!(
        coordinator.job_finished(grant.lease_id).await.0,
        "succeeded"
    );
    assert_eq!(started(&coordinator.records(grant.lease_id)), 1);
    coordinator.ready().await;
    agent.kill().await;
}

#[tokio::test]
async fn lost_acknowledgements_repeat_batches_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    coordinator.keep_acks(true);
    let grant = grant("good", 1, 2);
    coordinator.grant(&grant).await;
    coordinator.job_finished(grant.lease_id).await;
    let before = coordinator.records(grant.lease_id);
    assert_eq!(agent.spool.leases(), [grant.lease_id]);
    coordinator.keep_acks(false);
    coordinator.cut().await;
    coordinator.ready().await;
    // Said at once, for the lease is over; its batches come again beside.
    let mut grown = agent.spool.grown();
    while agent.spool.holds(grant.lease_id) {
        timeout(DEADLINE, async {
            tokio::select! {
                _ = grown.changed() => {}
                _ = coordinator.wait(|seen| matches!(seen, Seen::Heartbeat(_))) => {}
            }
        })
        .await
        .unwrap();
    }
    assert_eq!(
        coordinator.repeats(),
        coordinator.seqs(grant.lease_id).len()
    );
    assert_eq!(coordinator.records(grant.lease_id), before);
    agent.kill().await;
}

#[tokio::test]
async fn a_lease_that_died_with_the_link_ends_its_worker_and_is_not_finished() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = grant("hang", 1, 1);
    coordinator.grant(&grant).await;
    coordinator.record(grant.lease_id, is_iteration).await;
    coordinator.forget_leases();
    coordinator.cut().await;
    let ended = |record: &Record| matches!(record, Record::LaunchFinished(_));
    // A dead lease keeps nobody from being ready; what is left of it is uploaded beside.
    coordinator.ready().await;
    coordinator.record(grant.lease_id, ended).await;
    let records = coordinator.records(grant.lease_id);
    assert_eq!(finished(&records)[0].outcome, LaunchOutcome::Interrupted);
    let last = |record: &Record| matches!(record, Record::JobFinished(_));
    assert!(!records.iter().any(last), "a dead lease was finished");
    agent.kill().await;
}

#[tokio::test]
async fn a_cancelled_job_ends_within_two_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = grant("hang", 1, 1);
    coordinator.grant(&grant).await;
    coordinator.record(grant.lease_id, is_iteration).await;
    let asked = Instant::now();
    coordinator.cancel(grant.lease_id).await;
    assert_eq!(
        coordinator.job_finished(grant.lease_id).await.0,
        "cancelled"
    );
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    let records = coordinator.records(grant.lease_id);
    assert_eq!(finished(&records)[0].outcome, LaunchOutcome::Cancelled);
    coordinator.ready().await;
    agent.kill().await;
}

#[tokio::test]
async fn a_drained_agent_finishes_its_job_and_takes_no_other_until_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = grant("waits", 1, 1);
    coordinator.grant(&grant).await;
    coordinator.record(grant.lease_id, is_iteration).await;
    coordinator.drain().await;
    std::fs::create_dir_all(dir.path().join("cache")).unwrap();
    std::fs::write(dir.path().join("cache/go"), "").unwrap();
    assert_eq!(
        coordinator.job_finished(grant.lease_id).await.0,
        "succeeded"
    );
    for _ in 0..3 {
        let heard = coordinator
            .wait(|seen| *seen == Seen::Heartbeat(String::new()))
            .await;
        assert!(!heard.contains(&Seen::Ready), "{heard:?}");
    }
    coordinator.resume().await;
    coordinator.ready().await;
    agent.kill().await;
}

#[tokio::test]
async fn an_agent_wishes_for_its_upgrade_between_jobs_and_works_on_when_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = grant("waits", 1, 1);
    coordinator.grant(&grant).await;
    coordinator.record(grant.lease_id, is_iteration).await;
    coordinator.upgrade().await;
    let wish = dir.path().join("upgrade");
    // Beats come in the order of what was heard before them.
    for _ in 0..2 {
        let lease = grant.lease_id.to_string();
        coordinator
            .wait(|seen| *seen == Seen::Heartbeat(lease.clone()))
            .await;
    }
    assert!(!wish.exists(), "at work");
    std::fs::create_dir_all(dir.path().join("cache")).unwrap();
    std::fs::write(dir.path().join("cache/go"), "").unwrap();
    coordinator.job_finished(grant.lease_id).await;
    let idle = |seen: &Seen| *seen == Seen::Heartbeat(String::new());
    while !wish.exists() {
        coordinator.wait(idle).await;
    }
    let heard = coordinator.wait(idle).await;
    assert!(!heard.contains(&Seen::Ready), "{heard:?}");
    // Whoever looked out for it could not do it.
    std::fs::remove_file(&wish).unwrap();
    coordinator.ready().await;
    agent.kill().await;
}

#[tokio::test]
async fn a_stopped_agent_gives_its_job_back_before_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = grant("hang", 1, 1);
    coordinator.grant(&grant).await;
    coordinator.record(grant.lease_id, is_iteration).await;
    agent.stop.stop();
    let ended = coordinator.job_finished(grant.lease_id).await;
    assert_eq!(ended.0, "released");
    timeout(DEADLINE, agent.task).await.unwrap().unwrap();
    assert!(agent.spool.leases().is_empty());
}

#[tokio::test]
async fn a_restarted_agent_ends_what_it_was_at_and_measures_only_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let first = grant("waits", 1, 2);
    coordinator.grant(&first).await;
    coordinator.record(first.lease_id, is_iteration).await;
    agent.kill().await;

    let agent = Agent::start(dir.path(), &coordinator);
    assert_eq!(
        coordinator.job_finished(first.lease_id).await.0,
        "interrupted"
    );
    let records = coordinator.records(first.lease_id);
    assert_eq!(finished(&records)[0].outcome, LaunchOutcome::Interrupted);
    coordinator.ready().await;
    let mut second = grant("good", 1, 2);
    second.finished = vec![FinishedLaunch {
        case_key: second.cases[0].key(),
        ordinal: 0,
        headline: None,
    }];
    coordinator.grant(&second).await;
    assert_eq!(
        coordinator.job_finished(second.lease_id).await.0,
        "succeeded"
    );
    assert_eq!(started(&coordinator.records(second.lease_id)), 1);
    agent.kill().await;
}

/// The fake's workers say the same each time: the least launches are enough.
#[tokio::test]
async fn a_case_that_is_precise_enough_is_launched_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let mut grant = grant("good", 2, 30);
    grant.protocol.precision = Some(0.01);
    // What an earlier lease found of one case is as noisy as never to be precise enough.
    let noisy = |(ordinal, headline)| FinishedLaunch {
        case_key: grant.cases[0].key(),
        ordinal,
        headline: Some(headline),
    };
    grant.finished = (0..).zip([80.0, 8000.0]).map(noisy).collect();
    coordinator.grant(&grant).await;
    assert_eq!(
        coordinator.job_finished(grant.lease_id).await.0,
        "succeeded"
    );
    let records = coordinator.records(grant.lease_id);
    let launches = |case: &Case| {
        let of_case = |record: &&Record| match record {
            Record::LaunchStarted(started) => started.case_key == case.key(),
            _ => false,
        };
        records.iter().filter(of_case).count()
    };
    assert_eq!(launches(&grant.cases[1]), LEAST_LAUNCHES as usize);
    assert_eq!(launches(&grant.cases[0]), 28, "all that the plan allows");
    agent.kill().await;
}

#[tokio::test]
async fn a_refused_batch_is_kept_and_fails_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    coordinator.refuse(0);
    // It would hang for ever; but when nothing of it can be stored it is not worth the time.
    let grant = grant("hang", 1, 2);
    coordinator.grant(&grant).await;
    let (outcome, reason) = coordinator.job_finished(grant.lease_id).await;
    assert_eq!(outcome, "failed");
    let kept = dir
        .path()
        .join(format!("spool/{}-refused.bin", grant.lease_id));
    for word in ["batch 0", "no such metric", kept.to_str().unwrap()] {
        assert!(reason.contains(word), "{word}: {reason}");
    }
    assert!(std::fs::metadata(kept).unwrap().len() > 0);
    assert!(!coordinator.seqs(grant.lease_id).contains(&0));
    coordinator.ready().await;
    agent.kill().await;
}

#[tokio::test]
async fn a_launch_in_which_the_machine_restarted_says_so_and_the_plan_goes_past_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let first = grant("hang", 1, 1);
    coordinator.grant(&first).await;
    coordinator.record(first.lease_id, is_iteration).await;
    agent.kill().await;
    // As if this boot were the next.
    std::fs::write(dir.path().join("spool/boot-id"), "the boot before").unwrap();

    let agent = Agent::start(dir.path(), &coordinator);
    let (outcome, reason) = coordinator.job_finished(first.lease_id).await;
    assert_eq!(
        (outcome.as_str(), reason.as_str()),
        ("interrupted", "the machine was restarted")
    );
    let records = coordinator.records(first.lease_id);
    assert_eq!(finished(&records)[0].reasons, [Reason::Rebooted]);
    coordinator.ready().await;
    let second = grant("good", 1, 1);
    coordinator.grant(&second).await;
    assert_eq!(
        coordinator.job_finished(second.lease_id).await.0,
        "succeeded"
    );
    agent.kill().await;
}

#[tokio::test]
async fn a_crash_costs_a_launch_and_the_third_one_parks_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let once = grant("crash-once", 1, 2);
    coordinator.grant(&once).await;
    assert_eq!(coordinator.job_finished(once.lease_id).await.0, "succeeded");
    let outcomes = |records: &[Record]| -> Vec<LaunchOutcome> {
        finished(records)
            .iter()
            .map(|finished| finished.outcome)
            .collect()
    };
    let records = coordinator.records(once.lease_id);
    assert_eq!(
        outcomes(&records),
        [
            LaunchOutcome::Crashed,
            LaunchOutcome::Succeeded,
            LaunchOutcome::Succeeded
        ]
    );
    coordinator.ready().await;
    let always = grant("crash", 1, 2);
    coordinator.grant(&always).await;
    let (outcome, reason) = coordinator.job_finished(always.lease_id).await;
    assert_eq!(outcome, "parked");
    assert!(reason.contains("signal 6"), "{reason}");
    assert_eq!(
        outcomes(&coordinator.records(always.lease_id)),
        [LaunchOutcome::Crashed; 3]
    );
    agent.kill().await;
}

#[tokio::test]
async fn a_model_at_fault_ends_the_job_at_once_and_a_case_that_does_not_fit_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    for (behaviour, outcome, words, launches) in [
        (
            "model-fault",
            "failed",
            "config.json lacks `hidden_size`",
            1,
        ),
        (
            "skipped",
            "skipped",
            "would not fit, needs 16.1 GB, has 8 GB",
            // Each case is asked once.
            2,
        ),
    ] {
        coordinator.ready().await;
        let grant = grant(behaviour, 2, 2);
        coordinator.grant(&grant).await;
        let ended = coordinator.job_finished(grant.lease_id).await;
        assert_eq!(ended, (outcome.into(), words.into()));
        assert_eq!(started(&coordinator.records(grant.lease_id)), launches);
    }
    agent.kill().await;
}
