//! `up`: everything on one machine. Database, coordinator and one agent for the time of one plan,
//! then the report.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use proto::wire;
use service::folders::DataFolder;
use service::lifecycle::{Lifecycle, Signals, Stop};
use service::telemetry;
use tokio::process::{Child, Command};

use super::connect::{Client, Where, data_dir};
use super::exit::Failure;
use super::report::{self, Format};
use super::{plan, run};
use crate::server::{Config, Coordinator, GRACE};

/// How long the agent of this machine may take to join.
const JOIN_DEADLINE: Duration = Duration::from_mins(1);

/// How long it may take to stop; its worker dies with it.
const AGENT_STOP_DEADLINE: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub struct Args {
    /// The plan, a TOML file
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Where database, certificates and synthetic weights are kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the report goes; by default reports/RUN in the data folder
    #[arg(long, value_name = "DIR")]
    report_dir: Option<PathBuf>,
    /// Keep serving after the report, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub async fn up(args: Args) -> Result<ExitCode, Failure> {
    telemetry::init(telemetry::Format::Human, "warn").map_err(|error| Failure::chain(&error))?;
    // A plan that is wrong is told before anything is started.
    let text = plan::read(&args.plan)?;
    if let Err(problems) = domain::plan::Plan::parse(&text) {
        plan::tell_problems(&args.plan, &text, &problems);
        return Err(Failure::Told);
    }
    let data_dir = data_dir(args.data_dir.as_deref())?;
    let signals = Signals::catch()?;
    let lifecycle = Lifecycle::new();
    let stop = lifecycle.stop_handle();
    eprintln!(
        "starting Postgres and the coordinator in {}",
        data_dir.display()
    );
    let config = Config {
        data_dir: data_dir.clone(),
        database_url: None,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        host_names: Vec::new(),
    };
    let running = Coordinator::start(config, &lifecycle)
        .await
        .map_err(|error| Failure::chain(&error))?;
    let url = running.url().to_owned();
    let story = async {
        let outcome = Story {
            args: &args,
            data_dir: &data_dir,
            url: &url,
            stop: &stop,
        }
        .run()
        .await;
        stop.stop();
        outcome
    };
    let (outcome, _ending) = tokio::join!(story, lifecycle.run(signals, GRACE));
    running
        .finish()
        .await
        .map_err(|error| Failure::chain(&error))?;
    outcome
}

/// What `up` does while its coordinator serves.
struct Story<'a> {
    args: &'a Args,
    data_dir: &'a Path,
    url: &'a str,
    stop: &'a Stop,
}

impl Story<'_> {
    async fn run(&self) -> Result<ExitCode, Failure> {
        let mut client = Where::local(self.data_dir).connect().await?;
        let mut agent = Agent::start(&mut client, self.url, &self.data_dir.join("agent")).await?;
        let outcome = tokio::select! {
            outcome = self.with_agent(&mut client, &mut agent) => outcome,
            () = self.stop.soft() => Err(Failure::Interrupted),
        };
        agent.stop().await?;
        outcome
    }

    async fn with_agent(
        &self,
        client: &mut Client,
        agent: &mut Agent,
    ) -> Result<ExitCode, Failure> {
        agent.joined(client).await?;
        let submitted = run::submit(client, &self.args.plan).await?;
        eprintln!("run {}: {} jobs", submitted.run_id, submitted.jobs);
        let ended = run::follow(client, &submitted.run_id, false).await?;
        let out = match &self.args.report_dir {
            Some(dir) => std::path::absolute(dir)?,
            None => self.data_dir.join("reports").join(&submitted.run_id),
        };
        report::write(client, &submitted.run_id, Format::Md, &out).await?;
        let html = report::write(client, &submitted.run_id, Format::Html, &out).await?;
        for (_, bytes) in report::fetch(client, &submitted.run_id, Format::Txt).await? {
            println!("{}", String::from_utf8_lossy(&bytes));
        }
        if self.args.keep {
            println!("still listening on {}; Ctrl-C stops it", self.url);
        }
        for path in html {
            println!("report: {}", path.display());
        }
        if self.args.keep {
            self.stop.soft().await;
        }
        Ok(run::exit_code(&ended))
    }
}

/// The agent of this machine, a child process; it dies with us.
struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    async fn start(client: &mut Client, url: &str, data_dir: &Path) -> Result<Self, Failure> {
        DataFolder::at(data_dir)
            .create()
            .map_err(|error| Failure::chain(&error))?;
        let request = wire::CreateTokenRequest {
            kind: "join".to_owned(),
            ttl_seconds: JOIN_DEADLINE.as_secs() * 2,
            uses: 1,
            name: "up".to_owned(),
        };
        let token = client.create_token(request).await?.into_inner().token;
        let binary = sibling("mlx-fleet-agent")?;
        let log = data_dir.join("agent.log");
        let log_file = std::fs::File::create(&log)?;
        let child = Command::new(&binary)
            .args(["run", "--coordinator", url, "--data-dir"])
            .arg(data_dir)
            // Not an argument: those can be read by everybody on the machine.
            .env("MLX_FLEET_JOIN_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            // Ctrl-C on the terminal is ours; the agent is told to stop when we are ready.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Failure::Broke(format!("cannot start {}: {error}", binary.display()))
            })?;
        Ok(Self { child, log })
    }

    /// Waits until the coordinator sees a machine that can work.
    async fn joined(&mut self, client: &mut Client) -> Result<(), Failure> {
        let deadline = Instant::now() + JOIN_DEADLINE;
        loop {
            let request = wire::ListMachinesRequest::default();
            let machines = client.list_machines(request).await?.into_inner().machines;
            if machines.iter().any(|machine| machine.state != "offline") {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("the agent ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.failure("the agent did not join in time"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn failure(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(10).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Failure::Broke(format!(
            "{what}; its log {} ends:\n{}",
            self.log.display(),
            tail.join("\n")
        ))
    }

    async fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = self.child.id() {
            // A process that is ours and not waited for: its pid cannot be another's.
            let status = Command::new("kill").arg(pid.to_string()).status().await?;
            if !status.success() {
                tracing::warn!(pid, "the agent could not be asked to stop");
            }
        }
        if tokio::time::timeout(AGENT_STOP_DEADLINE, self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// Our binaries are installed side by side.
fn sibling(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::Broke(format!(
        "{} is missing; build or install all binaries of mlx-fleet together",
        path.display()
    )))
}
