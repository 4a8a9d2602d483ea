//! `cargo xtask fuzz`: decoders under libFuzzer, for as long as one likes. `deploy/test` runs the same targets
//! for a second each, without it.
//!
//! A stable compiler is enough: what libFuzzer needs to know is added by LLVM, and only the address
//! sanitizer, for code that is unsafe, would want another one.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::repo;

/// (name, package, test binary, path of the test): `fuzz::feed` is called by that name there. A binary of
/// no name is the package's library, as it must be where the package has programs: those are built beside
/// every other test, with the flags, and do not link without libFuzzer.
const TARGETS: &[(&str, &str, &str, &str)] = &[
    ("plan", "domain", "fuzz", "plan"),
    ("import_csv", "domain", "fuzz", "import_csv"),
    ("import_llama_bench", "domain", "fuzz", "import_llama_bench"),
    ("import_exo_bench", "domain", "fuzz", "import_exo_bench"),
    ("import_mlx_lm", "domain", "fuzz", "import_mlx_lm"),
    ("batch", "proto", "fuzz", "batch"),
    ("agent_messages", "proto", "fuzz", "agent_messages"),
    ("grant", "proto", "fuzz", "grant"),
    ("model_files", "proto", "fuzz", "model_files"),
    ("worker_frames", "proto", "fuzz", "worker_frames"),
    ("worker_request", "proto", "fuzz", "worker_request"),
    ("spool", "agent", "", "spool::tests::fuzzed"),
    ("safetensors", "suites", "", "fuzzed::safetensors"),
    ("config", "suites", "", "fuzzed::config"),
    ("tokenizer", "suites", "", "fuzzed::tokenizer"),
];

/// What cargo-fuzz gives the compiler, without a sanitizer.
const INSTRUMENTED: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

#[derive(clap::Args)]
#[command(about = "Feed decoders with what nobody honest sends, led by the code that it reaches")]
pub struct Args {
    /// The decoder; all of them, one after another, when it is left out
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.iter().map(|target| target.0)))]
    target: Option<String>,
    /// Minutes for each
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(args.minutes > 0.0, "--minutes must be above 0");
    let time = Duration::from_secs_f64(args.minutes * 60.0);
    let wanted = |name: &str| args.target.as_deref().is_none_or(|target| target == name);
    let mut broken = Vec::new();
    for (name, package, binary, test) in TARGETS.iter().filter(|target| wanted(target.0)) {
        println!("=== {name}");
        if !fuzz(package, binary, test, time)? {
            broken.push(*name);
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!(
        "found by {}: the inputs are in crates/fuzz/corpus, and stay there when they are mended",
        broken.join(", ")
    )
}

/// Whether the decoder bore everything.
fn fuzz(package: &str, binary: &str, test: &str, time: Duration) -> Result<bool> {
    let target_dir = repo::root().join("target/fuzz");
    let status = Command::new("cargo")
        .args(["test", "--quiet", "--locked", "--package", package])
        .args(match binary {
            "" => vec!["--lib"],
            binary => vec!["--test", binary],
        })
        .arg("--target")
        // Named, so that build scripts and macros are built without the flags.
        .arg(host()?)
        .arg("--target-dir")
        .arg(&target_dir)
        .args(["--", "--exact", test, "--nocapture"])
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED.join("\u{1f}"))
        .env("MLX_FLEET_FUZZ_SECONDS", time.as_secs().max(1).to_string())
        .env("MLX_FLEET_FUZZ_FOLDER", target_dir.join("corpus"))
        .status()
        .context("cannot start cargo")?;
    Ok(status.success())
}

fn host() -> Result<String> {
    let told = Command::new("rustc").arg("-vV").output();
    let told = told.context("cannot start rustc")?;
    let told = String::from_utf8_lossy(&told.stdout);
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decoder_that_is_fed_in_a_test_can_be_fed_for_longer() {
        let mut fed: Vec<String> = Vec::new();
        for folder in ["agent", "coordinator", "crates", "proto", "report-gen"] {
            let folder = repo::root().join(folder);
            for file in repo::files_with_extension(&folder, "rs").unwrap() {
                let text = std::fs::read_to_string(file).unwrap();
                let calls = text.split("fuzz::feed(").skip(1);
                fed.extend(calls.filter_map(|call| Some(call.split('"').nth(1)?.to_owned())));
            }
        }
        fed.sort();
        let mut known: Vec<_> = TARGETS.iter().map(|target| target.0.to_owned()).collect();
        known.sort();
        assert_eq!(fed, known);
    }
}
