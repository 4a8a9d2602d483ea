//! A file on its way to somebody who may be slow, or gone.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use service::lifecycle::Stop;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Extensions;

/// A reader that takes nothing for so long makes room for others.
const MAX_STALL: Duration = Duration::from_mins(1);
const CHUNK_BYTES: usize = 64 * 1024;
/// After the word that the coordinator is stopping; then a reader that takes nothing is cut off.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Enough to read from the disk while the network sends.
const CHUNKS_AHEAD: usize = 4;

type Chunks = mpsc::Sender<io::Result<Bytes>>;

/// The file from where it stands, for the request of these extensions; it keeps its place among those that
/// are sent until its end.
pub fn send(
    file: File,
    extensions: &Extensions,
    stop: &Stop,
    tasks: &TaskTracker,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let (chunks, body) = mpsc::channel(CHUNKS_AHEAD);
    let taken = CancellationToken::new();
    let held_by_body = taken.clone().drop_guard();
    let connection = service::tls::connection_of(extensions);
    let cut = connection.map_or_else(CancellationToken::new, |connection| connection.cut.clone());
    let stop = stop.clone();
    // In a task of its own: a body is only asked for more while its reader takes it.
    tasks.spawn(async move {
        tokio::select! {
            () = read(file, chunks.clone(), place) => {}
            () = stop.soft() => {
                let stopping = Err(io::Error::other("the coordinator is stopping"));
                drop(timeout(LAST_WORD, chunks.send(stopping)).await);
            }
        }
        drop(chunks);
        tokio::select! {
            () = taken.cancelled() => return,
            () = stop.soft() => {}
        }
        if timeout(LAST_WORD, taken.cancelled()).await.is_err() {
            cut.cancel();
        }
    });
    ReceiverStream::new(body).map(move |chunk| {
        let _ = &held_by_body;
        chunk
    })
}

async fn read(mut file: File, chunks: Chunks, _place: OwnedSemaphorePermit) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut part = (&mut file).take(CHUNK_BYTES as u64);
        let chunk = match part.read_to_end(&mut chunk).await {
            Ok(0) => return,
            Ok(_) => Ok(Bytes::from(chunk)),
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        let sent = timeout(MAX_STALL, chunks.send(chunk)).await;
        if failed || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}
