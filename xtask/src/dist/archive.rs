//! A release archive: what is in it, in a fixed order and without this machine's names and times, so that
//! the same files give the same archive.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

pub const SUMS: &str = "SHA256SUMS";

pub struct Entry {
    /// Inside the archive, below its one folder.
    pub path: String,
    pub source: Source,
    executable: bool,
}

pub enum Source {
    File(PathBuf),
    Text(String),
}

impl Entry {
    pub fn file(path: &str, from: PathBuf) -> Self {
        Self {
            path: path.to_owned(),
            source: Source::File(from),
            executable: false,
        }
    }

    pub fn program(path: &str, from: PathBuf) -> Self {
        Self {
            executable: true,
            ..Self::file(path, from)
        }
    }

    pub fn text(path: &str, text: String) -> Self {
        Self {
            path: path.to_owned(),
            source: Source::Text(text),
            executable: false,
        }
    }
}

/// Writes the archive at once or not at all.
pub fn pack(path: &Path, folder: &str, entries: &[Entry]) -> Result<()> {
    let unfinished = path.with_extension("new");
    let file = File::create(&unfinished)
        .with_context(|| format!("cannot write {}", unfinished.display()))?;
    // gzip itself: in an unoptimised build of ours it would take minutes.
    let mut gzip = Command::new("gzip")
        .args(["-n", "-6"])
        .stdin(Stdio::piped())
        .stdout(file)
        .spawn()
        .context("cannot start gzip")?;
    let pipe = gzip.stdin.take().context("gzip has no input")?;
    let written = tar(pipe, folder, entries);
    let status = gzip.wait().context("gzip")?;
    written?;
    ensure!(status.success(), "gzip failed");
    std::fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))
}

fn tar(into: impl Write, folder: &str, entries: &[Entry]) -> Result<()> {
    let mut tar = tar::Builder::new(into);
    for entry in entries {
        let bytes = match &entry.source {
            Source::Text(text) => text.clone().into_bytes(),
            Source::File(path) => {
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
        };
        // Owner, group and time stay 0.
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(if entry.executable { 0o755 } else { 0o644 });
        tar.append_data(&mut header, format!("{folder}/{}", entry.path), &bytes[..])
            .with_context(|| format!("cannot pack {}", entry.path))?;
    }
    tar.into_inner()?.flush().context("cannot pack")
}

/// `SHA256SUMS` of all archives that lie there, as `sha256sum -c` and `shasum -a 256 -c` read it.
pub fn write_sums(folder: &Path) -> Result<()> {
    let mut lines = Vec::new();
    for path in crate::repo::files_with_extension(folder, "gz")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        lines.push(format!("{}  {name}\n", digest(&path)?));
    }
    let path = folder.join(SUMS);
    std::fs::write(&path, lines.concat())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn digest(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_archive_and_tar_unpacks_it() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        std::fs::write(&program, "#!/bin/sh\necho runs\n").unwrap();
        let entries = || {
            [
                Entry::program("bin/program", program.clone()),
                Entry::text("notes/said.txt", "words\n".to_owned()),
            ]
        };
        let archive = |name: &str| dir.path().join(name);
        pack(&archive("one.tar.gz"), "x-1", &entries()).unwrap();
        pack(&archive("two.tar.gz"), "x-1", &entries()).unwrap();
        let read = |name: &str| std::fs::read(archive(name)).unwrap();
        assert_eq!(read("one.tar.gz"), read("two.tar.gz"));

        write_sums(dir.path()).unwrap();
        let run = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command.current_dir(dir.path()).args(args);
            command.output().unwrap()
        };
        assert!(run("tar", &["-xzf", "one.tar.gz"]).status.success());
        assert_eq!(run("x-1/bin/program", &[]).stdout, b"runs\n");
        assert_eq!(run("cat", &["x-1/notes/said.txt"]).stdout, b"words\n");
        let (tool, more): (_, &[&str]) = if cfg!(target_os = "macos") {
            ("shasum", &["-a", "256"])
        } else {
            ("sha256sum", &[])
        };
        let check = || run(tool, &[more, &["-c", SUMS]].concat()).status.success();
        assert!(check());
        std::fs::write(archive("two.tar.gz"), "changed").unwrap();
        assert!(!check());
    }
}
