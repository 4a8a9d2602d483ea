//! What the rows of an agent that was killed say, by the reports that are found.

use std::path::Path;

use domain::ids::{LaunchId, LeaseId};
use domain::record::Batch;

use super::*;
use crate::spool::tests::{NOW, read, started};

/// What an agent leaves that is killed in a launch.
fn leave_open(dir: &Path) -> (LeaseId, LaunchId) {
    let (lease, launch) = (LeaseId::new(), LaunchId::new());
    let spool = Spool::open(dir).unwrap();
    spool
        .end_interrupted(NOW, "this boot", &Fate::Restarted)
        .unwrap();
    let mut writer = spool.writer(lease).unwrap();
    writer.append(vec![started(launch)]).unwrap();
    (lease, launch)
}

fn ends(spool: &Spool, lease: LeaseId) -> (LaunchFinished, JobFinished) {
    let batches = read(spool, lease);
    assert_eq!(batches.len(), 2);
    let last = Batch::try_from(batches[1].clone()).unwrap();
    let [Record::LaunchFinished(launch), Record::JobFinished(job)] = &last.records[..] else {
        panic!("{last:?}");
    };
    (launch.clone(), job.clone())
}

#[test]
fn an_interrupted_lease_is_ended_once_and_its_launch_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (lease, launch) = leave_open(dir.path());
    for _restart in 0..2 {
        let spool = Spool::open(dir.path()).unwrap();
        spool
            .end_interrupted(NOW, "this boot", &Fate::Restarted)
            .unwrap();
        assert_eq!(spool.unfinished(), []);
        let (finished, job) = ends(&spool, lease);
        assert_eq!(
            (finished.launch_id, finished.outcome),
            (launch, LaunchOutcome::Interrupted)
        );
        assert_eq!(job.outcome, JobOutcome::Interrupted);
    }
}

/// A system that has reported a panic of `this boot`, and a kill of this process.
fn reports(dir: &Path) -> Reports {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split('.').next().unwrap_or_default();
    let pid = std::process::id();
    let texts = [
        // Linux's pstore and log.
        (
            "dmesg.txt",
            "<0>[ 42.0] Kernel panic - not syncing: watchdog timeout\n".to_owned(),
        ),
        (
            "kmsg",
            format!("3,7,{seconds}999999,-;Killed process {pid} (agent) anon-rss:9900000kB"),
        ),
        // A Mac's.
        (
            "Kernel.panic",
            "panic(cpu 1 caller 0x1): watchdog timeout\nBoot session UUID: this boot\n".to_owned(),
        ),
        (
            "JetsamEvent-1.ips",
            format!(
                "{{}}\n{{\"memoryStatus\": {{\"pageSize\": 16384}}, \"processes\": [{{\"pid\": {pid}, \
                 \"rpages\": 604249, \"reason\": \"the machine was out of memory\"}}]}}"
            ),
        ),
    ];
    for (name, text) in texts {
        fs::write(dir.join(name), text).unwrap();
    }
    Reports {
        folders: vec![dir.to_owned()],
        log: Some(dir.join("kmsg")),
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_says_what_ended_its_agent() {
    let agent = "the agent was restarted";
    let machine = "the machine was restarted";
    let panic = "the machine was restarted by a kernel panic: watchdog timeout";
    let memory = "the agent was killed by the system, which wanted its memory (the machine was out of \
                  memory; it held";
    for (boot, is_reported, why, expected) in [
        ("this boot", false, agent, vec![]),
        ("", false, agent, vec![]),
        ("the next boot", false, machine, vec![Reason::Rebooted]),
        (
            "the next boot",
            true,
            panic,
            vec![Reason::Rebooted, Reason::KernelPanic],
        ),
        ("this boot", true, memory, vec![Reason::MemoryKill]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (lease, _) = leave_open(dir.path());
        let found = tempfile::tempdir().unwrap();
        let reports = if is_reported {
            reports(found.path())
        } else {
            Reports {
                folders: vec![found.path().to_owned()],
                log: None,
            }
        };
        let spool = Spool::open(dir.path()).unwrap();
        spool.recover(boot, &reports).await.unwrap();
        let (launch, job) = ends(&spool, lease);
        assert_eq!(launch.outcome, LaunchOutcome::Interrupted);
        assert_eq!(launch.reasons, expected, "{boot}");
        assert!(launch.message.starts_with(why), "{}", launch.message);
        assert_eq!(launch.message, job.reason);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_left_nothing_open_is_asked_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    spool
        .end_interrupted(NOW, "this boot", &Fate::Restarted)
        .unwrap();
    let found = tempfile::tempdir().unwrap();
    let last = spool.last_agent("the next boot");
    assert_eq!(last.fate(&reports(found.path())).await, Fate::Rebooted);
    let last = spool.last_agent("this boot");
    assert_eq!(last.fate(&reports(found.path())).await, Fate::Restarted);
}
