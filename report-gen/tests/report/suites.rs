//! Sections that are there only when their suite is: one small table of launches each.

use report_gen::report::{CaseKey, Direction, Knee, MemorySlope};
use report_gen::rows::{CaseRow, LaunchRow, Rows};
use report_gen::{Format, analyze::analyze, render_report};
use time::macros::datetime;

use crate::fleet;

/// Metric, unit, direction and the value on every machine.
type Row<'a> = (&'a str, &'a str, Direction, f64);

/// The fleet's report with launches of one more suite, as Markdown's section of that title; None
/// where there is no such section.
fn section(suite: &str, case: &str, metrics: &[Row<'_>], title: &str) -> Option<String> {
    section_of_cases(suite, &[(case, metrics)], title)
}

fn section_of_cases(suite: &str, cases: &[(&str, &[Row<'_>])], title: &str) -> Option<String> {
    written(suite, cases, title, |_| {}, |_| {})
}

/// The same for a suite that has no model.
fn section_of_machine(suite: &str, case: &str, metrics: &[Row<'_>], title: &str) -> Option<String> {
    let of_machine = |row: &mut LaunchRow| {
        row.case.variant.source = None;
        row.case.variant.digest = None;
        "(machine)".clone_into(&mut row.case.variant.model);
    };
    written(suite, &[(case, metrics)], title, of_machine, |_| {})
}

fn written(
    suite: &str,
    cases: &[(&str, &[Row<'_>])],
    title: &str,
    edit: impl Fn(&mut LaunchRow),
    add: impl Fn(&mut Rows),
) -> Option<String> {
    let mut rows = fleet::rows();
    let pattern: Vec<LaunchRow> = rows
        .launches
        .iter()
        .filter(|row| row.metric == "load_warm_ms" && row.case.variant.model == "tinyllama-1.1b")
        .cloned()
        .collect();
    let metrics = cases
        .iter()
        .flat_map(|(case, metrics)| metrics.iter().map(move |metric| (case, metric)));
    for (case, (metric, unit, direction, value)) in metrics {
        for row in &pattern {
            let noise = 1.0 + 0.002 * f64::from(row.launch);
            let mut row = LaunchRow {
                case: CaseRow {
                    suite: suite.to_owned(),
                    case_key: CaseKey::from((*case).to_owned()),
                    ..row.case.clone()
                },
                metric: (*metric).to_owned(),
                unit: (*unit).to_owned(),
                direction: *direction,
                median: value * noise,
                min: value * 0.99,
                max: value * 1.01,
                valid: true,
                reasons: Vec::new(),
                ..row.clone()
            };
            edit(&mut row);
            rows.launches.push(row);
        }
    }
    add(&mut rows);
    let report = analyze(rows, datetime!(2026-11-02 10:00 UTC));
    let files = render_report(&report, &[Format::Markdown]).unwrap();
    let text = String::from_utf8(files.into_iter().next().unwrap().bytes).unwrap();
    let sections: Vec<&str> = text.split("\n## ").collect();
    let found = sections
        .iter()
        .find(|section| section.starts_with(&format!("{title}\n")));
    found.map(|section| (*section).to_owned())
}

const QUANTIZATION: &str = "bits=4,group=64,prompt=512,new=128";

#[test]
fn quantisation_says_what_is_gained_and_what_is_lost() {
    let metrics = [
        ("quant_speedup_decode", "ratio", Direction::Higher, 2.9),
        ("quant_mem_ratio", "ratio", Direction::Lower, 0.2813),
        ("quant_bpw", "bit", Direction::Lower, 4.5),
        ("quant_ppl", "", Direction::Lower, 12.41),
        ("quant_baseline_ppl", "", Direction::Lower, 11.93),
        ("quant_ppl_delta", "%", Direction::Lower, 4.02),
        ("quant_top1_agree", "ratio", Direction::Higher, 0.914),
    ];
    let text = section("quantization", QUANTIZATION, &metrics, "Quantisation");
    insta::assert_snapshot!("quantisation", text.unwrap());
}

#[test]
fn quantisation_of_random_weights_explains_what_is_missing() {
    let metrics = [("quant_speedup_decode", "ratio", Direction::Higher, 2.9)];
    let text = section("quantization", QUANTIZATION, &metrics, "Quantisation").unwrap();
    assert!(text.contains("random weights"), "{text}");
    assert!(!text.contains("Perplexity |"), "{text}");
}

#[test]
fn a_suite_that_was_not_measured_has_no_section() {
    assert_eq!(section("other", "a=1", &[], "Quantisation"), None);
}

#[test]
fn a_suite_about_the_machine_has_no_column_for_a_model() {
    let metrics = [
        ("stream_gbps", "GB/s", Direction::Higher, 380.0),
        ("stream_add_gbps", "GB/s", Direction::Higher, 385.0),
    ];
    let section = section_of_machine("roofline", "stream,mb=1000", &metrics, "Ceilings");
    let section = section.unwrap();
    assert!(!section.contains("Precision"), "{section}");
    assert!(
        section.contains("stream, mb 1000"),
        "a row begins with its case: {section}"
    );
    assert!(section.contains("Scale"), "{section}");
    assert!(!section.contains("bf16 |"), "no product was measured");
}

#[test]
fn conditions_of_few_machines_stand_side_by_side() {
    let section = |machines: usize| {
        let few = |rows: &mut Rows| rows.environments.truncate(machines);
        written("decode", &[], "Machines and software", |_| {}, few).unwrap()
    };
    let two = section(2);
    assert!(two.contains("| Condition | air | mini |"), "{two}");
    assert!(
        two.contains("| MLX (library) | 0.32.2 | 0.32.2 173ff890c0 |"),
        "{two}"
    );
    assert!(section(3).contains("| Machine | System (build) |"));
}

#[test]
fn attention_without_a_kernel_says_that_there_is_no_gain_to_state() {
    let metrics = [
        ("attn_us_fallback", "µs", Direction::Lower, 800.0),
        ("attn_us_standard", "µs", Direction::Lower, 900.0),
        ("attn_fused_available", "", Direction::Neutral, 0.0),
    ];
    let case = "shape=nano-llama,heads=8/4x32,regime=decode,length=128,dtype=f32";
    let section = section_of_machine("attention", case, &metrics, "Attention").unwrap();
    assert!(section.contains("no gain to state"), "{section}");
    assert!(!section.contains("| Gain"), "{section}");
}

#[test]
fn a_cache_that_grows_unlike_its_arithmetic_is_marked_and_a_caution() {
    let peak = [("mem_peak_bytes", "bytes", Direction::Lower, 2e9)];
    let cases = [("prompt=256", &peak[..])];
    let text = section_of_cases("memory", &cases, "Memory by context").unwrap();
    assert!(text.contains("No slope"), "{text}");

    let slope = |kv: f64, reasons: &[&str]| MemorySlope {
        machine: "mini".into(),
        variant: fleet::variant("tinyllama-1.1b", "none"),
        kv_bytes_per_token: Some(kv),
        kv_theory_bytes_per_token: Some(22_528.0),
        peak_bytes_per_token: Some(37_800.0),
        peak_r_squared: Some(0.9646),
        lengths: 6,
        valid: reasons.is_empty(),
        tainted: false,
        reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
    };
    let said = |slope: MemorySlope, title: &str| {
        let add = |rows: &mut Rows| rows.memory_slopes.push(slope.clone());
        written("memory", &cases, title, |_| {}, add).unwrap()
    };
    let sound = || slope(22_528.0, &[]);
    let text = said(sound(), "Memory by context");
    assert!(
        text.contains("| 22.53 kB | 22.53 kB | 37.80 kB | 0.965 | 6 |"),
        "{text}"
    );
    assert!(!said(sound(), "Summary").contains("(g4)"));
    let wrong = || slope(27_000.0, &["g4"]);
    assert!(said(wrong(), "Memory by context").contains("27.00 kB ✗"));
    let text = said(wrong(), "Summary");
    assert!(text.contains("takes 27.00 kB for each position") && text.contains("22.53 kB (g4)"));
}

pub fn knee(
    kind: &str,
    batch_knee: Option<f64>,
    above_size: i32,
    below_size: Option<i32>,
    clear: bool,
) -> Knee {
    Knee {
        machine: "mini".into(),
        variant: fleet::variant("tinyllama-1.1b", "none"),
        case_key: CaseKey::from(kind.to_owned()),
        batch_knee,
        above_size,
        below_size,
        clear,
        sizes: 4,
        valid: true,
        tainted: false,
        reasons: Vec::new(),
    }
}

#[test]
fn a_batch_has_a_knee_only_where_it_was_reached() {
    let efficiency = [("batch_efficiency", "ratio", Direction::Higher, 0.4)];
    let cases = [("batch=16,prompt=512,new=64,lengths=equal", &efficiency[..])];
    let kind = "prompt=512,new=64,lengths=equal";
    let add = |rows: &mut Rows| {
        rows.knees = vec![
            knee(kind, Some(11.43), 8, Some(16), true),
            knee(kind, Some(15.9), 8, Some(16), false),
            knee(kind, None, 16, None, false),
        ];
    };
    let text = written("batch", &cases, "Several sequences at once", |_| {}, add).unwrap();
    for row in [
        "| 11.43 | 8 and 16 |",
        "| 15.90 | 8 and 16, within the noise |",
        "| – | beyond 16 |",
    ] {
        assert!(text.contains(row), "{row} in {text}");
    }
}

#[test]
fn answers_batches_and_minutes_have_their_sections() {
    for (suite, case, metric, title) in [
        ("generate", "new=50", "response_ms", "Whole answers"),
        (
            "batch",
            "batch=4,prompt=512,new=64",
            "batch_decode_tps",
            "Several sequences at once",
        ),
        (
            "speculative",
            "k=2,prompt=code,new=128,draft=/models/small",
            "spec_decode_tps",
            "Speculative decoding",
        ),
        (
            "training",
            "mode=full,batch=4,tokens=512",
            "train_step_ms",
            "Training",
        ),
        (
            "sustained",
            "seconds=180,depth=0",
            "sustained_tps",
            "Sustained load",
        ),
    ] {
        let metrics = [(metric, "ms", Direction::Lower, 512.0)];
        let section = section(suite, case, &metrics, title).unwrap();
        assert!(section.contains("51"), "{section}");
    }
}

#[test]
fn more_work_in_less_time_is_a_caution() {
    let ms = |value| [("prefill_ms", "ms", Direction::Lower, value)];
    let (short, doubled, longer) = (ms(100.0), ms(120.0), ms(300.0));
    let said = |long: &[Row<'_>]| {
        let cases = [
            ("prompt=512,depth=0,chunk=2048", &short[..]),
            ("prompt=1024,depth=0,chunk=2048", long),
        ];
        section_of_cases("prefill", &cases, "Summary").unwrap()
    };
    assert!(said(&doubled).contains("1024 prompt tokens took 1.20 times as long as 512"));
    assert!(!said(&longer).contains("(g7)"));

    let tps = |metric, value| [(metric, "tok/s", Direction::Higher, value)];
    let (shallow, deep) = (tps("decode_tps", 50.0), tps("decode_tps_at_depth", 60.0));
    let cases = [
        ("new=96,depth=0", &shallow[..]),
        ("new=96,depth=4096", &deep[..]),
    ];
    let text = section_of_cases("decode", &cases, "Summary").unwrap();
    assert!(text.contains("decoding at depth 4096"), "{text}");
}
