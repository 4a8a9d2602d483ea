//! What the report says of models beside each other: laws, rankings, trade-offs, recommendations. Each
//! test bends the small fleet in one place.

use report_gen::analyze::analyze;
use report_gen::report::{
    CaseKey, Choice, Contest, Direction, MetricFacts, Ranking, leaders, leaders_in_words,
};
use report_gen::rows::{CaseRow, LaunchRow, Rows};
use report_gen::stats::{Known, Verdict};
use report_gen::{Format, Report, render_report, terminal_summary};
use time::macros::datetime;

use crate::fleet;
use crate::suites::knee;

const MODEL: &str = "tinyllama-1.1b";
const PACKED: &str = "tinyllama-1.1b-4bit";

fn report(bend: impl FnOnce(&mut Rows)) -> Report {
    let mut rows = fleet::rows();
    bend(&mut rows);
    analyze(rows, datetime!(2026-11-02 10:00 UTC))
}

fn markdown(report: &Report) -> String {
    let files = render_report(report, &[Format::Markdown]).unwrap();
    String::from_utf8(files.into_iter().next().unwrap().bytes).unwrap()
}

fn section<'a>(markdown: &'a str, title: &str) -> Option<&'a str> {
    let mut sections = markdown.split("\n## ");
    sections.find(|section| section.starts_with(&format!("{title}\n")))
}

/// A model like the first, so many times as large and as slow.
fn add_model(rows: &mut Rows, name: &str, size: f64) {
    let mut model = rows.models[0].clone();
    model.variant = fleet::variant(name, "none");
    for bytes in [
        &mut model.weight_bytes,
        &mut model.decode_bytes,
        &mut model.parameters,
    ] {
        *bytes = (*bytes as f64 * size) as i64;
    }
    let variant = model.variant.clone();
    rows.models.push(model);
    let like_first = rows
        .launches
        .iter()
        .filter(|row| row.case.variant.model == MODEL);
    let more: Vec<LaunchRow> = like_first
        .map(|row| {
            let by = match row.direction {
                Direction::Higher => size.recip(),
                Direction::Lower | Direction::Neutral => size,
            };
            LaunchRow {
                case: CaseRow {
                    variant: variant.clone(),
                    ..row.case.clone()
                },
                median: row.median * by,
                ..row.clone()
            }
        })
        .collect();
    rows.launches.extend(more);
}

fn ranking<'a>(report: &'a Report, machine: &str) -> &'a Ranking {
    let mut rankings = report.rankings.iter();
    rankings.find(|ranking| ranking.machine == machine).unwrap()
}

fn contest<'a>(report: &'a Report, metric: &str) -> &'a Contest {
    let mut contests = ranking(report, "mini").contests.iter();
    contests.find(|contest| contest.metric == metric).unwrap()
}

fn choice<'a>(report: &'a Report, model: &str) -> &'a Choice {
    let mut choices = report.choices.iter();
    let found = choices.find(|c| c.machine == "mini" && c.variant.model == model);
    found.unwrap()
}

#[test]
fn two_models_make_no_law_and_the_section_says_so_in_one_line() {
    let report = report(|_| {});
    assert!(!report.laws.is_empty());
    assert!(
        report
            .laws
            .iter()
            .all(|law| law.line.is_none() && law.power.is_none())
    );
    let text = markdown(&report);
    let laws = section(&text, "Scaling laws").unwrap();
    assert_eq!(laws.trim().lines().count(), 3, "{laws}");
    assert!(laws.contains("the most here are 2"), "{laws}");
}

#[test]
fn models_on_a_line_have_a_law_within_their_range_and_others_are_refused() {
    let report = report(|rows| {
        add_model(rows, "larger", 2.0);
        add_model(rows, "largest", 3.0);
    });
    let decode = report.laws.iter().find(|law| {
        law.machine == "studio" && law.quantity.metric == "decode_tps" && law.of == "bf16"
    });
    let decode = decode.unwrap();
    assert_eq!(
        decode.points.len(),
        4,
        "packed weights are bytes like others"
    );
    let memory = report.laws.iter().find(|law| {
        law.machine == "mini" && law.quantity.metric == "mem_weights_bytes" && law.of == "bf16"
    });
    let line = memory.unwrap().line.unwrap();
    assert_eq!(line.slope_known, Known::Established);
    assert!(
        (line.slope - 2.0).abs() < 0.01,
        "2 bytes a parameter: {line:?}"
    );
    let power = memory.unwrap().power.unwrap();
    assert!((power.exponent - 1.0).abs() < 1e-3, "{power:?}");
    let text = markdown(&report);
    let laws = section(&text, "Scaling laws").unwrap();
    assert!(laws.contains("1.100 to 3.300"), "its range: {laws}");
    assert!(
        laws.contains("Memory of the weights over parameters: air in affine 4-bit g64, bf16 (1)"),
        "{laws}"
    );
}

#[test]
fn a_law_that_its_interval_makes_useless_is_not_drawn_nor_told() {
    let report = report(|rows| {
        add_model(rows, "larger", 2.0);
        // Twice as large and as fast as the first: no line through these.
        for row in &mut rows.launches {
            if row.case.variant.model == "larger" && row.metric == "decode_tps" {
                row.median *= 3.0;
            }
        }
    });
    let here = |law: &&report_gen::report::Law| {
        law.machine == "mini" && law.quantity.metric == "decode_tps"
    };
    let law = report.laws.iter().find(here).unwrap();
    assert_eq!(law.line.unwrap().slope_known, Known::NotEstablished);
    assert!(
        !report
            .findings
            .iter()
            .any(|f| f.text.contains("for each GB"))
    );
    let files = render_report(&report, &[Format::Html]).unwrap();
    let html = String::from_utf8(files.into_iter().next().unwrap().bytes).unwrap();
    let laws = html.split("<section id=\"laws\"").nth(1).unwrap();
    let (_, decode) = laws.split_once("Time of a decoded token").unwrap();
    assert!(
        decode.contains("\"curve\":[]"),
        "no curve where there is no law"
    );
    assert!(decode.contains("not established"));
}

#[test]
fn the_best_stands_alone_only_where_the_verdict_says_so() {
    let told = report(|_| {});
    let decode = contest(&told, "decode_tps");
    assert_eq!(
        leaders_in_words(&decode.ranks),
        format!("{PACKED} (affine 4-bit g64, bf16)")
    );
    let claim = decode.ranks[1].over_best.as_ref().unwrap();
    assert_eq!(claim.verdict, Verdict::Slower);
    assert!(claim.p_holm.unwrap() < 0.05);

    let level = report(|rows| {
        for row in &mut rows.launches {
            if row.metric == "decode_tps" && row.case.variant.model == PACKED {
                row.median /= 2.45;
            }
        }
    });
    let decode = contest(&level, "decode_tps");
    assert_eq!(leaders(&decode.ranks).len(), 2);
    let text = markdown(&level);
    let compared = section(&text, "Models compared").unwrap();
    assert!(compared.contains(", not told apart from"), "{compared}");

    // One launch each: there is no interval to tell anything with.
    let single = report(|rows| rows.launches.retain(|row| row.launch == 0));
    let decode = contest(&single, "decode_tps");
    assert_eq!(
        leaders_in_words(&decode.ranks),
        format!("{PACKED} (affine 4-bit g64, bf16), by value alone")
    );
}

#[test]
fn ranks_and_gains_are_in_the_family_that_holm_corrects() {
    let report = report(|rows| add_suite(rows, "batch", &[("batch=2", "batch_speedup", 1.8)]));
    let rank = contest(&report, "decode_tps").ranks[1].over_best.as_ref();
    let rival = choice(&report, MODEL).rival.as_ref();
    let claims = [rank.unwrap(), &rival.unwrap().claim, &report.gains[0].claim];
    for claim in claims {
        let alone = report_gen::stats::p_against_margin(&claim.ratio).unwrap();
        assert!(claim.p_holm.unwrap() > alone, "{claim:?}");
    }
}

#[test]
fn over_all_metrics_times_are_turned_over_and_each_metric_counts_once() {
    let report = report(|_| {});
    let overall = ranking(&report, "mini").overall.as_ref().unwrap();
    // Of the headline, `decode_tps_at_depth` and `prefill_tps` in two cases included.
    assert_eq!((overall.metrics.len(), overall.cases), (5, 6));
    assert_eq!(overall.ranks[0].variant.model, PACKED);
    let claim = overall.ranks[1].over_best.as_ref().unwrap();
    // Every metric of the packed model is 2.5 times as good; one launch in four of one is 10 % off.
    let by_hand = 0.4 * 0.9_f64.powf(0.25 / 5.0);
    assert!(
        (claim.ratio.value / by_hand - 1.0).abs() < 0.01,
        "{claim:?}"
    );
    assert_eq!(claim.verdict, Verdict::Worse);
}

#[test]
fn what_is_invalid_is_shown_and_not_ranked() {
    let report = report(|_| {});
    // `air` loaded impossibly fast in one launch of each model.
    let air = ranking(&report, "air");
    assert!(
        air.contests
            .iter()
            .all(|contest| contest.metric != "load_warm_ms")
    );
    let text = markdown(&report);
    let findings: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("first over"))
        .collect();
    assert!(
        findings[0].contains("on mini, first over 5 metrics in 6 cases"),
        "{findings:?}"
    );
}

#[test]
fn a_model_is_dominated_by_one_that_needs_no_more_and_is_faster() {
    let report = report(|rows| add_model(rows, "larger", 2.0));
    assert!(
        choice(&report, PACKED).rival.is_none(),
        "nothing needs less"
    );
    for model in [MODEL, "larger"] {
        let dominated = choice(&report, model);
        assert!(dominated.is_dominated, "{model}");
        assert_eq!(dominated.rival.as_ref().unwrap().variant.model, PACKED);
    }
    let text = markdown(&report);
    let guide = section(&text, "Trade-offs").unwrap();
    assert!(
        guide.contains("Least memory: tinyllama-1.1b-4bit"),
        "{guide}"
    );
    assert!(
        guide.contains("Dominated in memory and speed: larger (bf16) on mini"),
        "{guide}"
    );
}

#[test]
fn a_larger_model_that_is_faster_is_not_dominated() {
    let report = report(|rows| {
        for row in &mut rows.launches {
            if row.metric == "decode_tps" && row.case.variant.model == MODEL {
                row.median *= 5.0;
            }
        }
    });
    let larger = choice(&report, MODEL);
    assert!(!larger.is_dominated);
    assert_eq!(
        larger.rival.as_ref().unwrap().claim.verdict,
        Verdict::Faster
    );
}

/// Launches of one more suite on `mini`: case, metric and value.
fn add_suite(rows: &mut Rows, suite: &str, cases: &[(&str, &str, f64)]) {
    let pattern: Vec<LaunchRow> = rows
        .launches
        .iter()
        .filter(|row| {
            row.metric == "itl_ms" && row.case.variant.model == MODEL && row.case.machine == "mini"
        })
        .cloned()
        .collect();
    for (case, metric, value) in cases {
        rows.launches.extend(pattern.iter().map(|row| LaunchRow {
            case: CaseRow {
                suite: suite.to_owned(),
                case_key: CaseKey::from((*case).to_owned()),
                ..row.case.clone()
            },
            metric: (*metric).to_owned(),
            unit: "ratio".to_owned(),
            direction: Direction::Higher,
            median: value * (1.0 + 0.002 * f64::from(row.launch)),
            ..row.clone()
        }));
    }
}

/// Each recommendation whole, as its section shows it.
fn advice(report: &Report) -> Vec<String> {
    let all = report.recommendations.iter();
    all.map(|advice| format!("{} {}", advice.text, advice.detail))
        .collect()
}

#[test]
fn what_was_not_measured_is_not_recommended() {
    let report = report(|_| {});
    assert!(report.recommendations.is_empty());
    assert!(section(&markdown(&report), "Recommendations").is_none());
}

#[test]
fn attention_is_recommended_by_its_gains_and_its_losses_are_said() {
    let case = |length: u32| format!("shape=s,regime=prefill,length={length},dtype=bf16");
    let cases = [256, 1024, 4096, 8192].map(case);
    let gains: Vec<(&str, &str, f64)> = cases
        .iter()
        .zip([1.2, 2.4, 4.8, 0.7])
        .map(|(case, gain)| (case.as_str(), "attn_speedup", gain))
        .collect();
    let report = report(|rows| {
        add_suite(rows, "attention", &gains);
        rows.run.headline.push("attn_speedup".to_owned());
        rows.metrics.push(MetricFacts {
            metric: "attn_speedup".to_owned(),
            unit: "ratio".to_owned(),
            direction: Direction::Higher,
            description: String::new(),
        });
    });
    let said = |words: &str| report.findings.iter().any(|f| f.text.contains(words));
    assert!(
        said("Highest gain of fused attention on mini: 4.814× ("),
        "{:?}",
        report.findings
    );
    let [text] = &advice(&report)[..] else {
        panic!("{:?}", advice(&report))
    };
    assert!(text.starts_with(
        "Use MLX's fused attention on mini: it gains in 3 of 4 cases and loses in 1, most 4.81"
    ));
    assert!(text.contains("length 256") && text.contains("The worst loss is 0.7"));
    let summary = &report.recommendations[0].text;
    assert!(report.findings.iter().any(|f| f.text == *summary));
    assert!(terminal_summary(&report).contains(&format!("advice: {summary}")));
    let law = report
        .laws
        .iter()
        .find(|law| law.quantity.metric == "attn_speedup");
    assert_eq!(law.unwrap().points.len(), 4);
}

#[test]
fn quantising_says_what_is_lost_or_that_it_was_not_measured() {
    let (four, eight) = ("bits=4,group=64", "bits=8,group=64");
    let speed = [
        (four, "quant_speedup_decode", 2.7),
        (eight, "quant_speedup_decode", 1.6),
    ];
    let unknown = report(|rows| add_suite(rows, "quantization", &speed));
    assert!(advice(&unknown)[0].ends_with("What it loses of the models was not measured."));
    let known = report(|rows| {
        add_suite(rows, "quantization", &speed);
        let loss = [
            (four, "quant_kl_mean", 0.05),
            (eight, "quant_kl_mean", 0.001),
        ];
        add_suite(rows, "quantization", &loss);
    });
    let text = &advice(&known)[0];
    assert!(
        text.contains("mean KL 0.05")
            && text.contains("with the least loss has a mean KL of 0.001"),
        "{text}"
    );
    assert!(
        text.ends_with("with tinyllama-1.1b (bf16), bits 8, group 64."),
        "{text}"
    );
}

#[test]
fn a_batch_has_its_knee_and_speculation_may_lose() {
    let batch = |n: u32| format!("batch={n},prompt=512,new=64");
    let [two, eight] = [2, 8].map(batch);
    let report = report(|rows| {
        let cases = [
            (two.as_str(), "batch_speedup", 1.8),
            (eight.as_str(), "batch_speedup", 3.2),
        ];
        add_suite(rows, "batch", &cases);
        let of_other_prompts = knee("prompt=64,new=64", Some(4.0), 2, Some(8), true);
        let of_these = knee("prompt=512,new=64", Some(6.8), 2, Some(8), true);
        rows.knees = vec![of_other_prompts, of_these];
        add_suite(
            rows,
            "speculative",
            &[("k=2,prompt=code", "spec_speedup", 0.8)],
        );
        add_suite(
            rows,
            "sustained",
            &[("seconds=180,depth=0", "sustained_ratio", 0.9)],
        );
    });
    let [batch, speculation, sustained] = &advice(&report)[..] else {
        panic!("{:?}", advice(&report))
    };
    assert!(
        batch.contains("From 6.800 sequences on, each has less than half")
            && batch.contains("(between the measured 2 and 8)."),
        "{batch}"
    );
    assert!(
        speculation.starts_with(
            "Do without speculative decoding on mini: it gains in none of 1 case and loses in 1"
        ),
        "{speculation}"
    );
    assert!(
        sustained.starts_with("Plan with the sustained rate on mini"),
        "{sustained}"
    );
}

#[test]
fn what_cannot_be_told_is_said_in_its_section_and_not_in_the_summary() {
    let noisy = report(|rows| {
        add_suite(rows, "speculative", &[("k=2", "spec_speedup", 1.05)]);
        for row in &mut rows.launches {
            if row.metric == "spec_speedup" {
                row.median *= [0.6, 1.4, 0.8, 1.2][row.launch as usize];
            }
        }
    });
    let text = &noisy.recommendations[0].text;
    assert!(
        text.starts_with("On mini it cannot be told in 1 case whether speculative"),
        "{text}"
    );
    assert!(noisy.findings.iter().all(|finding| finding.text != *text));
    assert!(markdown(&noisy).contains("it cannot be told in 1 case"));
}

#[test]
fn architectures_show_what_the_configuration_says() {
    let text = markdown(&report(|_| {}));
    let shapes = section(&text, "Architectures").unwrap();
    assert!(shapes.contains("| Layers | Width | Heads |"), "{shapes}");
    assert!(
        shapes.contains("| 22 | 2048 | 32 | 4 | 64 | 32,000 | 2048 |"),
        "{shapes}"
    );
    let bare = report(|rows| {
        for model in &mut rows.models {
            model.shape = report_gen::report::Shape::default();
        }
    });
    let text = markdown(&bare);
    assert!(
        section(&text, "Architectures")
            .unwrap()
            .contains("No config.json says")
    );
}
