//! Length-delimited frames on a pipe: how agent and worker talk.

use std::io::{self, Read, Write};

use prost::Message;
use prost::encoding::decode_varint;

/// Largest frame that is read; a worker that announces more writes rubbish.
pub const MAX_FRAME_BYTES: usize = 8 * 1024 * 1024;

/// A varint of a length has at most so many bytes.
pub const MAX_PREFIX_BYTES: usize = 10;

/// What is wrong with bytes that should have been a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("reading a frame: {0}")]
    Io(#[from] io::Error),
    #[error("a frame of {0} bytes, more than the {MAX_FRAME_BYTES} allowed")]
    TooLong(u64),
    #[error("not a frame: {0}")]
    Decode(#[from] prost::DecodeError),
}

/// Writes one message with its length before it, and flushes.
pub fn write(out: &mut impl Write, message: &impl Message) -> io::Result<()> {
    out.write_all(&message.encode_length_delimited_to_vec())?;
    out.flush()
}

/// Reads one message; None at a clean end of the stream.
pub fn read<M: Message + Default>(input: &mut impl Read) -> Result<Option<M>, FrameError> {
    let mut prefix = Vec::with_capacity(MAX_PREFIX_BYTES);
    loop {
        let mut byte = [0];
        if input.read(&mut byte)? == 0 {
            return if prefix.is_empty() {
                Ok(None)
            } else {
                Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
            };
        }
        prefix.push(byte[0]);
        if byte[0] & 0x80 == 0 || prefix.len() == MAX_PREFIX_BYTES {
            break;
        }
    }
    let mut body = vec![0; length(&prefix)?];
    input.read_exact(&mut body)?;
    Ok(Some(M::decode(body.as_slice())?))
}

/// The length that a complete prefix announces, if it is one that we read.
pub fn length(prefix: &[u8]) -> Result<usize, FrameError> {
    let length = decode_varint(&mut &prefix[..])?;
    if length > MAX_FRAME_BYTES as u64 {
        return Err(FrameError::TooLong(length));
    }
    Ok(length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::WorkerFailed;

    #[test]
    fn what_is_written_is_read_and_the_end_is_clean() {
        let said = WorkerFailed {
            kind: "model".into(),
            message: "x".repeat(300),
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &said).unwrap();
        let mut input = bytes.as_slice();
        assert_eq!(read::<WorkerFailed>(&mut input).unwrap(), Some(said));
        assert_eq!(read::<WorkerFailed>(&mut input).unwrap(), None);
    }

    #[test]
    fn rubbish_truncation_and_giants_are_refused() {
        let giant = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(
            read::<WorkerFailed>(&mut &giant[..]),
            Err(FrameError::TooLong(_))
        ));
        assert!(matches!(
            read::<WorkerFailed>(&mut &[5, 1][..]),
            Err(FrameError::Io(_))
        ));
        assert!(matches!(
            read::<WorkerFailed>(&mut &b"\x05hello"[..]),
            Err(FrameError::Decode(_))
        ));
    }
}
