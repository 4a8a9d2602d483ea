//! Finds mlx-c inside the published `mlx-sys` crate. Shared by the build script, the generator of
//! the bindings and the test that proves them fresh.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The folder that holds `mlx/c/*.{h,cpp}`, for the manifest folder that pins the crate.
///
/// Asks cargo without the network first, so that a prefetched machine builds offline.
pub fn locate(manifest_dir: &Path) -> Result<PathBuf, String> {
    let manifest = manifest_dir.join("Cargo.toml");
    let offline = metadata(&manifest, true).and_then(|json| find(&json));
    match offline {
        Ok(found) => Ok(found),
        Err(_) => metadata(&manifest, false).and_then(|json| find(&json)),
    }
}

fn metadata(manifest: &Path, offline: bool) -> Result<String, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--manifest-path",
        ])
        .arg(manifest)
        // The outer build's wrappers and flags are not this question's business.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    if offline {
        command.arg("--offline");
    }
    let out = command
        .output()
        .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    if !out.status.success() {
        return Err(format!(
            "cannot fetch mlx-c's sources (crate mlx-sys 0.7.0); run deploy/setup with a network once: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        ));
    }
    String::from_utf8(out.stdout).map_err(|_| "cargo metadata is not UTF-8".to_owned())
}

/// A scan instead of a JSON parser: the wanted path is the only one that ends so.
fn find(metadata: &str) -> Result<PathBuf, String> {
    metadata
        .split('"')
        .filter(|text| text.ends_with("Cargo.toml"))
        .filter_map(|text| {
            let root = Path::new(text).parent()?;
            let named = root.file_name()?.to_str()?.starts_with("mlx-sys-");
            let mlx_c = root.join("src").join("mlx-c");
            (named && mlx_c.join("mlx/c/mlx.h").is_file()).then_some(mlx_c)
        })
        .next()
        .ok_or_else(|| "the fetched mlx-sys crate holds no src/mlx-c".to_owned())
}

/// mlx-c's files with this extension, sorted.
pub fn files(mlx_c: &Path, extension: &str) -> Vec<PathBuf> {
    let folder = mlx_c.join("mlx/c");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// FNV-1a over names and contents: tells whether the bindings were made from these headers.
#[allow(dead_code, reason = "the build script does not need it")]
pub fn digest(files: &[PathBuf]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let text = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for byte in name.bytes().chain([0]).chain(text) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
