//! The operator's commands: what is asked, told apart here, done in one file each.

mod backup;
mod compare;
mod connect;
mod events;
mod exit;
mod import;
mod machine;
mod model;
mod plan;
mod progress;
mod prune;
mod report;
mod run;
mod schedule;
mod serve;
mod show;
mod sql;
mod token;
mod up;
mod which;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use connect::Where;
use exit::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; a watched run: every job succeeded
  1  something broke here (a disk, a bug)
  2  the command line was not understood
  3  the input was refused (plan, query, unknown run, runs that may not be compared)
  4  the run ended with failed, parked or cancelled jobs
  5  the run ended; nothing failed, but jobs were skipped
  6  the coordinator could not be reached, or refused the token
  130  interrupted

How the coordinator is found, first that applies:
  --coordinator URL, --data-dir DIR of a local one, MLX_FLEET_COORDINATOR,
  MLX_FLEET_DATA_DIR, the default data folder. With an address goes a token:
  --token-file FILE or MLX_FLEET_TOKEN_FILE.";

/// Benchmarks MLX on a fleet of Apple Silicon Macs: hands out work, keeps every sample in Postgres,
/// reports with honest intervals.
///
/// Try it on this machine alone: mlx-fleet up --plan plans/quick.toml
#[derive(Parser)]
#[command(name = "mlx-fleet", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a plan on this machine alone: database, coordinator, agent, report, all at once
    Up(up::Args),
    /// Serve a fleet: agents and operators connect here
    Serve(serve::Args),
    /// Submit a plan and watch it run
    Run(run::RunArgs),
    /// Import others' results, to stand beside ours: they are shown with their source, judged by the
    /// gates, and never compared as if they were measured here
    Import(import::Args),
    /// Watch a run until it ends
    Watch(run::WatchArgs),
    /// List runs, newest first
    Runs(run::RunsArgs),
    /// Stop a run: queued jobs are dropped, jobs at work are stopped, samples are kept
    Cancel(run::CancelArgs),
    /// Take a run up again: jobs that failed, were parked or cancelled are queued anew, and finished
    /// launches are kept
    Resume(run::ResumeArgs),
    /// List what happened, to a run or to the fleet, and who asked for it
    Events(events::Args),
    /// Delete runs that ended long ago, with all that they measured
    Prune(prune::PruneArgs),
    /// Delete one run or import, with all that belongs to it
    Delete(prune::DeleteArgs),
    /// Write the whole database into one file
    Backup(backup::BackupArgs),
    /// Fill a new data folder from a backup; no coordinator runs in it meanwhile
    Restore(backup::RestoreArgs),
    /// List and end schedules: plans that are submitted again and again
    #[command(subcommand)]
    Schedule(schedule::Command),
    /// Check a plan, and see what it would run where
    #[command(subcommand)]
    Plan(plan::Command),
    /// See the machines of the fleet
    #[command(subcommand)]
    Machine(machine::Command),
    /// Have models for the machines that lack them: downloaded once, given out by the coordinator
    #[command(subcommand)]
    Model(model::Command),
    /// Write the report of a run
    Report(report::Args),
    /// Compare two runs, each machine with itself: ratios, intervals, verdicts
    Compare(compare::Args),
    /// Which machine for a model: what fits, ranked by what was measured
    Which(which::Args),
    /// Query the results, read-only, in the views of schema `report`
    Sql(sql::Args),
    /// Make tokens that let machines join and operators in
    #[command(subcommand)]
    Token(token::Command),
    /// Print the shell's completions, for example: mlx-fleet completions zsh > _mlx-fleet
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Parses the command line, runs the command, tells a failure once, and names it by exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failure::broke(error).tell(),
    };
    match runtime.block_on(cli.command.run()) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

impl Command {
    async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Up(args) => up::up(args).await,
            Self::Serve(args) => serve::serve(args).await,
            Self::Run(args) => run::run(args).await,
            Self::Import(args) => import::import(args).await,
            Self::Watch(args) => run::watch(args).await,
            Self::Runs(args) => run::runs(args).await,
            Self::Cancel(args) => run::cancel(args).await,
            Self::Resume(args) => run::resume(args).await,
            Self::Events(args) => events::events(args).await,
            Self::Prune(args) => prune::prune(args).await,
            Self::Delete(args) => prune::delete(args).await,
            Self::Backup(args) => backup::backup(args).await,
            Self::Restore(args) => backup::restore(args).await,
            Self::Schedule(command) => schedule::run(command).await,
            Self::Plan(command) => plan::run(command).await,
            Self::Machine(command) => machine::run(command).await,
            Self::Model(command) => model::run(command).await,
            Self::Report(args) => report::report(args).await,
            Self::Compare(args) => compare::compare(args).await,
            Self::Which(args) => which::which(args).await,
            Self::Sql(args) => sql::sql(args).await,
            Self::Token(command) => token::run(command).await,
            Self::Completions { shell } => {
                // Not straight to standard output: it panics when nobody reads on.
                let (mut command, mut script) = (Cli::command(), Vec::new());
                clap_complete::generate(shell, &mut command, "mlx-fleet", &mut script);
                std::io::stdout().write_all(&script)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
