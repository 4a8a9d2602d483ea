//! `simulate`: many machines that measure nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use agent::enrol::Wishes;
use agent::simulate::Simulation;
use agent::simulate::profile::{self, Profile};
use anyhow::{Context, Result};
use service::folders::DataFolder;
use service::lifecycle::{Lifecycle, Signals};
use service::{descriptors, telemetry};

use super::{GRACE, Joining, code_of, folder, lock, runtime};

/// Beside one for each machine: files, the runtime's own, handshakes of enrolments.
const DESCRIPTORS_BESIDE: u64 = 128;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Only plans with `simulated = true` in [machines] reach these machines, and their rows are labelled
simulated. See docs/scale.md.")]
pub struct Args {
    /// How many machines
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// TOML file that says what they are and do; by default what `--print-profile` prints
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Print the default profile and end
    #[arg(long)]
    print_profile: bool,
    #[command(flatten)]
    joining: Joining,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.print_profile {
        print!("{}", profile::DEFAULT);
        return Ok(ExitCode::SUCCESS);
    }
    let joining = &args.joining;
    telemetry::init(joining.log_format, &joining.log)?;
    let open = descriptors::raise().context("the limit of open files could not be raised")?;
    let needed = u64::from(args.count) + DESCRIPTORS_BESIDE;
    anyhow::ensure!(
        needed <= open,
        "{} machines need {needed} open files and this process may have {open}: raise `ulimit -n` \
         or start several of it",
        args.count
    );
    let profile = match &args.profile {
        None => Profile::parse(profile::DEFAULT)?,
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            Profile::parse(&text).with_context(|| format!("profile {}", file.display()))?
        }
    };
    let folder = match &joining.data_dir {
        Some(_) => folder(joining.data_dir.as_deref())?,
        None => DataFolder::at(folder(None)?.root().with_file_name("simulation")),
    };
    folder.create()?;
    let _lock = lock(&folder)?;
    let Wishes {
        coordinators,
        token,
        again: _,
    } = joining.wishes()?;
    let simulation = Simulation {
        machines: args.count,
        profile,
        labels: joining.labels(),
        coordinators,
        token,
        folder,
    };
    runtime()?.block_on(async {
        let signals = Signals::catch().context("catching signals")?;
        let life = Lifecycle::new();
        let refusal = simulation.start(&life)?;
        let ending = life.run(signals, GRACE).await;
        if let Some(refusal) = refusal.take() {
            return Err(refusal.into());
        }
        code_of(ending)
    })
}
