//! `run`: joins the fleet, and measures for it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use agent::driver::Driver;
use agent::enrol::{self, Membership};
use agent::incident::{self, Reports};
use agent::job::Bench;
use agent::models::Models;
use agent::spool::Spool;
use agent::{VERSION, inventory, sensors, supervisor};
use anyhow::{Context, Result};
use domain::machine::Inventory;
use service::folders::DataFolder;
use service::hub::{self, Cache};
use service::lifecycle::{Lifecycle, Signals, Stop};
use time::OffsetDateTime;
use tracing::Instrument;

use super::{GRACE, Joining, Prepared, code_of, runtime, suite};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    joining: Joining,
    /// The worker's program; by default mlx-fleet-suite beside this program
    #[arg(long, value_name = "PROGRAM", env = "MLX_FLEET_SUITE")]
    suite: Option<PathBuf>,
    #[command(flatten)]
    lock: super::Lock,
    /// Where install-agent.sh looks out for this agent's wish to be upgraded
    #[arg(long, value_name = "FILE", hide = true)]
    upgrade_wish: Option<PathBuf>,
    /// Stop when standard input ends: whoever started the agent has gone
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let joining = &args.joining;
    let Prepared {
        folder,
        wishes,
        inventory,
        _lock,
    } = joining.prepare()?;
    let runtime = runtime()?;
    // Before anything that others can see of this agent: who sees it may stop it.
    let mut signals = runtime
        .block_on(async { Signals::catch() })
        .context("catching signals")?;
    let member = runtime.block_on(async {
        let now = OffsetDateTime::now_utc();
        tokio::select! {
            member = enrol::join(&folder, wishes, &inventory, now) => member.map(Some),
            _ = signals.next() => Ok(None),
        }
    })?;
    let Some(member) = member else {
        return Ok(ExitCode::SUCCESS);
    };
    if joining.token.is_some() {
        if runtime.block_on(signals.release()).is_some() {
            return Ok(ExitCode::SUCCESS);
        }
        drop(runtime);
        return Err(start_again_without_token());
    }
    runtime.block_on(serve(args, &folder, inventory, &member, signals))
}

/// The options that the list of processes shows, `--token VALUE` and `--token=VALUE` told apart.
fn without_token(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut skip = false;
    for arg in args {
        if skip {
            skip = false;
        } else if arg == "--token" {
            skip = true;
        } else if !arg.to_string_lossy().starts_with("--token=") {
            kept.push(arg);
        }
    }
    kept
}

/// Now that the machine is enrolled, the same process goes on with a command line that everybody may
/// read, and an environment that workers may inherit. Returns only when it cannot.
fn start_again_without_token() -> anyhow::Error {
    let error = std::env::current_exe().map(|program| {
        Command::new(program)
            .args(without_token(std::env::args_os().skip(1)))
            .env_remove("MLX_FLEET_JOIN_TOKEN")
            .exec()
    });
    let error = match error {
        Ok(error) | Err(error) => error,
    };
    anyhow::Error::from(error)
        .context("enrolled, but cannot start again without the token in sight")
}

async fn serve(
    args: &Args,
    folder: &DataFolder,
    inventory: Inventory,
    member: &Membership,
    signals: Signals,
) -> Result<ExitCode> {
    let endpoints = member.endpoints()?;
    let hub = Cache::at(hub::folders().cache);
    let suite = suite(args.suite.as_deref())?;
    let spool = Spool::open(folder.root().join("spool"))?;
    spool
        .recover(&inventory.boot_id, &Reports::of_system())
        .await?;
    let bench = Arc::new(Bench {
        suite,
        inventory,
        kernel: inventory::kernel(),
        cache_dir: folder.root().join("cache"),
        models: Models::new(endpoints.clone(), hub),
        host_lock: args.lock.host_lock.clone(),
        sensors: sensors::open,
        watch_memory: incident::watch_memory,
        wired_limit_bytes: inventory::wired_limit_bytes,
        gate: tokio::sync::Mutex::default(),
        cooldown: tokio::sync::Mutex::default(),
        canary_file: folder.root().join("canary.json"),
        leave: supervisor::LEAVE,
    });
    let life = Lifecycle::new();
    let stop = life.stop_handle();
    tracing::info!(
        coordinator = member.coordinators().join(", "),
        version = VERSION,
        "agent started"
    );
    if args.stop_with_stdin {
        stop_with_stdin(stop.clone())?;
    }
    let driver = Driver::new(endpoints, spool, bench, stop.clone())
        .telling_welcomes(folder.root().join("welcomed"))
        .upgraded_through(args.upgrade_wish.clone());
    let of_machine = tracing::info_span!("agent", machine_id = %member.machine_id()?);
    let drive = async move {
        driver.run().await;
        stop.stop();
    };
    life.spawn("driver", drive.instrument(of_machine));
    code_of(life.run(signals, GRACE).await)
}

fn stop_with_stdin(stop: Stop) -> Result<()> {
    let wait = move || {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).ok();
        tracing::info!("standard input has ended");
        stop.stop();
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned());
    thread.spawn(wait).context("no thread for standard input")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_leaves_the_command_line_in_both_spellings() {
        let kept = |args: &[&str]| without_token(args.iter().map(OsString::from));
        let rest = ["run", "--data-dir", "x"];
        assert_eq!(kept(&["run", "--token", "t", "--data-dir", "x"]), rest);
        assert_eq!(kept(&["run", "--token=t", "--data-dir", "x"]), rest);
        assert_eq!(
            kept(&["run", "--token-file", "f"]),
            ["run", "--token-file", "f"]
        );
    }
}
