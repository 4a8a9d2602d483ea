//! Messages of peers, from bytes to domain types. What is taken says the same when it is said again.

use std::collections::HashMap;
use std::fmt::Debug;

use domain::hub::Snapshot;
use domain::lease::Grant;
use domain::machine::Inventory;
use domain::record::Batch;
use domain::suite::{Case, Suite};
use domain::worker::{Frame, Request};
use prost::Message;
use proto::{Refusal, frame, wire};

/// Decodes, converts, and says it again.
fn take<W, T>(bytes: &[u8])
where
    W: Message + Default + TryInto<T, Error = Refusal> + From<T>,
    T: Clone + Debug + PartialEq,
{
    let Ok(message) = W::decode(bytes) else {
        return;
    };
    let Ok(taken) = message.try_into() else {
        return;
    };
    let again: T = W::from(taken.clone()).try_into().unwrap();
    assert_eq!(again, taken);
}

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn iteration() -> wire::Iteration {
    wire::Iteration {
        phase: "measured".to_owned(),
        mode: "pipelined".to_owned(),
        duration_ns: 1_000_000,
        token_ns: vec![1, 2, 3],
        samples: vec![wire::Sample {
            metric: "decode_tps".to_owned(),
            value: 1.5,
        }],
        reasons: vec!["debug_build".to_owned()],
        ..wire::Iteration::default()
    }
}

fn model() -> wire::ModelIdentity {
    wire::ModelIdentity {
        digest: "0f".repeat(32),
        dtype: "bf16".to_owned(),
        config_json: "{\"a\": [1]}".to_owned(),
        ..wire::ModelIdentity::default()
    }
}

fn case() -> wire::Case {
    (&Case::from_key(Suite::Decode, "new=16,depth=0").unwrap()).into()
}

fn started() -> wire::WorkerStarted {
    wire::WorkerStarted {
        mlx_env: HashMap::from([("MLX_A".to_owned(), "1".to_owned())]),
        ..wire::WorkerStarted::default()
    }
}

#[test]
fn batch() {
    use wire::record::Record;
    let records = [
        Record::LaunchStarted(wire::LaunchStarted {
            launch_id: ID.to_owned(),
            case_key: "new=16,depth=0".to_owned(),
            started_unix_us: 1_700_000_000_000_000,
            ..wire::LaunchStarted::default()
        }),
        Record::Model(wire::LaunchModel {
            launch_id: ID.to_owned(),
            model: Some(model()),
            environment: Some(wire::Environment {
                worker: Some(started()),
                ..wire::Environment::default()
            }),
        }),
        Record::Iteration(wire::LaunchIteration {
            launch_id: ID.to_owned(),
            iteration: Some(iteration()),
        }),
        Record::Heat(wire::LaunchHeat {
            launch_id: ID.to_owned(),
            canary_before: Some(wire::Canary::default()),
            sensors_cost: Some(wire::SensorsCost::default()),
            ..wire::LaunchHeat::default()
        }),
        Record::LaunchFinished(wire::LaunchFinished {
            launch_id: ID.to_owned(),
            outcome: "succeeded".to_owned(),
            ..wire::LaunchFinished::default()
        }),
        Record::Reading(wire::Reading {
            at_unix_us: 1,
            sensor: "gpu_ratio".to_owned(),
            value: 0.5,
        }),
        Record::JobFinished(wire::JobFinished {
            outcome: "succeeded".to_owned(),
            reason: String::new(),
        }),
    ];
    let seed = wire::Batch {
        lease_id: ID.to_owned(),
        seq: 7,
        records: records
            .map(|record| wire::Record {
                record: Some(record),
            })
            .to_vec(),
    };
    Batch::try_from(seed.clone()).unwrap();
    fuzz::feed(
        "batch",
        &[&seed.encode_to_vec()],
        take::<wire::Batch, Batch>,
    );
}

#[test]
fn agent_messages() {
    use wire::session_up::Message as Up;
    let inventory = wire::Inventory {
        identity: "a".to_owned(),
        memory_bytes: 1,
        cpu_tiers: vec![wire::CpuTier::default()],
        labels: HashMap::from([("a".to_owned(), "b".to_owned())]),
        ..wire::Inventory::default()
    };
    let up = |message| {
        wire::SessionUp {
            message: Some(message),
        }
        .encode_to_vec()
    };
    let hello = Up::Hello(wire::Hello {
        inventory: Some(inventory.clone()),
        unfinished_leases: vec![ID.to_owned()],
        ..wire::Hello::default()
    });
    let beat = Up::Heartbeat(wire::Heartbeat {
        lease_id: ID.to_owned(),
    });
    let enrol = wire::EnrollRequest {
        inventory: Some(inventory),
        ..wire::EnrollRequest::default()
    };
    let seeds = [up(hello), up(beat), enrol.encode_to_vec()];
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    fuzz::feed("agent_messages", &seeds, |bytes| {
        let hello = match wire::SessionUp::decode(bytes) {
            Ok(wire::SessionUp {
                message: Some(Up::Hello(hello)),
            }) => hello.inventory,
            _ => None,
        };
        let enrol = wire::EnrollRequest::decode(bytes);
        let enrol = enrol.ok().and_then(|request| request.inventory);
        for inventory in [hello, enrol].into_iter().flatten() {
            let Ok(taken) = Inventory::try_from(inventory) else {
                continue;
            };
            let again = Inventory::try_from(wire::Inventory::from(&taken)).unwrap();
            assert_eq!(again, taken);
        }
    });
}

#[test]
fn grant() {
    let seed = wire::Grant {
        lease_id: ID.to_owned(),
        job_id: ID.to_owned(),
        run_id: ID.to_owned(),
        suite: "decode".to_owned(),
        model: Some(wire::ModelRef {
            source: "synthetic:nano-llama".to_owned(),
            dtype: "bf16".to_owned(),
        }),
        cases: vec![case()],
        protocol: Some(wire::Protocol::default()),
        finished: vec![wire::FinishedLaunch::default()],
        ..wire::Grant::default()
    };
    Grant::try_from(seed.clone()).unwrap();
    fuzz::feed("grant", &[&seed.encode_to_vec()], |bytes| {
        if let Ok(message) = wire::Grant::decode(bytes)
            && let Ok(grant) = Grant::try_from(message)
        {
            let again = Grant::try_from(wire::Grant::from(&grant)).unwrap();
            assert_eq!(again, grant);
        }
    });
}

#[test]
fn model_files() {
    let file = |name: &str| wire::ModelFile {
        name: name.to_owned(),
        bytes: 2,
        digest: "0f".repeat(32),
    };
    let seed = wire::FindModelResponse {
        commit: "0f".repeat(20),
        files: vec![file("config.json"), file("model.safetensors")],
    };
    Snapshot::try_from(seed.clone()).unwrap();
    fuzz::feed(
        "model_files",
        &[&seed.encode_to_vec()],
        take::<wire::FindModelResponse, Snapshot>,
    );
}

#[test]
fn worker_frames() {
    use wire::worker_frame::Frame as Told;
    let mut stream = Vec::new();
    for frame in [
        Told::Started(started()),
        Told::Model(model()),
        Told::Iteration(iteration()),
        Told::Finished(wire::WorkerFinished::default()),
    ] {
        let message = wire::WorkerFrame { frame: Some(frame) };
        frame::write(&mut stream, &message).unwrap();
    }
    let mut failed = Vec::new();
    let message = wire::WorkerFrame {
        frame: Some(Told::Failed(wire::WorkerFailed {
            kind: "model".to_owned(),
            message: "no".to_owned(),
        })),
    };
    frame::write(&mut failed, &message).unwrap();
    fuzz::feed("worker_frames", &[&stream, &failed], |bytes| {
        let mut rest = bytes;
        while let Ok(Some(message)) = frame::read::<wire::WorkerFrame>(&mut rest) {
            let Ok(taken) = Frame::try_from(message) else {
                continue;
            };
            let again = Frame::try_from(wire::WorkerFrame::from(taken.clone())).unwrap();
            assert_eq!(again, taken);
        }
    });
}

#[test]
fn worker_request() {
    let seed = wire::WorkerRequest {
        model: Some(wire::ModelRef {
            source: "/models/a".to_owned(),
            dtype: String::new(),
        }),
        case: Some(case()),
        protocol: Some(wire::Protocol::default()),
        ..wire::WorkerRequest::default()
    };
    Request::try_from(seed.clone()).unwrap();
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &seed).unwrap();
    fuzz::feed("worker_request", &[&bytes], |bytes| {
        let mut rest = bytes;
        if let Ok(Some(message)) = frame::read::<wire::WorkerRequest>(&mut rest)
            && let Ok(request) = Request::try_from(message)
        {
            let again = Request::try_from(wire::WorkerRequest::from(&request)).unwrap();
            assert_eq!(again, request);
        }
    });
}
