//! How a run looks while it goes: bars on a terminal, a line for each job elsewhere, JSON for scripts.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use proto::wire;
use serde_json::json;

use super::exit::Failure;
use super::show;

pub enum Progress {
    Bars(Bars),
    Lines(Lines),
    Json,
}

impl Progress {
    pub fn new(json: bool) -> Self {
        if json {
            Self::Json
        } else if std::io::stderr().is_terminal() {
            Self::Bars(Bars::default())
        } else {
            Self::Lines(Lines::default())
        }
    }

    pub fn show(&mut self, snapshot: &wire::RunSnapshot) -> Result<(), Failure> {
        match self {
            Self::Bars(bars) => bars.show(snapshot),
            Self::Lines(lines) => lines.show(snapshot),
            Self::Json => {
                let view = json!({
                    "run": snapshot.run.as_ref().map(show::Run::from),
                    "jobs": snapshot.jobs.iter().map(show::Job::from).collect::<Vec<_>>(),
                });
                show::line(view)?;
            }
        }
        Ok(())
    }

    pub fn ended(&mut self) {
        if let Self::Bars(bars) = self {
            bars.finish();
        }
    }
}

fn is_final(state: &str) -> bool {
    !matches!(state, "queued" | "leased")
}

/// `decode nano-llama bf16`
fn title(job: &wire::JobRow) -> String {
    format!("{} {} {}", job.suite, job.model, job.dtype)
}

/// One line when a job ends, with the reason where it did not succeed.
fn ending(job: &wire::JobRow) -> String {
    let took = match (job.started_unix_us, job.ended_unix_us) {
        (Some(start), Some(end)) => show::seconds((end - start).max(0) as u64 / 1_000_000),
        _ => "-".to_owned(),
    };
    let mut line = format!("{:9} {} {} ({took})", job.state, job.machine, title(job));
    if !job.reason.is_empty() && job.state != "succeeded" {
        line = format!("{line}: {}", job.reason);
    }
    line
}

/// One bar for the run and one for each machine at work.
#[derive(Default)]
pub struct Bars {
    all: MultiProgress,
    run: Option<ProgressBar>,
    machines: HashMap<String, ProgressBar>,
    ended: HashSet<String>,
}

impl Bars {
    fn show(&mut self, snapshot: &wire::RunSnapshot) {
        let Some(run) = &snapshot.run else { return };
        let bar = self.run.get_or_insert_with(|| {
            let style = "{prefix:20!} {bar:30} {pos}/{len} launches  {elapsed} gone, {eta} to go";
            self.all.add(styled(style, show::harmless(&run.plan_name)))
        });
        bar.set_length(run.launches_total.into());
        bar.set_position(run.launches_done.into());
        for job in &snapshot.jobs {
            if is_final(&job.state) {
                let is_new = self.ended.insert(job.job_id.clone());
                if is_new && job.state != "succeeded" {
                    // A closed terminal is no reason to stop watching.
                    let _ = self.all.println(show::harmless(&ending(job)));
                }
                continue;
            }
            if job.state != "leased" {
                continue;
            }
            let bar = self.machines.entry(job.machine.clone()).or_insert_with(|| {
                let style = "{prefix:20!} {bar:30} {pos}/{len} {msg}";
                self.all.add(styled(style, show::harmless(&job.machine)))
            });
            bar.set_length(job.launches_total.into());
            bar.set_position(job.launches_done.into());
            bar.set_message(show::harmless(&title(job)));
        }
    }

    fn finish(&mut self) {
        for bar in self.machines.values() {
            bar.finish_and_clear();
        }
        if let Some(bar) = &self.run {
            bar.finish();
        }
    }
}

fn styled(template: &str, prefix: String) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .expect("the template is ours")
        .progress_chars("━╸─");
    let bar = ProgressBar::new(0).with_style(style).with_prefix(prefix);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// A line for each job that ends, and one for the run.
#[derive(Default)]
pub struct Lines {
    ended: HashSet<String>,
}

impl Lines {
    fn show(&mut self, snapshot: &wire::RunSnapshot) {
        let Some(run) = &snapshot.run else { return };
        for job in snapshot.jobs.iter().filter(|job| is_final(&job.state)) {
            if self.ended.insert(job.job_id.clone()) {
                let done = self.ended.len();
                show::note(format_args!("[{done}/{}] {}", run.jobs_total, ending(job)));
            }
        }
        if run.state != "active" {
            let jobs = super::run::jobs(run);
            show::note(format_args!(
                "run {} {}: {jobs} jobs",
                run.run_id, run.state
            ));
        }
    }
}
