//! Plans and runs: checking, submitting, cancelling, resuming, listing.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::expand::{self, Candidate, Expansion, PlannedJob};
use domain::ids::{JobId, MachineId, RunId, ScheduleId};
use domain::job::RunState;
use domain::plan::{Plan, Problem};
use domain::text::is_plain;
use sha2::{Digest, Sha256};

use super::changes::Changes;
use super::{Dispatch, Error, Result, estimate, machines, schedules};
use crate::store::event::{Event, Kind};
use crate::store::lease::State;
use crate::store::{self, job, lease, machine, run};

/// Jobs of one run: a plan of a few kilobytes can ask for any number.
const MAX_JOBS: usize = 100_000;
const MAX_LISTED: u32 = 1000;
const MAX_FILE_NAME_CHARS: usize = 200;
/// Shortest beginning of a run's id that stands for it.
const MIN_PREFIX_CHARS: usize = 4;

/// What submitting a plan would do, or why it would not.
#[derive(Debug, Default)]
pub struct Checked {
    pub problems: Vec<Problem>,
    pub expansion: Expansion,
    /// How long each job may take, in the expansion's order; None where nothing like it was done.
    pub durations: Vec<Option<Duration>>,
    /// What else to know before submitting.
    pub notes: Vec<String>,
}

#[derive(Debug)]
pub enum Submitted {
    Run {
        run_id: RunId,
        jobs: u32,
        skipped: u32,
        notes: Vec<String>,
    },
    /// Nothing was stored.
    Refused(Vec<Problem>),
}

impl Dispatch {
    /// Checks a plan's text and expands it over the machines there are.
    pub async fn check_plan(&self, toml: &str) -> Result<Checked> {
        let plan = match Plan::parse(toml) {
            Ok(plan) => plan,
            Err(problems) => {
                return Ok(Checked {
                    problems,
                    ..Checked::default()
                });
            }
        };
        let candidates = machine::candidates(&self.pool).await?;
        let expansion = expand::expand(&plan, &candidates);
        let mut notes = machines::notes_on(&self.pool, &meant(&expansion.jobs)).await?;
        notes.extend(schedules::note(&plan));
        Ok(Checked {
            problems: no_work(&plan, &candidates, &expansion)
                .into_iter()
                .collect(),
            notes,
            durations: estimate::durations(&self.pool, &candidates, &expansion.jobs).await?,
            expansion,
        })
    }

    /// One transaction: the plan's text, the run, its jobs with those that are skipped, the machines
    /// left out with the reason, and, unless it is for `once`, the schedule that the plan asks for.
    pub async fn submit(
        &self,
        toml: &str,
        file_name: &str,
        once: bool,
        actor: &str,
    ) -> Result<Submitted> {
        let mut plan = match Plan::parse(toml) {
            Ok(plan) => plan,
            Err(problems) => return Ok(Submitted::Refused(problems)),
        };
        plan.every = plan.every.filter(|_| !once);
        let file_name = &printable(file_name);
        let mut tx = store::begin(&self.pool).await?;
        let mut changes = Changes::by(actor);
        let schedule_id = schedules::replace(&mut tx, &plan, toml, file_name, &mut changes).await?;
        let written = Written {
            plan: &plan,
            toml,
            file_name,
            schedule_id,
        };
        let submitted = insert(&mut tx, &written, &mut changes).await?;
        match submitted {
            Submitted::Run { .. } => {
                changes.commit(tx).await?;
                self.counts.runs_submitted.inc();
            }
            Submitted::Refused(_) => {}
        }
        Ok(submitted)
    }

    /// Every job that has not ended is cancelled, and its agent is told; a run that has ended stays as
    /// it is. Says how many jobs that were.
    pub async fn cancel(&self, run: &str, actor: &str) -> Result<(RunId, u32)> {
        let run_id = self.find_run(run).await?;
        let mut tx = store::begin(&self.pool).await?;
        // Leases before jobs, as everywhere; and again, for one that was granted in between.
        lease::lock_live_of_run(&mut *tx, run_id).await?;
        let jobs = job::cancel_of_run(&mut *tx, run_id, "the run was cancelled").await?;
        let held = lease::lock_live_of_run(&mut *tx, run_id).await?;
        let leases: Vec<_> = held.iter().map(|lease| lease.lease_id).collect();
        lease::end(&mut *tx, &leases, State::Cancelled).await?;
        if run::lock(&mut *tx, run_id).await? != RunState::Active {
            return Ok((run_id, 0));
        }
        run::end(&mut *tx, run_id, RunState::Cancelled).await?;

        let mut changes = Changes::by(actor);
        let detail = format!("{} jobs cancelled", jobs.len());
        changes
            .events
            .push(Event::new(Kind::RunCancelled, detail).run(run_id));
        for lease in &held {
            let event = Event::new(Kind::LeaseCancelled, "the run was cancelled");
            let event = event.of_job(run_id, lease.job_id).machine(lease.machine_id);
            changes.events.push(event.lease(lease.lease_id));
        }
        changes.machines = jobs.iter().map(|(_, machine_id)| *machine_id).collect();
        changes.runs.insert(run_id);
        changes.commit(tx).await?;
        tracing::info!(%run_id, jobs = jobs.len(), "cancelled");
        Ok((run_id, jobs.len() as u32))
    }

    /// Jobs of the run that failed, were parked or cancelled are queued again; what they finished is kept.
    /// Says how many jobs that were, and what they may wait for.
    pub async fn resume(&self, run: &str, actor: &str) -> Result<(RunId, u32, Vec<String>)> {
        let run_id = self.find_run(run).await?;
        let mut tx = store::begin(&self.pool).await?;
        let machines = job::requeue_of_run(&mut *tx, run_id, "the run was resumed").await?;
        if machines.is_empty() {
            return Err(Error::Precondition(format!(
                "run {run_id} has nothing to resume: no job of it failed, was parked or cancelled"
            )));
        }
        // Its last job may have ended it just now, without these.
        if run::lock(&mut *tx, run_id).await? != RunState::Active {
            run::reopen(&mut *tx, run_id).await?;
        }
        let mut changes = Changes::by(actor);
        let detail = format!("{} jobs queued again", machines.len());
        changes
            .events
            .push(Event::new(Kind::RunResumed, detail).run(run_id));
        let jobs = machines.len() as u32;
        changes.machines = machines.into_iter().collect();
        changes.runs.insert(run_id);
        let notes = machines::notes_on(&mut *tx, &changes.machines).await?;
        changes.commit(tx).await?;
        tracing::info!(%run_id, jobs, "resumed");
        Ok((run_id, jobs, notes))
    }

    /// The newest first.
    pub async fn list_runs(&self, wanted: &run::Wanted, limit: u32) -> Result<Vec<run::Summary>> {
        let limit = if limit == 0 {
            MAX_LISTED
        } else {
            limit.min(MAX_LISTED)
        };
        Ok(run::summaries(&self.pool, wanted, limit).await?)
    }

    /// A run by its id, the beginning of one, or `latest`.
    pub async fn find_run(&self, text: &str) -> Result<RunId> {
        let missing = |help| Error::NotFound {
            noun: "run",
            name: text.to_owned(),
            help,
        };
        if text == "latest" {
            return run::latest(&self.pool)
                .await?
                .ok_or_else(|| missing(": nothing was submitted yet"));
        }
        let prefix = text.to_ascii_lowercase();
        let plausible = prefix
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if !plausible || prefix.len() < MIN_PREFIX_CHARS {
            return Err(Error::Invalid(format!(
                "`{text}` names no run: give its id, at least {MIN_PREFIX_CHARS} characters of its \
                 beginning, or `latest`"
            )));
        }
        match run::beginning(&self.pool, &prefix).await?[..] {
            [] => Err(missing(": `mlx-fleet runs` lists them")),
            [run_id] => Ok(run_id),
            [..] => Err(Error::Invalid(format!(
                "more than one run begins with `{text}`: give more of its id"
            ))),
        }
    }
}

/// A plan with where it comes from.
pub(super) struct Written<'a> {
    pub plan: &'a Plan,
    pub toml: &'a str,
    pub file_name: &'a str,
    pub schedule_id: Option<ScheduleId>,
}

/// A run of the plan over the machines there are; a refusal has written nothing.
pub(super) async fn insert(
    tx: &mut store::Tx,
    written: &Written<'_>,
    changes: &mut Changes,
) -> Result<Submitted> {
    let Written {
        plan,
        toml,
        file_name,
        schedule_id,
    } = *written;
    let candidates = machine::candidates(&mut **tx).await?;
    let expansion = expand::expand(plan, &candidates);
    if let Some(problem) = no_work(plan, &candidates, &expansion) {
        return Ok(Submitted::Refused(vec![problem]));
    }
    let Expansion { jobs, left_out } = expansion;
    let mut notes = machines::notes_on(&mut **tx, &meant(&jobs)).await?;
    notes.extend(schedules::note(plan));
    let jobs: Vec<_> = jobs.into_iter().map(|job| (JobId::new(), job)).collect();

    let run_id = RunId::new();
    let plan_id = run::put_plan(&mut **tx, &plan.name, &sha256(toml), toml).await?;
    let new = run::New {
        run_id,
        plan_id,
        label: if plan.machines.simulated {
            run::Label::Simulated
        } else {
            run::Label::Measured
        },
        file_name,
        headline: plan.headline.iter().map(ToString::to_string).collect(),
        protocol: Some(&plan.protocol),
        schedule_id,
    };
    run::insert(&mut **tx, &new).await?;
    job::insert(&mut **tx, run_id, plan.priority, &jobs).await?;
    let excluded: Vec<_> = left_out
        .into_iter()
        .map(|left| (left.machine_id, left.reason))
        .collect();
    run::insert_exclusions(&mut **tx, run_id, &excluded).await?;

    let skipped = jobs.iter().filter(|(_, job)| job.skipped.is_some()).count();
    let detail = format!("{} jobs, {skipped} skipped", jobs.len());
    changes
        .events
        .push(Event::new(Kind::RunSubmitted, detail).run(run_id));
    changes
        .machines
        .extend(jobs.iter().map(|(_, job)| job.machine_id));
    // All may be skipped: then the run has ended already.
    changes.ended_jobs_of.insert(run_id);
    tracing::info!(%run_id, plan = plan.name, jobs = jobs.len(), skipped, "submitted");
    Ok(Submitted::Run {
        run_id,
        jobs: jobs.len() as u32,
        skipped: skipped as u32,
        notes,
    })
}

pub(super) fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// A file's name as a row may keep it.
pub(super) fn printable(file_name: &str) -> String {
    let characters = file_name.chars().filter(|c| is_plain(*c));
    characters.take(MAX_FILE_NAME_CHARS).collect()
}

/// The machines that have something to do.
fn meant(jobs: &[PlannedJob]) -> BTreeSet<MachineId> {
    let wanted = jobs.iter().filter(|job| job.skipped.is_none());
    wanted.map(|job| job.machine_id).collect()
}

/// Why a sound plan gives nothing to do.
fn no_work(plan: &Plan, candidates: &[Candidate], expansion: &Expansion) -> Option<Problem> {
    let Expansion { jobs, left_out } = expansion;
    if candidates.is_empty() {
        let problem = Problem::at(0..0, "no machine has joined this fleet yet");
        return Some(problem.with_help(
            "on each machine: mlx-fleet-agent run --coordinator URL --token TOKEN, with a token of \
             `mlx-fleet token create`",
        ));
    }
    if jobs.is_empty() {
        let reasons: Vec<String> = left_out
            .iter()
            .map(|left| format!("{}: {}", left.machine_name, left.reason))
            .collect();
        let known = candidates
            .iter()
            .map(|candidate| (candidate.name.as_str(), candidate.inventory.chip.as_str()));
        let (place, near) = plan.misfit(known);
        let near = near.map(|near| format!("did you mean `{near}`? "));
        let problem = Problem::at(place, "no machine of this fleet matches the plan");
        return Some(problem.with_help(near.unwrap_or_default() + &reasons.join("; ")));
    }
    (jobs.len() > MAX_JOBS).then(|| {
        Problem::at(
            0..0,
            format!(
                "the plan expands to {} jobs; {MAX_JOBS} are allowed",
                jobs.len()
            ),
        )
        .with_help("narrow [machines], or split the plan")
    })
}
