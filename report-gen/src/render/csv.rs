//! One CSV file per flat table: results and comparisons. Numbers are unrounded; a text that a
//! spreadsheet would run as a formula gets an apostrophe in front.

use super::{Error, RenderedFile};
use crate::report::Report;
use crate::stats::Interval;

pub fn render(report: &Report) -> Result<Vec<RenderedFile>, Error> {
    Ok(vec![
        RenderedFile {
            name: "results.csv".to_owned(),
            bytes: results(report)?,
        },
        RenderedFile {
            name: "comparisons.csv".to_owned(),
            bytes: comparisons(report)?,
        },
    ])
}

fn results(report: &Report) -> Result<Vec<u8>, Error> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record([
        "run_id",
        "label",
        "machine",
        "model",
        "dtype",
        "quantisation",
        "model_source",
        "model_digest",
        "suite",
        "case_key",
        "metric",
        "unit",
        "direction",
        "estimate",
        "ci_low",
        "ci_high",
        "launches",
        "iterations",
        "min",
        "max",
        "cv",
        "valid",
        "tainted",
        "reasons",
    ])?;
    for m in &report.measurements {
        let (low, high) = ends(m.estimate.interval);
        out.write_record([
            report.run.run_id.to_string(),
            text(&report.run.label),
            text(&m.machine),
            text(&m.variant.model),
            text(m.variant.dtype.as_deref().unwrap_or("")),
            text(m.variant.quantisation.as_deref().unwrap_or("")),
            text(m.variant.source.as_deref().unwrap_or("")),
            text(m.variant.digest.as_deref().unwrap_or("")),
            text(&m.suite),
            text(m.case_key.as_str()),
            text(&m.metric),
            text(&m.unit),
            format!("{:?}", m.direction).to_lowercase(),
            m.estimate.value.to_string(),
            low,
            high,
            m.estimate.launches.to_string(),
            m.iterations.to_string(),
            m.min.to_string(),
            m.max.to_string(),
            m.cv.map(|cv| cv.to_string()).unwrap_or_default(),
            m.valid.to_string(),
            m.tainted.to_string(),
            text(&m.reasons.join(" ")),
        ])?;
    }
    Ok(finish(out)?)
}

fn comparisons(report: &Report) -> Result<Vec<u8>, Error> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record([
        "machine",
        "baseline",
        "model",
        "dtype",
        "quantisation",
        "model_source",
        "model_digest",
        "baseline_quantisation",
        "baseline_model_digest",
        "suite",
        "case_key",
        "metric",
        "ratio",
        "ci_low",
        "ci_high",
        "verdict",
        "p_holm",
        "p_rank",
        "differences",
        "tainted",
        "reasons",
    ])?;
    let baseline = report.comparison.baseline.as_deref().unwrap_or("");
    for pair in &report.comparison.pairs {
        let (low, high) = ends(pair.ratio.and_then(|ratio| ratio.interval));
        let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
        out.write_record([
            text(&pair.machine),
            text(baseline),
            text(&pair.variant.model),
            text(pair.variant.dtype.as_deref().unwrap_or("")),
            text(pair.variant.quantisation.as_deref().unwrap_or("")),
            text(pair.variant.source.as_deref().unwrap_or("")),
            text(pair.variant.digest.as_deref().unwrap_or("")),
            text(pair.baseline_variant.quantisation.as_deref().unwrap_or("")),
            text(pair.baseline_variant.digest.as_deref().unwrap_or("")),
            text(&pair.suite),
            text(pair.case_key.as_str()),
            text(&pair.metric),
            number(pair.ratio.map(|ratio| ratio.value)),
            low,
            high,
            pair.verdict
                .map(|verdict| verdict.to_string())
                .unwrap_or_default(),
            number(pair.p_holm),
            number(pair.p_rank),
            text(&pair.differences.join(" ")),
            pair.tainted.to_string(),
            text(&pair.reasons.join(" ")),
        ])?;
    }
    Ok(finish(out)?)
}

fn ends(interval: Option<Interval>) -> (String, String) {
    match interval {
        Some(Interval { low, high }) => (low.to_string(), high.to_string()),
        None => (String::new(), String::new()),
    }
}

/// A name is the user's; `=HYPERLINK(…)` in a cell must stay a text.
fn text(text: &str) -> String {
    let runs = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if runs {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn finish(out: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, csv::Error> {
    out.into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn formulas_become_texts() {
        assert_eq!(text("=1+1"), "'=1+1");
        assert_eq!(text("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(text("mini-=1"), "mini-=1");
    }
}
