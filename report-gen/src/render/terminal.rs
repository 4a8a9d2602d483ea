//! A few lines for a terminal, when a run has ended: the headline numbers, what follows, and what to
//! beware of.

use std::fmt::Write as _;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use super::document::Doubt;
use crate::number::{self, Scale};
use crate::report::{CaseKey, FindingKind, Measurement, Report, Variant};

const COLUMNS: [(&str, &str, &str); 5] = [
    ("load", "load_warm_ms", "Load"),
    ("prefill", "prefill_tps", "Prefill"),
    ("prefill", "ttft_ms", "First token"),
    ("decode", "decode_tps", "Decode"),
    ("load", "mem_weights_bytes", "Weights"),
];

/// The table of results, and cautions below it.
pub fn terminal_summary(report: &Report) -> String {
    let mut rows: Vec<(&str, &Variant)> = Vec::new();
    for m in &report.measurements {
        if COLUMNS
            .iter()
            .any(|(suite, metric, _)| m.suite == *suite && m.metric == *metric)
            && !rows.contains(&(m.machine.as_str(), &m.variant))
        {
            rows.push((&m.machine, &m.variant));
        }
    }
    rows.sort_by_key(|(machine, variant)| {
        let mut models = report.models.iter();
        let model = models.position(|model| model.variant.digest == variant.digest);
        (model, *machine)
    });
    let shown: Vec<_> = COLUMNS
        .iter()
        .filter_map(|(suite, metric, title)| {
            let measured: Vec<&Measurement> = report.of(suite, metric).collect();
            measured.first()?;
            let scale = Scale::of(&measured);
            Some((representative(&measured), measured, scale, *title))
        })
        .collect();

    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    let mut header = vec!["Machine".to_owned(), "Model".to_owned()];
    header.extend(shown.iter().map(|(case, _, scale, title)| {
        let case = case
            .as_ref()
            .map(|case| format!("\n{}", case.replace(", ", "\n")))
            .unwrap_or_default();
        format!("{title}, {}{case}", scale.unit)
    }));
    table.set_header(header);
    for (machine, variant) in rows {
        let mut row = vec![machine.to_owned(), variant.to_string()];
        row.extend(shown.iter().map(|(case, measured, scale, _)| {
            let found = measured.iter().find(|m| {
                m.machine == machine
                    && m.variant == *variant
                    && case.as_ref().is_none_or(|case| m.case_key.words() == *case)
            });
            found.map_or("–".to_owned(), |m| cell(m, scale))
        }));
        table.add_row(row);
    }
    for column in 2..2 + shown.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }

    let mut out = String::new();
    if report.measurements.is_empty() {
        out += "No launch counted, so there are no results.\n";
    } else if shown.is_empty() {
        let results = report.measurements.len();
        _ = writeln!(
            out,
            "{results} results, of suites that only the report has room for."
        );
    } else {
        _ = writeln!(out, "{table}");
        out += "Estimate ± half of its 95 % interval over launches.\n";
    }
    // What the run was for, where that is techniques: the table above has no room for them.
    let decided = report.recommendations.iter().filter(|r| r.is_decided);
    for advice in decided {
        _ = writeln!(out, "advice: {}", advice.text);
    }
    for finding in report
        .findings
        .iter()
        .filter(|f| f.kind == FindingKind::Caution)
    {
        _ = writeln!(out, "caution: {}", finding.text);
    }
    out
}

/// The case that a column is of, where there are several.
fn representative(measured: &[&Measurement]) -> Option<String> {
    let first = &measured.first()?.case_key;
    measured.iter().find(|m| m.case_key != *first)?;
    CaseKey::most_common(measured.iter().map(|m| &m.case_key)).map(CaseKey::words)
}

fn cell(m: &Measurement, scale: &Scale) -> String {
    let mark = Doubt::of(m)
        .map(|doubt| format!(" {}", doubt.mark()))
        .unwrap_or_default();
    let (value, _) = scale.estimate(&m.estimate);
    let spread = m
        .estimate
        .interval
        .filter(|_| m.estimate.value != 0.0)
        .map(|interval| {
            format!(
                " ± {}",
                number::percent((interval.high - interval.low) / 2.0 / m.estimate.value)
            )
        });
    format!("{value}{}{mark}", spread.unwrap_or_default())
}
