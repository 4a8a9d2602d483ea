//! `enrol`: joins the fleet and ends. For installers: the daemon that they start then never sees a token.

use std::process::ExitCode;

use agent::{enrol, inventory};
use anyhow::{Context, Result};
use service::lifecycle::Signals;
use service::telemetry;
use time::OffsetDateTime;

use super::{Joining, busy, folder, lock, runtime};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    joining: Joining,
}

pub fn enrol(args: &Args) -> Result<ExitCode> {
    let Args { joining } = args;
    telemetry::init(joining.log_format, &joining.log)?;
    let folder = folder(joining.data_dir.as_deref())?;
    folder.create()?;
    let Some(_lock) = lock(&folder)? else {
        return Ok(busy(&folder));
    };
    let wishes = joining.wishes()?;
    let fleet = enrol::fleet(&folder, &wishes)?;
    let inventory = inventory::read(joining.labels(), &folder, fleet)?;
    let member = runtime()?.block_on(async {
        let mut signals = Signals::catch().context("catching signals")?;
        let now = OffsetDateTime::now_utc();
        tokio::select! {
            member = enrol::join(&folder, wishes, &inventory, now) => Ok(member?),
            _ = signals.next() => anyhow::bail!("interrupted"),
        }
    })?;
    println!("enrolled as machine {}", member.machine_id()?);
    Ok(ExitCode::SUCCESS)
}
