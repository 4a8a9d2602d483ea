//! A small fleet without a database: two machines that may be compared and one that may not, two
//! models, three suites, and every kind of trouble.

mod beyond;
mod derived;

use report_gen::Report;
use report_gen::analyze::analyze;
use report_gen::report::{
    CaseKey, Coverage, Direction, Doubt, Environment, Latency, Machine, MetricFacts, Model,
    Percentile, Run, Shape, Variant,
};
use report_gen::rows::{CaseRow, DifferenceRow, LaunchRow, Rows};
use report_gen::stats::Interval;
use serde_json::json;
use time::macros::datetime;
use uuid::Uuid;

pub use beyond::steps_of;
use derived::{ceilings, floor, position_effects, utilisations};

/// Metric, unit, direction, suite, case, and the value on `mini` with the first model.
const METRICS: [(&str, &str, Direction, &str, &str, f64); 9] = [
    (
        "load_warm_ms",
        "ms",
        Direction::Lower,
        "load",
        "regime=warm",
        366.0,
    ),
    (
        "mem_weights_bytes",
        "bytes",
        Direction::Lower,
        "load",
        "regime=warm",
        2.2e9,
    ),
    (
        "prefill_tps",
        "tok/s",
        Direction::Higher,
        "prefill",
        "prompt=512,depth=0,chunk=2048",
        1500.0,
    ),
    (
        "ttft_ms",
        "ms",
        Direction::Lower,
        "prefill",
        "prompt=512,depth=0,chunk=2048",
        352.0,
    ),
    (
        "prefill_tps",
        "tok/s",
        Direction::Higher,
        "prefill",
        "prompt=2048,depth=0,chunk=2048",
        1310.0,
    ),
    (
        "decode_tps",
        "tok/s",
        Direction::Higher,
        "decode",
        "new=128,depth=0",
        98.0,
    ),
    (
        "itl_ms",
        "ms",
        Direction::Lower,
        "decode",
        "new=128,depth=0",
        11.4,
    ),
    (
        "decode_tps_at_depth",
        "tok/s",
        Direction::Higher,
        "decode",
        "new=128,depth=2048",
        84.0,
    ),
    (
        "host_overhead_us",
        "µs",
        Direction::Lower,
        "decode",
        "new=128,depth=0",
        91.0,
    ),
];
const MACHINES: [(&str, &str, f64); 3] = [
    ("air", "Apple M3", 0.8),
    ("mini", "Apple M4", 1.0),
    ("studio", "Apple M3 Ultra", 3.2),
];
const MODELS: [(&str, &str, i64, f64); 2] = [
    ("tinyllama-1.1b", "none", 1_100_048_384, 1.0),
    (
        "tinyllama-1.1b-4bit",
        "affine 4-bit g64",
        1_100_048_384,
        2.5,
    ),
];

pub fn report() -> Report {
    analyze(rows(), datetime!(2026-11-02 10:00 UTC))
}

/// So many machines that all measured what `mini` did, each 2 % faster than the one before; the first is
/// the baseline.
pub fn report_of_machines(count: usize) -> Report {
    let mut rows = rows();
    let named = |at: usize| format!("mac-{at:02}");
    rows.machines = (0..count)
        .map(|at| machine(&named(at), ["Apple M2", "Apple M4 Max"][at % 2]))
        .collect();
    rows.launches.retain(|launch| launch.case.machine == "mini");
    rows.differences.retain(|row| row.machine == "studio");
    let (launches, differences) = (rows.launches.clone(), rows.differences.clone());
    rows.launches.clear();
    rows.differences.clear();
    rows.baseline = Some(named(0));
    for at in 0..count {
        rows.launches
            .extend(launches.iter().cloned().map(|mut launch| {
                launch.case.machine = named(at);
                launch.median *= 1.0 + 0.02 * at as f64;
                launch
            }));
        let beside = differences.iter().filter(|_| at > 0).cloned();
        rows.differences.extend(beside.map(|mut row| {
            row.machine = named(at);
            row
        }));
    }
    analyze(rows, datetime!(2026-11-02 10:00 UTC))
}

pub fn rows() -> Rows {
    Rows {
        run: run(),
        machines: MACHINES
            .iter()
            .map(|(name, chip, _)| machine(name, chip))
            .collect(),
        environments: MACHINES
            .iter()
            .map(|(name, _, _)| environment(name))
            .collect(),
        models: MODELS
            .iter()
            .map(|(name, quantisation, p, _)| model(name, quantisation, *p))
            .collect(),
        launches: launches(),
        iterations: Vec::new(),
        baseline: Some("mini".into()),
        differences: differences(),
        latencies: vec![
            latency("mini", 1.0, &[]),
            latency("studio", 3.2, &["thermal"]),
        ],
        energies: beyond::energies(),
        ceilings: ceilings(),
        utilisations: utilisations(),
        knees: Vec::new(),
        floors: vec![floor()],
        memory_slopes: Vec::new(),
        position_effects: position_effects(),
        timelines: beyond::timelines(),
        noise: beyond::noise(),
        fits: beyond::fits(),
        history: beyond::history(),
        validity: vec![Doubt {
            machine: "studio".into(),
            suite: "decode".into(),
            reason: "thermal".into(),
            severity: "tainted".into(),
            description: "the system reported thermal pressure".into(),
            launches: 2,
            of_launches: 16,
        }],
        disagreements: Vec::new(),
        coverage: coverage(),
        metrics: METRICS
            .iter()
            .map(|(metric, unit, direction, ..)| MetricFacts {
                metric: (*metric).into(),
                unit: (*unit).into(),
                direction: *direction,
                description: format!("what {metric} means"),
            })
            .collect(),
    }
}

fn run() -> Run {
    Run {
        run_id: Uuid::from_u128(0x018f_0000_0000_7000_8000_0000_0000_0001),
        plan: "m-series".into(),
        plan_file: "m-series.toml".into(),
        plan_sha256: "ab".repeat(32),
        label: "measured".into(),
        source: None,
        state: "incomplete".into(),
        submitted_at: datetime!(2026-11-02 08:00 UTC),
        ended_at: Some(datetime!(2026-11-02 09:12 UTC)),
        duration_s: 4320.0,
        jobs: 19,
        jobs_succeeded: 18,
        jobs_unfinished: 0,
        headline: [
            "load_warm_ms",
            "prefill_tps",
            "ttft_ms",
            "decode_tps",
            "decode_tps_at_depth",
        ]
        .map(str::to_owned)
        .into(),
        protocol: json!({ "launches": 4, "interleave": true }),
    }
}

fn machine(name: &str, chip: &str) -> Machine {
    Machine {
        machine: name.into(),
        chip: chip.into(),
        gpu_cores: match name {
            "air" => None,
            "studio" => Some(80),
            _ => Some(10),
        },
        cpu_cores: 10,
        memory_bytes: 25_769_803_776,
        hardware_model: "Mac16,10".into(),
        os: "macOS".into(),
        os_version: if name == "air" { "15.6" } else { "26.1" }.into(),
        virtual_machine: false,
        simulated: false,
        imported: false,
    }
}

const COMMIT: &str = "173ff890c0ffee0c0ffee0c0ffee0c0ffee0c0ff";

fn environment(machine: &str) -> Environment {
    Environment {
        machine: machine.into(),
        launches: 24,
        os: "macOS".into(),
        os_version: if machine == "air" { "15.6" } else { "26.1" }.into(),
        os_build: "25B78".into(),
        kernel: "Darwin 25.1.0".into(),
        agent_version: "0.1.0".into(),
        agent_commit: COMMIT.into(),
        suite_version: "0.1.0".into(),
        suite_commit: COMMIT.into(),
        mlx_version: "0.32.2".into(),
        mlx_sha256: (machine != "air").then(|| COMMIT.repeat(2)),
        mlx_device: "gpu".into(),
        mlx_architecture: "applegpu_g16g".into(),
        blas: "Accelerate".into(),
        debug_build: false,
        nax_built: Some(true),
        nax_expected: false,
        mlx_env: json!({ "MLX_METAL_FAST_SYNCH": "1" }),
        power_source: Some("ac".into()),
        low_power_mode: Some(false),
    }
}

fn latency(machine: &str, speed: f64, reasons: &[&str]) -> Latency {
    let percentile = |value: f64, low: f64, high: f64| {
        Some(Percentile {
            value: value / speed,
            interval: Interval {
                low: low / speed,
                high: high / speed,
            },
        })
    };
    Latency {
        machine: machine.into(),
        variant: variant(MODELS[0].0, MODELS[0].1),
        case_key: CaseKey::from("new=128,depth=0".to_owned()),
        gaps: 508,
        p50_ms: percentile(11.4, 11.3, 11.5),
        p90_ms: percentile(11.9, 11.8, 12.05),
        p95_ms: percentile(12.2, 12.0, 12.6),
        p99_ms: None,
        max_ms: 14.75 / speed,
        valid: true,
        tainted: !reasons.is_empty(),
        reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
    }
}

pub fn variant(name: &str, quantisation: &str) -> Variant {
    Variant {
        model: name.into(),
        dtype: Some("bf16".into()),
        quantisation: Some(quantisation.into()),
        source: Some(format!("synthetic:{name}")),
        digest: Some(digest(name)),
        mark: None,
    }
}

fn model(name: &str, quantisation: &str, parameters: i64) -> Model {
    Model {
        variant: variant(name, quantisation),
        model_type: "llama".into(),
        shape: Shape::of(&json!({
            "num_hidden_layers": 22, "hidden_size": 2048, "num_attention_heads": 32,
            "num_key_value_heads": 4, "vocab_size": 32_000, "max_position_embeddings": 2048,
        })),
        parameters,
        weight_bytes: if quantisation == "none" {
            2_200_096_768
        } else {
            618_834_944
        },
        decode_bytes: if quantisation == "none" {
            2_069_118_976
        } else {
            582_000_000
        },
        kv_bytes_per_token: 22_528,
        synthetic: true,
    }
}

fn digest(name: &str) -> String {
    format!("{:02x}", name.len()).repeat(32)
}

fn case(machine: &str, model: usize, suite: &str, key: &str) -> CaseRow {
    CaseRow {
        machine: machine.into(),
        suite: suite.into(),
        variant: variant(MODELS[model].0, MODELS[model].1),
        case_key: CaseKey::from(key.to_owned()),
    }
}

/// Four launches of everything, within a percent or so of the truth; one of them far off.
fn launches() -> Vec<LaunchRow> {
    let mut rows = Vec::new();
    for (machine, _, speed) in MACHINES {
        for (model, (_, _, _, model_speed)) in MODELS.iter().enumerate() {
            for (place, (metric, unit, direction, suite, key, value)) in METRICS.iter().enumerate()
            {
                let truth = match direction {
                    Direction::Higher => value * speed * model_speed,
                    _ if *unit == "bytes" => value / model_speed,
                    _ => value / speed / model_speed,
                };
                for launch in 0..4 {
                    let noise = match (*unit, machine, place, launch) {
                        ("bytes", ..) => 1.0,
                        ("tok/s", "mini", 5, 3) if model == 0 => 0.9,
                        _ => 1.0 + 0.006 * f64::from(launch * 7 % 5 - 2 + place as i32 % 2),
                    };
                    let hot = machine == "studio" && *suite == "decode" && launch == 3;
                    let impossible = machine == "air" && *metric == "load_warm_ms" && launch == 1;
                    let reasons: &[&str] = if hot {
                        &["thermal"]
                    } else if impossible {
                        &["g5"]
                    } else {
                        &[]
                    };
                    rows.push(LaunchRow {
                        case: case(machine, model, suite, key),
                        metric: (*metric).into(),
                        unit: (*unit).into(),
                        direction: *direction,
                        launch,
                        median: truth * noise,
                        min: truth * noise * 0.99,
                        max: truth * noise * 1.01,
                        iterations: 3,
                        valid: !impossible,
                        tainted: hot,
                        reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
                    });
                }
            }
        }
    }
    rows
}

fn differences() -> Vec<DifferenceRow> {
    let mut rows = Vec::new();
    for (machine, differences) in [("air", vec!["os_major".to_owned()]), ("studio", Vec::new())] {
        for (model, ..) in MODELS {
            for (metric, _, _, suite, key, _) in METRICS {
                rows.push(DifferenceRow {
                    machine: machine.into(),
                    suite: suite.into(),
                    model_source: Some(format!("synthetic:{model}")),
                    model_digest: Some(digest(model)),
                    baseline_digest: Some(digest(model)),
                    dtype: Some("bf16".into()),
                    case_key: CaseKey::from(key.to_owned()),
                    metric: metric.into(),
                    differences: differences.clone(),
                });
            }
        }
    }
    rows
}

fn coverage() -> Vec<Coverage> {
    let line = |machine: &str, suite: Option<&str>, state: &str, reason: &str| Coverage {
        machine: machine.into(),
        suite: suite.map(Into::into),
        model: suite.map(|_| MODELS[0].0.into()),
        dtype: None,
        state: state.into(),
        reason: reason.into(),
        launches_total: if suite.is_some() { 8 } else { 0 },
        launches_counted: if state == "succeeded" { 8 } else { 0 },
        launches_failed: 0,
    };
    let mut lines: Vec<Coverage> = MACHINES
        .iter()
        .flat_map(|(machine, ..)| {
            ["load", "prefill", "decode"].map(|suite| line(machine, Some(suite), "succeeded", ""))
        })
        .collect();
    lines.push(line(
        "air",
        Some("decode"),
        "skipped",
        "would not fit, needs 16.1 GB, has 12.8 GB",
    ));
    lines.push(line(
        "attic",
        None,
        "excluded",
        "the plan asks for 16 GB of memory",
    ));
    lines
}

/// A run that was just submitted: nothing is known yet.
pub fn empty_report() -> Report {
    let rows = Rows {
        run: Run {
            state: "active".into(),
            ended_at: None,
            jobs: 2,
            jobs_succeeded: 0,
            jobs_unfinished: 2,
            ..run()
        },
        machines: Vec::new(),
        environments: Vec::new(),
        models: Vec::new(),
        launches: Vec::new(),
        iterations: Vec::new(),
        baseline: None,
        differences: Vec::new(),
        latencies: Vec::new(),
        energies: Vec::new(),
        ceilings: Vec::new(),
        utilisations: Vec::new(),
        knees: Vec::new(),
        floors: Vec::new(),
        memory_slopes: Vec::new(),
        position_effects: Vec::new(),
        timelines: Vec::new(),
        noise: Vec::new(),
        fits: Vec::new(),
        history: Vec::new(),
        validity: Vec::new(),
        disagreements: Vec::new(),
        coverage: Vec::new(),
        metrics: Vec::new(),
    };
    analyze(rows, datetime!(2026-11-02 10:00 UTC))
}
