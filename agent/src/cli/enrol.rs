//! `enrol`: joins the fleet and ends. For installers: the daemon that they start then never sees a token.
//! A machine that was thrown out comes back by it: with a token it joins again, whatever it holds.

use std::process::ExitCode;

use agent::enrol;
use anyhow::{Context, Result};
use service::lifecycle::Signals;
use time::OffsetDateTime;

use super::{Joining, Prepared, runtime};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    joining: Joining,
}

pub fn enrol(args: &Args) -> Result<ExitCode> {
    let Args { joining } = args;
    let Prepared {
        folder,
        mut wishes,
        inventory,
        _lock,
    } = joining.prepare()?;
    wishes.again = true;
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
