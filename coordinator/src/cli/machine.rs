//! `machine list`, `machine show` and `machine revoke`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use proto::wire;
use serde::Serialize;

use super::connect::Where;
use super::exit::Failure;
use super::show;

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the machines of the fleet
    List(ListArgs),
    /// Show one machine in full
    Show(ShowArgs),
    /// Take a machine out of the fleet: its certificate is revoked, its jobs are skipped
    Revoke(RevokeArgs),
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
pub struct ShowArgs {
    /// The machine's name or id
    machine: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct RevokeArgs {
    /// The machine's name or id
    machine: String,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(Serialize)]
struct Machine {
    machine_id: String,
    name: String,
    state: String,
    chip: String,
    gpu_cores: Option<u32>,
    cpu_cores: u32,
    memory_bytes: u64,
    os: String,
    os_version: String,
    agent_version: String,
    last_seen_at: Option<String>,
    current_job: Option<String>,
    certificate_fingerprint: String,
    certificate_expires_at: String,
    labels: BTreeMap<String, String>,
}

impl From<wire::MachineRow> for Machine {
    fn from(row: wire::MachineRow) -> Self {
        let wire::MachineRow {
            machine_id,
            name,
            state,
            chip,
            gpu_cores,
            cpu_cores,
            memory_bytes,
            os,
            os_version,
            agent_version,
            last_seen_unix_us,
            current_job,
            certificate_fingerprint,
            certificate_expires_unix_us,
            labels,
        } = row;
        Self {
            machine_id,
            name,
            state,
            chip,
            gpu_cores,
            cpu_cores,
            memory_bytes,
            os,
            os_version,
            agent_version,
            last_seen_at: last_seen_unix_us.map(show::instant),
            current_job: (!current_job.is_empty()).then_some(current_job),
            certificate_fingerprint,
            certificate_expires_at: show::instant(certificate_expires_unix_us),
            labels: labels.into_iter().collect(),
        }
    }
}

pub async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::List(args) => list(args).await,
        Command::Show(args) => show_one(args).await,
        Command::Revoke(args) => revoke(args).await,
    }
}

async fn revoke(args: RevokeArgs) -> Result<ExitCode, Failure> {
    let RevokeArgs {
        machine,
        coordinator,
    } = args;
    let mut client = coordinator.connect().await?;
    let wire::RevokeMachineResponse {
        machine,
        jobs_skipped,
    } = client
        .revoke_machine(wire::RevokeMachineRequest { machine })
        .await?
        .into_inner();
    show::line(format_args!(
        "revoked {machine}; {jobs_skipped} jobs skipped"
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn machines(coordinator: &Where, machine: String) -> Result<Vec<Machine>, Failure> {
    let mut client = coordinator.connect().await?;
    let answer = client
        .list_machines(wire::ListMachinesRequest { machine })
        .await?;
    Ok(answer
        .into_inner()
        .machines
        .into_iter()
        .map(Machine::from)
        .collect())
}

async fn list(args: ListArgs) -> Result<ExitCode, Failure> {
    let machines = machines(&args.coordinator, String::new()).await?;
    if args.json {
        show::json(&machines)?;
        return Ok(ExitCode::SUCCESS);
    }
    if machines.is_empty() {
        show::note("no machine has joined; make a token with `mlx-fleet token create`");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = show::table(&[
        "machine",
        "state",
        "chip",
        "memory",
        "system",
        "agent",
        "last seen",
        "job",
    ]);
    for machine in machines {
        table.add_row([
            machine.name,
            machine.state,
            machine.chip,
            show::gigabytes(machine.memory_bytes),
            format!("{} {}", machine.os, machine.os_version),
            machine.agent_version,
            machine.last_seen_at.unwrap_or_else(|| "never".to_owned()),
            machine.current_job.unwrap_or_default(),
        ]);
    }
    show::line(table)?;
    Ok(ExitCode::SUCCESS)
}

async fn show_one(args: ShowArgs) -> Result<ExitCode, Failure> {
    let found = machines(&args.coordinator, args.machine.clone()).await?;
    let Some(machine) = found.into_iter().next() else {
        return Err(Failure::Refused(format!(
            "no machine is called `{}`; `mlx-fleet machine list` shows them",
            args.machine
        )));
    };
    if args.json {
        show::json(&machine)?;
        return Ok(ExitCode::SUCCESS);
    }
    let cores = machine
        .gpu_cores
        .map_or_else(|| "unknown".to_owned(), |cores| cores.to_string());
    let labels: Vec<String> = machine
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    for (key, value) in [
        ("machine", machine.name),
        ("id", machine.machine_id),
        ("state", machine.state),
        ("chip", machine.chip),
        ("GPU cores", cores),
        ("CPU cores", machine.cpu_cores.to_string()),
        ("memory", show::gigabytes(machine.memory_bytes)),
        ("system", format!("{} {}", machine.os, machine.os_version)),
        ("agent", machine.agent_version),
        (
            "last seen",
            machine.last_seen_at.unwrap_or_else(|| "never".to_owned()),
        ),
        (
            "job",
            machine.current_job.unwrap_or_else(|| "none".to_owned()),
        ),
        ("certificate", machine.certificate_fingerprint),
        ("  valid until", machine.certificate_expires_at),
        ("labels", labels.join(", ")),
    ] {
        show::line(format_args!("{key:14} {value}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
