//! A folder of models in the layout of Hugging Face's cache ([`domain::hub`]): a machine's own, which its
//! other tools share, and the one that a coordinator gives out.
//!
//! A file is called by the hash of its content and gets that name only when it has proved right:
//!
//! ```text
//!   blobs/DIGEST.part ──bytes, as they come──▶ size and hash ──rename──▶ blobs/DIGEST ──all──▶ snapshots/COMMIT
//!          ▲                                        │
//!          └── cut: goes on from here ──────────────┴─ wrong: removed
//! ```
//!
//! Everything here is synchronous; an async caller uses `spawn_blocking`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use domain::hub::{self, Commit, Digest, Folders, HubFile, HubModel, Snapshot};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::disk;

const PART: &str = "part";
const READ_BYTES: usize = 1024 * 1024;
/// A disk must not be filled to the brim.
const SPARE_BYTES: u64 = 1_000_000_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path}", path = path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{model} needs {needs:.1} GB more, and there are {free:.1} GB free for {folder}: make room there",
        needs = *needs_bytes as f64 / 1e9,
        free = *free_bytes as f64 / 1e9,
        folder = folder.display()
    )]
    NoRoom {
        model: HubModel,
        needs_bytes: u64,
        free_bytes: u64,
        folder: PathBuf,
    },
    #[error("another process downloads {path}: wait until it is done", path = path.display())]
    Busy { path: PathBuf },
    /// The rest can be asked for.
    #[error("{name} ended after {bytes} of {wanted} bytes")]
    Short {
        name: String,
        bytes: u64,
        wanted: u64,
    },
    #[error("{name} is damaged: its {what} is not {wanted} but {found}")]
    Damaged {
        name: String,
        what: &'static str,
        wanted: String,
        found: String,
    },
}

impl Error {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// Where this user's tools keep things.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the daemons that reads where Hugging Face's tools keep things"
)]
pub fn folders() -> Folders {
    let bases = directories::BaseDirs::new();
    let home = bases.map_or_else(std::env::temp_dir, |bases| bases.home_dir().to_owned());
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    Folders::of(|name| variable(name).map(PathBuf::from), &home)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Names a folder without touching it.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn entry(&self, model: &HubModel) -> PathBuf {
        self.root.join(model.folder())
    }

    pub fn blob(&self, model: &HubModel, digest: &Digest) -> PathBuf {
        self.entry(model).join("blobs").join(digest.as_str())
    }

    /// A file of a model, never through a link.
    pub fn open(&self, model: &HubModel, digest: &Digest) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW);
        options.open(self.blob(model, digest))
    }

    /// The folder with a model's files; it may be missing, or lack some of them.
    pub fn snapshot_folder(&self, model: &HubModel) -> PathBuf {
        let entry = self.entry(model);
        let commit = fs::read_to_string(entry.join("refs").join(model.revision()));
        let commit = commit.as_deref().map_or(model.revision(), str::trim);
        entry.join("snapshots").join(commit)
    }

    /// Whether a model is here, whoever put it here.
    pub fn holds(&self, model: &HubModel) -> bool {
        let folder = self.snapshot_folder(model);
        let names = file_names(&folder);
        hub::is_model(names.iter().map(String::as_str)) && has_all_shards(&folder)
    }

    /// What can be given out of a model; None where something of it is missing, or is not called by its
    /// hash.
    pub fn find(&self, model: &HubModel) -> Option<Snapshot> {
        let folder = self.snapshot_folder(model);
        let commit: Commit = folder.file_name()?.to_str()?.parse().ok()?;
        let names = file_names(&folder);
        let files = names
            .iter()
            .filter_map(|name| self.given_out(model, &folder, name));
        let snapshot = Snapshot::new(commit, files.collect()).ok()?;
        has_all_shards(&folder).then_some(snapshot)
    }

    fn given_out(&self, model: &HubModel, folder: &Path, name: &str) -> Option<HubFile> {
        let link = fs::read_link(folder.join(name)).ok()?;
        // Only the digest counts: a link that led elsewhere leads to this model's blobs all the same.
        let digest: Digest = link.file_name()?.to_str()?.parse().ok()?;
        let metadata = fs::symlink_metadata(self.blob(model, &digest)).ok()?;
        Some(HubFile {
            name: name.parse().ok().filter(|_| metadata.is_file())?,
            bytes: metadata.len(),
            digest,
        })
    }

    /// The models that can be given out, by repository and revision.
    pub fn models(&self) -> Vec<(HubModel, Snapshot)> {
        let mut models = Vec::new();
        for folder in folder_names(&self.root) {
            let parts = folder
                .strip_prefix("models--")
                .map(|rest| rest.split_once("--"));
            let Some(Some((org, name))) = parts else {
                continue;
            };
            for revision in file_names(&self.root.join(&folder).join("refs")) {
                let model: Result<HubModel, _> =
                    format!("{}{org}/{name}@{revision}", hub::PREFIX).parse();
                if let Ok(model) = model
                    && let Some(snapshot) = self.find(&model)
                {
                    models.push((model, snapshot));
                }
            }
        }
        models.sort_by_key(|(model, _)| model.to_string());
        models
    }

    /// Whether what is still to come of a model finds room.
    pub fn check_room(&self, model: &HubModel, snapshot: &Snapshot) -> Result<(), Error> {
        let still = snapshot.files().iter().map(|file| {
            let blob = self.blob(model, &file.digest);
            let there = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
            let held = there(&blob).max(there(&blob.with_extension(PART)));
            file.bytes.saturating_sub(held)
        });
        let needs_bytes: u64 = still.sum();
        let Some(free_bytes) = disk::free_bytes(&self.root) else {
            return Ok(());
        };
        if needs_bytes == 0 || needs_bytes + SPARE_BYTES <= free_bytes {
            return Ok(());
        }
        Err(Error::NoRoom {
            model: model.clone(),
            needs_bytes: needs_bytes + SPARE_BYTES,
            free_bytes,
            folder: self.root.clone(),
        })
    }

    /// A file to be filled from where it was cut; None where it is here.
    pub fn part(&self, model: &HubModel, file: &HubFile) -> Result<Option<Part>, Error> {
        let blob = self.blob(model, &file.digest);
        if blob.is_file() {
            return Ok(None);
        }
        let blobs = self.entry(model).join("blobs");
        fs::create_dir_all(&blobs).map_err(Error::file("make the folder", &blobs))?;
        Part::open(blob, file.clone()).map(Some)
    }

    /// Puts a model whose files are all here where everybody finds it.
    pub fn keep(&self, model: &HubModel, snapshot: &Snapshot) -> Result<(), Error> {
        let entry = self.entry(model);
        let commit = snapshot.commit().as_str();
        let folder = entry.join("snapshots").join(commit);
        fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
        for file in snapshot.files() {
            let link = folder.join(file.name.as_str());
            let blob = Path::new("../../blobs").join(file.digest.as_str());
            match symlink(&blob, &link) {
                // Of the same commit, so of the same content, unless what it led to is gone.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && link.is_file() => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    fs::remove_file(&link)
                        .and_then(|()| symlink(&blob, &link))
                        .map_err(Error::file("link", &link))?;
                }
                made => made.map_err(Error::file("link", &link))?,
            }
        }
        // A commit is its own name.
        if model.revision() == commit {
            return Ok(());
        }
        let refs = entry.join("refs");
        let name = refs.join(model.revision());
        let unfinished = refs.join(format!(".{}.new", model.revision()));
        fs::create_dir_all(&refs)
            .and_then(|()| fs::write(&unfinished, commit))
            .and_then(|()| fs::rename(&unfinished, &name))
            .map_err(Error::file("write", &name))
    }

    /// Takes all revisions of a repository away; false where there is none.
    pub fn remove(&self, model: &HubModel) -> Result<bool, Error> {
        let entry = self.entry(model);
        match fs::remove_dir_all(&entry) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            done => done.map(|()| true).map_err(Error::file("remove", &entry)),
        }
    }
}

/// Whether every shard is there that an index names; a folder without one has what it has.
fn has_all_shards(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::HashMap<String, String>,
    }
    let Ok(text) = fs::read(folder.join(hub::INDEX)) else {
        return true;
    };
    let index: Result<Index, _> = serde_json::from_slice(&text);
    index.is_ok_and(|index| {
        let mut shards = index.weight_map.values();
        shards.all(|shard| folder.join(shard).is_file())
    })
}

fn file_names(folder: &Path) -> Vec<String> {
    names(folder, Path::is_file)
}

fn folder_names(folder: &Path) -> Vec<String> {
    names(folder, Path::is_dir)
}

/// In order; none where there is no such folder.
fn names(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| wanted(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// A file that is not whole yet. Nobody else writes it meanwhile.
#[derive(Debug)]
pub struct Part {
    blob: PathBuf,
    path: PathBuf,
    wanted: HubFile,
    file: File,
    hash: Hash,
    bytes: u64,
}

impl Part {
    fn open(blob: PathBuf, wanted: HubFile) -> Result<Self, Error> {
        let path = blob.with_extension(PART);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = options.open(&path).map_err(Error::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { path }),
            Err(TryLockError::Error(source)) => return Err(Error::file("lock", &path)(source)),
        }
        let hash = Hash::of(&wanted);
        let mut part = Self {
            blob,
            path,
            wanted,
            file,
            hash,
            bytes: 0,
        };
        part.take_up().map_err(Error::file("read", &part.path))?;
        if part.bytes > part.wanted.bytes {
            part.restart()?;
        }
        Ok(part)
    }

    /// Hashes what is there.
    fn take_up(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(()),
                read => {
                    self.hash.update(&buffer[..read]);
                    self.bytes += read as u64;
                }
            }
        }
    }

    /// From where to go on.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        let bytes = self.bytes + data.len() as u64;
        if bytes > self.wanted.bytes {
            return Err(self.damaged(
                "size",
                self.wanted.bytes.to_string(),
                format!("{bytes} or more"),
            ));
        }
        let written = self.file.write_all(data);
        written.map_err(Error::file("write", &self.path))?;
        self.hash.update(data);
        self.bytes = bytes;
        Ok(())
    }

    /// Forgets what is there, for who sends it from its beginning again.
    pub fn restart(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0);
        emptied.map_err(Error::file("empty", &self.path))?;
        self.hash = Hash::of(&self.wanted);
        self.bytes = 0;
        Ok(())
    }

    /// Gives the file its name, if it is what it should be. One that is not is begun anew next time.
    pub fn finish(self) -> Result<(), Error> {
        let HubFile {
            name,
            bytes,
            digest,
        } = &self.wanted;
        if self.bytes < *bytes {
            return Err(Error::Short {
                name: name.to_string(),
                bytes: self.bytes,
                wanted: *bytes,
            });
        }
        let found = self.hash.clone().digits();
        if found != digest.as_str() {
            return Err(self.damaged("hash", digest.to_string(), found));
        }
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &self.blob))
            .map_err(Error::file("write", &self.blob))
    }

    fn damaged(&self, what: &'static str, wanted: String, found: String) -> Error {
        // What cannot be removed is found damaged again.
        fs::remove_file(&self.path).ok();
        Error::Damaged {
            name: self.wanted.name.to_string(),
            what,
            wanted,
            found,
        }
    }
}

#[derive(Clone, Debug)]
enum Hash {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hash {
    fn of(file: &HubFile) -> Self {
        match file.digest {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::Git(_) => Self::Git(Sha1::new_with_prefix(format!("blob {}\0", file.bytes))),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(data),
            Self::Git(hash) => hash.update(data),
        }
    }

    fn digits(self) -> String {
        match self {
            Self::Sha256(hash) => hex::encode(hash.finalize()),
            Self::Git(hash) => hex::encode(hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests;
