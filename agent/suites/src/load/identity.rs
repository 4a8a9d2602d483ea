//! A model's identity is its content: SHA-256 of each file, and one digest over all.
//!
//! Hashing reads every byte, which would warm the page cache for a cold load: do it after, or on the
//! strength of the remembered digests of files that have not changed since.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{LoadError, ModelFolder};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    pub name: String,
    pub bytes: u64,
    /// In hex.
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// config.json, the weight files by name, tokenizer.json where there is one.
    pub files: Vec<FileDigest>,
    /// SHA-256 over names and digests of the files, in hex.
    pub digest: String,
}

/// Hashes a model's files. Digests are remembered in `cache_dir`, and used again for a file of the
/// same path, inode, size and times.
pub fn identify(folder: &ModelFolder, cache_dir: &Path) -> Result<Identity, LoadError> {
    let paths = [&folder.config]
        .into_iter()
        .chain(&folder.weights)
        .chain(&folder.tokenizer);
    let mut files = Vec::new();
    let mut all = Sha256::new();
    for path in paths {
        let file = remembered(path, cache_dir)?;
        all.update(format!("{} {}\n", file.sha256, file.name));
        files.push(file);
    }
    Ok(Identity {
        files,
        digest: hex::encode(all.finalize()),
    })
}

/// What must be unchanged for a remembered digest to count.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    inode: u64,
    bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    stamp: Stamp,
    sha256: String,
}

fn remembered(path: &Path, cache_dir: &Path) -> Result<FileDigest, LoadError> {
    // Hugging Face's snapshots are links into a store of blobs.
    let real = fs::canonicalize(path).map_err(LoadError::io(path))?;
    let metadata = fs::metadata(&real).map_err(LoadError::io(path))?;
    let ns = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let stamp = Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        path: real,
    };
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let bytes = stamp.bytes;
    let key = hex::encode(Sha256::digest(stamp.path.as_os_str().as_encoded_bytes()));
    let note = cache_dir.join("digests").join(format!("{key}.json"));
    if let Some(known) = fs::read(&note)
        .ok()
        .and_then(|text| serde_json::from_slice::<Remembered>(&text).ok())
        .filter(|known| known.stamp == stamp)
    {
        return Ok(FileDigest {
            name,
            bytes,
            sha256: known.sha256,
        });
    }
    let sha256 = sha256(path)?;
    remember(
        &note,
        &Remembered {
            stamp,
            sha256: sha256.clone(),
        },
    );
    Ok(FileDigest {
        name,
        bytes,
        sha256,
    })
}

/// Best effort: a digest that cannot be remembered is computed again next time.
fn remember(note: &Path, known: &Remembered) {
    let Some(folder) = note.parent() else { return };
    let temporary = note.with_extension(format!("{}.tmp", std::process::id()));
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&temporary, serde_json::to_vec(known)?))
        .and_then(|()| fs::rename(&temporary, note));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

/// SHA-256 of a file's content, in hex.
pub fn sha256(path: &Path) -> Result<String, LoadError> {
    let mut file = File::open(path).map_err(LoadError::io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(LoadError::io(path))? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}
