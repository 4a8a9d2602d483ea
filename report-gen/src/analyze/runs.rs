//! Run against run on the same machine: did anything change? Refused where nothing of the two may be
//! compared (P30).

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::comparison::{self, Measured};
use super::{measurements, variants};
use crate::report::{FORMAT_VERSION, Measurement, Pair, Run, RunComparison};
use crate::rows::{Rows, RunPair};

/// What of the conditions in view `report.pair` may be named as that which is compared. The others make a
/// ratio mean nothing.
pub const CONDITIONS: [&str; 12] = [
    "os_major",
    "mlx_version",
    "mlx_device",
    "agent_version",
    "agent_commit",
    "suite_version",
    "suite_commit",
    "nax_built",
    "nax_expected",
    "blas",
    "mlx_env",
    "protocol",
];

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a run is not compared with itself: name two runs")]
    OneRun,
    #[error("`{name}` is no condition that runs may be compared across; these are: {known}", known = CONDITIONS.join(", "))]
    UnknownCondition { name: String },
    #[error("the two runs share no case of a headline metric on any machine")]
    NoCommonCase,
    #[error(
        "nothing of the two runs may be compared: of {pairs} pairs, {differences}{}",
        hint(*.changeable)
    )]
    NothingComparable {
        pairs: usize,
        /// Each with the number of pairs that it is a difference of.
        differences: String,
        changeable: bool,
    },
}

fn hint(changeable: bool) -> &'static str {
    if changeable {
        "; name what is meant to differ with --across"
    } else {
        ""
    }
}

/// Compares two runs; `across` names what may differ.
pub fn compare_runs(
    pair: RunPair,
    across: &[String],
    generated_at: OffsetDateTime,
) -> Result<RunComparison, Refusal> {
    let RunPair {
        run,
        baseline,
        mut differences,
    } = pair;
    if run.run.run_id == baseline.run.run_id {
        return Err(Refusal::OneRun);
    }
    if let Some(unknown) = across
        .iter()
        .find(|name| !CONDITIONS.contains(&name.as_str()))
    {
        return Err(Refusal::UnknownCondition {
            name: unknown.clone(),
        });
    }
    for row in &mut differences {
        row.differences.retain(|name| !across.contains(name));
    }
    let headline = headline_of_both(&run.run, &baseline.run);
    let (run, of_run, run_samples) = measured(run);
    let (baseline, of_baseline, baseline_samples) = measured(baseline);
    let sides = [(&of_run, &run_samples), (&of_baseline, &baseline_samples)];
    let sides = sides.map(|(measurements, samples)| Measured {
        measurements,
        samples,
    });
    let ids = [&run, &baseline].map(|run| run.run_id.to_string());
    let comparison = comparison::compare_runs(
        [(&ids[0], sides[0]), (&ids[1], sides[1])],
        &differences,
        &headline,
    );
    refuse(&comparison.pairs)?;
    let numbers: usize = sides
        .iter()
        .map(|side| side.headline(&headline).len())
        .sum();
    Ok(RunComparison {
        format_version: FORMAT_VERSION,
        generated_at,
        run,
        baseline,
        across: across.to_owned(),
        unmatched: numbers.saturating_sub(2 * comparison.pairs.len()),
        comparison,
    })
}

/// Plans may put different metrics first; what one of them does is asked of both.
pub fn headline_of_both(run: &Run, baseline: &Run) -> Vec<String> {
    let only_there = baseline.headline.iter();
    let only_there = only_there.filter(|metric| !run.headline.contains(metric));
    run.headline.iter().chain(only_there).cloned().collect()
}

fn measured(mut rows: Rows) -> (Run, Vec<Measurement>, measurements::Samples) {
    variants::mark(&mut rows);
    let samples = measurements::group_iterations(rows.iterations);
    let measurements = measurements::measurements(&rows.run, rows.launches, &samples, &rows.models);
    (rows.run, measurements, samples)
}

fn refuse(pairs: &[Pair]) -> Result<(), Refusal> {
    if pairs.is_empty() {
        return Err(Refusal::NoCommonCase);
    }
    if pairs.iter().any(|pair| pair.differences.is_empty()) {
        return Ok(());
    }
    let counts = difference_counts(pairs);
    let counted: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} in {count}"))
        .collect();
    Err(Refusal::NothingComparable {
        pairs: pairs.len(),
        differences: counted.join(", "),
        changeable: counts.keys().any(|name| CONDITIONS.contains(name)),
    })
}

/// How many pairs each difference keeps from being compared.
pub fn difference_counts(pairs: &[Pair]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for name in pairs.iter().flat_map(|pair| &pair.differences) {
        *counts.entry(name.as_str()).or_insert(0) += 1;
    }
    counts
}
