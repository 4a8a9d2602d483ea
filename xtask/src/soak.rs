//! `soak`: hundreds of launches on a real coordinator, Postgres and agent. Nothing may leak, and as one
//! plan is run again and again on one machine, no run may differ from the next (gate G10, the A/A test of
//! the whole system).

mod fleet;
mod growth;
mod verdicts;

use std::fs;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::{coordinator, repo};
use fleet::Fleet;
use growth::Watch;

/// Of one plan, with [`LAUNCHES`] each.
const CASES: u32 = 10;
/// Enough for an interval with four degrees of freedom and more.
const LAUNCHES: u32 = 5;

#[derive(clap::Args)]
#[command(
    about = "Hundreds of launches: leaks, and verdicts where nothing differs (Linux, release)"
)]
pub struct Args {
    /// Launches in all; each run has 50, and runs are compared two by two
    #[arg(long, default_value_t = 200)]
    launches: u32,
    /// From it come tokens and the order of launches
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// Ten cases of suites that differ in what they load and keep.
fn plan(seed: u64) -> String {
    format!(
        r#"name = "soak"
[protocol]
launches = {LAUNCHES}
iterations = 3
min_region = "100ms"
warmup_max_iterations = 4
gate_timeout = "0s"
seed = {seed}
[[model]]
source = "synthetic:nano-llama"
dtypes = ["f32"]
[[model]]
source = "synthetic:nano-qwen3"
dtypes = ["f32"]
[suite.prefill]
prompt_tokens = [64, 256]
[suite.decode]
new_tokens = [32]
depths = [0, 128]
[suite.load]
regimes = ["warm"]
"#
    )
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "reads /proc: Linux only");
    // In pairs.
    let runs = args.launches.div_ceil(2 * CASES * LAUNCHES) * 2;
    let build = ["build", "--release", "--workspace", "--bins", "--locked"];
    repo::output_of("cargo", &build)?;
    let dir = coordinator::folder()?;
    let fleet = Fleet::start(dir.path())?;
    let plan_file = dir.path().join("soak.toml");
    fs::write(&plan_file, plan(args.seed))?;

    let began = Instant::now();
    let mut watch = Watch::default();
    let mut ids = Vec::new();
    for number in 1..=runs {
        let before = watch.launches();
        ids.push(fleet.run(&plan_file, |processes, done| {
            watch.look(processes, before + done)
        })?);
        eprintln!(
            "run {number} of {runs} done after {:.0} s",
            began.elapsed().as_secs_f64()
        );
    }
    println!(
        "{} launches in {:.0} s: {runs} runs of {CASES} cases with {LAUNCHES} launches each",
        watch.launches(),
        began.elapsed().as_secs_f64()
    );
    let counted = fleet.launches()?;
    let grown = watch.tell()?;
    let alike = verdicts::tell(&fleet, &ids)?;
    let left = fleet.stop()?;
    println!(
        "left behind: {}",
        if left.is_empty() { "nothing" } else { "" }
    );
    for what in &left {
        println!("  {what}");
    }
    ensure!(
        counted == watch.launches(),
        "{counted} launches were counted"
    );
    ensure!(grown.is_empty(), "grows: {}", grown.join(", "));
    ensure!(alike, "runs of one plan differ too often");
    ensure!(left.is_empty(), "something is left behind");
    Ok(())
}
