//! The one that appends to a lease's segments.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use domain::ids::LeaseId;
use domain::record::{Batch, Record};
use prost::Message;
use proto::wire;

use super::segment::{self, Header};
use super::{Error, Follow, Held, Spool, sync_folder};

/// A segment is closed when it has grown so large; acknowledged ones are deleted whole.
pub(super) const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Appends batches of one lease.
#[derive(Debug)]
pub struct Writer {
    pub(super) spool: Arc<Spool>,
    pub(super) lease: LeaseId,
    pub(super) dir: Option<PathBuf>,
    pub(super) segment: Option<Open>,
}

#[derive(Debug)]
pub(super) struct Open {
    first_seq: u64,
    pub(super) path: PathBuf,
    pub(super) file: File,
    bytes: u64,
}

impl Writer {
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Writes the records as the next batch and returns when they are on the disk. After an error
    /// nothing of them is there.
    pub fn append(&mut self, records: Vec<Record>) -> Result<u64, Error> {
        let last = Follow::through(&records);
        let seq = self.held(|held| held.written);
        let batch = wire::Batch::from(Batch {
            lease_id: self.lease,
            seq,
            records,
        });
        if self.dir.is_none() {
            self.held(|held| {
                held.written = seq + 1;
                held.batches.insert(seq, batch);
                last.apply(held);
            });
            self.spool.grown.send_replace(());
            return Ok(seq);
        }
        let frame = segment::frame(&batch.encode_to_vec());
        if self
            .segment
            .as_ref()
            .is_none_or(|open| open.bytes >= SEGMENT_BYTES)
        {
            self.open_segment()?;
        }
        let Some(open) = &mut self.segment else {
            unreachable!("open_segment leaves one open");
        };
        let written = open
            .file
            .write_all_at(&frame, open.bytes)
            .and_then(|()| open.file.sync_data());
        if let Err(source) = written {
            // What stands behind `bytes` would be cut at the next start; cut it now, to give the
            // space back. A failure of this changes nothing.
            open.file.set_len(open.bytes).ok();
            let path = open.path.clone();
            // A file that may not grow is no reason for another.
            self.segment = None;
            return Err(Error::File {
                action: "write",
                path,
                source,
            });
        }
        open.bytes += frame.len() as u64;
        let (first_seq, bytes) = (open.first_seq, open.bytes);
        self.held(|held| {
            held.written = seq + 1;
            held.segments.insert(first_seq, bytes);
            last.apply(held);
        });
        self.spool.grown.send_replace(());
        Ok(seq)
    }

    /// Makes room on a full disk, once: for the records that end a launch and its job.
    pub fn give_up_reserve(&self) -> bool {
        self.spool.give_up_reserve()
    }

    pub(super) fn open_segment(&mut self) -> Result<(), Error> {
        let Some(dir) = self.dir.clone() else {
            return Ok(());
        };
        let (first_seq, open_launch) = self.held(|held| (held.written, held.open_launch));
        let path = segment::path(&dir, first_seq);
        let header = Header {
            first_seq,
            open_launch,
        };
        let file = segment::create(&path, &header).map_err(Error::file("write", &path))?;
        sync_folder(&dir)?;
        let bytes = segment::HEADER_BYTES;
        self.held(|held| held.segments.insert(first_seq, bytes));
        self.segment = Some(Open {
            first_seq,
            path,
            file,
            bytes,
        });
        Ok(())
    }

    fn held<T>(&self, f: impl FnOnce(&mut Held) -> T) -> T {
        f(self.spool.lock().entry(self.lease).or_default())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(held) = self.spool.lock().get_mut(&self.lease) {
            held.writing = false;
        }
    }
}
