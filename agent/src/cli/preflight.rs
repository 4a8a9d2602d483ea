//! `preflight`: whether this machine is quiet enough to measure on now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use agent::preflight::Outlook;
use agent::{host_lock, inventory, preflight, sensors};
use anyhow::Result;
use domain::reason::Reason;

use super::{Lock, answer, folder, runtime};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
It takes six seconds. `doctor` says how to mend what is found.

Exit codes:
  0  a launch would begin at once, and no condition would be held against it
  1  it would wait, or be marked")]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Where the agent keeps its keys and its spool
    #[arg(long, value_name = "DIR", env = "MLX_FLEET_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    lock: Lock,
}

pub fn show(args: &Args) -> Result<ExitCode> {
    let folder = folder(args.data_dir.as_deref())?;
    let inventory = inventory::read(BTreeMap::new(), &folder, None)?;
    let look = Outlook::look(sensors::open, inventory.virtual_machine);
    let outlook = runtime()?.block_on(look);
    let free = matches!(host_lock::try_take(&args.lock.host_lock), Ok(Some(_)));
    let quiet = outlook.is_quiet() && free;
    if args.json {
        println!("{}", to_json(&outlook, free));
    } else {
        print!("{}", to_text(&outlook, free));
    }
    Ok(answer(quiet))
}

/// The mean of each sensor that spoke.
fn seen(outlook: &Outlook) -> BTreeMap<&'static str, f64> {
    let ticks = &outlook.ticks;
    let sensors = ticks.iter().flat_map(|tick| &tick.readout.values);
    sensors
        .filter_map(|&(sensor, _)| Some((sensor, preflight::mean(ticks, sensor)?)))
        .collect()
}

fn to_json(outlook: &Outlook, host_free: bool) -> serde_json::Value {
    let reasons = |reasons: &[Reason]| -> Vec<_> {
        let told = |reason: &Reason| serde_json::json!({ "code": reason.code(), "description": reason.description() });
        reasons.iter().map(told).collect()
    };
    let last = outlook.ticks.last().map(|tick| &tick.readout);
    serde_json::json!({
        "quiet": outlook.is_quiet() && host_free,
        "waits_for": reasons(&outlook.waits_for),
        "marks": reasons(&outlook.marks),
        "host_free": host_free,
        "power_source": last.and_then(|it| it.power_source).map(sensors::PowerSource::as_str),
        "low_power_mode": last.and_then(|it| it.low_power_mode),
        "seen": seen(outlook),
    })
}

fn to_text(outlook: &Outlook, host_free: bool) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if outlook.is_quiet() && host_free {
        say("quiet: a launch would begin at once".to_owned());
    }
    if !host_free {
        say("another agent measures on this host: a launch would wait for it".to_owned());
    }
    let kinds = [
        ("a launch would wait for", &outlook.waits_for),
        ("a launch would be marked", &outlook.marks),
    ];
    for (what, reasons) in kinds {
        for reason in reasons {
            say(format!(
                "{what}: {} ({})",
                reason.code(),
                reason.description()
            ));
        }
    }
    for (sensor, mean) in seen(outlook) {
        say(format!("  {sensor} {mean:.3}"));
    }
    text
}
