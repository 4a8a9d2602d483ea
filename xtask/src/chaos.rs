//! `chaos`: a real coordinator, Postgres, agents and workers, hit by everything that can go wrong, at moments
//! drawn from a seed. After each round Postgres is read: what was promised must hold.
//!
//! ```text
//!   round:  submit a plan ─▶ faults, while it runs ─▶ all up, all links fair ─▶ the run ends by itself
//!               ▲                                                                     │
//!               └─────────────── checked against rules and workers' own logs ◀── spools drained
//! ```

mod check;
mod daemon;
mod fleet;
mod proxy;
mod round;
mod schedule;
pub mod witness;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::runtime::Builder;

use crate::{coordinator, repo};
use check::Findings;
use fleet::Fleet;
use round::{Outcome, Scene};

/// Two to be hit, and one whose jobs mostly go on.
const AGENTS: usize = 3;
/// Proxies move bytes; the rest of the machine is for those who are hit.
const PROXY_THREADS: usize = 1;

#[derive(clap::Args)]
#[command(about = "Faults at random moments, and whether the promises hold (Linux)")]
pub struct Args {
    /// Rounds begin until so many minutes are over
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// From it come all faults and their times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first round's number, to have one again
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    round: u64,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "reads /proc: Linux only");
    let build = ["build", "--quiet", "--workspace", "--bins", "--locked"];
    repo::output_of("cargo", &build)?;
    let binaries = repo::target_folder()?.join("debug");
    let runtime = Builder::new_multi_thread()
        .worker_threads(PROXY_THREADS)
        .enable_all()
        .build()?;
    let dir = coordinator::folder()?;
    let mut fleet = Fleet::start(dir.path(), &binaries, &runtime, AGENTS)?;
    let began = Instant::now();
    let most = Duration::from_secs_f64(args.minutes * 60.0);

    let mut total = Outcome::default();
    let mut number = args.round;
    while total.findings.broken.is_empty() && (number == args.round || began.elapsed() < most) {
        let mut scene = Scene::new(&mut fleet, &runtime, dir.path(), args.seed, number);
        let outcome = scene.play()?;
        eprintln!(
            "round {number}: {} faults, {}, {:.0} s",
            outcome.faults.values().sum::<u64>(),
            told(&outcome.jobs),
            began.elapsed().as_secs_f64()
        );
        total.add(outcome);
        number += 1;
    }
    let stopped = fleet.stop()?;
    total.findings.broken.extend(stopped);
    total.findings.broken.extend(fleet.left()?);
    total.findings.broken.extend(fleet.panics()?);
    if !total.jobs.contains_key("succeeded") {
        let nothing = "no job succeeded, so nothing was shown";
        total.findings.broken.push(nothing.to_owned());
    }
    tell(&total, args, number - args.round, began.elapsed());
    if total.findings.broken.is_empty() {
        return Ok(());
    }
    drop(fleet);
    let kept = dir.keep();
    bail!(
        "promises are broken in round {} of seed {} (`--seed {} --round {0}` has it again); all logs and \
         the database are in {}",
        number - 1,
        args.seed,
        args.seed,
        kept.display()
    )
}

fn tell(total: &Outcome, args: &Args, rounds: u64, took: Duration) {
    let Findings { checked, broken } = &total.findings;
    println!(
        "seed {}: {rounds} rounds in {:.0} min, {AGENTS} agents; jobs: {}",
        args.seed,
        took.as_secs_f64() / 60.0,
        told(&total.jobs)
    );
    println!("faults:");
    for (name, count) in &total.faults {
        println!("{count:8}  {name}");
    }
    println!("checked:");
    for (what, count) in checked {
        println!("{count:8}  {what}");
    }
    println!("broken: {}", if broken.is_empty() { "nothing" } else { "" });
    for what in broken {
        println!("  {what}");
    }
}

fn told(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().map(|(name, count)| format!("{count} {name}"));
    each.collect::<Vec<_>>().join(", ")
}
