//! Batches from the spool to the coordinator, again and again until acknowledged.
//!
//! A stream is opened when there is something to send. At most a window of batches is on its way;
//! a new stream begins at the first batch that is not acknowledged. A batch whose content the
//! coordinator refuses is found by sending one at a time, set aside, and passed over; its job fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::ids::LeaseId;
use prost::Message;
use proto::wire::agent_service_client::AgentServiceClient;
use proto::{MAX_MESSAGE_BYTES, wire};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::pauses::Pauses;
use crate::spool::{Reader, SetAside, Spool};

/// Batches on their way: enough to fill a commit of the coordinator and the next behind it.
const WINDOW: usize = 64;

/// And their bytes, so that large batches do not fill the memory.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How a stream ended.
enum End {
    /// The coordinator closed it, or the network did.
    Broken(Status),
    /// It refuses the content of one of these batches.
    Refused(Status, Vec<(LeaseId, u64)>),
}

/// What comes of uploads.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing is left of the lease.
    Settled(LeaseId),
    /// Something of it was refused for good: its job has failed.
    Refused { lease: LeaseId, reason: String },
}

/// Uploads until it is aborted, and tells what comes of it.
pub async fn run(channel: Channel, spool: Arc<Spool>, told: mpsc::Sender<Outcome>) {
    let client = AgentServiceClient::new(channel)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut pauses = Pauses::new(RETRY_MIN, RETRY_MAX);
    let mut window = WINDOW;
    loop {
        let mut flight = Flight::new(&spool, &told, window);
        match flight.fly(client.clone()).await {
            End::Refused(why, suspects) => match suspects[..] {
                [(lease, seq)] => {
                    set_aside(&spool, &told, lease, seq, &why).await;
                    window = WINDOW;
                }
                _ => window = 1,
            },
            End::Broken(status) => {
                window = WINDOW;
                if flight.acknowledged > 0 {
                    pauses.restart();
                }
                tracing::warn!(error = service::tls::explain(&status), "upload interrupted");
                sleep(pauses.next()).await;
            }
        }
    }
}

/// A batch that would be refused for ever must not stand before all others.
async fn set_aside(
    spool: &Spool,
    told: &mpsc::Sender<Outcome>,
    lease: LeaseId,
    seq: u64,
    why: &Status,
) {
    let batch = spool.reader(lease).map(|mut reader| reader.next(spool));
    let done = match batch {
        Some(Ok(Some(batch))) if batch.seq == seq => spool.set_aside(lease, &batch, why.message()),
        _ => return,
    };
    match done {
        Ok(SetAside {
            kept,
            reason,
            again,
        }) => {
            tracing::error!(
                %lease, seq, why = why.message(), ?kept,
                "the coordinator refuses a batch; it is set aside, and its job has failed"
            );
            // Who listened ends with us.
            told.send(Outcome::Refused { lease, reason }).await.ok();
            if !again {
                acknowledge(spool, told, lease, seq + 1).await;
            }
        }
        Err(error) => tracing::error!(%lease, seq, %error, "a refused batch cannot be set aside"),
    }
}

async fn acknowledge(spool: &Spool, told: &mpsc::Sender<Outcome>, lease: LeaseId, count: u64) {
    match spool.acknowledge(lease, count) {
        // Who listened ends with us.
        Ok(true) => drop(told.send(Outcome::Settled(lease)).await),
        Ok(false) => {}
        // The batches are sent again, which costs time only.
        Err(error) => tracing::error!(%lease, %error, "an acknowledgement was not kept"),
    }
}

/// What one stream has sent and not seen acknowledged.
struct Flight<'a> {
    spool: &'a Arc<Spool>,
    told: &'a mpsc::Sender<Outcome>,
    window: usize,
    readers: BTreeMap<LeaseId, Reader>,
    sent: BTreeMap<LeaseId, BTreeMap<u64, usize>>,
    acknowledged: u64,
}

impl<'a> Flight<'a> {
    fn new(spool: &'a Arc<Spool>, told: &'a mpsc::Sender<Outcome>, window: usize) -> Self {
        Self {
            spool,
            told,
            window,
            readers: BTreeMap::new(),
            sent: BTreeMap::new(),
            acknowledged: 0,
        }
    }

    async fn fly(&mut self, mut client: AgentServiceClient<Channel>) -> End {
        let mut grown = self.spool.grown();
        let (sender, batches) = mpsc::channel(WINDOW);
        // The first batches are queued before the call: a server may answer only when one came.
        loop {
            grown.mark_unchanged();
            self.fill(&sender);
            if !self.sent.is_empty() {
                break;
            }
            // The spool outlives us.
            grown.changed().await.ok();
        }
        let mut acks = match client.upload(ReceiverStream::new(batches)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return self.ended(status),
        };
        loop {
            tokio::select! {
                ack = next(&mut acks) => match ack {
                    Ok(ack) => self.take(ack).await,
                    Err(status) => return self.ended(status),
                },
                _ = grown.changed() => {}
            }
            grown.mark_unchanged();
            self.fill(&sender);
        }
    }

    fn ended(&self, status: Status) -> End {
        match status.code() {
            Code::InvalidArgument => {
                let suspects = self
                    .sent
                    .iter()
                    .flat_map(|(lease, batches)| batches.keys().map(|seq| (*lease, *seq)));
                End::Refused(status, suspects.collect())
            }
            _ => End::Broken(status),
        }
    }

    /// Sends what the window allows, oldest lease first. Reads of a few synced and therefore cached
    /// pages: not worth a thread.
    fn fill(&mut self, sender: &mpsc::Sender<wire::Batch>) {
        for lease in self.spool.leases() {
            let reader = match self.readers.entry(lease) {
                std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => {
                    match self.spool.reader(lease) {
                        Some(reader) => free.insert(reader),
                        None => continue,
                    }
                }
            };
            loop {
                let in_flight: usize = self.sent.values().map(BTreeMap::len).sum();
                let bytes: usize = self.sent.values().flat_map(BTreeMap::values).sum();
                if in_flight >= self.window || bytes >= WINDOW_BYTES {
                    return;
                }
                // Room first: a batch once read must go.
                let Ok(place) = sender.try_reserve() else {
                    return;
                };
                match reader.next(self.spool) {
                    Ok(Some(batch)) => {
                        let bytes = batch.encoded_len();
                        self.sent.entry(lease).or_default().insert(batch.seq, bytes);
                        place.send(batch);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(%lease, %error, "the spool cannot be read; trying again later");
                        break;
                    }
                }
            }
        }
    }

    async fn take(&mut self, ack: wire::BatchAck) {
        let Ok(lease) = ack.lease_id.parse::<LeaseId>() else {
            tracing::warn!(lease = ack.lease_id, "an acknowledgement of no lease");
            return;
        };
        let Some(sent) = self.sent.get_mut(&lease) else {
            return;
        };
        if sent.remove(&ack.seq).is_none() {
            return;
        }
        self.acknowledged += 1;
        // All before the first that is still on its way, or all that was sent.
        let count = if let Some(&first) = sent.keys().next() {
            first
        } else {
            self.sent.remove(&lease);
            let reader = self.readers.get(&lease);
            reader.map_or(ack.seq + 1, Reader::position)
        };
        acknowledge(self.spool, self.told, lease, count).await;
        if !self.spool.holds(lease) {
            // Its reader holds a file open, whose space the disk gets back only then.
            self.readers.remove(&lease);
        }
    }
}

async fn next(acks: &mut Streaming<wire::BatchAck>) -> Result<wire::BatchAck, Status> {
    match acks.message().await? {
        Some(ack) => Ok(ack),
        None => Err(Status::unavailable("the coordinator closed the upload")),
    }
}

/// Leases as a set, for the session.
pub fn spooled(spool: &Spool) -> BTreeSet<LeaseId> {
    spool.leases().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use domain::job::JobOutcome;
    use domain::record::{JobFinished, Record};

    use super::*;

    #[tokio::test]
    async fn a_lease_that_is_settled_leaves_no_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let (tell, mut outcomes) = mpsc::channel(8);
        let (sender, mut batches) = mpsc::channel(WINDOW);
        let mut flight = Flight::new(&spool, &tell, WINDOW);
        for _ in 0..3 {
            let lease = LeaseId::new();
            let end = Record::JobFinished(JobFinished {
                outcome: JobOutcome::Succeeded,
                reason: String::new(),
            });
            spool.writer(lease).unwrap().append(vec![end]).unwrap();
            flight.fill(&sender);
            assert_eq!(flight.readers.len(), 1, "it is being read");
            let batch = batches.recv().await.unwrap();
            let ack = wire::BatchAck {
                lease_id: batch.lease_id,
                seq: batch.seq,
            };
            flight.take(ack).await;
            let outcome = outcomes.recv().await;
            assert!(matches!(outcome, Some(Outcome::Settled(settled)) if settled == lease));
            assert_eq!(flight.readers.len(), 0, "nobody reads what is gone");
        }
    }
}
