//! Batches on a disk that is cut at every byte, and what is left of them.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use domain::job::{JobOutcome, LaunchOutcome};
use domain::record::{JobFinished, LaunchFinished, LaunchStarted, Reading};
use domain::worker::{Iteration, Phase};
use time::OffsetDateTime;

use super::writer::SEGMENT_BYTES;
use super::*;

pub const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn reading(value: f64) -> Record {
    Record::Reading(Reading {
        at: NOW,
        sensor: "cpu_ratio".into(),
        value,
    })
}

pub fn started(launch_id: LaunchId) -> Record {
    Record::LaunchStarted(LaunchStarted {
        launch_id,
        case_key: "new=8,depth=0".into(),
        ordinal: 0,
        position: 0,
        started_at: NOW,
        seed: 1,
    })
}

fn end() -> Record {
    Record::JobFinished(JobFinished {
        outcome: JobOutcome::Succeeded,
        reason: String::new(),
    })
}

pub fn read(spool: &Spool, lease: LeaseId) -> Vec<wire::Batch> {
    let Some(mut reader) = spool.reader(lease) else {
        return Vec::new();
    };
    std::iter::from_fn(|| reader.next(spool).unwrap()).collect()
}

fn seqs(spool: &Spool, lease: LeaseId) -> Vec<u64> {
    read(spool, lease).iter().map(|batch| batch.seq).collect()
}

#[tokio::test]
async fn a_spool_in_memory_keeps_what_is_not_acknowledged_and_forgets_the_rest() {
    let spool = Spool::in_memory();
    let lease = LeaseId::new();
    let mut writer = spool.writer(lease).unwrap();
    for value in 0..5 {
        writer.append(vec![reading(value.into())]).unwrap();
    }
    assert_eq!(seqs(&spool, lease), [0, 1, 2, 3, 4]);
    let acknowledge = async { spool.acknowledge(lease, 3).unwrap() };
    // There is room once it is.
    let ((), is_done) = tokio::join!(spool.below(lease, 3), acknowledge);
    assert!(!is_done);
    assert_eq!(seqs(&spool, lease), [3, 4]);
    assert_eq!(spool.lock()[&lease].batches.len(), 2, "the others are gone");
    writer.append(vec![end()]).unwrap();
    assert!(spool.acknowledge(lease, 6).unwrap());
    assert!(!spool.holds(lease));
}

#[test]
fn what_is_written_is_read_in_order_until_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let lease = LeaseId::new();
    let mut writer = spool.writer(lease).unwrap();
    for value in 0..5 {
        writer.append(vec![reading(value.into())]).unwrap();
    }
    assert_eq!(seqs(&spool, lease), [0, 1, 2, 3, 4]);
    assert!(!spool.acknowledge(lease, 3).unwrap());
    assert_eq!(seqs(&spool, lease), [3, 4]);
    assert_eq!(writer.append(vec![end()]).unwrap(), 5);
    assert!(spool.acknowledge(lease, 6).unwrap(), "all of it is known");
    assert!(!spool.holds(lease));
    drop(writer);
    assert!(Spool::open(dir.path()).unwrap().leases().is_empty());
}

#[test]
fn a_lease_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let lease = LeaseId::new();
    let first = spool.writer(lease).unwrap();
    assert!(matches!(spool.writer(lease), Err(Error::Busy(_))));
    drop(first);
    spool.writer(lease).unwrap();
}

/// The bytes of a spool with four batches, and where each of its frames ends.
fn four_batches() -> (LeaseId, LaunchId, Vec<u8>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (lease, launch) = (LeaseId::new(), LaunchId::new());
    let mut writer = spool.writer(lease).unwrap();
    let path = segment::path(&spool.lease_dir(lease).unwrap(), 0);
    let mut ends = vec![segment::HEADER_BYTES as usize];
    for records in [
        vec![started(launch), reading(1.0)],
        vec![reading(2.0)],
        vec![reading(3.0), reading(4.0)],
        vec![reading(5.0)],
    ] {
        writer.append(records).unwrap();
        ends.push(fs::metadata(&path).unwrap().len() as usize);
    }
    (lease, launch, fs::read(&path).unwrap(), ends)
}

#[test]
fn a_kill_at_any_byte_loses_only_what_was_not_synced() {
    let (lease, launch, bytes, ends) = four_batches();
    for cut in 0..=bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        let lease_dir = dir.path().join(lease.to_string());
        fs::create_dir_all(&lease_dir).unwrap();
        fs::write(segment::path(&lease_dir, 0), &bytes[..cut]).unwrap();
        let whole = ends
            .iter()
            .filter(|&&end| end <= cut)
            .count()
            .saturating_sub(1);

        let spool = Spool::open(dir.path()).unwrap();
        assert_eq!(seqs(&spool, lease).len(), whole, "cut at {cut}");
        let open_launch = (whole > 0).then_some(launch);
        assert_eq!(spool.unfinished(), [Unfinished { lease, open_launch }]);
        // And it goes on without a gap.
        let mut writer = spool.writer(lease).unwrap();
        assert_eq!(writer.append(vec![reading(9.0)]).unwrap(), whole as u64);
        let expected: Vec<u64> = (0..=whole as u64).collect();
        assert_eq!(seqs(&spool, lease), expected, "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_ends_the_segment_before_it() {
    let (lease, _, bytes, ends) = four_batches();
    for at in ends[1]..bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        let lease_dir = dir.path().join(lease.to_string());
        fs::create_dir_all(&lease_dir).unwrap();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        fs::write(segment::path(&lease_dir, 0), &bytes).unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let sound = ends.iter().filter(|&&end| end <= at).count() - 1;
        assert_eq!(seqs(&spool, lease).len(), sound, "flipped at {at}");
    }
}

fn iteration(launch_id: LaunchId) -> Record {
    Record::Iteration {
        launch_id,
        iteration: Iteration {
            ordinal: 0,
            phase: Phase::Measured,
            mode: String::new(),
            started: Duration::ZERO,
            duration: Duration::ZERO,
            work: 1,
            token_times: Vec::new(),
            samples: Vec::new(),
            reasons: Vec::new(),
            token_ids_sha256: String::new(),
        },
    }
}

fn finished(launch_id: LaunchId) -> Record {
    Record::LaunchFinished(LaunchFinished {
        launch_id,
        outcome: LaunchOutcome::Succeeded,
        message: String::new(),
        finished_at: NOW,
        steady: true,
        warmup_iterations: 0,
        reasons: Vec::new(),
        stderr_tail: String::new(),
        exit_code: Some(0),
        signal: None,
    })
}

/// How launches and the job of what is left to upload ended, batch by batch.
fn ends(spool: &Spool, lease: LeaseId) -> Vec<Vec<String>> {
    let ends = |batch: wire::Batch| {
        let records = Batch::try_from(batch).unwrap().records.into_iter();
        let ends = records.filter_map(|record| match record {
            Record::LaunchFinished(finished) => Some(finished.outcome.to_string()),
            Record::JobFinished(job) => Some(format!("job {}", job.outcome)),
            Record::Iteration { .. } => Some("iteration".to_owned()),
            _ => None,
        });
        ends.collect()
    };
    read(spool, lease).into_iter().map(ends).collect()
}

#[test]
fn what_was_refused_fails_its_launch_and_its_job_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (lease, whole, maimed) = (LeaseId::new(), LaunchId::new(), LaunchId::new());
    let mut writer = spool.writer(lease).unwrap();
    for records in [
        vec![
            started(whole),
            iteration(whole),
            finished(whole),
            started(maimed),
        ],
        vec![iteration(maimed)],
        vec![iteration(maimed), finished(maimed)],
        vec![end()],
    ] {
        writer.append(records).unwrap();
    }
    drop(writer);
    spool.acknowledge(lease, 1).unwrap();
    let refused = read(&spool, lease).remove(0);
    let aside = spool.set_aside(lease, &refused, "no such metric").unwrap();
    assert!(!aside.again, "it ends nothing");
    let kept = aside.kept.unwrap();
    for word in ["batch 1", "no such metric", kept.to_str().unwrap()] {
        assert!(aside.reason.contains(word), "{word}: {}", aside.reason);
    }
    let kept = fs::read(&kept).unwrap();
    assert_eq!(
        wire::Batch::decode_length_delimited(&kept[..]).unwrap(),
        refused
    );
    spool.acknowledge(lease, 2).unwrap();
    let expected = [vec!["iteration", "failed"], vec!["job failed"]];
    assert_eq!(ends(&spool, lease), expected);

    let spool = Spool::open(dir.path()).unwrap();
    assert_eq!(ends(&spool, lease), expected);
    let last = Batch::try_from(read(&spool, lease).remove(1)).unwrap();
    assert!(matches!(&last.records[..], [Record::JobFinished(job)] if job.reason == aside.reason));
}

#[test]
fn a_refused_batch_that_ends_its_job_comes_once_more_with_the_end_alone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (lease, known, unknown) = (LeaseId::new(), LaunchId::new(), LaunchId::new());
    let mut writer = spool.writer(lease).unwrap();
    writer.append(vec![started(known)]).unwrap();
    let all = vec![
        iteration(known),
        finished(known),
        started(unknown),
        finished(unknown),
        end(),
    ];
    writer.append(all).unwrap();
    drop(writer);
    spool.acknowledge(lease, 1).unwrap();
    let refused = read(&spool, lease).remove(0);
    assert!(spool.set_aside(lease, &refused, "no").unwrap().again);
    assert_eq!(ends(&spool, lease), [["failed", "job failed"]]);
    let rest = read(&spool, lease).remove(0);
    assert!(!spool.set_aside(lease, &rest, "no").unwrap().again, "once");
}

#[test]
fn old_segments_go_when_they_are_acknowledged_and_the_open_launch_is_still_known() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (lease, launch) = (LeaseId::new(), LaunchId::new());
    let mut writer = spool.writer(lease).unwrap();
    writer.append(vec![started(launch)]).unwrap();
    let large = Record::Reading(Reading {
        at: NOW,
        sensor: "x".repeat(SEGMENT_BYTES as usize / 2),
        value: 0.0,
    });
    for _ in 0..6 {
        writer.append(vec![large.clone()]).unwrap();
    }
    let segments = || {
        fs::read_dir(spool.lease_dir(lease).unwrap())
            .unwrap()
            .count()
    };
    assert!(segments() >= 3);
    assert_eq!(seqs(&spool, lease), [0, 1, 2, 3, 4, 5, 6]);
    assert!(!spool.acknowledge(lease, 7).unwrap());
    assert!(segments() <= 2, "the open segment and the count");
    drop(writer);
    let again = Spool::open(dir.path()).unwrap();
    let open_launch = Some(launch);
    assert_eq!(again.unfinished(), [Unfinished { lease, open_launch }]);
    assert!(
        read(&again, lease).is_empty(),
        "acknowledged is acknowledged"
    );
    assert_eq!(again.writer(lease).unwrap().append(vec![end()]).unwrap(), 7);
}

#[test]
fn a_lost_acknowledgement_repeats_batches_and_loses_none() {
    let (lease, _, bytes, _) = four_batches();
    let dir = tempfile::tempdir().unwrap();
    let lease_dir = dir.path().join(lease.to_string());
    fs::create_dir_all(&lease_dir).unwrap();
    fs::write(segment::path(&lease_dir, 0), bytes).unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    spool.acknowledge(lease, 2).unwrap();
    fs::write(lease_dir.join(ACKNOWLEDGED), b"torn").unwrap();
    let again = Spool::open(dir.path()).unwrap();
    assert_eq!(seqs(&again, lease), [0, 1, 2, 3]);
}

#[test]
fn a_dead_lease_is_forgotten_when_its_evidence_is_uploaded() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let lease = LeaseId::new();
    let mut writer = spool.writer(lease).unwrap();
    writer.append(vec![reading(1.0)]).unwrap();
    drop(writer);
    assert!(!spool.abandon(lease).unwrap());
    assert_eq!(spool.unfinished(), []);
    assert!(spool.acknowledge(lease, 1).unwrap());
    let held: BTreeSet<LeaseId> = spool.leases().into_iter().collect();
    assert!(held.is_empty());
}

#[test]
fn a_full_disk_leaves_whole_batches_and_its_reserve_ends_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let lease = LeaseId::new();
    let mut writer = spool.writer(lease).unwrap();
    writer.append(vec![reading(1.0)]).unwrap();
    // A segment that takes no more writes stands for the full disk.
    let open = writer.segment.as_mut().unwrap();
    open.file = File::open(&open.path).unwrap();
    assert!(writer.append(vec![reading(2.0)]).is_err());
    assert_eq!(writer.append(vec![reading(3.0)]).unwrap(), 1, "no gap");
    assert_eq!(seqs(&spool, lease), [0, 1]);
    assert!(writer.give_up_reserve());
    assert!(!writer.give_up_reserve(), "once");
}

/// A segment as another agent, a broken disk or anybody left it: what is sound is read, the rest is not.
#[test]
fn fuzzed() {
    let batch = |seq, record: Record| {
        let batch = Batch {
            lease_id: LeaseId(uuid::Uuid::nil()),
            seq,
            records: vec![record],
        };
        wire::Batch::from(batch).encode_to_vec()
    };
    let bodies = [
        batch(0, started(LaunchId(uuid::Uuid::max()))),
        batch(1, reading(1.0)),
        batch(2, end()),
    ];
    let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    fuzz::feed("spool", &bodies, |bytes| {
        static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
        let root = FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path();
        let lease = LeaseId(uuid::Uuid::max());
        let dir = root.join(lease.to_string());
        fs::create_dir_all(&dir).unwrap();
        let path = segment::path(&dir, 0);
        let header = segment::Header {
            first_seq: 0,
            open_launch: None,
        };
        segment::create(&path, &header).unwrap();
        let sound = segment::frame(bytes);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        // A frame whose sum is right, whatever it holds, and then bytes that are no frame.
        file.write_all(&[sound.as_slice(), bytes].concat()).unwrap();
        if let Ok(spool) = Spool::open(root)
            && let Some(mut reader) = spool.reader(lease)
        {
            while let Ok(Some(_)) = reader.next(&spool) {}
        }
        fs::remove_dir_all(&dir).ok();
    });
}
