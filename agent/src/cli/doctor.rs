//! `doctor`: what will spoil measurements on this machine, and how to mend each.

use std::process::ExitCode;

use agent::doctor::{self, Patient};
use agent::enrol::{self, Wishes};
use agent::{inventory, sensors};
use anyhow::Result;

use super::{Lock, Place, answer, folder, lock_path, runtime, suite};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each line is one check:
  ok      in order
  warn    results are sound, but could be better, or will not stay so
  spoils  launches are marked or invalid, or none can be made

It takes about ten seconds, and measures nothing. While an agent measures, the load is not judged.

Exit codes:
  0  nothing spoils
  1  something does")]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    lock: Lock,
}

pub fn show(args: &Args) -> Result<ExitCode> {
    let folder = folder(args.place.data_dir.as_deref())?;
    // A folder that cannot be read is one of the findings.
    let fleet = enrol::fleet(&folder, &Wishes::default()).unwrap_or_default();
    let inventory = inventory::read([].into(), &folder, fleet)?;
    let suite = suite(args.place.suite.as_deref()).map_err(|error| error.to_string());
    let patient = Patient {
        folder: &folder,
        inventory: &inventory,
        suite,
        host_lock: &args.lock.host_lock,
        agent_lock: &lock_path(&folder),
        sensors: sensors::open,
    };
    if !args.json {
        eprintln!("looking for some seconds…");
    }
    let findings = runtime()?.block_on(doctor::examine(&patient));
    if args.json {
        println!("{}", doctor::to_json(&findings));
    } else {
        print!("{}", doctor::to_text(&findings));
    }
    Ok(answer(doctor::is_sound(&findings)))
}
