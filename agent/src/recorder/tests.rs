//! Grouping under a paused clock.

use domain::ids::LeaseId;
use domain::job::JobOutcome;
use domain::record::{JobFinished, Reading};
use time::OffsetDateTime;

use super::*;
use crate::spool::Spool;

fn reading(value: f64) -> Record {
    Record::Reading(Reading {
        at: OffsetDateTime::UNIX_EPOCH,
        sensor: "cpu_ratio".into(),
        value,
    })
}

fn end() -> Record {
    Record::JobFinished(JobFinished {
        outcome: JobOutcome::Succeeded,
        reason: String::new(),
    })
}

fn sizes(spool: &Spool, lease: LeaseId) -> Vec<usize> {
    let Some(mut reader) = spool.reader(lease) else {
        return Vec::new();
    };
    std::iter::from_fn(|| reader.next(spool).unwrap())
        .map(|batch| batch.records.len())
        .collect()
}

#[tokio::test]
async fn what_comes_together_is_one_batch_and_a_commit_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let lease = LeaseId::new();
    let (recorder, task) = Recorder::start(spool.writer(lease).unwrap());
    for value in 0..10 {
        recorder.record(reading(value.into())).await;
    }
    recorder.commit().await.unwrap();
    recorder.record(end()).await;
    recorder.commit().await.unwrap();
    assert!(recorder.try_record(reading(11.0)));
    drop(recorder);
    task.await.unwrap();
    assert_eq!(
        sizes(&spool, lease),
        [10, 1],
        "nothing comes after the last record"
    );
}

#[tokio::test]
async fn a_record_is_on_the_disk_soon_without_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let lease = LeaseId::new();
    let mut grown = spool.grown();
    let (recorder, _task) = Recorder::start(spool.writer(lease).unwrap());
    recorder.record(end()).await;
    tokio::time::timeout(Duration::from_secs(10), grown.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sizes(&spool, lease), [1]);
}

#[tokio::test]
async fn batches_keep_to_their_limit_and_the_rest_is_written_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let lease = LeaseId::new();
    let (recorder, task) = Recorder::start(spool.writer(lease).unwrap());
    for value in 0..MAX_BATCH_RECORDS + 7 {
        recorder.record(reading(value as f64)).await;
    }
    drop(recorder);
    task.await.unwrap();
    assert_eq!(sizes(&spool, lease), [MAX_BATCH_RECORDS, 7]);
}
