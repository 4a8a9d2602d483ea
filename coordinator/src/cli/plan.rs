//! `plan check`: the same refusals as `run`, and what the plan would do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use domain::plan::{Plan, Problem};
use domain::text::is_plain;
use proto::wire;
use serde::Serialize;

use super::connect::Where;
use super::exit::Failure;
use super::show;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Check a plan file; with a coordinator at hand, list the jobs it would make
    Check(CheckArgs),
}

#[derive(clap::Args)]
pub struct CheckArgs {
    /// The plan, a TOML file
    file: PathBuf,
    /// Check the file alone, without asking a coordinator for its machines
    #[arg(long)]
    offline: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(Serialize)]
struct Checked {
    ok: bool,
    problems: Vec<ProblemView>,
    jobs: Vec<JobView>,
    left_out: Vec<LeftOutView>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct ProblemView {
    line: usize,
    column: usize,
    message: String,
    help: Option<String>,
}

#[derive(Serialize)]
struct JobView {
    machine: String,
    suite: String,
    model: String,
    dtype: String,
    launches: u32,
    skipped: Option<String>,
    /// About, from like jobs before; None where there were none.
    takes_s: Option<f64>,
}

#[derive(Serialize)]
struct LeftOutView {
    machine: String,
    reason: String,
}

pub async fn run(command: Command) -> Result<ExitCode, Failure> {
    let Command::Check(args) = command;
    let text = read(&args.file)?;
    let problems = match Plan::parse(&text) {
        Err(problems) => problems,
        Ok(plan) if args.offline => {
            if args.json {
                return tell_json(&text, &[], None);
            }
            tell_offline(&plan)?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(_) => {
            let mut client = args.coordinator.connect().await?;
            let request = wire::CheckPlanRequest {
                plan_toml: text.clone(),
            };
            let answer = client.check_plan(request).await?.into_inner();
            let problems: Vec<Problem> = answer.problems.iter().map(problem).collect();
            if args.json {
                return tell_json(&text, &problems, Some(answer));
            }
            if problems.is_empty() {
                tell_jobs(&answer)?;
                return Ok(ExitCode::SUCCESS);
            }
            problems
        }
    };
    if args.json {
        return tell_json(&text, &problems, None);
    }
    tell_problems(&args.file, &text, &problems);
    Err(Failure::Told)
}

/// Reads a plan's text; the message names the file.
pub fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::Refused(format!("cannot read {}: {error}", file.display())))
}

pub fn problem(message: &wire::Problem) -> Problem {
    let wire::Problem {
        start,
        end,
        message,
        help,
    } = message.clone();
    Problem {
        span: start as usize..end as usize,
        message,
        help: (!help.is_empty()).then_some(help),
    }
}

/// Shows each problem at its place in the text, on standard error.
pub fn tell_problems(file: &Path, text: &str, problems: &[Problem]) {
    for problem in problems {
        let (line, column) = problem.line_column(text);
        let source = miette::NamedSource::new(file.display().to_string(), blanked(text));
        let Problem {
            span,
            message,
            help,
        } = problem.clone();
        let title = format!("{}:{line}:{column}: {message}", file.display());
        let mut report = miette::MietteDiagnostic::new(show::harmless(&title));
        report.help = help.as_deref().map(show::harmless);
        if !span.is_empty() {
            report.labels = Some(vec![miette::LabeledSpan::underline(span)]);
        }
        let report = miette::Report::new(report).with_source_code(source);
        show::drawn(format_args!("{report:?}"));
    }
}

/// A file of others' as a terminal may show it, with every byte where it was.
fn blanked(text: &str) -> String {
    let shown = |c: char| match (is_plain(c) || matches!(c, '\n' | '\t'), c.len_utf8()) {
        (true, _) => c,
        (false, 1) => ' ',
        (false, 2) => '\u{a0}',
        (false, _) => '\u{fffd}',
    };
    text.chars().map(shown).collect()
}

fn tell_offline(plan: &Plan) -> Result<(), Failure> {
    show::line(format_args!(
        "{}: {} models, {} suites, {}{} launches on each machine",
        plan.name,
        plan.models.len(),
        plan.suites.len(),
        if plan.protocol.precision.is_some() {
            "at most "
        } else {
            ""
        },
        plan.launches_per_machine()
    ))
}

fn tell_jobs(answer: &wire::CheckPlanResponse) -> Result<(), Failure> {
    let mut table = show::table(&[
        "machine", "model", "dtype", "suite", "launches", "about", "",
    ]);
    for job in &answer.jobs {
        let skipped = match job.skipped.as_str() {
            "" => String::new(),
            reason => format!("skipped: {reason}"),
        };
        table.add_row([
            job.machine.clone(),
            job.model.clone(),
            job.dtype.clone(),
            job.suite.clone(),
            job.launches.to_string(),
            job.takes_s.map_or(String::new(), about),
            skipped,
        ]);
    }
    show::line(table)?;
    for wire::LeftOut { machine, reason } in &answer.left_out {
        show::line(format_args!("left out: {machine}: {reason}"))?;
    }
    for note in &answer.notes {
        show::line(format_args!("note: {note}"))?;
    }
    let runs = answer.jobs.iter().filter(|job| job.skipped.is_empty());
    let launches: u32 = runs.clone().map(|job| job.launches).sum();
    let takes = longest(runs.clone());
    show::line(format_args!(
        "{}, {}{}",
        show::counted(runs.count() as u64, ["job", "jobs"]),
        show::counted(u64::from(launches), ["launch", "launches"]),
        takes.map_or(String::new(), |takes| format!(", about {}", about(takes))),
    ))
}

/// Machines go beside one another; None where the longest may be one of which little is known.
fn longest<'a>(jobs: impl Iterator<Item = &'a wire::PlannedJob>) -> Option<f64> {
    let mut machines: BTreeMap<&str, f64> = BTreeMap::new();
    for job in jobs {
        *machines.entry(&job.machine).or_default() += job.takes_s?;
    }
    machines.into_values().reduce(f64::max)
}

fn about(seconds: f64) -> String {
    show::seconds(seconds.ceil() as u64)
}

fn tell_json(
    text: &str,
    problems: &[Problem],
    answer: Option<wire::CheckPlanResponse>,
) -> Result<ExitCode, Failure> {
    let wire::CheckPlanResponse {
        problems: _,
        jobs,
        left_out,
        notes,
    } = answer.unwrap_or_default();
    let view = Checked {
        ok: problems.is_empty(),
        problems: problems
            .iter()
            .map(|problem| {
                let (line, column) = problem.line_column(text);
                let Problem { message, help, .. } = problem.clone();
                ProblemView {
                    line,
                    column,
                    message,
                    help,
                }
            })
            .collect(),
        jobs: jobs
            .into_iter()
            .map(
                |wire::PlannedJob {
                     machine,
                     suite,
                     model,
                     dtype,
                     launches,
                     skipped,
                     takes_s,
                 }| JobView {
                    machine,
                    suite,
                    model,
                    dtype,
                    launches,
                    skipped: (!skipped.is_empty()).then_some(skipped),
                    takes_s,
                },
            )
            .collect(),
        left_out: left_out
            .into_iter()
            .map(|wire::LeftOut { machine, reason }| LeftOutView { machine, reason })
            .collect(),
        notes,
    };
    show::json(&view)?;
    if view.ok {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::Told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_takes_as_long_as_its_slowest_machine_where_all_is_known() {
        let job = |machine: &str, takes_s| wire::PlannedJob {
            machine: machine.to_owned(),
            takes_s,
            ..wire::PlannedJob::default()
        };
        let mut jobs = vec![
            job("mini", Some(40.0)),
            job("studio", Some(70.0)),
            job("mini", Some(45.5)),
        ];
        assert_eq!(longest(jobs.iter()).map(about).as_deref(), Some("1m26s"));
        jobs.push(job("studio", None));
        assert_eq!(longest(jobs.iter()), None);
        assert_eq!(longest([].iter()), None);
    }
}
