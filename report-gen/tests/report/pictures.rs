//! Charts as pictures: one a chart of the page, whole in itself, with its intervals and its words.

use report_gen::analyze::analyze;
use report_gen::render::Error;
use report_gen::rows::Rows;
use report_gen::{Format, RenderedFile, Report, render_report};
use resvg::tiny_skia::Pixmap;
use resvg::usvg::{Options, Tree};
use time::macros::datetime;

use crate::fleet;

fn pictures(report: &Report, format: Format) -> Vec<RenderedFile> {
    render_report(report, &[format]).unwrap()
}

fn svg(file: &RenderedFile) -> &str {
    std::str::from_utf8(&file.bytes).unwrap()
}

#[test]
fn every_chart_of_the_page_is_a_picture() {
    let report = fleet::report();
    let html = render_report(&report, &[Format::Html]).unwrap();
    let page = String::from_utf8(html[0].bytes.clone()).unwrap();
    let pictures = pictures(&report, Format::Svg);
    assert_eq!(pictures.len(), page.matches("class=\"chart\"").count());
    let mut names: Vec<&str> = pictures.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), pictures.len(), "each has a name of its own");
    for file in &pictures {
        Tree::from_str(svg(file), &Options::default()).unwrap();
        let run = report.run.run_id.to_string();
        assert!(svg(file).contains(&run), "{} says whose it is", file.name);
        for word in ["href", "url(", "<script", "<style", "NaN", "inf"] {
            assert!(!svg(file).contains(word), "{word} in {}", file.name);
        }
    }
}

#[test]
fn a_picture_of_bars() {
    let pictures = pictures(&fleet::report(), Format::Svg);
    let bars = pictures
        .iter()
        .find(|file| file.name.starts_with("inference-decode"))
        .unwrap();
    insta::assert_snapshot!(svg(bars));
}

#[test]
fn the_machines_of_a_fleet_are_dots_in_a_row_for_each_model() {
    let drawn = |machines: usize| {
        let pictures = pictures(&fleet::report_of_machines(machines), Format::Svg);
        let mut decode = pictures.into_iter();
        let decode = decode
            .find(|file| file.name.starts_with("inference-decode-rate-"))
            .unwrap();
        let text = svg(&decode).to_owned();
        (decode.name, text)
    };
    let (name, few) = drawn(8);
    assert_eq!(name, "inference-decode-rate-longer-is-better.svg");
    assert_eq!(few.matches("<circle").count(), 0, "bars");
    let (name, many) = drawn(60);
    assert_eq!(name, "inference-decode-rate-right-is-better.svg");
    // Two models, and below each dot a white one, so that nothing shows through.
    assert_eq!(many.matches("<circle").count(), 2 * 2 * 60);
    assert!(
        many.contains(">M2<") && many.contains(">M4<"),
        "generations"
    );
    assert_eq!(many.matches(">mac-59<").count(), 2, "the last of each row");
    let height = |svg: &str| {
        Tree::from_str(svg, &Options::default())
            .unwrap()
            .size()
            .height()
    };
    assert!(height(&many) < height(&few), "{} px", height(&many));
}

#[test]
fn lines_of_one_model_part_where_the_rest_of_the_case_differs() {
    let mut rows = fleet::rows();
    rows.launches.retain(|launch| launch.case.machine == "mini");
    let other = rows
        .launches
        .iter()
        .filter(|launch| launch.metric == "prefill_tps")
        .cloned();
    let other: Vec<_> = other
        .map(|mut launch| {
            let key = launch
                .case
                .case_key
                .as_str()
                .replace("chunk=2048", "chunk=512");
            launch.case.case_key = key.into();
            launch
        })
        .collect();
    let points = |rows: Rows| {
        let report = analyze(rows, datetime!(2026-11-02 10:00 UTC));
        let pictures = pictures(&report, Format::Svg);
        let lines = pictures
            .iter()
            .find(|file| file.name.starts_with("inference-prefill"))
            .unwrap();
        (
            svg(lines).matches("<circle").count(),
            svg(lines).contains("chunk 512"),
        )
    };
    let (before, _) = points(rows.clone());
    rows.launches.extend(other);
    assert_eq!(points(rows), (2 * before, true));
}

#[test]
fn pixels_show_text_without_any_font_of_the_system() {
    let report = fleet::report();
    let (drawn, pixels) = (
        pictures(&report, Format::Svg),
        pictures(&report, Format::Png),
    );
    assert_eq!(drawn.len(), pixels.len());
    for file in &pixels {
        let picture = Pixmap::decode_png(&file.bytes).unwrap();
        assert_eq!(picture.width(), 1920, "{}", file.name);
        // The title stands alone in the first lines.
        let of_title = picture.pixels().iter().take(1920 * 100);
        let dark = of_title.filter(|pixel| pixel.red() < 0x60).count();
        assert!(
            dark > 500,
            "{dark} dark pixels in the title of {}",
            file.name
        );
    }
}

#[test]
fn a_run_without_charts_is_refused_a_picture() {
    for format in [Format::Svg, Format::Png] {
        let refused = render_report(&fleet::empty_report(), &[format]).unwrap_err();
        assert!(matches!(refused, Error::NothingDrawn), "{refused}");
    }
}
