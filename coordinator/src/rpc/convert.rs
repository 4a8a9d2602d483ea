//! Domain values as the operator's messages have them.

use std::time::Duration;

use domain::expand::{LeftOut, PlannedJob};
use domain::model::{ModelRef, UnknownDtype};
use domain::plan::Problem;
use domain::{catalogue, import};
use proto::{Refusal, wire};
use time::OffsetDateTime;
use tonic::Status;
use uuid::Uuid;

use crate::dispatch::import::Imported;
use crate::dispatch::machines::{self, MachineState};
use crate::dispatch::watch::Snapshot;
use crate::store::prune::Holding;
use crate::store::{event, job, roster, run, schedule, token};

/// A message that breaks a promise, by the name of its field.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub fn refused(why: Refusal) -> Status {
    Status::invalid_argument(why.to_string())
}

fn unix_us(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1000) as i64
}

pub fn problem(problem: Problem) -> wire::Problem {
    let Problem {
        span,
        message,
        help,
    } = problem;
    wire::Problem {
        start: span.start as u64,
        end: span.end as u64,
        message,
        help: help.unwrap_or_default(),
    }
}

pub fn planned_job((job, takes): (PlannedJob, Option<Duration>)) -> wire::PlannedJob {
    let PlannedJob {
        machine_id: _,
        machine_name,
        suite,
        model,
        cases: _,
        launches_total,
        skipped,
    } = job;
    wire::PlannedJob {
        machine: machine_name,
        suite: suite.to_string(),
        dtype: model
            .as_ref()
            .map(ModelRef::dtype_label)
            .unwrap_or_default()
            .to_owned(),
        model: ModelRef::label_of(model.as_ref()),
        launches: launches_total,
        skipped: skipped.unwrap_or_default(),
        takes_s: takes.map(|takes| takes.as_secs_f64()),
    }
}

pub fn left_out(left: LeftOut) -> wire::LeftOut {
    let LeftOut {
        machine_id: _,
        machine_name,
        reason,
    } = left;
    wire::LeftOut {
        machine: machine_name,
        reason,
    }
}

/// None: by the file's content.
pub fn format(text: &str) -> Result<Option<import::Format>, Status> {
    let named = (!text.is_empty()).then(|| text.parse());
    let why = |why: import::UnknownFormat| Status::invalid_argument(why.to_string());
    named.transpose().map_err(why)
}

pub fn given(given: wire::ImportGiven) -> Result<import::Given, Status> {
    let wire::ImportGiven {
        machine,
        chip,
        gpu_cores,
        memory_bytes,
        date,
        engine_version,
        model,
        architecture,
        dtype,
        quantisation,
    } = given;
    let text = |text: String| (!text.is_empty()).then_some(text);
    let refused = |why: String| Status::invalid_argument(why);
    let at = text(date).map(|date| {
        import::instant(&date)
            .ok_or_else(|| refused(format!("`{date}` is no date such as 2025-06-20")))
    });
    let architecture = text(architecture).map(|name| {
        catalogue::find(&name).ok_or_else(|| {
            let known: Vec<_> = catalogue::names().collect();
            refused(format!(
                "unknown architecture `{name}`; known: {}",
                known.join(", ")
            ))
        })
    });
    let dtype = text(dtype).map(|dtype| {
        dtype
            .parse()
            .map_err(|why: UnknownDtype| refused(why.to_string()))
    });
    Ok(import::Given {
        machine: text(machine),
        chip: text(chip),
        gpu_cores,
        memory_bytes,
        at: at.transpose()?,
        engine_version: text(engine_version),
        model: text(model),
        architecture: architecture.transpose()?,
        dtype: dtype.transpose()?,
        quantisation: text(quantisation),
    })
}

pub fn imported(imported: Imported) -> wire::ImportRunResponse {
    match imported {
        Imported::Run {
            run_id,
            source,
            values,
            invalid,
            notes,
        } => wire::ImportRunResponse {
            run_id: run_id.to_string(),
            source,
            values,
            invalid,
            notes,
            ..wire::ImportRunResponse::default()
        },
        Imported::Known { run_id } => wire::ImportRunResponse {
            run_id: run_id.to_string(),
            known: true,
            ..wire::ImportRunResponse::default()
        },
        Imported::Refused(problems) => wire::ImportRunResponse {
            problems: problems.into_iter().map(problem).collect(),
            ..wire::ImportRunResponse::default()
        },
    }
}

pub fn run_row(run: run::Summary) -> wire::RunRow {
    let run::Summary {
        run_id,
        plan,
        label,
        state,
        submitted_at,
        ended_at,
        jobs_total,
        jobs_succeeded,
        jobs_failed,
        jobs_skipped,
        launches_total,
        launches_done,
    } = run;
    wire::RunRow {
        run_id: run_id.to_string(),
        plan_name: plan,
        label,
        state: state.to_string(),
        submitted_unix_us: unix_us(submitted_at),
        ended_unix_us: ended_at.map(unix_us),
        jobs_total,
        jobs_succeeded,
        jobs_failed,
        jobs_skipped,
        launches_total,
        launches_done,
    }
}

fn job_row(job: job::Summary) -> wire::JobRow {
    let job::Summary {
        job_id,
        machine,
        suite,
        model,
        dtype,
        state,
        reason,
        launches_total,
        launches_done,
        started_at,
        ended_at,
        worked: _,
        since: _,
        log: _,
    } = job;
    wire::JobRow {
        job_id: job_id.to_string(),
        machine,
        suite,
        model,
        dtype: if dtype.is_empty() {
            "as stored".to_owned()
        } else {
            dtype
        },
        state: state.to_string(),
        reason,
        launches_total,
        launches_done,
        started_unix_us: started_at.map(unix_us),
        ended_unix_us: ended_at.map(unix_us),
    }
}

pub fn snapshot(snapshot: Snapshot) -> wire::RunSnapshot {
    let Snapshot { run, jobs } = snapshot;
    wire::RunSnapshot {
        run: Some(run_row(run)),
        jobs: jobs.into_iter().map(job_row).collect(),
    }
}

pub fn schedule_row(schedule: schedule::Summary) -> wire::ScheduleRow {
    let schedule::Summary {
        name,
        file_name,
        every_seconds,
        next_at,
        created_at,
        created_by,
        problem,
        last_run,
    } = schedule;
    let last_run = last_run.map(|(run_id, state)| (run_id.to_string(), state.to_string()));
    let (last_run_id, last_run_state) = last_run.unwrap_or_default();
    wire::ScheduleRow {
        name,
        file_name,
        every_seconds,
        next_unix_us: unix_us(next_at),
        created_unix_us: unix_us(created_at),
        created_by,
        problem,
        last_run_id,
        last_run_state,
    }
}

pub fn token_row(token: token::Summary) -> wire::TokenRow {
    let token::Summary {
        token_id,
        kind,
        name,
        state,
        created_at,
        expires_at,
        uses_left,
    } = token;
    wire::TokenRow {
        token_id,
        kind,
        name,
        state,
        created_unix_us: unix_us(created_at),
        expires_unix_us: expires_at.map(unix_us),
        uses_left,
    }
}

pub fn deleted_run(holding: Holding) -> wire::DeletedRun {
    let Holding {
        run_id,
        plan,
        state: _,
        jobs,
        launches,
        samples,
        readings,
    } = holding;
    wire::DeletedRun {
        run_id: run_id.to_string(),
        plan_name: plan,
        jobs,
        launches,
        samples,
        readings,
    }
}

pub fn event_row(event: event::Stored) -> wire::EventRow {
    let event::Stored {
        at,
        kind,
        run_id,
        job_id,
        lease_id,
        job,
        machine,
        actor,
        detail,
    } = event;
    let text = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    wire::EventRow {
        at_unix_us: unix_us(at),
        kind,
        run_id: text(run_id),
        job_id: text(job_id),
        lease_id: text(lease_id),
        job: job.unwrap_or_default(),
        machine: machine.unwrap_or_default(),
        actor,
        detail,
    }
}

pub fn machine_row(machine: roster::Summary) -> wire::MachineRow {
    let (state, doubts) = (MachineState::of(&machine), machines::doubts(&machine));
    let since = state.since(&machine);
    let roster::Summary {
        machine_id,
        name,
        chip,
        gpu_cores,
        cpu_cores,
        memory_bytes,
        os,
        os_version,
        agent_version,
        labels,
        last_seen_at,
        enrolled_at: _,
        imported: _,
        approved_at: _,
        drained: _,
        refused_protocol: _,
        online: _,
        current_job,
        certificate,
        // Told among the doubts.
        virtual_machine: _,
        newest_launch: _,
    } = machine;
    let certificate = certificate.map(|it| (it.fingerprint, unix_us(it.expires_at)));
    let (certificate_fingerprint, certificate_expires_unix_us) = certificate.unwrap_or_default();
    wire::MachineRow {
        machine_id: machine_id.to_string(),
        name,
        state: state.as_str().to_owned(),
        state_since_unix_us: since.map(unix_us),
        chip,
        gpu_cores,
        cpu_cores,
        memory_bytes,
        os,
        os_version,
        agent_version,
        last_seen_unix_us: last_seen_at.map(unix_us),
        current_job: current_job
            .map(|job| format!("{} {} ({})", job.suite, job.model, job.job_id))
            .unwrap_or_default(),
        certificate_fingerprint,
        certificate_expires_unix_us,
        labels: labels.into_iter().collect(),
        doubts,
    }
}
