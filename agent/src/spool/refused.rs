//! Batches that the coordinator will not take, whatever is done: kept for a person, and the end of their job.
//!
//! ```text
//!   DIR/<lease>-refused.bin   the batches, each with its length before it
//!   DIR/<lease>-refused.txt   a line for each: which one, and why
//! ```
//!
//! From the first one on the lease cannot succeed. What is uploaded of it says so: a launch of which
//! something is missing has failed, and so has the job, also where the last word on the disk is another.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use domain::ids::LeaseId;
use domain::job::{JobOutcome, LaunchOutcome};
use prost::Message;
use proto::wire;
use proto::wire::record::Record;

use super::{Error, Spool};

/// What a lease's refused batches mean for the rest of it.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// Why, for the job.
    reason: String,
    seqs: BTreeSet<u64>,
    /// Of which something is missing.
    launches: BTreeSet<String>,
    /// Of which the coordinator has not even the beginning.
    unbegun: BTreeSet<String>,
}

/// What was done with a refused batch.
#[derive(Debug)]
pub struct SetAside {
    /// None where the spool is in memory, and keeps nothing.
    pub kept: Option<PathBuf>,
    /// Why the job has failed, in one sentence.
    pub reason: String,
    /// It ends a launch or the job, and comes once more with nothing but that.
    pub again: bool,
}

impl Refusal {
    fn new(first: &str, kept: Option<&Path>) -> Self {
        let kept = kept.map(|kept| {
            let place = kept.display();
            format!("; what it refused is kept on this machine in {place}")
        });
        Self {
            reason: format!(
                "the coordinator refused {first}{}",
                kept.unwrap_or_default()
            ),
            seqs: BTreeSet::new(),
            launches: BTreeSet::new(),
            unbegun: BTreeSet::new(),
        }
    }

    fn add(&mut self, batch: &wire::Batch) {
        for record in batch
            .records
            .iter()
            .filter_map(|record| record.record.as_ref())
        {
            let launch = match record {
                Record::LaunchStarted(started) => {
                    self.unbegun.insert(started.launch_id.clone());
                    &started.launch_id
                }
                Record::Model(model) => &model.launch_id,
                Record::Iteration(iteration) => &iteration.launch_id,
                Record::Heat(heat) => &heat.launch_id,
                Record::LaunchFinished(finished) => &finished.launch_id,
                Record::Reading(_) | Record::JobFinished(_) => continue,
            };
            self.launches.insert(launch.clone());
        }
        self.seqs.insert(batch.seq);
    }

    /// Makes a batch say what is true now. Of one that was refused the ends alone are left.
    pub fn amend(&self, batch: &mut wire::Batch) {
        let ends_alone = self.seqs.contains(&batch.seq);
        batch.records.retain_mut(|record| match &mut record.record {
            Some(Record::LaunchFinished(finished)) => {
                if self.launches.contains(&finished.launch_id) {
                    self.fail(finished);
                }
                !ends_alone || !self.unbegun.contains(&finished.launch_id)
            }
            Some(Record::JobFinished(finished)) => {
                if finished.outcome != JobOutcome::Cancelled.as_str() {
                    JobOutcome::Failed
                        .as_str()
                        .clone_into(&mut finished.outcome);
                    finished.reason.clone_from(&self.reason);
                }
                true
            }
            _ => !ends_alone,
        });
    }

    fn fail(&self, finished: &mut wire::LaunchFinished) {
        if finished.outcome == LaunchOutcome::Succeeded.as_str() {
            LaunchOutcome::Failed
                .as_str()
                .clone_into(&mut finished.outcome);
            finished.message.clone_from(&self.reason);
        }
    }

    /// What an earlier agent was refused.
    pub fn read(dir: &Path, lease: LeaseId) -> Result<Option<Self>, Error> {
        let (kept, told) = files(dir, lease);
        let told = match fs::read_to_string(&told) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::file("read", &told)(source)),
        };
        let mut refusal = Self::new(told.lines().next().unwrap_or("a batch"), Some(&kept));
        let bytes = fs::read(&kept).map_err(Error::file("read", &kept))?;
        let mut rest = bytes.as_slice();
        // The last one may be torn.
        while let Ok(batch) = wire::Batch::decode_length_delimited(&mut rest) {
            refusal.add(&batch);
        }
        Ok(Some(refusal))
    }
}

/// Beside the leases' folders: they must outlive them.
fn files(dir: &Path, lease: LeaseId) -> (PathBuf, PathBuf) {
    let file = |kind: &str| dir.join(format!("{lease}-refused.{kind}"));
    (file("bin"), file("txt"))
}

fn append(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(path);
    file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    })
    .map_err(Error::file("write", path))
}

impl Spool {
    pub(super) fn amend(&self, lease: LeaseId, batch: &mut wire::Batch) {
        if let Some(refusal) = self
            .lock()
            .get(&lease)
            .and_then(|held| held.refusal.as_ref())
        {
            refusal.amend(batch);
        }
    }

    /// Sets aside a batch that the coordinator refuses for its content, so that it blocks nothing.
    pub fn set_aside(
        &self,
        lease: LeaseId,
        batch: &wire::Batch,
        why: &str,
    ) -> Result<SetAside, Error> {
        let files = self.dir.as_ref().map(|dir| files(dir, lease));
        let kept = files.as_ref().map(|(kept, _)| kept.clone());
        let line = format!("batch {} ({})", batch.seq, why.replace('\n', " "));
        let mut all = self.lock();
        let held = all.entry(lease).or_default();
        let refusal = held
            .refusal
            .get_or_insert_with(|| Refusal::new(&line, kept.as_deref()));
        let is_first = !refusal.seqs.contains(&batch.seq);
        if is_first {
            if let Some((kept, told)) = &files {
                append(kept, &batch.encode_length_delimited_to_vec())?;
                append(told, format!("{line}\n").as_bytes())?;
            }
            refusal.add(batch);
        }
        let mut rest = batch.clone();
        refusal.amend(&mut rest);
        Ok(SetAside {
            kept,
            reason: refusal.reason.clone(),
            again: is_first && !rest.records.is_empty(),
        })
    }
}
