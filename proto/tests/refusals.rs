//! What a hostile or broken peer may send: each promise of a message, broken by itself, is refused by the
//! name of its field.

use std::collections::HashMap;
use std::fmt::Debug;

use domain::hub::{MAX_FILES, Snapshot};
use domain::machine::Inventory;
use domain::record::{Batch, MAX_BATCH_RECORDS};
use domain::worker::Frame;
use proto::wire::{self, record::Record, worker_frame};

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const TOO_LONG: usize = 300 * 1024;

fn refused<T, W>(message: W) -> String
where
    T: TryFrom<W, Error = proto::Refusal> + Debug,
{
    let why = T::try_from(message).unwrap_err().to_string();
    assert!(why.len() < 700, "it repeats what it refuses: {why}");
    why
}

fn inventory() -> wire::Inventory {
    wire::Inventory {
        identity: "a".to_owned(),
        hostname: "mini".to_owned(),
        memory_bytes: 1,
        ..wire::Inventory::default()
    }
}

type Change<'a> = &'a dyn Fn(&mut wire::Inventory);

#[test]
fn an_inventory_of_hostile_names_and_numbers_is_refused() {
    Inventory::try_from(inventory()).unwrap();
    let tier = |label: &str| wire::CpuTier {
        label: label.to_owned(),
        cores: 1,
    };
    let label = |key: String| HashMap::from([(key, String::new())]);
    let broken: [(&str, Change<'_>); 17] = [
        ("identity", &|i| i.identity.clear()),
        ("identity", &|i| i.identity = "x".repeat(10_000)),
        ("hostname", &|i| i.hostname = "a\0b".to_owned()),
        ("hostname", &|i| i.hostname = "\u{1b}[2J".to_owned()),
        ("hostname", &|i| i.hostname = "exe.\u{202e}txt".to_owned()),
        ("chip", &|i| i.chip = "a\nb".to_owned()),
        ("boot_id", &|i| i.boot_id = "x".repeat(10_000)),
        ("agent_version", &|i| {
            i.agent_version = "\u{9b}1m".to_owned();
        }),
        ("memory_bytes", &|i| i.memory_bytes = 0),
        ("memory_bytes", &|i| i.memory_bytes = u64::MAX),
        ("wired_limit_bytes", &|i| {
            i.wired_limit_bytes = Some(u64::MAX);
        }),
        ("gpu_cores", &|i| i.gpu_cores = Some(u32::MAX)),
        ("cpu_cores", &|i| i.cpu_cores = u32::MAX),
        ("cpu_tiers", &|i| i.cpu_tiers = vec![tier("P"); 17]),
        ("cpu_tiers", &|i| i.cpu_tiers = vec![tier("\u{7}")]),
        ("labels", &|i| i.labels = label("\u{2028}".to_owned())),
        ("labels", &|i| {
            i.labels = (0..65).map(|n| (n.to_string(), String::new())).collect();
        }),
    ];
    for (field, change) in broken {
        let mut message = inventory();
        change(&mut message);
        let why = refused::<Inventory, _>(message);
        assert!(
            why.starts_with(&format!("inventory.{field}")),
            "{field}: {why}"
        );
    }
}

fn batch(record: Record) -> wire::Batch {
    wire::Batch {
        lease_id: ID.to_owned(),
        seq: 0,
        records: vec![wire::Record {
            record: Some(record),
        }],
    }
}

fn iteration(change: impl FnOnce(&mut wire::Iteration)) -> wire::Batch {
    let mut iteration = wire::Iteration {
        phase: "measured".to_owned(),
        ..wire::Iteration::default()
    };
    change(&mut iteration);
    batch(Record::Iteration(wire::LaunchIteration {
        launch_id: ID.to_owned(),
        iteration: Some(iteration),
    }))
}

#[test]
fn an_iteration_of_impossible_numbers_is_refused() {
    Batch::try_from(iteration(|_| {})).unwrap();
    let sample = |value| wire::Sample {
        metric: "decode_tps".to_owned(),
        value,
    };
    for (field, message) in [
        ("iteration.ordinal", iteration(|i| i.ordinal = u32::MAX)),
        (
            "iteration.started_us",
            iteration(|i| i.started_us = u64::MAX),
        ),
        (
            "iteration.duration_ns",
            iteration(|i| i.duration_ns = u64::MAX),
        ),
        ("iteration.work", iteration(|i| i.work = u64::MAX)),
        (
            "iteration.token_ns",
            iteration(|i| i.token_ns = vec![1, u64::MAX]),
        ),
        (
            "iteration.phase",
            iteration(|i| i.phase = "cold".to_owned()),
        ),
        ("iteration.mode", iteration(|i| i.mode = "x".repeat(201))),
        (
            "sample.value",
            iteration(|i| i.samples = vec![sample(f64::NAN)]),
        ),
        (
            "sample.value",
            iteration(|i| i.samples = vec![sample(f64::INFINITY)]),
        ),
        (
            "iteration.samples",
            iteration(|i| i.samples = vec![sample(1.0); 257]),
        ),
    ] {
        let why = refused::<Batch, _>(message);
        assert!(why.starts_with(field), "{field}: {why}");
    }
}

fn reading(at_unix_us: i64, value: f64) -> wire::Batch {
    batch(Record::Reading(wire::Reading {
        at_unix_us,
        sensor: "gpu_ratio".to_owned(),
        value,
    }))
}

fn started(case_key: &str, ordinal: u32) -> wire::Batch {
    batch(Record::LaunchStarted(wire::LaunchStarted {
        launch_id: ID.to_owned(),
        case_key: case_key.to_owned(),
        ordinal,
        ..wire::LaunchStarted::default()
    }))
}

fn finished(message: &str, finished_unix_us: i64) -> wire::Batch {
    batch(Record::LaunchFinished(wire::LaunchFinished {
        launch_id: ID.to_owned(),
        outcome: "failed".to_owned(),
        message: message.to_owned(),
        finished_unix_us,
        ..wire::LaunchFinished::default()
    }))
}

#[test]
fn records_of_other_centuries_and_endless_texts_are_refused() {
    // What a worker printed is kept as it was: whoever shows it makes it harmless.
    for sound in [
        reading(1, 1.0),
        started("new=16,depth=0", 1),
        finished("it said\n\u{1b}[1m no", 1),
    ] {
        Batch::try_from(sound).unwrap();
    }
    let heat = batch(Record::Heat(wire::LaunchHeat {
        launch_id: ID.to_owned(),
        cooldown_ms: u64::MAX,
        ..wire::LaunchHeat::default()
    }));
    let record = reading(1, 1.0).records.remove(0);
    let many = wire::Batch {
        records: vec![record; MAX_BATCH_RECORDS + 1],
        ..reading(1, 1.0)
    };
    let late = wire::Batch {
        seq: u64::MAX,
        ..reading(1, 1.0)
    };
    for (field, message) in [
        ("reading.at_unix_us", reading(i64::MAX, 1.0)),
        ("reading.at_unix_us", reading(-1, 1.0)),
        ("reading.value", reading(1, f64::NEG_INFINITY)),
        (
            "launch_finished.message",
            finished(&"x".repeat(TOO_LONG), 1),
        ),
        ("launch_finished.finished_unix_us", finished("", i64::MIN)),
        ("launch_started.case_key", started("a\0", 1)),
        ("launch_started.case_key", started(&"x".repeat(5000), 1)),
        ("launch_started.ordinal", started("", u32::MAX)),
        ("launch_heat.cooldown_ms", heat),
        ("batch.records", many),
        ("batch.seq", late),
    ] {
        let why = refused::<Batch, _>(message);
        assert!(why.starts_with(field), "{field}: {why}");
    }
}

#[test]
fn a_worker_that_says_impossible_things_is_refused() {
    let model = |change: fn(&mut wire::ModelIdentity)| {
        let mut model = wire::ModelIdentity {
            digest: "0f".repeat(32),
            dtype: "bf16".to_owned(),
            config_json: "{}".to_owned(),
            ..wire::ModelIdentity::default()
        };
        change(&mut model);
        worker_frame::Frame::Model(model)
    };
    let frame = |frame| wire::WorkerFrame { frame: Some(frame) };
    Frame::try_from(frame(model(|_| {}))).unwrap();
    let started = worker_frame::Frame::Started(wire::WorkerStarted {
        mlx_env: HashMap::from([("MLX_X".to_owned(), "\0".to_owned())]),
        ..wire::WorkerStarted::default()
    });
    let failed = worker_frame::Frame::Failed(wire::WorkerFailed {
        kind: "model".to_owned(),
        message: "x".repeat(TOO_LONG),
    });
    for (field, message) in [
        ("model.digest", model(|m| m.digest = "../../etc".to_owned())),
        ("model.label", model(|m| m.label = "\u{2066}".to_owned())),
        ("model.parameters", model(|m| m.parameters = u64::MAX)),
        (
            "model.config_json",
            model(|m| m.config_json = "[".repeat(100_000)),
        ),
        ("started.mlx_env", started),
        ("failed.message", failed),
    ] {
        let why = refused::<Frame, _>(frame(message));
        assert!(why.starts_with(field), "{field}: {why}");
    }
}

type ModelChange<'a> = &'a dyn Fn(&mut wire::FindModelResponse);

#[test]
fn a_model_whose_files_lead_elsewhere_or_count_wrong_is_refused() {
    let file = |name: &str| wire::ModelFile {
        name: name.to_owned(),
        bytes: 2,
        digest: "0f".repeat(32),
    };
    let sound = || wire::FindModelResponse {
        commit: "0f".repeat(20),
        files: vec![file("config.json"), file("model.safetensors")],
    };
    Snapshot::try_from(sound()).unwrap();
    let broken: [(&str, ModelChange<'_>); 9] = [
        ("commit", &|m| m.commit = "../../x".to_owned()),
        ("name", &|m| m.files[0].name = "../config.json".to_owned()),
        ("name", &|m| m.files[0].name = "run.py".to_owned()),
        ("name", &|m| m.files[0].name = "x".repeat(TOO_LONG)),
        ("digest", &|m| m.files[0].digest = "../x".to_owned()),
        ("bytes", &|m| m.files[0].bytes = u64::MAX),
        ("files", &|m| m.files[0].bytes = i64::MAX as u64),
        ("files", &|m| m.files.truncate(1)),
        ("files", &|m| m.files = vec![file("a.json"); MAX_FILES + 1]),
    ];
    for (field, change) in broken {
        let mut message = sound();
        change(&mut message);
        let why = refused::<Snapshot, _>(message);
        assert!(why.starts_with(field), "{field}: {why}");
    }
}
