//! `bench fleet`: a coordinator under fleets of simulated machines of growing size. Each figure stands
//! beside its limit or its peer, measured in the same run on the same server.
//!
//! Simulated machines run in one process (`mlx-fleet-agent simulate`) and share the computer with the
//! coordinator and Postgres: on few cores the three take from each other, which a real fleet does not.

mod dispatch;
mod ingest;
mod operator;
mod plan;
mod restart;
mod simulation;
mod watch;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use self::operator::Operator;
use self::simulation::Simulation;
use self::world::World;
use super::Row;
use crate::repo;

/// What machines of a real fleet send: a launch in ten seconds, a dozen sensors once a second.
const STREAMING: &str =
    "launch_ms = 10000\niterations = 5\nsamples = 8\ntokens = 128\nreadings = 12";
/// Nothing but a job's beginning and end.
const PROMPT: &str = "launch_ms = 0\niterations = 1\nsamples = 1\nreadings = 0";

/// What a coordinator with a thousand agents may take.
const MEMORY_LIMIT_MB: f64 = 150.0;
const THOUSAND: u32 = 1000;

#[derive(clap::Args)]
#[command(
    about = "Dispatch, ingest, memory and recovery by the size of the fleet (Linux, release)"
)]
pub struct Args {
    /// Sizes of fleets
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10, 100, 1000])]
    agents: Vec<u32>,
    /// How long each state is looked at
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// What to measure, by default all
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    parts: Vec<Part>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Idle,
    Dispatch,
    Streaming,
    Ingest,
    Plan,
    Watch,
    Restart,
}

/// One fleet, and what was found of it.
struct Bench<'a> {
    args: &'a Args,
    world: World,
    operator: Operator,
    token: String,
    agents: u32,
    rows: Vec<Row>,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "reads /proc: Linux only");
    service::crypto::install();
    let open = service::descriptors::raise()?;
    let most = args.agents.iter().copied().max().unwrap_or_default();
    ensure!(
        u64::from(most) + 1000 <= open,
        "{most} agents need more open files than the {open} that a process may have: raise `ulimit -n`"
    );
    let build = ["build", "--release", "--workspace", "--bins", "--locked"];
    repo::output_of("cargo", &build)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut rows = Vec::new();
    for &agents in &args.agents {
        rows.extend(runtime.block_on(fleet(args, agents))?);
    }
    super::print(&rows, args.json)
}

async fn fleet(args: &Args, agents: u32) -> Result<Vec<Row>> {
    let world = World::start()?;
    let operator = world.operator().await?;
    let mut bench = Bench {
        args,
        token: operator.join_token(agents + 1).await?,
        world,
        operator,
        agents,
        rows: Vec::new(),
    };
    bench.measure().await?;
    Ok(bench.rows)
}

impl Bench<'_> {
    async fn measure(&mut self) -> Result<()> {
        let alone_mb = self.world.pss_mb()?;
        let began = Instant::now();
        let simulation = self.simulate(PROMPT)?;
        let joined = f64::from(self.agents) / began.elapsed().as_secs_f64();
        self.told("joined", joined, "1/s", self.handshakes().await?);
        if self.wants(Part::Idle) {
            self.idle(&simulation, alone_mb).await?;
        }
        if self.wants(Part::Dispatch) {
            self.dispatch(&simulation).await?;
        }
        simulation.stop()?;
        if self.wants(Part::Streaming) || self.wants(Part::Watch) || self.wants(Part::Restart) {
            let simulation = self.simulate(STREAMING)?;
            if self.wants(Part::Streaming) {
                self.streaming(&simulation, alone_mb).await?;
            }
            if self.wants(Part::Watch) {
                self.watchers(&simulation).await?;
            }
            if self.wants(Part::Restart) {
                self.restart(&simulation).await?;
            }
            simulation.stop()?;
        }
        if self.wants(Part::Ingest) {
            self.ingest().await?;
        }
        if self.wants(Part::Plan) {
            self.plan().await?;
        }
        Ok(())
    }

    fn wants(&self, part: Part) -> bool {
        self.args.parts.is_empty() || self.args.parts.contains(&part)
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs(self.args.seconds)
    }

    fn simulate(&self, profile: &str) -> Result<Simulation> {
        eprintln!("{} agents start", self.agents);
        Simulation::start(&self.world, &self.token, self.agents, profile)
    }

    fn told(&mut self, what: &str, value: f64, unit: &'static str, reference: f64) {
        let row = Row {
            name: format!("{} agents: {what}", self.agents),
            value,
            unit,
            reference,
            ratio: value / reference,
            ratio_ci_low: None,
            ratio_ci_high: None,
        };
        eprintln!("{:44} {value:.2} ({reference:.2}) {unit}", row.name);
        self.rows.push(row);
    }

    /// Connections that the coordinator makes in a second, each with one call that does nothing.
    async fn handshakes(&self) -> Result<f64> {
        const AT_ONCE: usize = 16;
        const EACH: usize = 8;
        let began = Instant::now();
        let one = || async {
            for _ in 0..EACH {
                self.operator.handshake().await?;
            }
            anyhow::Ok(())
        };
        futures_util::future::try_join_all((0..AT_ONCE).map(|_| one())).await?;
        Ok((AT_ONCE * EACH) as f64 / began.elapsed().as_secs_f64())
    }

    async fn idle(&mut self, simulation: &Simulation, alone_mb: f64) -> Result<()> {
        let load = self.world.load(simulation.pid(), self.seconds()).await?;
        self.told(
            "idle, coordinator PSS (without agents)",
            load.pss_mb,
            "MB",
            alone_mb,
        );
        let (own, agents) = (100.0 * load.coordinator, 100.0 * load.agents);
        self.told("idle, coordinator CPU (agents')", own, "%", agents);
        self.told(
            "idle, Postgres CPU (agents')",
            100.0 * load.postgres,
            "%",
            agents,
        );
        Ok(())
    }

    async fn streaming(&mut self, simulation: &Simulation, alone_mb: f64) -> Result<()> {
        let (run, _) = self.operator.submit(&endless_plan()).await?;
        simulation.wait(simulation::Told::Granted, self.agents)?;
        // A launch's length: until then not every machine is in the middle of one.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let mut database = self.world.database().await?;
        let before = ingest::rows_of(&mut database).await?;
        let began = Instant::now();
        let load = self.world.load(simulation.pid(), self.seconds()).await?;
        let rows = ingest::rows_of(&mut database).await? - before;
        let rate = rows as f64 / began.elapsed().as_secs_f64();
        let made = ingest::made_in_a_second(self.agents);
        self.told("streaming, rows committed (sent)", rate, "1/s", made);
        self.told(
            "streaming, coordinator PSS (without agents)",
            load.pss_mb,
            "MB",
            alone_mb,
        );
        if self.agents == THOUSAND {
            let what = "streaming, coordinator PSS beside the limit";
            self.told(what, load.pss_mb, "MB", MEMORY_LIMIT_MB);
        }
        let (own, agents) = (100.0 * load.coordinator, 100.0 * load.agents);
        self.told("streaming, coordinator CPU (agents')", own, "%", agents);
        self.told(
            "streaming, Postgres CPU (agents')",
            100.0 * load.postgres,
            "%",
            agents,
        );
        let began = Instant::now();
        self.operator.cancel(&run).await?;
        let cancelled = began.elapsed().as_secs_f64() * 1e3;
        let round = dispatch::round_trip_ms(self).await?;
        self.told(
            "streaming, cancelled (insert, NOTIFY, call)",
            cancelled,
            "ms",
            round,
        );
        Ok(())
    }
}

/// A job for every simulated machine that does not end by itself.
fn endless_plan() -> String {
    plan_of("endless", 1000, "simulated = true")
}

/// One job of one case for each machine that is meant.
fn plan_of(name: &str, launches: u32, machines: &str) -> String {
    format!(
        r#"name = "{name}"
[machines]
{machines}
[protocol]
launches = {launches}
iterations = 5
gate_timeout = "0s"
cooldown_max = "0s"
canary = false
[[model]]
source = "synthetic:nano-llama"
[suite.decode]
new_tokens = [128]
"#
    )
}

/// A share of the values from below.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let mut is = |p, want: f64| (percentile(&mut values, p) - want).abs() < f64::EPSILON;
        assert!(is(0.5, 100.0) && is(0.99, 198.0));
        assert!((percentile(&mut [7.0], 0.99) - 7.0).abs() < f64::EPSILON);
    }
}
