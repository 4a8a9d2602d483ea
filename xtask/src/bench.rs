//! `cargo xtask bench WHAT`: speed as a ratio to a peer, a limit or a smaller load, both measured in the
//! same run.
//! A table for people, `--json` for scripts; never a timed test.

mod dashboard;
mod engine;
mod fleet;
mod report;

use anyhow::Result;
use report_gen::stats::{geometric_mean, paired_ratio};
use serde::Serialize;

#[derive(clap::Args)]
#[command(about = "Measure speed beside a reference")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Dashboard(dashboard::Args),
    Engine(engine::Args),
    Fleet(fleet::Args),
    Report(report::Args),
}

pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Dashboard(args) => dashboard::run(args),
        What::Engine(args) => engine::run(args),
        What::Fleet(args) => fleet::run(args),
        What::Report(args) => report::run(args),
    }
}

/// One figure beside its reference.
#[derive(Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    reference: f64,
    /// Value over reference.
    ratio: f64,
    /// 95 %, a t interval over the rounds' log ratios.
    ratio_ci_low: Option<f64>,
    ratio_ci_high: Option<f64>,
}

impl Row {
    /// From values and references of the same rounds. None when there are none, or not positive.
    fn paired(
        name: String,
        unit: &'static str,
        values: &[f64],
        references: &[f64],
    ) -> Option<Self> {
        let ratio = paired_ratio(values, references)?;
        Some(Self {
            name,
            value: geometric_mean(values)?,
            unit,
            reference: geometric_mean(references)?,
            ratio: ratio.value,
            ratio_ci_low: ratio.interval.map(|interval| interval.low),
            ratio_ci_high: ratio.interval.map(|interval| interval.high),
        })
    }
}

fn print(rows: &[Row], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    println!(
        "{:60} {:>12} {:>12} {:8} {:>7}  95 % interval",
        "", "value", "reference", "", "ratio"
    );
    for row in rows {
        let interval = match (row.ratio_ci_low, row.ratio_ci_high) {
            (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
            _ => "one round".to_owned(),
        };
        let Row {
            name,
            value,
            unit,
            reference,
            ratio,
            ..
        } = row;
        println!("{name:60} {value:>12.2} {reference:>12.2} {unit:8} {ratio:>7.3}  {interval}");
    }
    Ok(())
}
