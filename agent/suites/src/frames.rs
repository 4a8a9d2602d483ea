//! The worker's end of the pipe: the request in, frames out, and the lifeline.
//!
//! Standard output belongs to frames alone. Standard input, after the request, says one thing: as
//! long as it is open, somebody wants the results.

use std::fs::File;
use std::io::{self, Read};
use std::thread;

use domain::worker::{Frame, Request};
use proto::frame::{self, FrameError};
use proto::{Refusal, wire};

use crate::system;

/// Why what stands on standard input is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("standard input ended before a request; mlx-fleet-agent writes one")]
    Empty,
    #[error("standard input holds no request: {0}")]
    Frame(#[from] FrameError),
    #[error("the request was refused: {0}")]
    Refused(#[from] Refusal),
}

/// Reads the one request.
pub fn read_request(input: &mut impl Read) -> Result<Request, RequestError> {
    let message: wire::WorkerRequest = frame::read(input)?.ok_or(RequestError::Empty)?;
    Ok(message.try_into()?)
}

/// Where frames go: each is on its way when `send` returns.
#[derive(Debug)]
pub struct Frames {
    out: File,
}

impl Frames {
    /// Takes standard output for frames; whatever else is printed goes to standard error.
    pub fn claim() -> io::Result<Self> {
        Ok(Self {
            out: system::claim_stdout()?,
        })
    }

    pub fn send(&mut self, frame: Frame) -> io::Result<()> {
        frame::write(&mut self.out, &wire::WorkerFrame::from(frame))
    }
}

/// Ends the process as soon as `input` does: an orphan would keep the device busy and measure for
/// nobody. Never returns otherwise, so it has a thread of its own.
pub fn die_with(mut input: impl Read + Send + 'static, code: u8) -> io::Result<()> {
    let watch = move || {
        let mut rest = [0; 256];
        // What comes after the request means nothing, only that the other side lives.
        while input.read(&mut rest).is_ok_and(|read| read > 0) {}
        eprintln!("standard input was closed, so nobody waits for this launch: leaving");
        system::exit_now(code)
    };
    thread::Builder::new()
        .name("lifeline".into())
        .spawn(watch)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_rubbish_and_half_a_request_are_told_apart() {
        let refusal = |bytes: &[u8]| read_request(&mut &bytes[..]).unwrap_err().to_string();
        assert!(refusal(b"").contains("ended before a request"));
        assert!(refusal(b"\x05hello").contains("holds no request"));
        assert!(
            refusal(b"\x00").contains("request.case is missing"),
            "{}",
            refusal(b"\x00")
        );
    }
}
