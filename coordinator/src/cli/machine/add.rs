//! `machine add`: the one line for a new machine's terminal.

use std::process::ExitCode;

use proto::wire;
use service::tls;

use crate::cli::connect::Where;
use crate::cli::exit::Failure;
use crate::cli::{show, token};
use crate::install_line::{line, names_this_machine};
use crate::rpc::SUMS;

#[derive(clap::Args)]
pub struct Args {
    /// How many machines may join with the line
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// How long it is good for, such as 30m, 24h or 90d
    #[arg(long, default_value = "24h", value_parser = token::ttl_seconds)]
    ttl: u64,
    /// What the new machine calls the coordinator, where that is not what this machine calls it; several of
    /// one database with commas
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// `mlx-fleet machine upgrade` may later put the coordinator's release in the place of the agent
    #[arg(long)]
    allow_upgrades: bool,
    #[command(flatten)]
    coordinator: Where,
}

pub async fn add(args: Args) -> Result<ExitCode, Failure> {
    let Args {
        uses,
        ttl,
        address,
        allow_upgrades,
        coordinator,
    } = args;
    let mut reached = coordinator.reach().await?;
    let urls = address.unwrap_or_else(|| reached.urls.clone());
    let first = urls.split(',').next().unwrap_or_default();
    let address = tls::address(first).map_err(|error| Failure::Refused(error.to_string()))?;
    // Before a token is made that nobody could use.
    let Some(archives) = reached.download(&format!("/releases/{SUMS}")).await? else {
        return Err(Failure::Refused(
            "the coordinator has no release archives to install from: put those of \
             `cargo xtask dist`, with their SHA256SUMS, into `releases` in its data folder (docs/install.md)"
                .to_owned(),
        ));
    };
    let request = wire::CreateTokenRequest {
        kind: "join".to_owned(),
        ttl_seconds: ttl,
        uses,
        name: "machine add".to_owned(),
    };
    let token = reached
        .client
        .create_token(request)
        .await?
        .into_inner()
        .token;

    let machines = show::counted(uses, ["machine", "machines"]);
    show::note(format_args!(
        "Paste this line into a terminal of the new machine. It installs the agent, asks for an \
         administrator's password, and lets {machines} join. Archives here:"
    ));
    for (_, name) in archives.lines().filter_map(|line| line.split_once("  ")) {
        show::note(format_args!("  {name}"));
    }
    if names_this_machine(&address) {
        show::note(format_args!(
            "Only this machine can reach {first}: for others, serve with `--listen 0.0.0.0:7420` or name \
             the coordinator with --address"
        ));
    }
    let more = if allow_upgrades {
        " --allow-upgrades"
    } else {
        ""
    };
    show::line(line(
        &reached.authority.pem(),
        &urls,
        &address,
        &token,
        more,
    ))?;
    Ok(ExitCode::SUCCESS)
}
