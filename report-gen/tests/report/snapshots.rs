//! How each section looks in each format. A new section adds its snapshots by itself: run once with
//! `INSTA_UPDATE=always` and read them.

use report_gen::analyze::analyze;
use report_gen::{Format, Report, render_report, terminal_summary};
use time::macros::datetime;

use crate::fleet;

fn text(report: &Report, format: Format, name: &str) -> String {
    let files = render_report(report, &[format]).unwrap();
    let file = files.into_iter().find(|file| file.name == name).unwrap();
    String::from_utf8(file.bytes).unwrap()
}

#[test]
fn every_section_in_markdown() {
    let text = text(&fleet::report(), Format::Markdown, "report.md");
    for section in text.split("\n## ") {
        let title = section
            .lines()
            .next()
            .unwrap()
            .trim_start_matches("# ")
            .to_lowercase();
        insta::assert_snapshot!(format!("markdown {title}").replace(' ', "_"), section);
    }
}

#[test]
fn every_section_in_html() {
    let text = text(&fleet::report(), Format::Html, "report.html");
    let mut sections = 0;
    for section in text.split("<section id=\"").skip(1) {
        let id = section.split('"').next().unwrap();
        let body = section.split("</section>").next().unwrap();
        insta::assert_snapshot!(format!("html_{id}"), body);
        sections += 1;
    }
    assert_eq!(sections, 19);
}

#[test]
fn tables_as_csv() {
    for file in render_report(&fleet::report(), &[Format::Csv]).unwrap() {
        insta::assert_snapshot!(file.name, String::from_utf8(file.bytes).unwrap());
    }
}

#[test]
fn the_report_as_json() {
    let text = text(&fleet::report(), Format::Json, "report.json");
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["format_version"], 2);
    assert_eq!(value["measurements"].as_array().unwrap().len(), 54);
    // The shape is what readers rely on; three measurements show it as well as fifty-four.
    let mut cut = |pointer: &str, to: usize| {
        let found = value.pointer_mut(pointer).and_then(|v| v.as_array_mut());
        found.unwrap().truncate(to);
    };
    cut("/measurements", 3);
    cut("/comparison/pairs", 3);
    cut("/laws", 1);
    cut("/rankings", 1);
    cut("/rankings/0/contests", 1);
    cut("/choices", 2);
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn a_few_lines_for_a_terminal() {
    insta::assert_snapshot!(terminal_summary(&fleet::report()));

    let mut rows = fleet::rows();
    rows.launches
        .retain(|row| row.case.suite == "decode" && row.metric == "itl_ms");
    let summary = terminal_summary(&analyze(rows, datetime!(2026-11-02 10:00 UTC)));
    assert!(
        summary.contains("results, of suites that only the report has room for"),
        "{summary}"
    );
}

#[test]
fn a_run_without_results_says_what_is_missing() {
    let report = fleet::empty_report();
    insta::assert_snapshot!(text(&report, Format::Markdown, "report.md"));
    assert!(terminal_summary(&report).contains("no results"));
    // Nothing to draw, so the chart library stays out.
    assert!(text(&report, Format::Html, "report.html").len() < 40_000);
}
