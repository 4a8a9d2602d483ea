//! Names are the users' and must stay text in every format; an HTML report asks nobody for anything.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use report_gen::analyze::analyze;
use report_gen::{Format, render_report};
use resvg::usvg::{Options, Tree};
use sha2::{Digest, Sha256};
use time::macros::datetime;

use crate::fleet;

const HOSTILE: &str = "=1+1 www.evil.example https://evil.example a@evil.example </script><script>alert(1)</script>|![x](y)\n# \"q\"";

fn hostile(format: Format) -> String {
    let mut rows = fleet::rows();
    rows.run.plan = HOSTILE.into();
    for machine in rows
        .machines
        .iter_mut()
        .filter(|machine| machine.machine == "mini")
    {
        machine.machine = HOSTILE.into();
    }
    for launch in rows
        .launches
        .iter_mut()
        .filter(|launch| launch.case.machine == "mini")
    {
        launch.case.machine = HOSTILE.into();
    }
    rows.baseline = Some(HOSTILE.into());
    for line in &mut rows.coverage {
        line.reason = HOSTILE.into();
    }
    let report = analyze(rows, datetime!(2026-11-02 10:00 UTC));
    let files = render_report(&report, &[format]).unwrap();
    String::from_utf8(files.into_iter().next().unwrap().bytes).unwrap()
}

#[test]
fn a_hostile_name_stays_text_in_html() {
    let html = hostile(Format::Html);
    assert!(html.contains("alert(1)"), "the name should be shown");
    assert!(!html.contains("<script>alert"));
    assert!(!html.contains("</script><script>alert"));
    let opened = html.matches("<script").count();
    assert_eq!(opened, html.matches("</script>").count());
}

#[test]
fn a_hostile_name_stays_one_cell_in_markdown() {
    let markdown = hostile(Format::Markdown);
    assert!(!markdown.contains("<script"));
    assert!(!markdown.contains("![x]"));
    for link in ["www.", "://", "@e"] {
        assert!(!markdown.contains(link), "{link}");
    }
    let mut columns = None;
    for line in markdown.lines() {
        if !line.starts_with('|') {
            columns = None;
            continue;
        }
        let bars = line.replace("\\|", "").matches('|').count();
        assert_eq!(*columns.get_or_insert(bars), bars, "{line}");
    }
}

#[test]
fn a_hostile_name_is_no_formula_in_csv() {
    let csv = hostile(Format::Csv);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let mut seen = 0;
    for record in reader.records() {
        let record = record.unwrap();
        assert!(
            record.iter().all(|cell| !cell.starts_with('=')),
            "{record:?}"
        );
        seen += usize::from(record.iter().any(|cell| cell.starts_with("'=1+1")));
    }
    assert_eq!(seen, 18);
}

#[test]
fn a_hostile_name_stays_text_in_a_picture() {
    let mut rows = fleet::rows();
    rows.run.plan = HOSTILE.into();
    for model in &mut rows.models {
        model.variant.model = format!("{}{HOSTILE}", model.variant.model);
    }
    for launch in &mut rows.launches {
        launch.case.variant.model = format!("{}{HOSTILE}", launch.case.variant.model);
    }
    let report = analyze(rows, datetime!(2026-11-02 10:00 UTC));
    let pictures = render_report(&report, &[Format::Svg]).unwrap();
    let mut shown = 0;
    for picture in pictures {
        let svg = String::from_utf8(picture.bytes).unwrap();
        assert!(!svg.contains("<script"), "{}", picture.name);
        Tree::from_str(&svg, &Options::default()).expect("well-formed");
        shown += usize::from(svg.contains("&lt;/script&gt;"));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        assert!(picture.name.chars().all(is_plain), "{}", picture.name);
    }
    assert!(shown > 1, "the name should be shown");
}

#[test]
fn an_html_report_needs_no_network() {
    let html = hostile(Format::Html);
    for word in ["<link", "<iframe", " src=", "@import", "url(http"] {
        assert!(!html.contains(word), "{word}");
    }
    assert!(
        html.contains("default-src 'none'"),
        "the browser is told so as well"
    );
}

#[test]
fn a_browser_runs_the_scripts_of_a_page_and_no_other() {
    let html = hostile(Format::Html);
    let policy = report_gen::render::policy();
    assert!(html.contains(&format!("content=\"{policy}\"")));
    let (_, scripts) = policy.split_once("script-src ").unwrap();
    let (scripts, _) = scripts.split_once(';').unwrap();
    let mut found = Vec::new();
    for script in html.split("<script>").skip(1) {
        let (script, _) = script.split_once("</script>").unwrap();
        let hash = BASE64_STANDARD.encode(Sha256::digest(script));
        found.push(format!("'sha256-{hash}'"));
    }
    assert_eq!(found.join(" "), scripts);
}
