//! Feeds a decoder with what nobody honest sends. A decoder passes when it returns, whatever it returns.
//!
//! ```text
//!   seeds, corpus/NAME/* ──┬─ as they are ───────────────────────────────────────▶ decode
//!                          ├─ cut, joined, changed, by a fixed seed ─────────────▶ decode   every test run
//!                          └─ led by libFuzzer to code that no input reached yet ▶ decode   cargo xtask fuzz
//! ```
//!
//! An input that a decoder could not bear is written into its corpus, and stays there when it is mended.

#[cfg(fuzzing)]
mod libfuzzer;
#[cfg(not(fuzzing))]
mod mutate;

use std::fs;
use std::path::{Path, PathBuf};

/// What is kept of a decoder's inputs: each was new to it, or more than it could bear, once.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
}

/// The seeds and the corpus, in one order everywhere.
fn inputs(name: &str, seeds: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    let mut paths: Vec<PathBuf> = match fs::read_dir(folder(name)) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        // Nothing was found for it yet.
        Err(_) => Vec::new(),
    };
    paths.sort();
    inputs.extend(paths.iter().map(|path| fs::read(path).unwrap()));
    inputs
}

/// Feeds a decoder, by name, from these seeds.
pub fn feed(name: &str, seeds: &[&[u8]], decode: fn(&[u8])) {
    let inputs = inputs(name, seeds);
    assert!(
        !inputs.is_empty(),
        "a decoder has a seed, such as a sound input"
    );
    #[cfg(fuzzing)]
    libfuzzer::run(name, &inputs, decode);
    #[cfg(not(fuzzing))]
    mutate::run(name, &inputs, decode);
}
