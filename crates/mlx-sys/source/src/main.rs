//! Writes `crates/mlx-sys/src/bindings.rs` from mlx-c's headers.
//!
//! Run it after changing the pinned version: `cargo run --manifest-path crates/mlx-sys/source/Cargo.toml`.
//! It needs libclang (`LIBCLANG_PATH`, or the PyPI wheel `libclang`); a build of mlx-fleet does not,
//! because the result is committed. What differs between targets is left out here and written by
//! hand in `src/lib.rs`: the half types, which the headers declare on aarch64 only, and `FILE`.

use std::path::{Path, PathBuf};

#[path = "../../build/source.rs"]
mod source;

const HEADER: &str = "\
// Generated from mlx-c's headers by `cargo run --manifest-path crates/mlx-sys/source/Cargo.toml`.
// Do not edit.";

fn main() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mlx_c = source::locate(manifest).unwrap_or_else(|why| panic!("{why}"));
    let headers = source::files(&mlx_c, "h");
    let digest = source::digest(&headers);

    let mut builder = bindgen::Builder::default()
        .rust_target("1.85.0".parse().expect("a Rust version"))
        .rust_edition(bindgen::RustEdition::Edition2024)
        .raw_line(HEADER)
        .raw_line(format!("// Headers: {digest:016x}"))
        .raw_line("use super::FILE;")
        // A target without half types, so that the generated part is the same everywhere.
        .clang_args(["--target=x86_64-unknown-linux-gnu", "-std=c17"])
        .clang_arg(format!("-I{}", mlx_c.display()))
        .allowlist_item("_?mlx_.*")
        .blocklist_type("_?IO_FILE|FILE|__.*")
        .generate_comments(false)
        .layout_tests(false);
    for header in &headers {
        builder = builder.header(header.display().to_string());
    }
    let out = PathBuf::from(manifest).join("../src/bindings.rs");
    builder
        .generate()
        .expect("bindgen reads mlx-c's headers")
        .write_to_file(&out)
        .expect("bindings.rs is written");
    println!("wrote {}", out.display());
}
