//! The agent against fakes: a worker that misbehaves, a coordinator that forgets.

mod coordinator;
mod doctor;
mod driver;
mod enrol;
mod heat;
mod models;
mod supervisor;

use std::path::PathBuf;
use std::time::Duration;

use agent::supervisor::Suite;
use domain::ids::{JobId, LeaseId, RunId};
use domain::lease::{Epoch, Grant};
use domain::model::ModelRef;
use domain::plan::Protocol;
use domain::suite::{Case, decode};

/// Longer than anything takes here; a test that meets it has failed.
const DEADLINE: Duration = Duration::from_mins(1);

fn fake_suite() -> Suite {
    Suite {
        program: PathBuf::from(env!("CARGO_BIN_EXE_fake-worker")),
        env: Vec::new(),
    }
}

fn model(behaviour: &str) -> ModelRef {
    ModelRef {
        source: format!("/fake/{behaviour}").parse().unwrap(),
        dtype: None,
    }
}

fn case(index: u64) -> Case {
    Case::Decode(decode::Case {
        new_tokens: 8 + index,
        depth: 0,
    })
}

fn protocol(launches: u32) -> Protocol {
    Protocol {
        launches,
        iterations: 2,
        gate_timeout: Duration::ZERO,
        canary: false,
        ..Protocol::default()
    }
}

/// A job whose workers behave so.
fn grant(behaviour: &str, cases: u64, launches: u32) -> Grant {
    Grant {
        lease_id: LeaseId::new(),
        job_id: JobId::new(),
        run_id: RunId::new(),
        epoch: Epoch(1),
        ttl: Duration::from_secs(30),
        model: Some(model(behaviour)),
        cases: (0..cases).map(case).collect(),
        protocol: protocol(launches),
        finished: Vec::new(),
        failures: 0,
    }
}
