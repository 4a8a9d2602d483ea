//! A safetensors file's header, checked against the file before anything reads its data: MLX trusts
//! the offsets it finds.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata};

/// The format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: not a safetensors file: {why}")]
    NotSafetensors { path: PathBuf, why: String },
    #[error("{path}: damaged header: {why}")]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{path}: truncated: the header promises {promised} bytes of tensors, the file has {found}"
    )]
    Truncated {
        path: PathBuf,
        promised: u64,
        found: u64,
    },
    #[error(
        "{path}: {surplus} bytes after the last tensor: damaged, or not written by safetensors"
    )]
    Surplus { path: PathBuf, surplus: u64 },
    #[error("{path}: tensor `{name}` is of type {dtype:?}, which is not supported")]
    Dtype {
        path: PathBuf,
        name: String,
        dtype: Dtype,
    },
}

#[derive(Clone, Debug)]
pub struct Header {
    pub tensors: Vec<String>,
    pub file_bytes: u64,
    pub content: Content,
}

/// What the tensors amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Of all tensors, as stored.
    pub bytes: u64,
    /// Floating-point values of any width, which a cast changes.
    pub float_values: u64,
    /// Bytes of packed words, which it does not.
    pub word_bytes: u64,
    /// The widest of the floating-point values, in bytes.
    pub widest_float: u64,
}

impl Header {
    pub fn read(path: &Path) -> Result<Self, HeaderError> {
        let io = |source| HeaderError::Io {
            path: path.to_owned(),
            source,
        };
        let not = |why: String| HeaderError::NotSafetensors {
            path: path.to_owned(),
            why,
        };
        let damaged = |why: String| HeaderError::Damaged {
            path: path.to_owned(),
            why,
        };

        let mut file = File::open(path).map_err(io)?;
        let file_bytes = file.metadata().map_err(io)?.len();
        if file_bytes < 8 {
            return Err(not(format!("it has {file_bytes} bytes")));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(io)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES {
            return Err(not(format!("its header would be {length} bytes long")));
        }
        if length > file_bytes - 8 {
            return Err(not(format!(
                "its header would be {length} bytes long, the file has {file_bytes}"
            )));
        }
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text).map_err(io)?;
        let metadata: Metadata =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;

        let promised = metadata.data_len() as u64;
        let found = file_bytes - 8 - length;
        if found < promised {
            return Err(HeaderError::Truncated {
                path: path.to_owned(),
                promised,
                found,
            });
        }
        if found > promised {
            let surplus = found - promised;
            return Err(HeaderError::Surplus {
                path: path.to_owned(),
                surplus,
            });
        }
        let mut tensors = Vec::new();
        let mut content = Content::default();
        for (name, info) in metadata.tensors() {
            let values = info.shape.iter().product::<usize>() as u64;
            let width = match info.dtype {
                Dtype::BF16 | Dtype::F16 => 2,
                Dtype::F32 | Dtype::U32 => 4,
                dtype => {
                    return Err(HeaderError::Dtype {
                        path: path.to_owned(),
                        name,
                        dtype,
                    });
                }
            };
            content.bytes += values * width;
            if info.dtype == Dtype::U32 {
                content.word_bytes += values * width;
            } else {
                content.float_values += values;
                content.widest_float = content.widest_float.max(width);
            }
            tensors.push(name);
        }
        tensors.sort();
        Ok(Self {
            tensors,
            file_bytes,
            content,
        })
    }
}
