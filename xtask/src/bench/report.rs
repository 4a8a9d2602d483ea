//! `bench report`: every view of schema `report`, and the HTML report, over a simulated fleet and over one
//! with a tenth of its samples on the same server: time, memory, and how both grow.
//!
//! Views are asked as their reader and answer in full, reports are written by the real `report-gen`; each
//! over a connection of its own. The two fleets take turns.

pub mod fleet;
mod question;

use anyhow::{Result, ensure};
use report_gen::stats::geometric_mean;

use self::fleet::Server;
use self::question::Answer;
use super::Row;
use crate::repo;

/// What a report over a million samples may take.
const REPORT_LIMIT_MS: f64 = 5000.0;
const MILLION: u32 = 1_000_000;
/// How many times smaller the other fleet is.
const STEP: u32 = 10;

#[derive(clap::Args)]
#[command(about = "Views and reports over a simulated fleet and one a tenth of its size (Linux)")]
pub struct Args {
    /// About so many: of 100 machines, and beyond a million of so many runs of theirs
    #[arg(long, default_value_t = MILLION, value_parser = clap::value_parser!(u32).range(200_000..))]
    samples: u32,
    /// Answers of each fleet to each question
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Ask only what has this in its name
    #[arg(long, value_name = "WORD", default_value = "")]
    only: String,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// What both fleets answered to one question.
struct Asked {
    name: String,
    is_fleet_report: bool,
    small: Vec<Answer>,
    large: Vec<Answer>,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "reads /proc: Linux only");
    let build = ["build", "--release", "--workspace", "--bins", "--locked"];
    repo::output_of("cargo", &build)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let server = Server::start()?;
    let small = runtime.block_on(server.fleet("small", args.samples / STEP))?;
    let large = runtime.block_on(server.fleet("large", args.samples))?;
    eprintln!("value: {large}; reference: {small}");

    let mut all = Vec::new();
    for (of_small, of_large) in small.questions.iter().zip(&large.questions) {
        if !of_large.name.contains(&args.only) {
            continue;
        }
        eprintln!("{}", of_large.name);
        let mut asked = Asked {
            name: of_large.name.clone(),
            is_fleet_report: of_large.is_fleet_report(),
            small: Vec::new(),
            large: Vec::new(),
        };
        // The first answers fill caches and do not count.
        for round in 0..=args.rounds {
            let small = runtime.block_on(server.ask(&small, of_small))?;
            let large = runtime.block_on(server.ask(&large, of_large))?;
            if round > 0 {
                asked.small.push(small);
                asked.large.push(large);
            }
        }
        all.push(asked);
    }
    if args.json {
        let rows: Vec<Row> = all
            .iter()
            .flat_map(|asked| rows(asked, args.samples))
            .collect();
        return super::print(&rows, true);
    }
    println!(
        "{:52} {:>9} {:>9} {:>9} {:>7} {:>8} {:>8}",
        "value (reference)", "rows", "ms", "(ms)", "ratio", "MB", "(MB)"
    );
    for asked in &all {
        let large = Figures::of(&asked.large);
        let small = Figures::of(&asked.small);
        println!(
            "{:52} {:>9} {:>9.0} {:>9.0} {:>7.1} {:>8.1} {:>8.1}",
            asked.name,
            large.rows,
            large.ms,
            small.ms,
            large.ms / small.ms,
            large.megabytes,
            small.megabytes
        );
    }
    Ok(())
}

/// Of all rounds of one fleet.
struct Figures {
    rows: u64,
    ms: f64,
    megabytes: f64,
}

impl Figures {
    fn of(answers: &[Answer]) -> Self {
        let times: Vec<f64> = answers.iter().map(|answer| answer.ms).collect();
        let most = |of: fn(&Answer) -> f64| answers.iter().map(of).fold(0.0, f64::max);
        Self {
            rows: answers.iter().map(|answer| answer.rows).max().unwrap_or(0),
            ms: geometric_mean(&times).unwrap_or(0.0),
            megabytes: most(|answer| answer.megabytes),
        }
    }
}

/// Large beside small in time and memory; and the large fleet's report beside its limit.
fn rows(asked: &Asked, samples: u32) -> Vec<Row> {
    let Asked {
        name,
        is_fleet_report,
        small,
        large,
    } = asked;
    let column = |answers: &[Answer], of: fn(&Answer) -> f64| -> Vec<f64> {
        answers.iter().map(of).collect()
    };
    let paired = |what: &str, unit, of: fn(&Answer) -> f64| {
        let name = format!("{name}: {what}");
        Row::paired(name, unit, &column(large, of), &column(small, of))
    };
    let limit = (*is_fleet_report && samples == MILLION).then(|| {
        let name = format!("{name}: time beside the limit");
        let limits = vec![REPORT_LIMIT_MS; large.len()];
        Row::paired(name, "ms", &column(large, |answer| answer.ms), &limits)
    });
    [
        paired("time", "ms", |answer| answer.ms),
        // Nothing at all has no ratio.
        paired("memory", "MB", |answer| answer.megabytes.max(0.1)),
        limit.flatten(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
