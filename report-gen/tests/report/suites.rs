//! Sections that are there only when their suite is: one small table of launches each.

use report_gen::report::{CaseKey, Direction};
use report_gen::rows::{CaseRow, LaunchRow};
use report_gen::{Format, analyze::analyze, render_report};
use time::macros::datetime;

use crate::fleet;

/// Metric, unit, direction and the value on every machine.
type Row<'a> = (&'a str, &'a str, Direction, f64);

/// The fleet's report with launches of one more suite, as Markdown's section of that title; None
/// where there is no such section.
fn section(suite: &str, case: &str, metrics: &[Row<'_>], title: &str) -> Option<String> {
    let mut rows = fleet::rows();
    let pattern: Vec<LaunchRow> = rows
        .launches
        .iter()
        .filter(|row| row.metric == "load_warm_ms" && row.case.variant.model == "tinyllama-1.1b")
        .cloned()
        .collect();
    for (metric, unit, direction, value) in metrics {
        for row in &pattern {
            let noise = 1.0 + 0.002 * f64::from(row.launch);
            rows.launches.push(LaunchRow {
                case: CaseRow {
                    suite: suite.to_owned(),
                    case_key: CaseKey::from(case.to_owned()),
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
            });
        }
    }
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
