//! `serve`: the coordinator as a daemon.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use service::lifecycle::{Ending, Lifecycle, Signals};
use service::{descriptors, telemetry};

use super::exit::Failure;
use super::{connect, show};
use crate::dashboard;
use crate::server::{Config, Coordinator, DEFAULT_LISTEN, GRACE, monitor};

/// For a few hundred agents.
const ENOUGH_DESCRIPTORS: u64 = 1024;

#[derive(clap::Args)]
pub struct Args {
    /// Where the coordinator keeps its certificates and, without --database-url, its database
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// An existing Postgres database instead of a private one
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Address and port that agents and operators connect to; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN, value_parser = address)]
    listen: SocketAddr,
    /// Further host names that the certificate is good for
    #[arg(long, value_name = "NAME")]
    host_name: Vec<String>,
    /// A machine that enrols gets no job until `mlx-fleet machine approve NAME`
    #[arg(long)]
    approve_machines: bool,
    /// Serve /metrics, /healthz and /readyz here, in plain HTTP: a port of this machine alone, or an
    /// address and port
    #[arg(long, value_name = "ADDR", value_parser = monitor::address)]
    metrics_listen: Option<SocketAddr>,
    /// Serve the dashboard for browsers of this machine here: a port, a loopback address and port, or `off`;
    /// by default the port after that of --listen, if it is free
    #[arg(long, value_name = "ADDR", value_parser = dashboard::listen)]
    dashboard_listen: Option<dashboard::Listen>,
    /// Where the release archives lie that new machines download, with their SHA256SUMS; by default
    /// `releases` in the data folder
    #[arg(long, value_name = "DIR")]
    releases: Option<PathBuf>,
    /// Where the models lie that machines get from here, in the layout of Hugging Face's cache; by default
    /// `models` in the data folder, which `mlx-fleet model fetch` fills
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// How the log looks: `human`, or `json` for one object a line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    log_format: telemetry::Format,
    /// What is logged, in the syntax of RUST_LOG, as in `info` or `info,coordinator=debug`
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    log: String,
}

pub async fn serve(args: Args) -> Result<ExitCode, Failure> {
    telemetry::init(args.log_format, &args.log).map_err(|error| Failure::chain(&error))?;
    let mut signals = Signals::catch()?;
    match descriptors::raise() {
        Ok(open) if open < ENOUGH_DESCRIPTORS => {
            tracing::warn!(
                open,
                "few connections are possible, and each agent needs one: raise `ulimit -n`"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
    let lifecycle = Lifecycle::new();
    let config = Config {
        data_dir: connect::data_dir(args.data_dir.as_deref())?,
        database_url: args.database_url,
        listen: args.listen,
        host_names: args.host_name,
        approve_machines: args.approve_machines,
        metrics_listen: args.metrics_listen,
        dashboard_listen: args.dashboard_listen.unwrap_or_default(),
        releases: args.releases,
        models: args.models,
    };
    let running = tokio::select! {
        running = Coordinator::start(config, &lifecycle) => running,
        // What was started, Postgres too, ends with its owners.
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let running = running.map_err(|error| Failure::chain(&error))?;
    // Who does not read it can do without.
    drop(show::line(format_args!("listening on {}", running.url())));
    if let Some(url) = running.metrics_url() {
        drop(show::line(format_args!("metrics at {url}")));
    }
    if let Some(url) = running.dashboard_url() {
        drop(show::line(format_args!("dashboard at {url}")));
    }
    let ending = lifecycle.run(signals, GRACE).await;
    running
        .finish()
        .await
        .map_err(|error| Failure::chain(&error))?;
    match ending {
        Ending::Clean | Ending::Forced => Ok(ExitCode::SUCCESS),
        Ending::Abandoned { tasks } => Err(Failure::broke(format_args!(
            "{tasks} tasks did not end in time"
        ))),
    }
}

/// An address and port, or a name of this machine that stands for one.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    let mut found: Vec<SocketAddr> = found.collect();
    // `localhost` is both, and 127.0.0.1 is what others expect.
    found.sort_by_key(SocketAddr::is_ipv6);
    let first = found.first().copied();
    first.ok_or_else(|| format!("`{text}` stands for no address"))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn one_can_listen_on_a_name() {
        assert_eq!(
            address("localhost:7420").unwrap().to_string(),
            "127.0.0.1:7420"
        );
        assert_eq!(address("[::1]:1").unwrap().to_string(), "[::1]:1");
        assert!(address("localhost").is_err());
    }
}
