//! The rules of jobs and leases, as docs/leases.md has them, without a database.

use std::collections::BTreeSet;

use domain::ids::JobId;
use domain::job::{FAILURES_TO_PARK, JobOutcome, JobState, LaunchOutcome};
use domain::lease::Grant;
use domain::record::Batch;

use super::LAUNCHES;
use crate::store::lease::State;

#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub machine: usize,
    pub state: JobState,
    pub epoch: u64,
    pub failures: u32,
    pub counted: BTreeSet<u32>,
}

#[derive(Debug)]
pub struct Lease {
    pub grant: Grant,
    pub job: usize,
    pub machine: usize,
    pub state: State,
    pub seq: u64,
    pub last: Option<Batch>,
    pub counts: bool,
    pub broken_off: bool,
}

#[derive(Debug, Default)]
pub struct Model {
    pub jobs: Vec<Job>,
    pub leases: Vec<Lease>,
}

impl Model {
    pub fn live_of(&self, machine: usize) -> Option<usize> {
        let is_live = |lease: &Lease| lease.machine == machine && lease.state == State::Live;
        self.leases.iter().position(is_live)
    }

    fn fail(&mut self, job: usize) {
        let job = &mut self.jobs[job];
        job.failures += 1;
        job.state = if job.failures >= FAILURES_TO_PARK {
            JobState::Parked
        } else {
            JobState::Queued
        };
    }

    pub fn lose(&mut self, lease: usize) {
        self.leases[lease].state = State::Expired;
        self.fail(self.leases[lease].job);
    }

    pub fn launch(&mut self, lease: usize, ordinal: u32, outcome: LaunchOutcome) {
        let Lease { job, state, .. } = self.leases[lease];
        let live = state == State::Live;
        match outcome {
            LaunchOutcome::Succeeded if live => {
                let counts = self.jobs[job].counted.insert(ordinal);
                self.leases[lease].counts |= counts;
            }
            LaunchOutcome::Crashed if live => self.jobs[job].failures += 1,
            LaunchOutcome::Interrupted => self.leases[lease].broken_off = true,
            _ => {}
        }
    }

    pub fn end(&mut self, lease: usize, outcome: JobOutcome) {
        let Lease {
            job,
            state,
            counts,
            broken_off,
            ..
        } = self.leases[lease];
        if state != State::Live {
            return;
        }
        self.leases[lease].state = State::Released;
        let whole = self.jobs[job].counted.len() as u32 == LAUNCHES;
        match outcome {
            JobOutcome::Succeeded if !whole => self.jobs[job].state = JobState::Failed,
            JobOutcome::Interrupted if broken_off && !counts => self.fail(job),
            other => self.jobs[job].state = other.state(),
        }
    }

    pub fn cancel(&mut self) {
        if self.jobs.iter().all(|job| job.state.is_final()) {
            return;
        }
        let live = self
            .leases
            .iter_mut()
            .filter(|lease| lease.state == State::Live);
        live.for_each(|lease| lease.state = State::Cancelled);
        let open = self.jobs.iter_mut().filter(|job| !job.state.is_final());
        open.for_each(|job| job.state = JobState::Cancelled);
    }
}
