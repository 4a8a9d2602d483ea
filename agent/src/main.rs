//! `mlx-fleet-agent`: joins a fleet and measures for it, until it is stopped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use agent::driver::Driver;
use agent::enrol::{self, Membership, Wishes};
use agent::host_lock::{self, HostLock};
use agent::job::Bench;
use agent::simulate::Simulation;
use agent::simulate::profile::{self, Profile};
use agent::spool::Spool;
use agent::supervisor::Suite;
use agent::{VERSION, inventory, sensors, supervisor};
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use domain::machine::Inventory;
use secrecy::SecretString;
use service::folders::{self, DataFolder};
use service::lifecycle::{Ending, Lifecycle, Signals, Stop};
use service::{crypto, descriptors, telemetry};
use time::OffsetDateTime;
use tracing::Instrument;

/// From the first signal to the end: a worker gets its grace, the job's end is uploaded.
const GRACE: Duration = Duration::from_secs(10);

/// Two: one may sync a disk or read a pipe while the other beats.
const WORKER_THREADS: usize = 2;

/// Of a simulation, beside one for each machine: files, the runtime's own, handshakes of enrolments.
const DESCRIPTORS_BESIDE: u64 = 128;

/// Writes of the spool and of its readers; never more than a few at once.
const BLOCKING_THREADS: usize = 4;

const EXIT_FAILED: u8 = 1;
const EXIT_REFUSED: u8 = 3;
const EXIT_UNREACHABLE: u8 = 4;
const EXIT_BUSY: u8 = 5;

/// Measures on this machine for an mlx-fleet coordinator.
#[derive(Debug, Parser)]
#[command(name = "mlx-fleet-agent", version = VERSION, after_help = "\
Exit codes:
  0  stopped by a signal
  1  failed (the last line on standard error says how)
  2  the command line is wrong
  3  the coordinator refused this machine or its token
  4  the coordinator could not be reached to enrol
  5  another agent works in this data folder")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Join the fleet (the first time) and work for it
    Run(Box<RunArgs>),
    /// Show what the coordinator will know of this machine
    Inventory(InventoryArgs),
    /// Be many machines that measure nothing, to see what a coordinator bears
    Simulate(Box<SimulateArgs>),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The coordinator's URL; remembered after the first time. Several of one database, with commas
    /// or as further options: when one is away, the next is tried
    #[arg(
        long,
        value_name = "URL",
        env = "MLX_FLEET_COORDINATOR",
        value_delimiter = ','
    )]
    coordinator: Vec<String>,
    /// Join token, needed the first time. Other users may see it in the list of processes until
    /// this machine is enrolled: prefer --token-file or the environment
    #[arg(
        long,
        value_name = "TOKEN",
        env = "MLX_FLEET_JOIN_TOKEN",
        hide_env_values = true
    )]
    token: Option<SecretString>,
    /// File that holds the join token
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Where key, certificate, spool and synthetic weights are kept
    #[arg(long, value_name = "DIR", env = "MLX_FLEET_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Label that plans can select by; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The worker's program; by default mlx-fleet-suite beside this program
    #[arg(long, value_name = "PROGRAM", env = "MLX_FLEET_SUITE")]
    suite: Option<PathBuf>,
    /// Lock that keeps measurements of all agents on this host apart
    #[arg(long, value_name = "FILE", env = "MLX_FLEET_HOST_LOCK", hide = true,
          default_value = host_lock::DEFAULT_PATH)]
    host_lock: PathBuf,
    /// Stop when standard input ends: whoever started the agent has gone
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
    /// What is logged, in the syntax of RUST_LOG
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    log: String,
    /// How the log looks: `human`, or `json` for one object a line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    log_format: telemetry::Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Only plans with `simulated = true` in [machines] reach these machines, and their rows are labelled
simulated. See docs/scale.md.")]
struct SimulateArgs {
    /// How many machines
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// TOML file that says what they are and do; by default what `--print-profile` prints
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Print the default profile and end
    #[arg(long)]
    print_profile: bool,
    /// The coordinator's URL, or several with commas; remembered after the first time
    #[arg(
        long,
        value_name = "URL",
        env = "MLX_FLEET_COORDINATOR",
        value_delimiter = ','
    )]
    coordinator: Vec<String>,
    /// Join token with as many uses as there are machines, needed the first time
    #[arg(
        long,
        value_name = "TOKEN",
        env = "MLX_FLEET_JOIN_TOKEN",
        hide_env_values = true
    )]
    token: Option<SecretString>,
    /// File that holds the join token
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Where keys and certificates are kept
    #[arg(long, value_name = "DIR", env = "MLX_FLEET_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Label that plans can select by; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// What is logged, in the syntax of RUST_LOG
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    log: String,
    /// How the log looks: `human`, or `json` for one object a line
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    log_format: telemetry::Format,
}

#[derive(Debug, Args)]
struct InventoryArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Label to show with it; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form KEY=VALUE")),
    }
}

fn main() -> ExitCode {
    crypto::install();
    let cli = Cli::parse();
    let result = match cli.command {
        Verb::Run(args) => run(&args),
        Verb::Inventory(args) => show_inventory(&args),
        Verb::Simulate(args) => simulate(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mlx-fleet-agent: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<enrol::Error>() {
        Some(error) if error.is_temporary() => EXIT_UNREACHABLE,
        Some(_) => EXIT_REFUSED,
        None => EXIT_FAILED,
    }
}

fn show_inventory(args: &InventoryArgs) -> Result<ExitCode> {
    let labels = args.labels.iter().cloned().collect();
    let inventory = inventory::read(labels, &folder(None)?)?;
    let value = inventory::to_json(&inventory);
    match (args.json, value.as_object()) {
        (false, Some(fields)) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) => println!("{name}: {text}"),
                    None => println!("{name}: {value}"),
                }
            }
        }
        _ => println!("{value}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn run(args: &RunArgs) -> Result<ExitCode> {
    telemetry::init(args.log_format, &args.log)?;
    let folder = folder(args.data_dir.as_deref())?;
    folder.create()?;
    let Some(_lock) = lock(&folder)? else {
        return Ok(busy(&folder));
    };
    let labels = args.labels.iter().cloned().collect::<BTreeMap<_, _>>();
    let inventory = inventory::read(labels, &folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let wishes = Wishes {
        coordinators: args.coordinator.clone(),
        token: token(args.token.as_ref(), args.token_file.as_deref())?,
    };
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
    if args.token.is_some() {
        drop(runtime);
        return Err(start_again_without_token());
    }
    runtime.block_on(serve(args, &folder, inventory, &member, signals))
}

fn busy(folder: &DataFolder) -> ExitCode {
    let pid = std::fs::read_to_string(lock_path(folder)).unwrap_or_default();
    eprintln!(
        "mlx-fleet-agent: another agent (pid {}) works in {}: stop that one, or use another \
         --data-dir",
        pid.trim(),
        folder.root().display()
    );
    ExitCode::from(EXIT_BUSY)
}

fn simulate(args: &SimulateArgs) -> Result<ExitCode> {
    if args.print_profile {
        print!("{}", profile::DEFAULT);
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::init(args.log_format, &args.log)?;
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
    let folder = match &args.data_dir {
        Some(_) => folder(args.data_dir.as_deref())?,
        None => DataFolder::at(folder(None)?.root().with_file_name("simulation")),
    };
    folder.create()?;
    let Some(_lock) = lock(&folder)? else {
        return Ok(busy(&folder));
    };
    let simulation = Simulation {
        machines: args.count,
        profile,
        labels: args.labels.iter().cloned().collect(),
        coordinators: args.coordinator.clone(),
        token: token(args.token.as_ref(), args.token_file.as_deref())?,
        folder,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let signals = Signals::catch().context("catching signals")?;
        let life = Lifecycle::new();
        let refusal = simulation.start(&life)?;
        let ending = life.run(signals, GRACE).await;
        if let Some(refusal) = refusal.take() {
            return Err(refusal.into());
        }
        match ending {
            Ending::Clean | Ending::Forced => Ok(ExitCode::SUCCESS),
            Ending::Abandoned { tasks } => anyhow::bail!("{tasks} tasks did not end"),
        }
    })
}

/// MLX_FLEET_DATA_DIR also names a coordinator's folder, and two daemons do not share one.
fn folder(named: Option<&Path>) -> Result<DataFolder> {
    let folder = match named {
        Some(dir) => DataFolder::at(dir),
        None => DataFolder::at(DataFolder::default_location()?.root().join("agent")),
    };
    anyhow::ensure!(
        !folder.ca_key().exists(),
        "{} is a coordinator's data folder: name another with --data-dir, such as {0}/agent",
        folder.root().display()
    );
    Ok(folder)
}

fn lock_path(folder: &DataFolder) -> PathBuf {
    folder.root().join("agent.lock")
}

/// The lock's file says who holds it.
fn lock(folder: &DataFolder) -> Result<Option<HostLock>> {
    let path = lock_path(folder);
    let lock = host_lock::try_take(&path).with_context(|| format!("locking {}", path.display()))?;
    if lock.is_some()
        && let Err(error) = std::fs::write(&path, format!("{}\n", std::process::id()))
    {
        tracing::warn!(%error, "the lock does not say who holds it");
    }
    Ok(lock)
}

fn token(token: Option<&SecretString>, file: Option<&Path>) -> Result<Option<SecretString>> {
    match (token, file) {
        (Some(token), _) => Ok(Some(token.clone())),
        (None, Some(file)) => Ok(Some(folders::read_secret(file)?)),
        (None, None) => Ok(None),
    }
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
    args: &RunArgs,
    folder: &DataFolder,
    inventory: Inventory,
    member: &Membership,
    signals: Signals,
) -> Result<ExitCode> {
    let endpoints = member.endpoints()?;
    let suite = suite(args)?;
    let spool = Spool::open(folder.root().join("spool"))?;
    spool.end_interrupted(OffsetDateTime::now_utc(), &inventory.boot_id)?;
    let bench = Arc::new(Bench {
        suite,
        inventory,
        kernel: inventory::kernel(),
        cache_dir: folder.root().join("cache"),
        host_lock: args.host_lock.clone(),
        sensors: sensors::open,
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
    let driver = Driver::new(endpoints, spool, bench, stop.clone());
    let of_machine = tracing::info_span!("agent", machine_id = %member.machine_id()?);
    let drive = async move {
        driver.run().await;
        stop.stop();
    };
    life.spawn("driver", drive.instrument(of_machine));
    match life.run(signals, GRACE).await {
        Ending::Clean | Ending::Forced => Ok(ExitCode::SUCCESS),
        Ending::Abandoned { tasks } => anyhow::bail!("{tasks} tasks did not end"),
    }
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

fn suite(args: &RunArgs) -> Result<Suite> {
    let program = match &args.suite {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .context("finding this program")?
            .with_file_name("mlx-fleet-suite"),
    };
    anyhow::ensure!(
        program.is_file(),
        "{} is missing: the worker belongs beside this program, or name it with --suite",
        program.display()
    );
    Ok(Suite::new(program))
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

    #[test]
    fn a_coordinators_folder_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert!(folder(Some(dir.path())).is_ok());
        std::fs::write(dir.path().join("ca.key"), "").unwrap();
        let refused = folder(Some(dir.path())).unwrap_err().to_string();
        assert!(refused.contains("--data-dir"), "{refused}");
    }

    #[test]
    fn labels_need_a_key_and_a_value() {
        assert_eq!(label("room=lab"), Ok(("room".to_owned(), "lab".to_owned())));
        assert!(label("room").is_err() && label("=lab").is_err());
    }
}
