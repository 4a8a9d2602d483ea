//! Whether a model's files are in memory before it is loaded: made so, and then checked.
//!
//! A load is cold or warm only by what the kernel says about the files' pages; asking it to forget
//! or to read them is a wish, so the share that is in memory is always looked at afterwards.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::system;

/// Least share of pages in memory that counts as warm.
pub const WARM: f64 = 0.99;
/// Largest share that counts as cold.
pub const COLD: f64 = 0.01;

const READ_BYTES: usize = 4 << 20;

/// How the disk is read for its own speed, which is how MLX reads weights.
const READERS: usize = 4;
const BLOCK_BYTES: u64 = 32 << 20;
/// More would take time and tell no more.
const MOST_BYTES: u64 = 8_000_000_000;

/// The kernel's memory of files, so that a test can stand in for it.
pub trait PageCache {
    /// Asks for a file's pages to be forgotten.
    fn evict(&mut self, path: &Path) -> io::Result<()>;
    /// Reads the file through, so that its pages are in memory.
    fn fill(&mut self, path: &Path) -> io::Result<()>;
    fn resident(&mut self, path: &Path) -> io::Result<system::Pages>;
}

/// The real one.
#[derive(Debug, Default)]
pub struct Kernel;

impl PageCache for Kernel {
    fn evict(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        // Only clean pages can be forgotten, and a file that was just written is not clean.
        file.sync_all()?;
        system::evict_pages(&file)
    }

    fn fill(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; READ_BYTES];
        while file.read(&mut buffer)? > 0 {}
        Ok(())
    }

    fn resident(&mut self, path: &Path) -> io::Result<system::Pages> {
        system::resident_pages(&File::open(path)?)
    }
}

/// Blocks of files, to be read as fast as the disk gives them.
pub struct RawRead {
    files: Vec<File>,
    /// A file's place, where in it, and how much.
    blocks: Vec<(usize, u64, usize)>,
}

impl RawRead {
    /// None where there is not a block for every reader: starting them would take longer.
    pub fn open(paths: &[PathBuf]) -> io::Result<Option<Self>> {
        let mut files = Vec::with_capacity(paths.len());
        let mut blocks = Vec::new();
        let mut left = MOST_BYTES;
        for (place, path) in paths.iter().enumerate() {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len().min(left);
            left -= bytes;
            blocks.extend((0..bytes).step_by(BLOCK_BYTES as usize).map(|offset| {
                let length = BLOCK_BYTES.min(bytes - offset);
                (place, offset, length as usize)
            }));
            files.push(file);
        }
        Ok((blocks.len() >= READERS).then_some(Self { files, blocks }))
    }

    pub fn bytes(&self) -> u64 {
        self.blocks
            .iter()
            .map(|(_, _, length)| *length as u64)
            .sum()
    }

    /// Room for every reader, touched before the clock runs.
    pub fn buffers() -> [Vec<u8>; READERS] {
        std::array::from_fn(|_| vec![1; BLOCK_BYTES as usize])
    }

    /// Each reader takes the next block that nobody has.
    pub fn run(&self, buffers: &mut [Vec<u8>; READERS]) -> io::Result<()> {
        let next = AtomicUsize::new(0);
        let read = |buffer: &mut [u8]| -> io::Result<()> {
            while let Some(&(place, offset, length)) =
                self.blocks.get(next.fetch_add(1, Ordering::Relaxed))
            {
                self.files[place].read_exact_at(&mut buffer[..length], offset)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let readers = buffers
                .each_mut()
                .map(|buffer| scope.spawn(|| read(buffer)));
            readers.into_iter().try_for_each(|reader| {
                reader
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }
}

/// Share of the files' pages in memory, or None where the system cannot say.
pub fn share(cache: &mut dyn PageCache, files: &[PathBuf]) -> Option<f64> {
    let mut sum = system::Pages::default();
    for file in files {
        let system::Pages { resident, total } = cache.resident(file).ok()?;
        sum.resident += resident;
        sum.total += total;
    }
    (sum.total > 0).then(|| sum.resident as f64 / sum.total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_forgets_and_remembers_files_on_demand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, vec![3; 3 << 20]).unwrap();
        let files = [path.clone()];
        Kernel.fill(&path).unwrap();
        assert!(share(&mut Kernel, &files).unwrap() > WARM);
        Kernel.evict(&path).unwrap();
        let cold = share(&mut Kernel, &files).unwrap();
        // Nothing to forget to: a temporary folder that lives in memory stays there.
        assert!(!(COLD..=WARM).contains(&cold), "{cold}");
        Kernel.fill(&path).unwrap();
        assert!(share(&mut Kernel, &files).unwrap() > WARM);
    }

    #[test]
    fn the_disk_is_read_to_the_last_byte_and_not_for_a_handful() {
        let folder = tempfile::tempdir().unwrap();
        let files = [("a", 97 << 20), ("b", 5 << 20), ("c", 40 << 20)].map(|(name, bytes)| {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            file.set_len(bytes).unwrap();
            path
        });
        let raw = RawRead::open(&files).unwrap().unwrap();
        assert_eq!(raw.bytes(), 142 << 20);
        raw.run(&mut RawRead::buffers()).unwrap();
        assert!(RawRead::open(&files[..2]).unwrap().is_some(), "five blocks");
        assert!(RawRead::open(&files[1..]).unwrap().is_none(), "three");
        // Files that became shorter meanwhile are an error and no rate.
        File::create(&files[2]).unwrap();
        assert!(raw.run(&mut RawRead::buffers()).is_err());
    }

    #[test]
    fn a_missing_file_has_no_share() {
        assert_eq!(
            share(&mut Kernel, &[PathBuf::from("/nowhere/at/all")]),
            None
        );
        assert_eq!(share(&mut Kernel, &[]), None);
    }
}
