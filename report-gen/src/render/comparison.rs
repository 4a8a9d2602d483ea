//! Two runs on a terminal: every pair with its ratio and verdict, the means, and what was not compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::document::Doubt;
use super::sections::timestamp;
use crate::analyze;
use crate::number;
use crate::report::{Pair, Run, RunComparison, Score};
use crate::stats::{Ratio, Verdict};

/// Columns from here on are numbers, but for the verdict.
const RATIO: usize = 4;
const P: usize = 6;

/// A comparison in words: rows of [`HEAD`], and what is to be known of all of them.
pub struct ComparisonWords {
    pub rows: Vec<[String; 7]>,
    pub notes: Vec<String>,
}

pub const HEAD: [&str; 7] = [
    "machine", "metric", "model", "case", "ratio", "verdict", "p",
];

pub fn comparison_words(of: &RunComparison) -> ComparisonWords {
    let pairs = of.comparison.pairs.iter().map(pair_row);
    let scores = of.comparison.scores.iter().map(score_row);
    ComparisonWords {
        rows: pairs.chain(scores).collect(),
        notes: summary(of),
    }
}

pub fn terminal_comparison(of: &RunComparison) -> String {
    let ComparisonWords { rows, notes } = comparison_words(of);
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(HEAD);
    table.add_rows(rows);
    for column in [RATIO, P] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = format!(
        "{}\nover {}\n\n{table}\n\n",
        title(&of.run),
        title(&of.baseline)
    );
    for line in notes {
        _ = writeln!(out, "{line}");
    }
    out
}

fn title(run: &Run) -> String {
    let at = timestamp(run.submitted_at);
    format!(
        "run {} of plan {}, {}, {at}",
        run.run_id, run.plan, run.label
    )
}

fn pair_row(pair: &Pair) -> [String; 7] {
    let verdict = match pair.verdict {
        Some(verdict) => verdict.to_string(),
        None => format!("not compared: {}", pair.differences.join(", ")),
    };
    let mark = Doubt::of(pair);
    [
        pair.machine.clone(),
        pair.metric.clone(),
        pair.variant.to_string(),
        pair.case_key.words(),
        ratio(pair.ratio.as_ref(), mark.as_ref()),
        verdict,
        pair.p_holm.map_or(String::new(), number::p_value),
    ]
}

fn score_row(score: &Score) -> [String; 7] {
    let mark = Doubt::of(score);
    let cases = number::counted(score.cases as i64, "case", "cases");
    [
        score.machine.clone(),
        score.metric.clone(),
        "geometric mean".to_owned(),
        format!("{cases} of {}", score.suite),
        ratio(score.ratio.as_ref(), mark.as_ref()),
        score
            .verdict
            .map_or(String::new(), |verdict| verdict.to_string()),
        score.p_holm.map_or(String::new(), number::p_value),
    ]
}

fn ratio(ratio: Option<&Ratio>, doubt: Option<&Doubt>) -> String {
    let mark = doubt.map_or(String::new(), |doubt| format!(" {}", doubt.mark()));
    ratio.map_or(String::new(), |ratio| {
        number::ratio_with_interval(ratio) + &mark
    })
}

fn summary(of: &RunComparison) -> Vec<String> {
    let pairs = &of.comparison.pairs;
    let mut lines = vec![verdicts(pairs)];
    for (name, count) in analyze::difference_counts(pairs) {
        let count = number::counted(count as i64, "pair", "pairs");
        lines.push(format!(
            "not compared, because {name} is not as it must be: {count}"
        ));
    }
    if !of.across.is_empty() {
        lines.push(format!("compared across: {}", of.across.join(", ")));
    }
    if of.unmatched > 0 {
        let count = number::counted(of.unmatched as i64, "number", "numbers");
        lines.push(format!(
            "{count} of one run without a counterpart in the other"
        ));
    }
    let reasons: Vec<&str> = {
        let all = pairs.iter().flat_map(|pair| &pair.reasons);
        let mut all: Vec<&str> = all.map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    if !reasons.is_empty() {
        lines.push(format!("doubts: {}", reasons.join(", ")));
    }
    lines.push(
        "Ratios are the run's value over the baseline's, with 95 % intervals over launches. A verdict but \
         equivalent and inconclusive means by more than 2 %; p is against that margin, after Holm's \
         correction over all rows. What changed between the runs and is not recorded (heat, other work) \
         is in the ratios too."
            .to_owned(),
    );
    lines
}

fn verdicts(pairs: &[Pair]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let judged = pairs.iter().filter_map(|pair| pair.verdict);
    for verdict in judged {
        *counts.entry(verdict.to_string()).or_default() += 1;
    }
    let same = [Verdict::Equivalent, Verdict::Inconclusive].map(|verdict| verdict.to_string());
    let (same, different): (Vec<_>, Vec<_>) = counts
        .into_iter()
        .partition(|(verdict, _)| same.contains(verdict));
    let told: Vec<String> = different
        .into_iter()
        .chain(same)
        .map(|(verdict, count)| format!("{count} {verdict}"))
        .collect();
    let pairs = number::counted(pairs.len() as i64, "pair", "pairs");
    format!("{pairs}: {}", told.join(", "))
}
