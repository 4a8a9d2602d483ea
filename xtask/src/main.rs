//! Developers' chores, run as `cargo xtask VERB`. A verb is one file: its arguments and its `run`.

mod bench;
mod chaos;
mod codegen;
mod coordinator;
mod dist;
mod fuzz;
mod process;
mod repo;
mod soak;
mod sqlx;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developers' chores of mlx-fleet")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Bench(bench::Args),
    Chaos(chaos::Args),
    Codegen(codegen::Args),
    Dist(dist::Args),
    Fuzz(fuzz::Args),
    Soak(soak::Args),
    Sqlx(sqlx::Args),
    Tidy(tidy::Args),
    #[command(hide = true)]
    Witness(chaos::witness::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Bench(args) => bench::run(&args),
        Verb::Chaos(args) => chaos::run(&args),
        Verb::Codegen(args) => codegen::run(&args),
        Verb::Dist(args) => dist::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Soak(args) => soak::run(&args),
        Verb::Sqlx(args) => sqlx::run(&args),
        Verb::Tidy(args) => tidy::run(&args),
        Verb::Witness(args) => chaos::witness::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
