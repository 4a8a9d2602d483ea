//! The software that a launch runs on, read from the process itself and not from what was installed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use domain::worker::Started;
use mlx_rs::error::Result;
use sha2::{Digest, Sha256};

use crate::device;
use crate::load::identity::sha256;
use crate::system;

/// What the M5's matrix kernels have in their names.
const NAX: &[u8] = b"nax";
const READ_BYTES: usize = 4 << 20;

/// Everything that a worker tells about itself before it reads a weight.
pub fn started() -> Result<Started> {
    let device = device::device_info()?;
    let libraries = system::loaded_libraries();
    let library = mlx_library(&libraries);
    let mlx_sha256 = library
        .as_deref()
        .and_then(|path| known(path, sha256(path)));
    // The Metal kernels lie beside the library that loads them.
    let metallib = library.map(|path| path.with_file_name("mlx.metallib"));
    let metallib = metallib.filter(|path| path.is_file());
    let metallib = metallib
        .as_deref()
        .and_then(|path| known(path, Metallib::read(path)));
    Ok(Started {
        pid: std::process::id(),
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
        suite_commit: env!("MLX_FLEET_COMMIT").to_owned(),
        mlx_version: device::mlx_version()?,
        mlx_sha256: mlx_sha256.unwrap_or_default(),
        mlx_device: device.name,
        mlx_architecture: device.architecture,
        blas: blas(&libraries),
        debug_build: cfg!(debug_assertions),
        nax_built: metallib.as_ref().map(|metallib| metallib.has_nax),
        metallib_bytes: metallib.as_ref().map(|metallib| metallib.bytes),
        metallib_sha256: metallib.map(|metallib| metallib.sha256).unwrap_or_default(),
        mlx_env: mlx_variables(std::env::vars_os()),
        recommended_working_set_bytes: device.recommended_working_set_bytes.unwrap_or(0),
    })
}

/// The library that does the processor's matrix products: the preloaded one comes before the one
/// that MLX brings along.
fn blas(libraries: &[PathBuf]) -> String {
    let name_of = |needle: &str| {
        libraries.iter().find_map(|path| {
            let name = path.file_name()?.to_string_lossy();
            name.contains(needle).then(|| {
                // The file behind the link carries the version: libopenblasp-r0.3.21.so.
                let real = path.canonicalize().ok();
                let real = real.as_deref().and_then(Path::file_name);
                real.map_or_else(
                    || name.clone().into_owned(),
                    |name| name.to_string_lossy().into_owned(),
                )
            })
        })
    };
    [
        "Accelerate",
        "openblas",
        "libmkl_rt",
        "libblis",
        "nvpl_blas",
        "libblas",
    ]
    .into_iter()
    .find_map(name_of)
    .unwrap_or_else(|| "none".to_owned())
}

/// MLX's own library among those that are loaded.
fn mlx_library(libraries: &[PathBuf]) -> Option<PathBuf> {
    let is_mlx = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libmlx.")
    };
    libraries.iter().find(is_mlx).cloned()
}

/// What could be read of a file; that it could not be is told.
fn known<T>(path: &Path, read: std::result::Result<T, impl Display>) -> Option<T> {
    read.inspect_err(|error| eprintln!("{}: {error}; which it is stays unknown", path.display()))
        .ok()
}

/// The file's identity, and whether it holds the matrix kernels: a version says neither.
#[derive(Debug, PartialEq, Eq)]
struct Metallib {
    sha256: String,
    bytes: u64,
    has_nax: bool,
}

impl Metallib {
    fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        let mut has_nax = false;
        let mut buffer = vec![0; READ_BYTES];
        // The end of one piece is kept before the next: a name may lie across.
        let mut kept = 0;
        loop {
            let read = file.read(&mut buffer[kept..])?;
            if read == 0 {
                break;
            }
            let filled = kept + read;
            hash.update(&buffer[kept..filled]);
            bytes += read as u64;
            has_nax = has_nax
                || buffer[..filled]
                    .windows(NAX.len())
                    .any(|window| window == NAX);
            kept = filled.min(NAX.len() - 1);
            buffer.copy_within(filled - kept..filled, 0);
        }
        Ok(Self {
            sha256: hex::encode(hash.finalize()),
            bytes,
            has_nax,
        })
    }
}

/// Every `MLX_*` variable changes what is measured, but those of this project do not.
fn mlx_variables(
    all: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> BTreeMap<String, String> {
    all.filter_map(|(key, value)| {
        let key = key.into_string().ok()?;
        let counts = key.starts_with("MLX_") && !key.starts_with("MLX_FLEET_");
        counts.then(|| (key, value.to_string_lossy().into_owned()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_name_is_found_across_the_pieces_that_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mlx.metallib");
        let mut bytes = vec![b'.'; READ_BYTES * 2];
        std::fs::write(&path, &bytes).unwrap();
        assert!(!Metallib::read(&path).unwrap().has_nax);
        bytes[READ_BYTES - 1..READ_BYTES + 2].copy_from_slice(NAX);
        std::fs::write(&path, &bytes).unwrap();
        let found = Metallib::read(&path).unwrap();
        assert!(found.has_nax);
        assert_eq!(found.sha256, hex::encode(Sha256::digest(&bytes)));
        assert_eq!(found.bytes, bytes.len() as u64);
        let libraries = ["/l/libmlxc.so", "/l/libmlx.dylib"].map(PathBuf::from);
        assert_eq!(mlx_library(&libraries), Some(libraries[1].clone()));
        assert_eq!(mlx_library(&libraries[..1]), None);
    }

    #[test]
    fn a_preloaded_blas_wins_over_the_one_that_mlx_brings() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            blas(&paths(&["/l/libblas-1a2b.so.3", "/l/libopenblas.so.0"])),
            "libopenblas.so.0"
        );
        assert_eq!(blas(&paths(&["/l/libblas-1a2b.so.3"])), "libblas-1a2b.so.3");
        assert_eq!(
            blas(&paths(&["/l/Accelerate.framework/Versions/A/Accelerate"])),
            "Accelerate"
        );
        assert_eq!(blas(&[]), "none");
    }

    #[test]
    fn variables_of_mlx_are_told_and_ours_are_not() {
        let all = [
            ("MLX_ENABLE_TF32", "0"),
            ("MLX_FLEET_CACHE", "/c"),
            ("HOME", "/h"),
        ];
        let kept = mlx_variables(all.iter().map(|(key, value)| (key.into(), value.into())));
        assert_eq!(
            kept,
            BTreeMap::from([("MLX_ENABLE_TF32".to_owned(), "0".to_owned())])
        );
    }

    #[test]
    fn this_process_tells_its_mlx() {
        let started = started().unwrap();
        assert!(
            started.mlx_version.starts_with("0.32."),
            "{}",
            started.mlx_version
        );
        assert_eq!(started.mlx_sha256.len(), 64);
        assert_ne!(started.blas, "");
        assert_ne!(started.suite_commit, "");
        assert_eq!(started.pid, std::process::id());
    }
}
