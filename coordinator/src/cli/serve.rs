//! `serve`: the coordinator as a daemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use service::lifecycle::{Ending, Lifecycle, Signals};
use service::telemetry;

use super::connect;
use super::exit::Failure;
use crate::server::{Config, Coordinator, DEFAULT_LISTEN, GRACE};

#[derive(clap::Args)]
pub struct Args {
    /// Where the coordinator keeps its certificates and, without --database-url, its database
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// An existing Postgres database instead of a private one
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Address and port that agents and operators connect to; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Further host names that the certificate is good for
    #[arg(long, value_name = "NAME")]
    host_name: Vec<String>,
    /// Log as JSON lines
    #[arg(long)]
    log_json: bool,
    /// What to log, as in `info` or `info,coordinator=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

pub async fn serve(args: Args) -> Result<ExitCode, Failure> {
    let format = if args.log_json {
        telemetry::Format::Json
    } else {
        telemetry::Format::Human
    };
    telemetry::init(format, &args.log).map_err(|error| Failure::chain(&error))?;
    let signals = Signals::catch()?;
    let lifecycle = Lifecycle::new();
    let config = Config {
        data_dir: connect::data_dir(args.data_dir.as_deref())?,
        database_url: args.database_url,
        listen: args.listen,
        host_names: args.host_name,
    };
    let running = Coordinator::start(config, &lifecycle)
        .await
        .map_err(|error| Failure::chain(&error))?;
    println!("listening on {}", running.url());
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
