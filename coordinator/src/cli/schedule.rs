//! `schedule list` and `schedule remove`: plans that come back.

use std::process::ExitCode;
use std::time::Duration;

use domain::plan::period;
use proto::wire;
use serde::Serialize;

use super::connect::Where;
use super::exit::Failure;
use super::show;

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the plans that are submitted again and again (`every` in a plan)
    List(ListArgs),
    /// Submit a plan no more; its runs stay as they are
    Remove(RemoveArgs),
}

#[derive(clap::Args)]
pub struct ListArgs {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct RemoveArgs {
    /// The plan's name
    plan: String,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(Serialize)]
struct Schedule {
    plan: String,
    file_name: String,
    every_seconds: u64,
    next_at: String,
    created_at: String,
    created_by: String,
    last_run_id: Option<String>,
    last_run_state: Option<String>,
    problem: Option<String>,
}

impl From<wire::ScheduleRow> for Schedule {
    fn from(row: wire::ScheduleRow) -> Self {
        let wire::ScheduleRow {
            name,
            file_name,
            every_seconds,
            next_unix_us,
            created_unix_us,
            created_by,
            problem,
            last_run_id,
            last_run_state,
        } = row;
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            plan: name,
            file_name,
            every_seconds,
            next_at: show::instant(next_unix_us),
            created_at: show::instant(created_unix_us),
            created_by,
            last_run_id: some(last_run_id),
            last_run_state: some(last_run_state),
            problem: some(problem),
        }
    }
}

pub async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::List(args) => list(args).await,
        Command::Remove(args) => remove(args).await,
    }
}

async fn list(args: ListArgs) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    let answer = client.list_schedules(wire::ListSchedulesRequest {}).await?;
    let schedules = answer.into_inner().schedules.into_iter();
    let schedules: Vec<Schedule> = schedules.map(Schedule::from).collect();
    if args.json {
        show::json(&schedules)?;
        return Ok(ExitCode::SUCCESS);
    }
    if schedules.is_empty() {
        show::note("no schedule; a plan with `every` makes one when it is run");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = show::table(&[
        "plan", "every", "next", "by", "last run", "state", "problem",
    ]);
    for schedule in schedules {
        table.add_row([
            schedule.plan,
            period(Duration::from_secs(schedule.every_seconds)),
            schedule.next_at,
            schedule.created_by,
            schedule.last_run_id.unwrap_or_default(),
            schedule.last_run_state.unwrap_or_default(),
            schedule.problem.unwrap_or_default(),
        ]);
    }
    show::line(table)?;
    Ok(ExitCode::SUCCESS)
}

async fn remove(args: RemoveArgs) -> Result<ExitCode, Failure> {
    let RemoveArgs { plan, coordinator } = args;
    let mut client = coordinator.connect().await?;
    let request = wire::RemoveScheduleRequest { name: plan.clone() };
    client.remove_schedule(request).await?;
    show::line(format_args!("`{plan}` is not submitted any more"))?;
    Ok(ExitCode::SUCCESS)
}
