//! From records to batches: one task per job that groups what comes close together and writes it.
//!
//! An iteration is on the disk at most [`LINGER`] after its frame came: a sync of the disk costs
//! milliseconds, and a launch that reports in bursts pays one for each burst. Readings of sensors
//! alone wait longer, for they come every second whether anything happens or not.

use std::time::Duration;

use domain::record::{MAX_BATCH_RECORDS, Record};
use prost::Message as _;
use proto::wire;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::spool::Writer;
use crate::task::Task;

/// How long the first record of a batch waits for others.
const LINGER: Duration = Duration::from_millis(50);

/// How long readings wait when there is nothing else.
const READING_LINGER: Duration = Duration::from_secs(2);

/// Records between a job and its disk: some seconds of the fastest suite and all sensors.
const QUEUE: usize = 4096;

/// A batch is closed at this size, so that no message comes near the wire's limit.
const BATCH_BYTES: usize = 1024 * 1024;

/// The disk did not take some record since the last commit.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the spool could not be written: {0}")]
pub struct NotWritten(String);

enum Message {
    Record(Box<Record>),
    Commit(oneshot::Sender<Result<(), NotWritten>>),
}

/// Hands records to the disk.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::Sender<Message>);

impl Recorder {
    /// Starts the task; it ends, and gives the lease free, when every clone is dropped.
    pub fn start(writer: Writer) -> (Self, Task<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let desk = Desk {
            writer: Some(writer),
            pending: Vec::new(),
            bytes: 0,
            due: None,
            broken: None,
            ended: false,
        };
        (Self(sender), Task::start(desk.run(receiver)))
    }

    /// Queues a record; waits while the disk is behind.
    pub async fn record(&self, record: Record) {
        // The task ends only after its last sender.
        self.0.send(Message::Record(Box::new(record))).await.ok();
    }

    /// Queues a record unless the disk is behind; for the sensors' thread, which must not wait.
    pub fn try_record(&self, record: Record) -> bool {
        self.0.try_send(Message::Record(Box::new(record))).is_ok()
    }

    /// Returns when all that was recorded is on the disk, or says that some of it is not.
    pub async fn commit(&self) -> Result<(), NotWritten> {
        let (answer, done) = oneshot::channel();
        let gone = || NotWritten("its writer has ended".to_owned());
        self.0
            .send(Message::Commit(answer))
            .await
            .map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}

struct Desk {
    /// Away while a write is under way.
    writer: Option<Writer>,
    pending: Vec<Record>,
    bytes: usize,
    due: Option<Instant>,
    /// Set by a failed write; what comes until the commit belongs to a launch that is lost.
    broken: Option<NotWritten>,
    /// The last record was taken; the sensors may not know yet.
    ended: bool,
}

impl Desk {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        loop {
            let due = self.due;
            let message = tokio::select! {
                message = inbox.recv() => message,
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                    self.write().await;
                    continue;
                }
            };
            match message {
                Some(Message::Record(record)) => self.take(*record).await,
                Some(Message::Commit(answer)) => {
                    self.write().await;
                    // Who asked may have been stopped meanwhile.
                    answer.send(self.broken.take().map_or(Ok(()), Err)).ok();
                }
                None => break self.write().await,
            }
        }
    }

    async fn take(&mut self, record: Record) {
        if self.broken.is_some() || self.ended {
            return;
        }
        self.ended = matches!(record, Record::JobFinished(_));
        let linger = match record {
            Record::Reading(_) => READING_LINGER,
            _ => LINGER,
        };
        let due = Instant::now() + linger;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        self.bytes += wire::Record::from(record.clone()).encoded_len();
        self.pending.push(record);
        if self.pending.len() == MAX_BATCH_RECORDS || self.bytes >= BATCH_BYTES {
            self.write().await;
        }
    }

    async fn write(&mut self) {
        self.due = None;
        self.bytes = 0;
        let records = std::mem::take(&mut self.pending);
        if records.is_empty() {
            return;
        }
        let Some(mut writer) = self.writer.take() else {
            self.broken = Some(NotWritten("its writer is gone".to_owned()));
            return;
        };
        let written = spawn_blocking(move || {
            let result = match writer.append(records.clone()) {
                Err(error) if error.is_full_disk() && writer.give_up_reserve() => {
                    tracing::error!(%error, "the disk is full; using the spool's reserve");
                    writer.append(records)
                }
                result => result,
            };
            (writer, result)
        });
        match written.await {
            Ok((writer, result)) => {
                self.writer = Some(writer);
                if let Err(error) = result {
                    tracing::error!(%error, "records were not written");
                    self.broken = Some(NotWritten(error.to_string()));
                }
            }
            Err(panic) => self.broken = Some(NotWritten(panic.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
