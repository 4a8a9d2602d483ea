//! What lies beyond the run in the small fleet: other machines, earlier runs, what sensors read.

use report_gen::analyze::analyze;
use report_gen::report::{CaseKey, Direction, Fit, HistoryPoint, Noise, Software, Timeline, Track};
use report_gen::rows::{EnergyRow, HistoryRow};
use report_gen::stats::Interval;
use time::macros::datetime;
use uuid::Uuid;

use super::{MODELS, case, model, rows, variant};

/// The run's machines, two of one kind that nobody measured, and one that is too small for the larger.
/// The rates above are more than such chips could give; the ceilings are as much too high.
pub fn fits() -> Vec<Fit> {
    let machines = [
        ("air", "Apple M3", None, 24, Some(100.0)),
        ("attic", "Apple M1", Some(8), 8, Some(68.25)),
        ("cellar", "Apple M1", Some(8), 8, Some(68.25)),
        ("mini", "Apple M4", Some(10), 24, Some(120.0)),
        ("relic", "unheard of", None, 2, None),
        ("studio", "Apple M3 Ultra", Some(80), 24, Some(819.0)),
    ];
    let of_model = |(name, quantisation, parameters, _): &(&str, &str, i64, f64)| {
        let model = model(name, quantisation, *parameters);
        machines.map(
            |(machine, chip, gpu_cores, gib, gbps): (_, _, _, i64, Option<f64>)| {
                let memory_bytes = gib << 30;
                let limit = memory_bytes / 3 * 2 / 10 * 9;
                Fit {
                    machine: machine.into(),
                    chip: chip.into(),
                    gpu_cores,
                    memory_bytes,
                    variant: model.variant.clone(),
                    limit_bytes: Some(limit),
                    context_tokens: Some(
                        (limit - model.weight_bytes).max(0) / model.kv_bytes_per_token,
                    ),
                    decode_ceiling_tps: gbps.map(|gbps| 3e9 * gbps / model.decode_bytes as f64),
                }
            },
        )
    };
    MODELS.iter().flat_map(of_model).collect()
}

/// Ten nights on `mini`, the last three slower since another MLX, one of them hot; on `studio` two.
pub fn history() -> Vec<HistoryRow> {
    let night = |machine: &str, night: u32, value: f64, mlx: &str| HistoryRow {
        case: case(machine, 0, "decode", "new=128,depth=0"),
        metric: "decode_tps".into(),
        unit: "tok/s".into(),
        direction: Direction::Higher,
        point: HistoryPoint {
            run_id: Uuid::from_u128(
                0x018e_0000_0000_7000_8000_0000_0000_0000 + (u128::from(night) << 96),
            ),
            submitted_at: datetime!(2026-10-23 08:00 UTC) + time::Duration::days(night.into()),
            value,
            interval: Some(Interval {
                low: value * 0.99,
                high: value * 1.01,
            }),
            tainted: night == 4,
            verdict: "insufficient_history".into(),
            change: None,
            threshold: None,
            software: Software {
                mlx: mlx.into(),
                system: "macos 26.1 (25B78)".into(),
                worker: "0.1.0 173ff890c".into(),
            },
        },
    };
    let level = [
        109.0, 110.2, 109.4, 110.0, 60.0, 109.1, 109.9, 109.6, 98.2, 97.7, 98.0,
    ];
    let mut rows: Vec<HistoryRow> = (0..)
        .zip(level)
        .map(|(n, value)| night("mini", n, value, if n < 8 { "0.31.1" } else { "0.32.2" }))
        .collect();
    rows.push(night("studio", 9, 312.0, "0.32.2"));
    rows.push(night("studio", 10, 311.0, "0.32.2"));
    rows
}

/// Where a report sees steps in a history of these values.
pub fn steps_of(values: &[f64]) -> Vec<usize> {
    let mut rows = rows();
    let template = rows.history.remove(0);
    rows.history = (0_u32..)
        .zip(values)
        .map(|(n, value)| {
            let mut row = template.clone();
            row.point.value = *value;
            row.point.run_id = Uuid::from_u128(n.into());
            row.point.submitted_at += time::Duration::days(n.into());
            row
        })
        .collect();
    let report = analyze(rows, datetime!(2026-11-02 10:00 UTC));
    let steps = report.histories[0].steps.iter();
    steps.map(|step| step.run_id.as_u128() as usize).collect()
}

/// A launch that grew hot and slow, and one that did not.
pub fn timelines() -> Vec<Timeline> {
    let of = |launch: i32, throttled: bool, trend_pct: f64| {
        let fall = if throttled { 6.0 } else { 0.0 };
        let track = |sensor: &str, unit: &str, start: f64, step: f64| Track {
            sensor: sensor.into(),
            unit: unit.into(),
            points: (0..20)
                .map(|second| (f64::from(second), start + step * f64::from(second)))
                .collect(),
        };
        Timeline {
            machine: "studio".into(),
            suite: "decode".into(),
            variant: variant(MODELS[0].0, MODELS[0].1),
            case_key: CaseKey::from("new=128,depth=0".to_owned()),
            launch,
            throttled,
            trend_pct: Some(trend_pct),
            cooldown_s: Some(1.5),
            reasons: if throttled {
                vec!["thermal".into()]
            } else {
                Vec::new()
            },
            tracks: vec![
                track("gpu_temp_c", "°C", 61.0, 0.4 + fall / 5.0),
                track("gpu_power_w", "W", 42.0, -fall / 10.0),
            ],
        }
    };
    vec![of(3, true, -4.2), of(1, false, -0.3)]
}

pub fn noise() -> Vec<Noise> {
    let of = |machine: &str, between: f64| Noise {
        machine: machine.into(),
        suite: "decode".into(),
        metric: "decode_tps".into(),
        cases: 2,
        launches: 8,
        within_cv: Some(0.0041),
        between_cv: Some(between),
        worst_between_cv: Some(between * 2.0),
    };
    vec![of("air", 0.009), of("mini", 0.008), of("studio", 0.031)]
}

pub fn energies() -> Vec<EnergyRow> {
    let row = |launch: i32, mode: &str, watts: f64, tps: f64| EnergyRow {
        case: case("mini", 0, "decode", "new=128,depth=0"),
        mode: mode.into(),
        launch,
        sensor: "gpu_power_w".into(),
        mean_w: Some(watts),
        energy_j_per_token: Some(watts / tps),
        reason: String::new(),
        valid: true,
        tainted: false,
        reasons: Vec::new(),
    };
    let prefill = |launch: i32, watts: f64| EnergyRow {
        case: case("mini", 0, "prefill", "prompt=512,depth=0,chunk=2048"),
        ..row(launch, "prefill", watts, 1500.0)
    };
    vec![
        prefill(0, 18.1),
        prefill(1, 18.4),
        row(0, "per_token", 10.1, 87.7),
        row(0, "pipelined", 12.1, 98.0),
        row(1, "per_token", 10.2, 87.7),
        row(1, "pipelined", 12.4, 98.0),
        row(2, "pipelined", 12.2, 98.0),
    ]
}
