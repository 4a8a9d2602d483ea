//! One of those who read a lease's segments, behind what is synced.

use std::path::PathBuf;

use domain::ids::LeaseId;
use prost::Message;
use proto::wire;

use super::segment::{self, Scan};
use super::{Error, Spool};

/// Reads a lease's synced batches in order.
#[derive(Debug)]
pub struct Reader {
    pub(super) lease: LeaseId,
    pub(super) dir: Option<PathBuf>,
    pub(super) next: u64,
    pub(super) scan: Option<(u64, Scan)>,
}

impl Reader {
    /// The seq of the batch that comes next.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// As it is to be uploaded: not quite as it stands on the disk once something was refused.
    pub fn next(&mut self, spool: &Spool) -> Result<Option<wire::Batch>, Error> {
        loop {
            let place = {
                let all = spool.lock();
                let Some(held) = all.get(&self.lease) else {
                    return Ok(None);
                };
                if self.next >= held.written {
                    return Ok(None);
                }
                if self.dir.is_none() {
                    let mut batch = held.batches.get(&self.next).cloned();
                    if let (Some(batch), Some(refusal)) = (&mut batch, &held.refusal) {
                        refusal.amend(batch);
                    }
                    self.next += 1;
                    return Ok(batch);
                }
                // The segment that holds `next`: the last one that begins at or before it.
                held.segments
                    .range(..=self.next)
                    .next_back()
                    .map(|(&first, &bytes)| (first, bytes))
            };
            let (Some((first_seq, synced)), Some(dir)) = (place, &self.dir) else {
                return Ok(None);
            };
            let path = segment::path(dir, first_seq);
            if self
                .scan
                .as_ref()
                .is_none_or(|(open, _)| *open != first_seq)
            {
                let scan = Scan::open(&path).map_err(Error::file("read", &path))?;
                self.scan = Some((first_seq, scan));
            }
            let Some((_, scan)) = &mut self.scan else {
                unreachable!("set above");
            };
            let at = scan.at();
            let Some(body) = scan.next(synced).map_err(Error::file("read", &path))? else {
                return Err(Error::Damaged { path, at });
            };
            let mut batch =
                wire::Batch::decode(body.as_slice()).map_err(|_| Error::Damaged { path, at })?;
            if batch.seq >= self.next {
                self.next = batch.seq + 1;
                spool.amend(self.lease, &mut batch);
                return Ok(Some(batch));
            }
        }
    }
}
