//! Others' results become a run of their own: read, judged and stored in one transaction, or refused
//! whole. Its label, its machines and its source say what it is; no job of it was ever queued.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use domain::ids::{JobId, LaunchId, LeaseId, MachineId, RunId};
use domain::import::{self, Format, Given, Import, Job, Launch, Machine};
use domain::job::LaunchOutcome;
use domain::model::ModelIdentity;
use domain::plan::Problem;
use domain::reason::{Reason, Severity};
use domain::record::{LaunchFinished, LaunchStarted};
use domain::suite::Case;
use domain::worker::{Iteration, Phase, Sample};
use sha2::{Digest, Sha256};

use super::changes::Changes;
use super::runs::printable;
use super::{Dispatch, Error, Result, ingest};
use crate::store::event::{Event, Kind};
use crate::store::import as rows;
use crate::store::launch::{self, Finish};
use crate::store::work::{self, Measured};
use crate::store::{self, run};

/// How the iterations of an import are marked.
const MODE: &str = "imported";

#[derive(Debug)]
pub enum Imported {
    Run {
        run_id: RunId,
        source: String,
        values: u32,
        /// Values that a gate refuses.
        invalid: u32,
        notes: Vec<String>,
    },
    /// The same file was imported for one of its machines already.
    Known { run_id: RunId },
    /// Nothing was stored.
    Refused(Vec<Problem>),
}

impl Dispatch {
    /// One transaction: the file's text, the machines that are new, the run with all its values.
    pub async fn import(
        &self,
        text: &str,
        file_name: &str,
        format: Option<Format>,
        given: &Given,
        actor: &str,
    ) -> Result<Imported> {
        if text.contains('\0') {
            return Err(Error::Invalid(
                "the file is no text: it holds a zero byte".to_owned(),
            ));
        }
        let Import {
            source,
            machines,
            jobs,
            notes,
        } = match import::read(text, format, given) {
            Ok(import) => import,
            Err(problems) => return Ok(Imported::Refused(problems)),
        };
        let sha256 = hex::encode(Sha256::digest(text));
        let mut tx = store::begin(&self.pool).await?;
        // Names of machines are given one after another; so is one file after itself.
        store::lock_enrolment(&mut *tx).await?;
        let names: Vec<String> = machines
            .iter()
            .map(|machine| machine.name.clone())
            .collect();
        if let Some(run_id) = rows::run_of(&mut *tx, &sha256, &names).await? {
            return Ok(Imported::Known { run_id });
        }
        let machines = put_machines(&mut tx, &machines).await?;

        let run_id = RunId::new();
        let file_name = printable(file_name);
        let plan_id = run::put_plan(&mut *tx, &file_name, &sha256, text).await?;
        let new = run::New {
            run_id,
            plan_id,
            label: run::Label::Imported { source: &source },
            file_name: &file_name,
            schedule_id: None,
            headline: headline(&jobs),
            protocol: None,
        };
        run::insert(&mut *tx, &new).await?;
        let jobs: Vec<_> = jobs
            .iter()
            .map(|job| (JobId::new(), LeaseId::new(), machines[&job.machine], job))
            .collect();
        rows::insert_jobs(&mut *tx, run_id, &jobs).await?;
        insert_launches(&mut tx, &jobs).await?;

        let judged = jobs
            .iter()
            .flat_map(|(_, _, _, job)| &job.launches)
            .flat_map(|launch| &launch.values);
        let values = judged.clone().count() as u32;
        let invalid = judged.filter(|judged| is_invalid(&judged.reasons)).count() as u32;
        let mut changes = Changes::by(actor);
        let detail = format!("{values} values of {source}, {invalid} of them impossible");
        changes
            .events
            .push(Event::new(Kind::RunImported, detail).run(run_id));
        changes.ended_jobs_of.insert(run_id);
        changes.commit(tx).await?;
        tracing::info!(%run_id, source, values, invalid, "imported");
        Ok(Imported::Run {
            run_id,
            source,
            values,
            invalid,
            notes,
        })
    }
}

fn is_invalid(reasons: &[Reason]) -> bool {
    reasons
        .iter()
        .any(|reason| reason.severity() == Severity::Invalid)
}

/// Every metric of the file, in its order.
fn headline(jobs: &[Job]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let metrics = jobs
        .iter()
        .flat_map(|job| &job.launches)
        .flat_map(|launch| &launch.values);
    metrics
        .map(|judged| judged.metric)
        .filter(|metric| seen.insert(*metric))
        .map(|metric| metric.to_string())
        .collect()
}

/// The rows of the machines by name. One that was imported before must be told as it was then.
async fn put_machines(
    tx: &mut store::Tx,
    machines: &[Machine],
) -> Result<HashMap<String, MachineId>> {
    let mut ids = HashMap::new();
    for machine in machines {
        let name = &machine.name;
        let machine_id = match rows::machine(&mut **tx, name).await? {
            None => {
                let machine_id = MachineId::new();
                rows::insert_machine(&mut **tx, machine_id, machine).await?;
                machine_id
            }
            Some(known) => match known.imported {
                None => {
                    return Err(Error::Invalid(format!(
                        "`{name}` is a machine of this fleet: give the imported one another name"
                    )));
                }
                Some(before) if before != *machine => {
                    return Err(Error::Invalid(format!(
                        "`{name}` was imported before with other facts ({}); tell them alike, or give \
                         it another name",
                        facts(&before)
                    )));
                }
                Some(_) => known.machine_id,
            },
        };
        ids.insert(name.clone(), machine_id);
    }
    Ok(ids)
}

fn facts(machine: &Machine) -> String {
    let Machine {
        name: _,
        chip,
        gpu_cores,
        cpu_cores,
        memory_bytes,
        os,
        os_version,
    } = machine;
    let or_unknown = |number: Option<u64>| number.map_or("unknown".to_owned(), |n| n.to_string());
    format!(
        "chip {chip}, GPU cores {}, CPU cores {}, memory in bytes {}, system `{os} {os_version}`",
        or_unknown(gpu_cores.map(u64::from)),
        or_unknown(cpu_cores.map(u64::from)),
        or_unknown(*memory_bytes)
    )
}

/// A launch of the file with what its rows need.
struct Stored<'a> {
    lease_id: LeaseId,
    job_id: JobId,
    started: LaunchStarted,
    finished: LaunchFinished,
    iterations: Vec<Iteration>,
    /// Where the type is known too: a model's row has one.
    model: Option<&'a ModelIdentity>,
    case: Option<Case>,
}

async fn insert_launches(
    tx: &mut store::Tx,
    jobs: &[(JobId, LeaseId, MachineId, &Job)],
) -> store::Result<()> {
    let stored: Vec<Stored<'_>> = jobs
        .iter()
        .flat_map(|(job_id, lease_id, _, job)| {
            let launches = job.launches.iter().enumerate();
            launches.map(|(place, launch)| stored(*job_id, *lease_id, job, place, launch))
        })
        .collect();
    let started: Vec<_> = stored
        .iter()
        .map(|it| (it.lease_id, it.job_id, &it.started))
        .collect();
    launch::insert_started(&mut **tx, &started).await?;
    let models: Vec<&ModelIdentity> = stored.iter().filter_map(|it| it.model).collect();
    launch::put_models(&mut **tx, &models).await?;
    let measured: Vec<Measured<'_>> = stored
        .iter()
        .filter_map(|it| {
            Some(Measured {
                model: it.model?,
                case: it.case.clone()?,
            })
        })
        .collect();
    work::put(&mut **tx, &measured).await?;
    let iterations: Vec<_> = stored
        .iter()
        .flat_map(|it| {
            let iterations = it.iterations.iter();
            iterations.map(|iteration| (it.lease_id, it.started.launch_id, iteration))
        })
        .collect();
    ingest::insert_iterations(tx, &iterations).await?;
    let finishes: Vec<Finish<'_>> = stored
        .iter()
        .map(|it| Finish {
            lease_id: it.lease_id,
            live: true,
            finished: &it.finished,
        })
        .collect();
    launch::finish(&mut **tx, &finishes).await?;
    let models: Vec<_> = stored
        .iter()
        .map(|it| (it.started.launch_id, it.model))
        .collect();
    rows::set_models(&mut **tx, &models).await
}

fn stored<'a>(
    job_id: JobId,
    lease_id: LeaseId,
    job: &'a Job,
    place: usize,
    launch: &'a Launch,
) -> Stored<'a> {
    let launch_id = LaunchId::new();
    let model = job.model.as_ref().filter(|model| model.dtype.is_some());
    Stored {
        lease_id,
        job_id,
        started: LaunchStarted {
            launch_id,
            case_key: launch.case_key.clone(),
            ordinal: launch.ordinal,
            position: place as u32,
            started_at: launch.at,
            seed: 0,
        },
        finished: LaunchFinished {
            launch_id,
            outcome: LaunchOutcome::Succeeded,
            message: launch.message.clone(),
            finished_at: launch.at,
            steady: true,
            warmup_iterations: 0,
            reasons: vec![Reason::Imported],
            stderr_tail: String::new(),
            exit_code: None,
            signal: None,
        },
        iterations: iterations(launch),
        model: model.and_then(|model| model.identity.as_ref()),
        case: Case::from_key(job.suite, &launch.case_key),
    }
}

/// An iteration for each value, so that each has the doubts of its own.
fn iterations(launch: &Launch) -> Vec<Iteration> {
    let values = launch.values.iter().enumerate();
    values
        .map(|(place, judged)| Iteration {
            ordinal: place as u32,
            phase: Phase::Measured,
            mode: MODE.to_owned(),
            started: Duration::ZERO,
            duration: judged.duration,
            work: judged.work,
            token_times: Vec::new(),
            samples: vec![Sample {
                metric: judged.metric,
                value: judged.value,
            }],
            reasons: judged.reasons.clone(),
            token_ids_sha256: String::new(),
        })
        .collect()
}
