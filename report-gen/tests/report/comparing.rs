//! What the report compares, and what it refuses to: each test bends the small fleet in one place.

use report_gen::Report;
use report_gen::analyze::analyze;
use report_gen::report::{Pair, Score};
use report_gen::rows::{LaunchRow, Rows};
use report_gen::stats::Verdict;
use report_gen::{Format, render_report};
use time::macros::datetime;

use crate::fleet;

fn report(bend: impl FnOnce(&mut Rows)) -> Report {
    let mut rows = fleet::rows();
    bend(&mut rows);
    analyze(rows, datetime!(2026-11-02 10:00 UTC))
}

fn rendered(report: &Report, format: Format) -> String {
    let files = render_report(report, &[format]).unwrap();
    String::from_utf8(files.into_iter().next().unwrap().bytes).unwrap()
}

fn score<'a>(report: &'a Report, metric: &str) -> &'a Score {
    let mut scores = report.comparison.scores.iter();
    let found = scores.find(|score| score.machine == "studio" && score.metric == metric);
    found.unwrap_or_else(|| panic!("no score of {metric}"))
}

fn pairs<'a>(report: &'a Report, metric: &'a str) -> impl Iterator<Item = &'a Pair> {
    let pairs = report.comparison.pairs.iter();
    pairs.filter(move |pair| pair.machine == "studio" && pair.metric == metric)
}

/// One metric's launches of one model on a machine.
fn launches<'a>(
    rows: &'a mut Rows,
    machine: &'a str,
    model: &'a str,
    metric: &'a str,
) -> impl Iterator<Item = &'a mut LaunchRow> {
    rows.launches.iter_mut().filter(move |row| {
        row.case.machine == machine && row.case.variant.model == model && row.metric == metric
    })
}

const MODEL: &str = "tinyllama-1.1b";
const PACKED: &str = "tinyllama-1.1b-4bit";

#[test]
fn of_a_fleet_the_summary_says_each_metric_once() {
    let told = |machines: usize| -> Vec<String> {
        let report = fleet::report_of_machines(machines);
        let findings = report.findings.into_iter().map(|finding| finding.text);
        findings
            .filter(|text| text.starts_with("The decode rate of"))
            .collect()
    };
    assert_eq!(told(9).len(), 8, "each of eight beside the ninth");
    let [of_all] = <[String; 1]>::try_from(told(60)).unwrap();
    for part in [
        "of 59 machines beside that of mac-00: ",
        " faster",
        "highest mac-59 with 2.18",
        "lowest mac-01 with 1.02",
    ] {
        assert!(of_all.contains(part), "{part} is not in: {of_all}");
    }
}

#[test]
fn a_pair_that_the_database_says_nothing_of_has_no_ratio() {
    let report = report(|rows| rows.differences.retain(|row| row.metric != "decode_tps"));
    assert_eq!(pairs(&report, "decode_tps").count(), 2);
    for pair in pairs(&report, "decode_tps") {
        assert_eq!(pair.differences, ["not_established"]);
        assert!(pair.ratio.is_none() && pair.verdict.is_none());
    }
    let mut scores = report.comparison.scores.iter();
    assert!(!scores.any(|score| score.metric == "decode_tps"));
    assert!(pairs(&report, "prefill_tps").all(|pair| pair.ratio.is_some()));
}

#[test]
fn models_of_one_name_from_two_places_are_two_models() {
    let report = report(|rows| {
        let variants = rows
            .models
            .iter_mut()
            .map(|model| &mut model.variant)
            .chain(rows.launches.iter_mut().map(|row| &mut row.case.variant))
            .filter(|variant| variant.model == PACKED);
        for variant in variants {
            variant.model = MODEL.to_owned();
            variant.quantisation = Some("none".to_owned());
            variant.source = Some("hf://B/tinyllama-1.1b".to_owned());
        }
        for row in &mut rows.differences {
            if row.model_source.as_deref() == Some("synthetic:tinyllama-1.1b-4bit") {
                row.model_source = Some("hf://B/tinyllama-1.1b".to_owned());
            }
        }
    });
    let names: Vec<String> = pairs(&report, "decode_tps")
        .map(|pair| pair.variant.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "tinyllama-1.1b [hf://B/tinyllama-1.1b] (bf16)",
            "tinyllama-1.1b [synthetic:tinyllama-1.1b] (bf16)"
        ]
    );
    // Each against its own: the rates of the two differ by 2.5, the machines by 3.2.
    for pair in pairs(&report, "decode_tps") {
        let ratio = pair.ratio.unwrap().value;
        assert!((3.1..3.4).contains(&ratio), "{ratio}");
    }
    let markdown = rendered(&report, Format::Markdown);
    assert!(markdown.contains("| tinyllama-1.1b \\[synthetic:tinyllama-1.1b\\] |"));
}

#[test]
fn a_case_of_one_launch_is_left_out_of_a_mean_and_said_to_be() {
    let report = report(|rows| {
        rows.launches.retain(|row| {
            let short = row.case.machine == "studio" && row.case.variant.model == PACKED;
            !(short && row.metric == "decode_tps" && row.launch > 0)
        });
    });
    let score = score(&report, "decode_tps");
    assert_eq!((score.cases, score.single_launch_cases), (1, 1));
    assert!(score.ratio.unwrap().interval.is_some());
    let markdown = rendered(&report, Format::Markdown);
    assert!(markdown.contains("| 1 of 2 |"), "{markdown}");
    assert!(markdown.contains("left out of the means"));
    assert!(markdown.contains("over 1 case (1 more case of one launch left out)"));
}

#[test]
fn means_and_ratio_are_of_the_same_cases() {
    // One of two cases is invalid on the baseline, and the view says so.
    let report = report(|rows| {
        for row in launches(rows, "mini", PACKED, "decode_tps") {
            row.valid = false;
        }
        for row in &mut rows.differences {
            let source = row.model_source.as_deref();
            if row.metric == "decode_tps" && source == Some("synthetic:tinyllama-1.1b-4bit") {
                row.differences.push("baseline_invalid".to_owned());
            }
        }
    });
    let score = score(&report, "decode_tps");
    assert_eq!(score.cases, 1);
    let baseline = score.baseline_mean.unwrap().value;
    let ratio = score.ratio.unwrap().value;
    assert!((score.geometric_mean.value / baseline / ratio - 1.0).abs() < 1e-12);
    let only = pairs(&report, "decode_tps").find_map(|pair| pair.ratio);
    assert!((ratio / only.unwrap().value - 1.0).abs() < 1e-12);
}

#[test]
fn a_tainted_side_marks_the_pair_the_score_the_chart_and_the_sentence() {
    let report = report(|rows| {
        for row in launches(rows, "mini", MODEL, "ttft_ms") {
            row.tainted = true;
            row.reasons = vec!["battery".to_owned()];
        }
    });
    let score = score(&report, "ttft_ms");
    assert!(score.tainted);
    assert_eq!(score.reasons, ["battery"]);
    let marked = pairs(&report, "ttft_ms").filter(|pair| pair.tainted);
    assert_eq!(marked.count(), 1, "the other model's pair is sound");
    let markdown = rendered(&report, Format::Markdown);
    assert!(markdown.contains("faster († doubtful conditions: battery)."));
    assert!(markdown.contains("doubtful conditions: battery\n"));
    let html = rendered(&report, Format::Html);
    let chart = html.split("\"kind\":\"ratios\"").nth(1).unwrap();
    let states = chart.split("</script>").next().unwrap();
    // Both decoding rates are hot, and now the time to first token.
    assert_eq!(states.matches("\"state\":\"tainted\"").count(), 3);
    assert_eq!(states.matches("\"state\":\"sound\"").count(), 2);
}

#[test]
fn scores_are_in_the_family_that_holm_corrects() {
    // Launches that vary so much that the claim is barely significant alone, among many others.
    let barely = [1.0, 1.3, 0.9, 1.6];
    let report = report(|rows| {
        rows.run.headline = vec!["ttft_ms".to_owned(), "load_warm_ms".to_owned()];
        for machine in ["mini", "studio"] {
            for model in [MODEL, PACKED] {
                for row in launches(rows, machine, model, "ttft_ms") {
                    let speed = if machine == "studio" { 0.6 } else { 1.0 };
                    row.median = 100.0 * speed * barely[row.launch as usize];
                }
            }
        }
    });
    let score = score(&report, "ttft_ms");
    // Two pairs and a score of each metric, and the models' ranks: one family.
    let (ratio, p) = (score.ratio.unwrap(), score.p_holm.unwrap());
    let alone = report_gen::stats::p_against_margin(&ratio).unwrap();
    assert!(p > alone, "{p} {alone}");
    assert_eq!(score.verdict, Some(Verdict::Inconclusive));
    for pair in pairs(&report, "load_warm_ms") {
        assert_eq!(pair.verdict, Some(Verdict::Faster));
    }
}

#[test]
fn bytes_are_not_fast() {
    let report = report(|rows| {
        rows.run.headline = vec!["mem_weights_bytes".to_owned()];
        for row in &mut rows.launches {
            if row.case.machine == "studio" && row.metric == "mem_weights_bytes" {
                row.median *= 0.5;
            }
        }
    });
    for pair in pairs(&report, "mem_weights_bytes") {
        assert_eq!(pair.verdict, Some(Verdict::Smaller));
    }
    let html = rendered(&report, Format::Html);
    assert!(html.contains("<span class=\"verdict good\">smaller</span>"));
}

#[test]
fn machines_that_may_not_be_compared_are_not_ranked() {
    let report = report(|_| {});
    let ranks = |word: &str| {
        let mut findings = report.findings.iter();
        findings.any(|f| f.text.contains("ighest") && f.text.contains(word))
    };
    assert!(ranks("on mini"));
    assert!(!ranks("air") && !ranks("studio"));
}

#[test]
fn invalid_and_tainted_bars_look_different_and_what_is_cut_is_said() {
    let report = report(|rows| {
        for row in launches(rows, "mini", MODEL, "load_warm_ms") {
            row.tainted = true;
            row.reasons = vec!["battery".to_owned()];
        }
        // More models than a chart holds.
        let pattern: Vec<LaunchRow> = launches(rows, "mini", MODEL, "load_warm_ms")
            .map(|row| row.clone())
            .collect();
        for number in 0..45 {
            for row in &pattern {
                let mut row = row.clone();
                row.case.variant.model = format!("m{number}");
                row.case.variant.digest = Some(format!("{number:02x}").repeat(32));
                rows.launches.push(row);
            }
        }
    });
    let html = rendered(&report, Format::Html);
    let bars = html.split("\"kind\":\"bars\"").nth(1).unwrap();
    let bars = bars.split("</script>").next().unwrap();
    for state in ["sound", "tainted", "invalid"] {
        assert!(bars.contains(&format!("\"state\":\"{state}\"")), "{state}");
    }
    assert!(
        html.contains("40 of 47 rows shown; the table has all"),
        "{html}"
    );
}

#[test]
fn an_outlier_needs_launches_and_the_list_says_what_it_is() {
    let short = report(|_| {});
    assert!(!rendered(&short, Format::Markdown).contains("Outliers:"));
    let long = report(|rows| {
        let more: Vec<LaunchRow> = launches(rows, "mini", MODEL, "decode_tps")
            .filter(|row| row.launch < 3)
            .map(|row| LaunchRow {
                launch: row.launch + 4,
                ..row.clone()
            })
            .collect();
        rows.launches.extend(more.iter().cloned());
        rows.launches.extend(more.into_iter().map(|row| LaunchRow {
            launch: row.launch + 4,
            ..row
        }));
    });
    let markdown = rendered(&long, Format::Markdown);
    let (_, after) = markdown.split_once("Outliers:").unwrap();
    assert!(
        after.contains("- decode rate of tinyllama-1.1b (bf16) on mini"),
        "{after}"
    );
}
