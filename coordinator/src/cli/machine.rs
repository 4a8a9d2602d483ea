//! The machines of the fleet: which there are, and what an operator does with one.

mod add;
mod upgrade;

use std::collections::BTreeMap;
use std::process::ExitCode;

use proto::wire;
use serde::Serialize;

use super::connect::Where;
use super::exit::Failure;
use super::show;
use crate::label_change::LabelChange;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Print the line that installs the agent on a new machine and lets it join
    Add(add::Args),
    /// List the machines of the fleet
    List(ListArgs),
    /// Show one machine in full
    Show(ShowArgs),
    /// Let a machine rest: it finishes the job that it has and gets no other until it is resumed
    Drain(DrainArgs),
    /// Give a drained machine jobs again
    Resume(NameArgs),
    /// Set labels that plans select by (KEY=VALUE), or take away what was set here (KEY-)
    Label(LabelArgs),
    /// Let a machine in that waits for it (`serve --approve-machines`)
    Approve(NameArgs),
    /// Have agents put the coordinator's release in the place of theirs: one machine at a time, between
    /// jobs, on machines that were installed with --allow-upgrades
    Upgrade(upgrade::Args),
    /// Take a machine out of the fleet: its certificate is revoked, its jobs are skipped
    Revoke(NameArgs),
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
pub struct DrainArgs {
    /// The machine's name or id
    machine: String,
    /// Why, for those who see it in lists and for the log of its agent
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct LabelArgs {
    /// The machine's name or id
    machine: String,
    /// KEY=VALUE, which goes before a label of the same name that the agent declares, or KEY-
    #[arg(required = true, value_name = "LABEL")]
    changes: Vec<LabelChange>,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct NameArgs {
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
    state_since: Option<String>,
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
    certificate_expires_at: Option<String>,
    labels: BTreeMap<String, String>,
    doubts: Vec<String>,
}

/// The states in which an agent is there and hears what it is asked.
const ONLINE: [&str; 4] = ["idle", "busy", "draining", "drained"];

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
            state_since_unix_us,
            doubts,
        } = row;
        Self {
            machine_id,
            name,
            state,
            state_since: state_since_unix_us.map(show::instant),
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
            certificate_expires_at: (certificate_expires_unix_us != 0)
                .then(|| show::instant(certificate_expires_unix_us)),
            labels: labels.into_iter().collect(),
            doubts,
        }
    }
}

pub async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Add(args) => add::add(args).await,
        Command::List(args) => list(args).await,
        Command::Show(args) => show_one(args).await,
        Command::Drain(args) => drain(args).await,
        Command::Resume(args) => resume(args).await,
        Command::Label(args) => label(args).await,
        Command::Approve(args) => approve(args).await,
        Command::Upgrade(args) => upgrade::upgrade(args).await,
        Command::Revoke(args) => revoke(args).await,
    }
}

async fn drain(args: DrainArgs) -> Result<ExitCode, Failure> {
    let DrainArgs {
        machine,
        reason,
        coordinator,
    } = args;
    let mut client = coordinator.connect().await?;
    let request = wire::DrainMachineRequest { machine, reason };
    let wire::DrainMachineResponse { machine } = client.drain_machine(request).await?.into_inner();
    show::line(format_args!(
        "drained {machine}: it gets no new job until `mlx-fleet machine resume {machine}`"
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn resume(args: NameArgs) -> Result<ExitCode, Failure> {
    let NameArgs {
        machine,
        coordinator,
    } = args;
    let mut client = coordinator.connect().await?;
    let request = wire::ResumeMachineRequest { machine };
    let wire::ResumeMachineResponse {
        machine,
        was_drained,
    } = client.resume_machine(request).await?.into_inner();
    let done = if was_drained {
        "resumed"
    } else {
        "was not drained:"
    };
    show::line(format_args!("{done} {machine}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn label(args: LabelArgs) -> Result<ExitCode, Failure> {
    let LabelArgs {
        machine,
        changes,
        coordinator,
    } = args;
    let (set, remove) = LabelChange::sorted(changes);
    let request = wire::LabelMachineRequest {
        machine,
        set: set.into_iter().collect(),
        remove,
    };
    let mut client = coordinator.connect().await?;
    let wire::LabelMachineResponse { machine, labels } =
        client.label_machine(request).await?.into_inner();
    let labels = labels.into_iter().collect();
    show::line(format_args!("{machine}: {}", pairs(&labels)))?;
    Ok(ExitCode::SUCCESS)
}

async fn approve(args: NameArgs) -> Result<ExitCode, Failure> {
    let NameArgs {
        machine,
        coordinator,
    } = args;
    let mut client = coordinator.connect().await?;
    let request = wire::ApproveMachineRequest { machine };
    let wire::ApproveMachineResponse {
        machine,
        was_pending,
    } = client.approve_machine(request).await?.into_inner();
    let done = if was_pending {
        "approved"
    } else {
        "was approved before:"
    };
    show::line(format_args!("{done} {machine}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn revoke(args: NameArgs) -> Result<ExitCode, Failure> {
    let NameArgs {
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
        show::note("no machine has joined; `mlx-fleet machine add` says how one does");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = show::table(&[
        "machine",
        "state",
        "since",
        "chip",
        "memory",
        "system",
        "agent",
        "last seen",
        "certificate until",
        "labels",
        "job",
    ]);
    let mut doubts = Vec::new();
    for machine in machines {
        let told = machine.doubts.iter();
        doubts.extend(told.map(|doubt| format!("{}: {doubt}", machine.name)));
        table.add_row([
            machine.name,
            machine.state,
            machine.state_since.unwrap_or_default(),
            machine.chip,
            show::gigabytes(machine.memory_bytes),
            format!("{} {}", machine.os, machine.os_version),
            machine.agent_version,
            machine.last_seen_at.unwrap_or_else(|| "never".to_owned()),
            machine.certificate_expires_at.unwrap_or_default(),
            pairs(&machine.labels),
            machine.current_job.unwrap_or_default(),
        ]);
    }
    show::line(table)?;
    for doubt in doubts {
        show::line(doubt)?;
    }
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
    let since = machine.state_since.map(|since| format!(" since {since}"));
    for (key, value) in [
        ("machine", machine.name),
        ("id", machine.machine_id),
        ("state", machine.state + &since.unwrap_or_default()),
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
        (
            "  valid until",
            machine.certificate_expires_at.unwrap_or_default(),
        ),
        ("labels", pairs(&machine.labels)),
    ] {
        show::line(format_args!("{key:14} {value}"))?;
    }
    for doubt in machine.doubts {
        show::line(format_args!("{:14} {doubt}", "note"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `lab=one, room=7`
fn pairs(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(", ")
}
