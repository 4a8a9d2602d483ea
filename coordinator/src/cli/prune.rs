//! `prune` and `delete`: runs that go for good.

use std::process::ExitCode;

use proto::wire;
use serde::Serialize;

use super::connect::Where;
use super::exit::Failure;
use super::{show, token};

#[derive(clap::Args)]
pub struct PruneArgs {
    /// Runs that ended so long ago, such as 180d; active runs and imports stay
    #[arg(long, value_name = "TIME", value_parser = token::ttl_seconds)]
    older_than: u64,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
pub struct DeleteArgs {
    /// The run or import: its id, an unambiguous beginning of it, or `latest`
    run: String,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
struct How {
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(Serialize)]
struct Deleted {
    run_id: String,
    plan: String,
    jobs: u32,
    launches: u32,
    samples: u64,
    readings: u64,
}

impl From<wire::DeletedRun> for Deleted {
    fn from(row: wire::DeletedRun) -> Self {
        let wire::DeletedRun {
            run_id,
            plan_name,
            jobs,
            launches,
            samples,
            readings,
        } = row;
        Self {
            run_id,
            plan: plan_name,
            jobs,
            launches,
            samples,
            readings,
        }
    }
}

pub async fn prune(args: PruneArgs) -> Result<ExitCode, Failure> {
    delete_runs(String::new(), args.older_than, args.how).await
}

pub async fn delete(args: DeleteArgs) -> Result<ExitCode, Failure> {
    delete_runs(args.run, 0, args.how).await
}

async fn delete_runs(run: String, older_than_seconds: u64, how: How) -> Result<ExitCode, Failure> {
    let How {
        dry_run,
        json,
        coordinator,
    } = how;
    let mut client = coordinator.connect().await?;
    let request = wire::DeleteRunsRequest {
        run,
        older_than_seconds,
        dry_run,
    };
    let mut rows = client.delete_runs(request).await?.into_inner();
    let mut runs: Vec<Deleted> = Vec::new();
    while let Some(row) = rows.message().await? {
        runs.push(row.into());
    }
    if json {
        show::json(&runs)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = show::table(&["run", "plan", "jobs", "launches", "samples", "readings"]);
    for run in &runs {
        table.add_row([
            run.run_id.clone(),
            run.plan.clone(),
            run.jobs.to_string(),
            run.launches.to_string(),
            run.samples.to_string(),
            run.readings.to_string(),
        ]);
    }
    if !runs.is_empty() {
        show::line(table)?;
    }
    let done = if dry_run { "would delete" } else { "deleted" };
    let count = show::counted(runs.len() as u64, ["run", "runs"]);
    let samples: u64 = runs.iter().map(|run| run.samples).sum();
    show::line(format_args!("{done} {count} with {samples} samples"))?;
    Ok(ExitCode::SUCCESS)
}
