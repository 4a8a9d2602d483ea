//! One file of the spool: a header, then frames with a checksum each, so that a torn one is known.
//!
//! ```text
//!   header: magic(8) first_seq(8) open_launch(16) sum(4)     frame: length(4) sum(4) body(length)
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use domain::ids::LaunchId;
use proto::MAX_MESSAGE_BYTES;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const MAGIC: &[u8; 8] = b"mlxspl1\n";
const SUM_BYTES: usize = 4;
const FRAME_HEAD_BYTES: usize = 4 + SUM_BYTES;
pub const HEADER_BYTES: u64 = 8 + 8 + 16 + SUM_BYTES as u64;

/// What a reader must know before the first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub first_seq: u64,
    /// The launch that earlier, perhaps deleted, segments left open.
    pub open_launch: Option<LaunchId>,
}

pub fn path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.seg"))
}

pub fn first_seq(path: &Path) -> Option<u64> {
    path.file_name()?
        .to_str()?
        .strip_suffix(".seg")?
        .parse()
        .ok()
}

/// Makes a segment, or makes anew one that holds no batch.
pub fn create(path: &Path, header: &Header) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&header.first_seq.to_le_bytes());
    let launch = header.open_launch.map_or(Uuid::nil(), |launch| launch.0);
    bytes.extend_from_slice(launch.as_bytes());
    bytes.extend_from_slice(&sum(&bytes));
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    Ok(file)
}

pub fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&sum(body));
    frame.extend_from_slice(body);
    frame
}

/// The first bytes of SHA-256: against torn writes, not against people.
fn sum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let digest = Sha256::digest(bytes);
    [digest[0], digest[1], digest[2], digest[3]]
}

/// Walks the frames of one segment.
#[derive(Debug)]
pub struct Scan {
    file: File,
    header: Header,
    at: u64,
}

impl Scan {
    /// `InvalidData` when there is no sound header.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => ErrorKind::InvalidData.into(),
                _ => error,
            })?;
        let (head, tail) = bytes.split_at(bytes.len() - SUM_BYTES);
        if tail != sum(head) || &head[..8] != MAGIC {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut first_seq = [0; 8];
        first_seq.copy_from_slice(&head[8..16]);
        let mut launch = [0; 16];
        launch.copy_from_slice(&head[16..32]);
        let launch = Uuid::from_bytes(launch);
        Ok(Self {
            file,
            header: Header {
                first_seq: u64::from_le_bytes(first_seq),
                open_launch: (!launch.is_nil()).then_some(LaunchId(launch)),
            },
            at: HEADER_BYTES,
        })
    }

    pub fn header(&self) -> Header {
        self.header
    }

    /// Where the next frame begins; all before it is sound.
    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The next frame within the first `end` bytes; None where no sound one is.
    pub fn next(&mut self, end: u64) -> io::Result<Option<Vec<u8>>> {
        let body_at = self.at + FRAME_HEAD_BYTES as u64;
        if body_at > end {
            return Ok(None);
        }
        let mut head = [0; FRAME_HEAD_BYTES];
        self.file.read_exact_at(&mut head, self.at)?;
        let [a, b, c, d, wanted @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length as usize > MAX_MESSAGE_BYTES || body_at + u64::from(length) > end {
            return Ok(None);
        }
        let mut body = vec![0; length as usize];
        self.file.read_exact_at(&mut body, body_at)?;
        if sum(&body) != wanted {
            return Ok(None);
        }
        self.at = body_at + u64::from(length);
        Ok(Some(body))
    }

    /// Cuts off everything after the last sound frame.
    pub fn truncate(&self) -> io::Result<()> {
        self.file.set_len(self.at)?;
        self.file.sync_all()
    }
}

/// A count with its checksum. Not synced: when it is lost, batches are sent again and ignored.
pub fn write_count(path: &Path, count: u64) -> io::Result<()> {
    let bytes = count.to_le_bytes();
    let mut whole = bytes.to_vec();
    whole.extend_from_slice(&sum(&bytes));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?
        .write_all_at(&whole, 0)
}

pub fn read_count(path: &Path) -> Option<u64> {
    let bytes = std::fs::read(path).ok()?;
    let (count, tail) = bytes.split_at_checked(8)?;
    (tail == sum(count)).then(|| u64::from_le_bytes(count.try_into().unwrap_or_default()))
}
