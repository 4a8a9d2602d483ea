//! The worker's binary: `run` measures one launch for the agent, `check` prints what the engine
//! computes for a prompt, `environment` which MLX it runs on.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use suites::{check, environment, worker};

#[derive(Parser)]
#[command(
    name = "mlx-fleet-suite",
    version,
    about = "Runs MLX models for mlx-fleet"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure one launch: a request frame on standard input, frames on standard output
    #[command(after_help = worker::EXIT_CODES)]
    Run,
    /// Show what the engine computes for one prompt
    Check(check::CheckArgs),
    /// Show which MLX this is, on what device and with which kernels, as one JSON object
    Environment,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run => return worker::run().into(),
        Command::Check(args) => run_check(&args),
        Command::Environment => show_environment(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each message holds its cause already.
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_check(args: &check::CheckArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let checked = check::check(args, &move || start.elapsed().as_nanos() as u64)?;
    if args.wants_json() {
        println!("{}", serde_json::to_string(&checked)?);
    } else {
        println!("{}", checked.summary());
    }
    Ok(())
}

fn show_environment() -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&environment::started()?)?);
    Ok(())
}
