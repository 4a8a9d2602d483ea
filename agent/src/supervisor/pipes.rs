//! The worker's two outputs: frames, parsed and bounded, and the end of its standard error.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::worker::Frame;
use prost::Message;
use proto::{frame, wire};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::task::Task;

/// Frames between the pipe and the spool; the pipe itself holds the rest back.
const FRAMES: usize = 16;

/// How much of the worker's standard error is kept: its end tells the most.
const TAIL_BYTES: usize = 64 * 1024;

/// What the worker says on standard output.
#[derive(Debug)]
pub struct Said {
    frames: mpsc::Receiver<Result<Frame, String>>,
    _task: Task<()>,
}

impl Said {
    pub fn read(stdout: ChildStdout) -> Self {
        let (sender, frames) = mpsc::channel(FRAMES);
        let task = Task::start(async move {
            let mut input = BufReader::new(stdout);
            loop {
                let frame = match read_frame(&mut input).await {
                    Ok(None) => return,
                    Ok(Some(frame)) => Ok(frame),
                    Err(why) => Err(why),
                };
                let last = frame.is_err();
                if sender.send(frame).await.is_err() || last {
                    return;
                }
            }
        });
        Self {
            frames,
            _task: task,
        }
    }

    /// None when the worker has closed its output.
    pub async fn next(&mut self) -> Option<Result<Frame, String>> {
        self.frames.recv().await
    }
}

async fn read_frame(input: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, String> {
    let broken = |why: &dyn std::fmt::Display| format!("not the worker's protocol: {why}");
    let mut prefix = Vec::with_capacity(frame::MAX_PREFIX_BYTES);
    loop {
        let mut byte = [0];
        match input.read(&mut byte).await {
            Ok(0) if prefix.is_empty() => return Ok(None),
            Ok(0) => return Err(broken(&"it ends inside a frame")),
            Ok(_) => prefix.push(byte[0]),
            Err(error) => return Err(broken(&error)),
        }
        if byte[0] & 0x80 == 0 || prefix.len() == frame::MAX_PREFIX_BYTES {
            break;
        }
    }
    let length = frame::length(&prefix).map_err(|error| broken(&error))?;
    let mut body = Vec::new();
    // Grows with what comes, so that an announced giant costs nothing.
    let read = input.take(length as u64).read_to_end(&mut body).await;
    match read {
        Ok(read) if read == length => {}
        Ok(_) => return Err(broken(&"it ends inside a frame")),
        Err(error) => return Err(broken(&error)),
    }
    let message = wire::WorkerFrame::decode(body.as_slice()).map_err(|error| broken(&error))?;
    Frame::try_from(message)
        .map(Some)
        .map_err(|error| broken(&error))
}

/// Reads standard error to its end and keeps the last of it.
#[derive(Debug)]
pub struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    task: Task<()>,
}

impl Tail {
    pub fn keep(mut stderr: ChildStderr) -> Self {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let keep = Arc::clone(&kept);
        let task = Task::start(async move {
            let mut chunk = vec![0; 8 * 1024];
            while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&chunk[..read]);
                let surplus = kept.len().saturating_sub(TAIL_BYTES);
                kept.drain(..surplus);
            }
        });
        Self { kept, task }
    }

    /// The text, when the pipe has ended or `patience` is over.
    pub async fn text(mut self, patience: Duration) -> String {
        // When patience ends first, what came so far is all there will be.
        timeout(patience, &mut self.task).await.ok();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Postgres takes no NUL in a text.
        String::from_utf8_lossy(kept.make_contiguous()).replace('\0', "\u{fffd}")
    }
}
