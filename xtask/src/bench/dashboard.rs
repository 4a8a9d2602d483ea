//! `bench dashboard`: every page over a simulated fleet of a thousand machines and a million samples beside
//! its limit, and what open pages that change all the time cost the coordinator.
//!
//! Benchmark, coordinator and Postgres share the computer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::Row;
use super::report::fleet::{Fleet, Server};
use crate::{coordinator, process, repo};

/// What a page may take of the server.
const PAGE_LIMIT_MS: f64 = 100.0;
/// What the first page may bring, with what it names, compressed.
const PAINT_LIMIT_KB: f64 = 150.0;
/// What open pages may take of one core.
const LIVE_LIMIT_PERCENT: f64 = 25.0;
const REQUESTS: usize = 20;
/// Runs that are watched, each by as many.
const RUNS_OPEN: i64 = 10;
const PLAN: &str = include_str!("../../../plans/quick.toml");
const AT_WORK: &str = include_str!("dashboard/at_work.sql");
/// What the page itself proposes.
const STATEMENT: &str =
    "select submitted_at, plan, state, label, jobs_succeeded, jobs, machines, duration_s
    from report.run order by submitted_at desc limit 20";
/// What a second of a fleet at work brings.
const READINGS: &str = "
    insert into fleet.reading
    select machine_id, lease_id, clock_timestamp(), sensor, random()
    from fleet.lease
    cross join unnest(array['sys_power_w', 'gpu_active_ratio', 'gpu_temp_c', 'foreign_cpu_ratio']) as sensor
    where lease.state = 'live'";
/// Somebody drains and resumes, and jobs go on.
const CHANGE: &str = "
    with changed as (
        update fleet.machine
        set drained_at = case when drained_at is null then now() end
        where machine_id = (select machine_id from fleet.machine order by random() limit 1)
        returning 1
    )
    select pg_notify('fleet_run', $1) from changed";

#[derive(clap::Args)]
#[command(about = "Pages of the dashboard, and open ones, over a simulated fleet (Linux, release)")]
pub struct Args {
    /// About so many, of 100 machines; ten times as many machines are there
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(200_000..))]
    samples: u32,
    /// Pages that stay open
    #[arg(long, default_value_t = 200)]
    open: usize,
    /// How long they are looked at
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Where the pages are, and who looks.
struct Browser {
    address: String,
    cookie: String,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "reads /proc: Linux only");
    let build = ["build", "--release", "--workspace", "--bins", "--locked"];
    repo::output_of("cargo", &build)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let server = Server::start()?;
    let fleet = runtime.block_on(server.fleet("pages", args.samples))?;
    let machines = runtime.block_on(grow(&fleet))?;
    eprintln!("{fleet}, {machines} machines in all");

    let data_dir = server.folder().join("pages");
    let mut serving = coordinator::command(&data_dir)?
        .args(["--dashboard-listen", "0", "--log", "warn"])
        .env("DATABASE_URL", &fleet.url)
        .spawn()
        .context("cannot start the coordinator")?;
    let rows = measure(args, &fleet, &data_dir, &mut serving, &runtime);
    process::terminate(serving.id())?;
    serving.wait()?;
    super::print(&rows?, args.json)
}

async fn grow(fleet: &Fleet) -> Result<i64> {
    let mut database = PgConnection::connect(&fleet.url).await?;
    let like = format!("set bench.like_run = '{}'", fleet.runs.fleet);
    database.execute(AssertSqlSafe(like)).await?;
    database.execute(AT_WORK).await?;
    let count = sqlx::query_scalar("select count(*) from fleet.machine");
    Ok(count.fetch_one(&mut database).await?)
}

fn measure(
    args: &Args,
    fleet: &Fleet,
    data_dir: &std::path::Path,
    serving: &mut Child,
    runtime: &tokio::runtime::Runtime,
) -> Result<Vec<Row>> {
    let address = coordinator::dashboard(serving)?.context("the coordinator ended")?;
    let token = std::fs::read_to_string(data_dir.join("operator.token"))?;
    let browser = Browser::sign_in(address, token.trim())?;
    let (large, small) = (&fleet.runs.fleet, &fleet.runs.two_machines);
    let baseline = &fleet.runs.night_before;
    let chips = runtime.block_on(chips(fleet))?;
    let machines = compared(large, &chips);
    let plan = form(&[("plan", PLAN)]);
    let mut rows = Vec::new();
    for (name, path) in [
        ("the fleet", "/".to_owned()),
        ("the runs", "/runs".to_owned()),
        ("a run of 100 machines", format!("/runs/{large}")),
        ("a run of two machines", format!("/runs/{small}")),
        ("exploring", "/explore".to_owned()),
        ("a new plan", "/plan".to_owned()),
        ("SQL", "/sql".to_owned()),
        (
            "SQL with an answer",
            format!("/sql?{}", form(&[("q", STATEMENT)])),
        ),
        (
            "a comparison",
            format!("/compare?run={small}&baseline={baseline}"),
        ),
        ("two chips of a run", machines),
        ("a report of two machines", format!("/runs/{small}/report")),
    ] {
        rows.extend(page(name, &browser, "GET", &path, "")?);
    }
    rows.extend(page(
        "a plan checked",
        &browser,
        "POST",
        "/plan/check",
        &plan,
    )?);
    let first = ["/", "/style.css", "/dashboard.js"];
    let first = first.map(|path| {
        browser
            .ask("GET", path, "", "gzip")
            .map(|answer| answer.len())
    });
    let mut bytes = 0;
    for part in first {
        bytes += part?;
    }
    rows.push(held(
        "first paint, compressed",
        bytes as f64 / 1e3,
        "kB",
        PAINT_LIMIT_KB,
    ));
    rows.push(live(args, fleet, &browser, serving.id(), runtime)?);
    Ok(rows)
}

/// How long the server takes for a page, with its head and its compression.
fn page(
    name: &str,
    browser: &Browser,
    method: &str,
    path: &str,
    form: &str,
) -> Result<Option<Row>> {
    let mut times = Vec::new();
    let mut packed = 0;
    // The first fills caches and does not count.
    for request in 0..=REQUESTS {
        let began = Instant::now();
        packed = browser.ask(method, path, form, "gzip")?.len();
        if request > 0 {
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    let whole = browser.ask(method, path, form, "identity")?.len();
    eprintln!(
        "{name}: {} kB, compressed {} kB",
        whole / 1000,
        packed / 1000
    );
    let limits = vec![PAGE_LIMIT_MS; times.len()];
    Ok(Row::paired(
        format!("{name} (limit)"),
        "ms",
        &times,
        &limits,
    ))
}

fn held(name: &str, value: f64, unit: &'static str, limit: f64) -> Row {
    Row {
        name: format!("{name} (limit)"),
        value,
        unit,
        reference: limit,
        ratio: value / limit,
        ratio_ci_low: None,
        ratio_ci_high: None,
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs).finish()
}

fn compared(run: &str, chips: &[String]) -> String {
    let chip = |place: usize| chips.get(place).map_or("", String::as_str);
    let query = form(&[("run", run), ("of", chip(0)), ("over", chip(1))]);
    format!("/compare/machines?{query}")
}

async fn chips(fleet: &Fleet) -> Result<Vec<String>> {
    let mut database = PgConnection::connect(&fleet.url).await?;
    let chips = sqlx::query_scalar("select distinct chip from fleet.machine order by chip");
    Ok(chips.fetch_all(&mut database).await?)
}

/// The coordinator's share of a core while pages are open and what they show changes ten times a second.
fn live(
    args: &Args,
    fleet: &Fleet,
    browser: &Browser,
    pid: u32,
    runtime: &tokio::runtime::Runtime,
) -> Result<Row> {
    let run = &fleet.runs.fleet;
    let mut database = runtime.block_on(PgConnection::connect(&fleet.url))?;
    let ids =
        "select '/live/runs/' || run_id from fleet.run order by run_id = $1::uuid desc limit $2";
    let ids = sqlx::query_scalar(ids).bind(run).bind(RUNS_OPEN);
    let runs: Vec<String> = runtime.block_on(ids.fetch_all(&mut database))?;
    // A third of the readers looks at each kind of page.
    let pages = runs
        .into_iter()
        .flat_map(|run| ["/live/fleet".to_owned(), "/live/runs".to_owned(), run]);
    let pages: Vec<String> = pages.collect();
    let mut open = Vec::new();
    for page in pages.iter().cycle().take(args.open) {
        let mut stream = browser.open(page)?;
        // Read as a browser does, or the kernel's buffers would fill.
        open.push(std::thread::spawn(move || {
            let mut heard = 0_u64;
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                heard += count as u64;
            }
            heard
        }));
    }
    std::thread::sleep(Duration::from_secs(3));
    let (before, began) = (process::cpu_seconds(pid)?, Instant::now());
    let mut next_readings = began;
    while began.elapsed() < Duration::from_secs(args.seconds) {
        if next_readings <= Instant::now() {
            next_readings += Duration::from_secs(1);
            runtime.block_on(database.execute(READINGS))?;
        }
        let change = sqlx::query(CHANGE).bind(run).execute(&mut database);
        runtime.block_on(change)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let share = (process::cpu_seconds(pid)? - before) / began.elapsed().as_secs_f64();
    let ended = open.iter().filter(|page| page.is_finished()).count();
    ensure!(ended == 0, "{ended} pages were closed meanwhile");
    let name = format!("{} open pages, coordinator CPU", args.open);
    Ok(held(&name, 100.0 * share, "%", LIVE_LIMIT_PERCENT))
}

impl Browser {
    fn sign_in(address: String, token: &str) -> Result<Self> {
        let mut browser = Self {
            address,
            cookie: String::new(),
        };
        let form = format!("token={token}");
        let mut answer = String::new();
        browser
            .send("POST", "/sign-in", &form, "identity")?
            .read_to_string(&mut answer)?;
        let cookie = answer
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = cookie.and_then(|cookie| cookie.split(';').next());
        cookie
            .context("the sign-in failed")?
            .clone_into(&mut browser.cookie);
        Ok(browser)
    }

    fn ask(&self, method: &str, path: &str, form: &str, encoding: &str) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.send(method, path, form, encoding)?
            .read_to_end(&mut answer)?;
        let head = answer.get(..200).unwrap_or(&answer);
        let head = String::from_utf8_lossy(head);
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        Ok(answer)
    }

    /// A page that stays open, after its head.
    fn open(&self, path: &str) -> Result<BufReader<TcpStream>> {
        let mut stream = BufReader::new(self.send("GET", path, "", "gzip")?);
        let mut head = String::new();
        while stream.read_line(&mut head)? > 2 {}
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        Ok(stream)
    }

    fn send(&self, method: &str, path: &str, form: &str, encoding: &str) -> Result<TcpStream> {
        let Self { address, cookie } = self;
        let mut stream = TcpStream::connect(address)?;
        let length = form.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nCookie: {cookie}\r\n\
             Accept-Encoding: {encoding}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{form}"
        )?;
        Ok(stream)
    }
}
