//! What was measured and not yet acknowledged, on disk: batches survive a kill -9 at any byte.
//!
//! ```text
//!   DIR/<lease>/<first seq>.seg   batches in order, appended and synced before they are sent
//!   DIR/<lease>/acknowledged      how many the coordinator has; a lost write only repeats some
//!   DIR/<lease>-refused.bin       batches that the coordinator would not take: see [`refused`]
//!   DIR/boot-id                   since which start of the machine there is an agent: see [`interrupted`]
//! ```
//!
//! A lease has one [`Writer`] and any number of readers, which see what is synced and nothing else.
//! Its folder goes when its last record has been written and every batch acknowledged.
//!
//! Simulated machines keep theirs in memory: what they made up is worth no disk, and thousands of
//! them share one.

mod reader;
mod segment;
mod writer;

mod interrupted;
mod refused;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::ids::{LaunchId, LeaseId};
use domain::record::{Batch, Record};
use prost::Message;
use proto::wire;
use tokio::sync::watch;

use refused::Refusal;
use segment::Scan;

pub use reader::Reader;
pub use refused::SetAside;
pub use writer::Writer;

/// Given up when the disk is full, so that the end of a job can still be written.
const RESERVE_BYTES: usize = 256 * 1024;

const ACKNOWLEDGED: &str = "acknowledged";
const RESERVE: &str = "reserve";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path}: {source}", path = path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path} is damaged at byte {at}", path = path.display())]
    Damaged { path: PathBuf, at: u64 },
    #[error("lease {0} is being written already")]
    Busy(LeaseId),
}

impl Error {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub fn is_full_disk(&self) -> bool {
        matches!(self, Self::File { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        ))
    }
}

/// A lease that was interrupted: its last record is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    pub lease: LeaseId,
    pub open_launch: Option<LaunchId>,
}

/// What is known of one lease without reading its segments.
#[derive(Debug, Default)]
struct Held {
    /// First seq of each segment, and how many of its bytes are synced.
    segments: BTreeMap<u64, u64>,
    /// Batches on disk since the lease began; also the next seq.
    written: u64,
    /// Batches that the coordinator has, all before the first it has not.
    acknowledged: u64,
    finished: bool,
    open_launch: Option<LaunchId>,
    writing: bool,
    /// Set when the coordinator would not take something of it.
    refusal: Option<Refusal>,
    /// Where there is no folder: the batches that are not acknowledged.
    batches: BTreeMap<u64, wire::Batch>,
}

impl Held {
    fn waiting(&self) -> u64 {
        self.written - self.acknowledged
    }
}

#[derive(Debug)]
pub struct Spool {
    /// None: in memory.
    dir: Option<PathBuf>,
    held: Mutex<BTreeMap<LeaseId, Held>>,
    grown: watch::Sender<()>,
    shrunk: watch::Sender<()>,
}

impl Spool {
    /// Opens the folder, made where it is missing; torn tails of a killed agent are cut off.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Arc<Self>, Error> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(Error::file("make the folder", &dir))?;
        let reserve = dir.join(RESERVE);
        if !reserve.exists() {
            let made = fs::write(&reserve, vec![0; RESERVE_BYTES]);
            match made.map_err(Error::file("write", &reserve)) {
                // To upload is what frees it.
                Err(error) if error.is_full_disk() => {
                    tracing::warn!(%error, "the disk is full: the end of a job may not be recorded");
                    fs::remove_file(&reserve).ok();
                }
                made => made?,
            }
        }
        let mut held = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(Error::file("list", &dir))? {
            let entry = entry.map_err(Error::file("list", &dir))?;
            let Some(lease) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let lease_dir = entry.path();
            let mut found = recover(&lease_dir)?;
            found.refusal = Refusal::read(&dir, lease)?;
            if found.finished && found.acknowledged == found.written {
                remove(&lease_dir)?;
            } else {
                held.insert(lease, found);
            }
        }
        Ok(Self::with(Some(dir), held))
    }

    /// One that ends with the process.
    pub fn in_memory() -> Arc<Self> {
        Self::with(None, BTreeMap::new())
    }

    fn with(dir: Option<PathBuf>, held: BTreeMap<LeaseId, Held>) -> Arc<Self> {
        let (grown, _) = watch::channel(());
        let (shrunk, _) = watch::channel(());
        Arc::new(Self {
            dir,
            held: Mutex::new(held),
            grown,
            shrunk,
        })
    }

    /// Leases with something left to write or to upload, oldest first.
    pub fn leases(&self) -> Vec<LeaseId> {
        self.lock().keys().copied().collect()
    }

    pub fn holds(&self, lease: LeaseId) -> bool {
        self.lock().contains_key(&lease)
    }

    /// Leases whose last record was never written, and that nobody is writing now.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        let held = self.lock();
        held.iter()
            .filter(|(_, held)| !held.finished && !held.writing)
            .map(|(&lease, held)| Unfinished {
                lease,
                open_launch: held.open_launch,
            })
            .collect()
    }

    /// Wakes when there may be more to upload.
    pub fn grown(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// Returns when fewer batches of the lease than that wait to be acknowledged.
    pub async fn below(&self, lease: LeaseId, batches: u64) {
        let mut shrunk = self.shrunk.subscribe();
        loop {
            shrunk.mark_unchanged();
            let waiting = self.lock().get(&lease).map_or(0, Held::waiting);
            if waiting < batches || shrunk.changed().await.is_err() {
                return;
            }
        }
    }

    /// The one writer of a lease, new or interrupted.
    pub fn writer(self: &Arc<Self>, lease: LeaseId) -> Result<Writer, Error> {
        let dir = self.lease_dir(lease);
        if let (Some(all), Some(dir)) = (&self.dir, &dir) {
            fs::create_dir_all(dir).map_err(Error::file("make the folder", dir))?;
            // The new folder's name is on the disk before anything in it counts.
            sync_folder(all)?;
        }
        {
            let mut all = self.lock();
            let held = all.entry(lease).or_default();
            if held.writing {
                return Err(Error::Busy(lease));
            }
            held.writing = true;
        }
        let mut writer = Writer {
            spool: Arc::clone(self),
            lease,
            dir,
            segment: None,
        };
        writer.open_segment()?;
        Ok(writer)
    }

    /// The first batch that is not acknowledged, if any is synced.
    pub fn reader(&self, lease: LeaseId) -> Option<Reader> {
        let all = self.lock();
        let held = all.get(&lease)?;
        (held.waiting() > 0).then(|| Reader {
            lease,
            dir: self.lease_dir(lease),
            next: held.acknowledged,
            scan: None,
        })
    }

    /// Forgets all batches below `count`; true when nothing of the lease is left.
    pub fn acknowledge(&self, lease: LeaseId, count: u64) -> Result<bool, Error> {
        let dir = self.lease_dir(lease);
        let mut all = self.lock();
        let Some(held) = all.get_mut(&lease) else {
            return Ok(true);
        };
        let count = count.min(held.written);
        if count > held.acknowledged {
            held.acknowledged = count;
            held.batches = held.batches.split_off(&count);
            self.shrunk.send_replace(());
            if let Some(dir) = &dir {
                segment::write_count(&dir.join(ACKNOWLEDGED), count)
                    .map_err(Error::file("write in", dir))?;
            }
        }
        if held.finished && held.acknowledged == held.written {
            all.remove(&lease);
            dir.map_or(Ok(()), |dir| remove(&dir))?;
            return Ok(true);
        }
        let Some(dir) = dir else {
            return Ok(false);
        };
        // The last segment is being written; each other one ends where the next begins.
        let ends: Vec<u64> = held.segments.keys().skip(1).copied().collect();
        let starts: Vec<u64> = held.segments.keys().copied().collect();
        for (start, end) in starts.into_iter().zip(ends) {
            if end <= held.acknowledged {
                held.segments.remove(&start);
                let path = segment::path(&dir, start);
                fs::remove_file(&path).map_err(Error::file("delete", &path))?;
            }
        }
        Ok(false)
    }

    /// Ends a lease that is dead: what is written is still uploaded, and no last record will come.
    /// True when nothing of it is left.
    pub fn abandon(&self, lease: LeaseId) -> Result<bool, Error> {
        if let Some(held) = self.lock().get_mut(&lease) {
            held.finished = true;
        }
        self.acknowledge(lease, 0)
    }

    /// Makes room on a full disk, once: for the records that end a launch and its job.
    fn give_up_reserve(&self) -> bool {
        let reserve = self.dir.as_ref().map(|dir| dir.join(RESERVE));
        reserve.is_some_and(|reserve| fs::remove_file(reserve).is_ok())
    }

    fn lease_dir(&self, lease: LeaseId) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(lease.to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Held>> {
        // What the map says is corrected by the files at the next start; a panic elsewhere is no
        // reason to stop uploading.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a row of records leaves behind: which launch is open, and whether the job ended.
#[derive(Clone, Copy, Default)]
struct Follow {
    launch: Opening,
    finished: bool,
}

#[derive(Clone, Copy, Default)]
enum Opening {
    #[default]
    AsBefore,
    Opened(LaunchId),
    Closed,
}

impl Follow {
    fn through(records: &[Record]) -> Self {
        let mut follow = Self::default();
        for record in records {
            match record {
                Record::LaunchStarted(started) => {
                    follow.launch = Opening::Opened(started.launch_id);
                }
                Record::LaunchFinished(_) => follow.launch = Opening::Closed,
                Record::JobFinished(_) => follow.finished = true,
                Record::LaunchModel(_)
                | Record::Iteration { .. }
                | Record::LaunchHeat(_)
                | Record::Reading(_) => {}
            }
        }
        follow
    }

    fn apply(self, held: &mut Held) {
        match self.launch {
            Opening::AsBefore => {}
            Opening::Opened(launch) => held.open_launch = Some(launch),
            Opening::Closed => held.open_launch = None,
        }
        held.finished |= self.finished;
    }
}

fn recover(dir: &Path) -> Result<Held, Error> {
    let mut held = Held::default();
    let mut firsts: Vec<u64> = fs::read_dir(dir)
        .map_err(Error::file("list", dir))?
        .filter_map(|entry| segment::first_seq(&entry.ok()?.path()))
        .collect();
    firsts.sort_unstable();
    for (index, &first_seq) in firsts.iter().enumerate() {
        let path = segment::path(dir, first_seq);
        let is_last = index + 1 == firsts.len();
        let mut scan = match Scan::open(&path) {
            Ok(scan) => scan,
            // Killed between the making of a segment and the syncing of its header.
            Err(error) if is_last && error.kind() == io::ErrorKind::InvalidData => {
                fs::remove_file(&path).map_err(Error::file("delete", &path))?;
                continue;
            }
            Err(source) => return Err(Error::file("read", &path)(source)),
        };
        if index == 0 {
            held.open_launch = scan.header().open_launch;
            held.acknowledged = first_seq;
        }
        held.written = first_seq;
        let end = scan.file_bytes().map_err(Error::file("read", &path))?;
        while let Some(body) = scan.next(end).map_err(Error::file("read", &path))? {
            let Ok(batch) = wire::Batch::decode(body.as_slice()) else {
                break;
            };
            held.written = batch.seq + 1;
            if let Ok(batch) = Batch::try_from(batch) {
                Follow::through(&batch.records).apply(&mut held);
            }
        }
        let sound = scan.at();
        if sound < end {
            tracing::info!(path = %path.display(), bytes = end - sound, "cut a torn tail off");
            scan.truncate().map_err(Error::file("cut", &path))?;
        }
        held.segments.insert(first_seq, sound);
    }
    let count = segment::read_count(&dir.join(ACKNOWLEDGED)).unwrap_or_default();
    held.acknowledged = held.acknowledged.max(count).min(held.written);
    Ok(held)
}

fn sync_folder(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::file("sync", dir))
}

fn remove(dir: &Path) -> Result<(), Error> {
    fs::remove_dir_all(dir).map_err(Error::file("delete", dir))
}

#[cfg(test)]
mod tests;
