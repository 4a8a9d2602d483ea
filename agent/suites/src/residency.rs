//! Whether a model's files are in memory before it is loaded: made so, and then checked.
//!
//! A load is cold or warm only by what the kernel says about the files' pages; asking it to forget
//! or to read them is a wish, so the share that is in memory is always looked at afterwards.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::system;

/// Least share of pages in memory that counts as warm.
pub const WARM: f64 = 0.99;
/// Largest share that counts as cold.
pub const COLD: f64 = 0.01;

const READ_BYTES: usize = 4 << 20;

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
    fn a_missing_file_has_no_share() {
        assert_eq!(
            share(&mut Kernel, &[PathBuf::from("/nowhere/at/all")]),
            None
        );
        assert_eq!(share(&mut Kernel, &[]), None);
    }
}
