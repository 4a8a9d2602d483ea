//! A file on its way to somebody who may be slow, or gone.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use service::lifecycle::Stop;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;

/// A reader that takes nothing for so long makes room for others.
const MAX_STALL: Duration = Duration::from_mins(1);
const CHUNK_BYTES: usize = 64 * 1024;
/// Enough to read from the disk while the network sends.
const CHUNKS_AHEAD: usize = 4;

type Chunks = mpsc::Sender<io::Result<Bytes>>;

/// The file from where it stands; it keeps its place among those that are sent until its end.
pub fn send(
    file: File,
    stop: &Stop,
    tasks: &TaskTracker,
    place: OwnedSemaphorePermit,
) -> ReceiverStream<io::Result<Bytes>> {
    let (chunks, body) = mpsc::channel(CHUNKS_AHEAD);
    // In a task of its own: a body is only asked for more while its reader takes it.
    tasks.spawn(read(file, chunks, stop.clone(), place));
    ReceiverStream::new(body)
}

async fn read(mut file: File, chunks: Chunks, stop: Stop, _place: OwnedSemaphorePermit) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut part = (&mut file).take(CHUNK_BYTES as u64);
        let chunk = match part.read_to_end(&mut chunk).await {
            Ok(0) => return,
            Ok(_) => Ok(Bytes::from(chunk)),
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        tokio::select! {
            sent = tokio::time::timeout(MAX_STALL, chunks.send(chunk)) => {
                if failed || !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            () = stop.soft() => {
                drop(chunks.try_send(Err(io::Error::other("the coordinator is stopping"))));
                return;
            }
        }
    }
}
