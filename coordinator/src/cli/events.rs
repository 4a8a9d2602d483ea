//! `events`: what happened and who asked for it.

use std::process::ExitCode;

use proto::wire;
use serde::Serialize;

use super::connect::Where;
use super::exit::Failure;
use super::show;

#[derive(clap::Args)]
pub struct Args {
    /// The run: its id, an unambiguous beginning of it, or `latest`; without one, the whole fleet
    run: Option<String>,
    /// Only of this machine, by name or id
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// The newest so many
    #[arg(long, default_value_t = 1000)]
    limit: u32,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(Serialize)]
struct Event {
    at: String,
    event: String,
    run_id: Option<String>,
    job_id: Option<String>,
    lease_id: Option<String>,
    job: Option<String>,
    machine: Option<String>,
    actor: Option<String>,
    detail: String,
}

impl From<wire::EventRow> for Event {
    fn from(row: wire::EventRow) -> Self {
        let wire::EventRow {
            at_unix_us,
            kind,
            run_id,
            job_id,
            lease_id,
            job,
            machine,
            actor,
            detail,
        } = row;
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            at: show::instant_us(at_unix_us),
            event: kind,
            run_id: some(run_id),
            job_id: some(job_id),
            lease_id: some(lease_id),
            job: some(job),
            machine: some(machine),
            actor: some(actor),
            detail,
        }
    }
}

pub async fn events(args: Args) -> Result<ExitCode, Failure> {
    let Args {
        run,
        machine,
        limit,
        json,
        coordinator,
    } = args;
    let mut client = coordinator.connect().await?;
    let request = wire::ListEventsRequest {
        run: run.unwrap_or_default(),
        machine: machine.unwrap_or_default(),
        limit,
    };
    let mut rows = client.list_events(request).await?.into_inner();
    let mut events: Vec<Event> = Vec::new();
    while let Some(row) = rows.message().await? {
        events.push(row.into());
    }
    if json {
        show::json(&events)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = show::table(&["at", "event", "machine", "job", "by", "detail"]);
    for event in events {
        table.add_row([
            event.at,
            event.event,
            event.machine.unwrap_or_default(),
            event.job.unwrap_or_default(),
            event.actor.unwrap_or_default(),
            event.detail,
        ]);
    }
    show::line(table)?;
    Ok(ExitCode::SUCCESS)
}
