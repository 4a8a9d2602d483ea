//! `machine upgrade`: a new release through the fleet, one machine at a time. Each finishes its job first; the
//! next one's turn comes when the last runs the release that the coordinator offers, by its digest. Where one
//! does not, the machine itself went back to the release that it had, and nobody else is asked.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use domain::machine::{RELEASE_DIGITS, RELEASE_LABEL};
use proto::wire;

use super::{Machine, ONLINE, machines};
use crate::cli::connect::{Client, Reached, Where};
use crate::cli::exit::Failure;
use crate::cli::{show, token};
use crate::rpc::SUMS;

const LOOK: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub struct Args {
    /// Names or ids of machines; none: all that are there and were installed by `machine add`
    #[arg(value_name = "MACHINE")]
    machines: Vec<String>,
    /// How long one may take, after its job
    #[arg(long, default_value = "12m", value_parser = token::ttl_seconds)]
    timeout: u64,
    #[command(flatten)]
    coordinator: Where,
}

pub async fn upgrade(args: Args) -> Result<ExitCode, Failure> {
    let Args {
        machines: named,
        timeout,
        coordinator,
    } = args;
    let mut reached = coordinator.reach().await?;
    let offered = offered(&mut reached).await?;
    let found = machines(&coordinator, String::new()).await?;
    for name in &named {
        if !found.iter().any(|machine| is(machine, name)) {
            return Err(Failure::Refused(format!(
                "no machine is called `{name}`; `mlx-fleet machine list` shows them"
            )));
        }
    }
    let timeout = Duration::from_secs(timeout);
    for machine in found {
        let meant = match &named[..] {
            [] => is_online(&machine) && machine.labels.contains_key(RELEASE_LABEL),
            names => names.iter().any(|name| is(&machine, name)),
        };
        if !meant {
            continue;
        }
        if runs_one_of(&machine, &offered) {
            show::line(format_args!("{}: runs it already", machine.name))?;
            continue;
        }
        upgrade_one(&mut reached.client, &machine, &offered, timeout).await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is(machine: &Machine, name: &str) -> bool {
    machine.name == name || machine.machine_id == name
}

fn is_online(machine: &Machine) -> bool {
    ONLINE.contains(&machine.state.as_str())
}

fn runs_one_of(machine: &Machine, offered: &BTreeSet<String>) -> bool {
    let release = machine.labels.get(RELEASE_LABEL);
    is_online(machine) && release.is_some_and(|release| offered.contains(release))
}

/// Beginnings of the digests of what the coordinator offers.
async fn offered(reached: &mut Reached) -> Result<BTreeSet<String>, Failure> {
    let sums = reached.download(&format!("/releases/{SUMS}")).await?;
    let sums = sums.ok_or_else(|| {
        Failure::Refused("the coordinator has no release archives (docs/install.md)".to_owned())
    })?;
    let digests = sums.lines().filter_map(|line| line.get(..RELEASE_DIGITS));
    Ok(digests.map(str::to_owned).collect())
}

async fn upgrade_one(
    client: &mut Client,
    machine: &Machine,
    offered: &BTreeSet<String>,
    timeout: Duration,
) -> Result<(), Failure> {
    let name = &machine.name;
    let request = wire::UpgradeMachineRequest {
        machine: machine.machine_id.clone(),
    };
    client.upgrade_machine(request).await?;
    let mut deadline = Instant::now() + timeout;
    let mut waits = false;
    loop {
        let request = wire::ListMachinesRequest {
            machine: machine.machine_id.clone(),
        };
        let rows = client.list_machines(request).await?.into_inner().machines;
        let now = rows.into_iter().next().map(Machine::from);
        if let Some(now) = &now {
            if runs_one_of(now, offered) {
                show::line(format_args!("{name}: upgraded"))?;
                return Ok(());
            }
            if let Some(job) = &now.current_job {
                if !waits {
                    show::note(format_args!("{name}: finishes its job first, {job}"));
                }
                waits = true;
                deadline = Instant::now() + timeout;
            }
        }
        if Instant::now() > deadline {
            return Err(Failure::Broke(format!(
                "{name} {}. Nobody else was asked",
                trouble(now.as_ref())
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What became of a machine that does not run the new release when its time is over.
fn trouble(machine: Option<&Machine>) -> String {
    match machine {
        None => "is gone".to_owned(),
        Some(machine) if is_online(machine) => format!(
            "is {} and does not run the new release: it could not get it, went back from it to the one before, \
             or does not allow upgrades (`machine add --allow-upgrades`); its log says which",
            machine.state
        ),
        Some(machine) => format!(
            "is {}: unless something else keeps it away, the new release does not reach this coordinator, and \
             the machine goes back by itself to the one before, some minutes after it began \
             (`mlx-fleet machine list`)",
            machine.state
        ),
    }
}
