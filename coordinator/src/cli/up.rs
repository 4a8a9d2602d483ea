//! `up`: everything on one machine. Database, coordinator and one agent for the time of one plan,
//! then the report.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use proto::wire;
use service::folders::DataFolder;
use service::lifecycle::{Lifecycle, Signals, Stop};
use service::telemetry;
use tokio::process::{Child, ChildStdin, Command};

use super::connect::{Client, Where, data_dir};
use super::exit::Failure;
use super::report::{self, Format};
use super::{plan, run, show};
use crate::server::{Config, Coordinator, GRACE, Listen};

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
    /// An existing Postgres database instead of a private one
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
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
    let mut signals = Signals::catch()?;
    let lifecycle = Lifecycle::new();
    let stop = lifecycle.stop_handle();
    show::note(format_args!(
        "starting Postgres and the coordinator in {}",
        data_dir.display()
    ));
    let config = Config {
        data_dir: data_dir.clone(),
        database_url: args.database_url.clone(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        host_names: Vec::new(),
        approve_machines: false,
        metrics_listen: None,
        // Who stays may look, and who waits for the report already.
        dashboard_listen: if args.keep {
            Listen::Beside
        } else {
            Listen::Off
        },
        releases: None,
        models: None,
    };
    let running = tokio::select! {
        running = Coordinator::start(config, &lifecycle) => running,
        // What was started, Postgres too, ends with its owners.
        _ = signals.next() => return Err(Failure::Interrupted),
    };
    let running = running.map_err(|error| Failure::chain(&error))?;
    if let Some(url) = running.dashboard_url() {
        let token = DataFolder::at(data_dir.clone()).operator_token();
        show::note(format_args!(
            "dashboard at {url}; the token to sign in with is in {}",
            token.display()
        ));
        open_in_browser(&url);
    }
    let outcome = Story {
        args: &args,
        data_dir: &data_dir,
        url: running.url(),
        stop: &stop,
    }
    .run(&mut signals)
    .await;
    stop.stop();
    lifecycle.run(signals, GRACE).await;
    let finished = running.finish().await;
    let code = outcome?;
    finished.map_err(|error| Failure::chain(&error))?;
    Ok(code)
}

/// On a Mac, where somebody sits before it; elsewhere the line says it.
fn open_in_browser(url: &str) {
    if cfg!(target_os = "macos") && std::io::stderr().is_terminal() {
        drop(Command::new("open").arg(url).spawn());
    }
}

/// What `up` does while its coordinator serves.
struct Story<'a> {
    args: &'a Args,
    data_dir: &'a Path,
    url: &'a str,
    stop: &'a Stop,
}

/// What an early end has to undo.
#[derive(Default)]
struct Begun {
    agent: Option<Agent>,
    run_id: Option<String>,
}

impl Story<'_> {
    /// The coordinator serves until the agent has stopped: a signal first ends what `up` began.
    async fn run(&self, signals: &mut Signals) -> Result<ExitCode, Failure> {
        let mut client = Where::local(self.data_dir).connect().await?;
        let mut begun = Begun::default();
        let mut outcome = tokio::select! {
            outcome = self.begin(&mut client, &mut begun) => outcome,
            () = self.stop.soft() => Err(Failure::broke("the coordinator has stopped")),
            _ = signals.next() => Err(Failure::Interrupted),
        };
        if self.args.keep && outcome.is_ok() {
            tokio::select! {
                () = self.stop.soft() => {}
                _ = signals.next() => {}
            }
        }
        let Begun { agent, run_id } = begun;
        let undo = async {
            if let (Err(_), Some(run)) = (&outcome, run_id) {
                cancel(&mut client, run).await?;
            }
            match agent {
                Some(agent) => agent.stop().await,
                None => Ok(()),
            }
        };
        let undone = tokio::select! {
            undone = undo => undone,
            // Again: at once. The agent dies as it is dropped.
            _ = signals.next() => Ok(()),
        };
        if outcome.is_ok() {
            outcome = undone.and(outcome);
        }
        outcome
    }

    async fn begin(&self, client: &mut Client, begun: &mut Begun) -> Result<ExitCode, Failure> {
        // In a private database a run is an earlier `up`'s, which was killed; this one would wait for it.
        if self.args.database_url.is_none() {
            let request = wire::ListRunsRequest::default();
            let runs = client.list_runs(request).await?.into_inner().runs;
            for run in runs.into_iter().filter(|run| run.state == "active") {
                show::note("a run was left unfinished here");
                cancel(client, run.run_id).await?;
            }
        }
        let before = last_seen(client).await?;
        let agent = Agent::start(client, self.url, &self.data_dir.join("agent")).await?;
        let agent = begun.agent.insert(agent);
        agent.joined(client, &before).await?;
        let submitted = run::submit(client, &self.args.plan, true).await?;
        let run_id = submitted.run_id;
        begun.run_id = Some(run_id.clone());
        let jobs = show::counted(submitted.jobs, ["job", "jobs"]);
        show::note(format_args!("run {run_id}: {jobs}"));
        let place = Where::local(self.data_dir);
        let ended = tokio::select! {
            ended = run::follow(&place, &run_id, false) => ended?,
            status = agent.child.wait() => {
                return Err(agent.failure(&format!("the agent ended with {}", status?)));
            }
        };
        begun.run_id = None;
        let out = match &self.args.report_dir {
            Some(dir) => std::path::absolute(dir)?,
            None => self.data_dir.join("reports").join(&run_id),
        };
        let formats = [Format::Txt, Format::Md, Format::Html];
        let mut written = Vec::new();
        for file in report::fetch(client, &run_id, &formats).await? {
            if file.0 == "summary.txt" {
                show::line(String::from_utf8_lossy(&file.1))?;
            } else {
                written.push(report::write(&file, &out)?);
            }
        }
        if self.args.keep {
            show::line(format_args!(
                "still listening on {}; Ctrl-C stops it",
                self.url
            ))?;
        }
        if let Some(html) = written.last() {
            show::line(format_args!("report: {}", html.display()))?;
        }
        Ok(run::exit_code(&ended))
    }
}

async fn cancel(client: &mut Client, run: String) -> Result<(), Failure> {
    let answer = client.cancel_run(wire::CancelRunRequest { run }).await?;
    let wire::CancelRunResponse {
        run_id,
        jobs_cancelled,
    } = answer.into_inner();
    show::note(format_args!(
        "run {run_id} is cancelled, with {jobs_cancelled} jobs"
    ));
    Ok(())
}

/// When each machine was heard last.
async fn last_seen(client: &mut Client) -> Result<HashMap<String, Option<i64>>, Failure> {
    let request = wire::ListMachinesRequest::default();
    let machines = client.list_machines(request).await?.into_inner().machines;
    let seen = |machine: wire::MachineRow| (machine.machine_id, machine.last_seen_unix_us);
    Ok(machines.into_iter().map(seen).collect())
}

/// The agent of this machine, a child process; it ends with us, however we end.
struct Agent {
    child: Child,
    /// Its end tells the agent to stop.
    stdin: Option<ChildStdin>,
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
        let mut child = Command::new(&binary)
            .args(["run", "--stop-with-stdin", "--coordinator", url])
            .arg("--data-dir")
            .arg(data_dir)
            // Not an argument: those can be read by everybody on the machine.
            .env("MLX_FLEET_JOIN_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log_file)
            // Ctrl-C on the terminal is ours; the agent is told to stop when we are ready.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Failure::Broke(format!("cannot start {}: {error}", binary.display()))
            })?;
        // Taken: waiting for the child would close it.
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, log })
    }

    /// Waits until the coordinator hears a machine anew: what an earlier `up` left looks alive, too.
    async fn joined(
        &mut self,
        client: &mut Client,
        before: &HashMap<String, Option<i64>>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + JOIN_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("the agent ended with {status}")));
            }
            let now = last_seen(client).await?;
            if now.iter().any(|(id, seen)| before.get(id) != Some(seen)) {
                return Ok(());
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
        self.stdin = None;
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
