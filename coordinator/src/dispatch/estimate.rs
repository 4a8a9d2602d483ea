//! How long a plan may take, from what like jobs took on machines of the same chip.

use std::collections::HashMap;
use std::time::Duration;

use domain::expand::{Candidate, PlannedJob};
use domain::ids::MachineId;
use domain::model::ModelRef;

use super::Result;
use crate::store::{
    self,
    job::{self, Kind, Pace},
};

/// Jobs of a kind that are looked at: enough to find those of every chip.
const NEWEST: u32 = 500;

/// What machines are alike in.
type Hardware<'a> = (&'a str, Option<u32>, bool);

/// Of each job, in their order; None where nothing like it has been done.
pub async fn durations(
    pool: &store::Pool,
    candidates: &[Candidate],
    jobs: &[PlannedJob],
) -> Result<Vec<Option<Duration>>> {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut places: HashMap<Kind, usize> = HashMap::new();
    let of: Vec<usize> = jobs
        .iter()
        .map(|job| {
            *places.entry(kind(job)).or_insert_with_key(|kind| {
                kinds.push(kind.clone());
                kinds.len() - 1
            })
        })
        .collect();
    let paces = job::paces(pool, &kinds, NEWEST).await?;
    let seconds: HashMap<(usize, Hardware), f64> = paces
        .iter()
        .map(|pace| ((pace.kind, hardware_of(pace)), pace.launch_s))
        .collect();
    let machines: HashMap<MachineId, Hardware> = candidates
        .iter()
        .map(|candidate| {
            let of = &candidate.inventory;
            let hardware = (of.chip.as_str(), of.gpu_cores, of.simulated);
            (candidate.machine_id, hardware)
        })
        .collect();
    let duration = |(job, kind): (&PlannedJob, usize)| {
        let hardware = machines.get(&job.machine_id)?;
        let launch_s = seconds.get(&(kind, *hardware))?;
        Duration::try_from_secs_f64(launch_s * f64::from(job.launches_total)).ok()
    };
    Ok(jobs.iter().zip(of).map(duration).collect())
}

fn kind(job: &PlannedJob) -> Kind {
    let dtype = job.model.as_ref().and_then(|model| model.dtype);
    Kind {
        suite: job.suite,
        model_label: ModelRef::label_of(job.model.as_ref()),
        dtype,
    }
}

fn hardware_of(pace: &Pace) -> Hardware<'_> {
    (pace.chip.as_str(), pace.gpu_cores, pace.simulated)
}
