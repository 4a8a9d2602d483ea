//! `mlx-fleet-agent`: joins a fleet and measures for it, until it is stopped.

mod cli;

use std::process::ExitCode;

use agent::{VERSION, enrol};
use clap::{Parser, Subcommand};
use service::crypto;

const EXIT_FAILED: u8 = 1;
const EXIT_REFUSED: u8 = 3;
const EXIT_UNREACHABLE: u8 = 4;
const EXIT_BUSY: u8 = 5;

/// Measures on this machine for an mlx-fleet coordinator.
#[derive(Debug, Parser)]
#[command(name = "mlx-fleet-agent", version = VERSION, after_help = "\
Exit codes:
  0  stopped by a signal; of doctor and preflight: nothing was found
  1  failed (the last line on standard error says how); of doctor and preflight: something was found
  2  the command line is wrong
  3  the coordinator refused this machine or its token
  4  the coordinator could not be reached to enrol
  5  another agent works in this data folder")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Join the fleet (the first time) and work for it
    Run(Box<cli::run::Args>),
    /// Join the fleet, or with another token join it again, and end: the daemon that is started then needs none
    Enrol(Box<cli::enrol::Args>),
    /// Show what will spoil measurements on this machine, and how to mend it
    Doctor(cli::doctor::Args),
    /// Show whether the machine is quiet enough to measure on now
    Preflight(cli::preflight::Args),
    /// Show what the coordinator will know of this machine
    Inventory(cli::inventory::Args),
    /// Be many machines that measure nothing, to see what a coordinator bears
    Simulate(Box<cli::simulate::Args>),
}

fn main() -> ExitCode {
    crypto::install();
    let cli = Cli::parse();
    let result = match cli.command {
        Verb::Run(args) => cli::run::run(&args),
        Verb::Enrol(args) => cli::enrol::enrol(&args),
        Verb::Doctor(args) => cli::doctor::show(&args),
        Verb::Preflight(args) => cli::preflight::show(&args),
        Verb::Inventory(args) => cli::inventory::show(&args),
        Verb::Simulate(args) => cli::simulate::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mlx-fleet-agent: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<cli::Busy>() {
        return EXIT_BUSY;
    }
    match error.downcast_ref::<enrol::Error>() {
        Some(error) if error.is_temporary() => EXIT_UNREACHABLE,
        Some(_) => EXIT_REFUSED,
        None => EXIT_FAILED,
    }
}
