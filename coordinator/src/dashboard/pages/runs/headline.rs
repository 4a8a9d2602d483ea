//! The numbers of a run that its plan puts first, as they come: each launch a dot, and the interval over
//! them, which narrows as launches arrive.

use std::fmt::Write as _;

use domain::ids::RunId;
use report_gen::report::CaseKey;
use report_gen::{metric_title, quantity};

use super::MAX_ROWS;
use crate::dispatch::{Dispatch, Result};
use crate::store::case::Headline;

/// Of the picture, in its own units.
const WIDTH: f64 = 160.0;
const HEIGHT: f64 = 18.0;
const MARGIN: f64 = 5.0;
/// What differs by less than this share differs by rounding.
const SAME: f64 = 1e-6;

pub struct Line {
    pub of: Headline,
    pub title: String,
    pub case: String,
    pub value: String,
    pub interval: Option<String>,
    /// As SVG.
    pub picture: String,
}

/// With how many there are besides.
pub async fn of(dispatch: &Dispatch, run_id: RunId) -> Result<(Vec<Line>, usize)> {
    let (headlines, all) = dispatch.headlines(run_id, MAX_ROWS).await?;
    let left_out = all.saturating_sub(headlines.len());
    Ok((headlines.into_iter().map(line).collect(), left_out))
}

fn line(of: Headline) -> Line {
    let interval = of.ci_low.zip(of.ci_high);
    let (value, interval) = quantity(&of.unit, of.estimate, interval);
    Line {
        title: metric_title(&of.metric).to_owned(),
        case: CaseKey::from(of.case_key.clone()).words(),
        picture: picture(&of),
        value,
        interval,
        of,
    }
}

/// What the picture shows, for who points at it or hears it.
fn values(of: &Headline) -> String {
    let medians: Vec<String> = of
        .medians
        .iter()
        .map(|median| quantity(&of.unit, *median, None).0)
        .collect();
    format!("launches: {}", medians.join(", "))
}

/// From the least to the greatest of what it shows.
fn picture(of: &Headline) -> String {
    let shown = of
        .medians
        .iter()
        .copied()
        .chain(of.ci_low)
        .chain(of.ci_high);
    let (least, greatest) = shown.fold((of.estimate, of.estimate), |(a, b), value| {
        (a.min(value), b.max(value))
    });
    let x = |value: f64| {
        if greatest - least > SAME * greatest.abs().max(least.abs()) {
            MARGIN + (value - least) / (greatest - least) * (WIDTH - 2.0 * MARGIN)
        } else {
            WIDTH / 2.0
        }
    };
    let middle = HEIGHT / 2.0;
    // Numbers and units have nothing that HTML would take for its own.
    let mut svg = format!(
        "<svg class=\"dots\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{}</title>",
        values(of)
    );
    // A String takes everything.
    if let (Some(low), Some(high)) = (of.ci_low, of.ci_high) {
        let (low, high) = (x(low), x(high));
        _ = write!(
            svg,
            "<line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>"
        );
    }
    for median in &of.medians {
        _ = write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{middle}\" r=\"2.5\"/>",
            x(*median)
        );
    }
    let at = x(of.estimate);
    _ = write!(svg, "<path d=\"M{at:.1} 2V{:.1}\"/></svg>", HEIGHT - 2.0);
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_lie_between_the_ends_of_what_is_shown() {
        let of = Headline {
            machine: "mini".to_owned(),
            model: "m".to_owned(),
            dtype: "f32".to_owned(),
            suite: "decode".to_owned(),
            case_key: "new_tokens=16".to_owned(),
            metric: "decode_tps".to_owned(),
            unit: "tok/s".to_owned(),
            estimate: 110.0,
            ci_low: Some(100.0),
            ci_high: Some(120.0),
            launches: 2,
            valid: true,
            tainted: false,
            reasons: Vec::new(),
            medians: vec![105.0, 115.0],
        };
        let drawn = picture(&of);
        assert!(drawn.contains("<line x1=\"5.0\" x2=\"155.0\""), "{drawn}");
        assert!(drawn.contains("<circle cx=\"42.5\"") && drawn.contains("<circle cx=\"117.5\""));
        assert!(drawn.contains("M80.0 2"), "{drawn}");
        let title = "<title>launches: 105.0 tok/s, 115.0 tok/s</title>";
        assert!(drawn.contains(title), "{drawn}");
        let alone = Headline {
            ci_low: None,
            ci_high: None,
            medians: vec![110.0],
            ..of
        };
        assert!(picture(&alone).contains("<circle cx=\"80.0\""));
    }
}
