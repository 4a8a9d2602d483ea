//! From rows to a [`Report`]: grouping, estimates, comparisons, findings. Pure; the clock is an
//! argument.

mod measurements;
mod variants;

mod chips;
mod choices;
mod comparison;
mod family;
mod gains;
mod history;
mod laws;
mod position;
mod ranking;
mod runs;

mod findings;
mod monotone;
mod recommendations;

use std::collections::{BTreeMap, HashMap};

use time::OffsetDateTime;

use comparison::Measured;
pub use history::LEAST_RUNS;
pub use runs::{CONDITIONS, Refusal, compare_runs, difference_counts, headline_of_both};

use crate::report::{Claim, FORMAT_VERSION, Measurement, Report};
use crate::rows::{LaunchRow, Rows};
use crate::stats;

/// Makes the report of one run.
pub fn analyze(mut rows: Rows, generated_at: OffsetDateTime) -> Report {
    variants::mark(&mut rows);
    let Rows {
        run,
        machines,
        environments,
        models,
        launches,
        iterations,
        baseline,
        differences,
        latencies,
        energies,
        ceilings,
        utilisations,
        knees,
        floors,
        memory_slopes,
        position_effects,
        timelines,
        noise,
        fits,
        history,
        validity,
        disagreements,
        coverage,
        metrics,
    } = rows;
    let samples = measurements::group_iterations(iterations);
    let measurements = measurements::measurements(&run, launches, &samples, &models);
    let mut comparison = comparison::compare(
        baseline,
        Measured {
            measurements: &measurements,
            samples: &samples,
        },
        &differences,
        &run.headline,
    );
    let mut rankings = ranking::rank(&measurements, &run.headline);
    let mut choices = choices::choices(&models, &measurements);
    let mut gains = gains::gains(&measurements);
    family::correct(&mut comparison, &mut rankings, &mut choices, &mut gains);
    choices::judge(&mut choices);
    let laws = laws::laws(&models, &measurements);
    let mut report = Report {
        format_version: FORMAT_VERSION,
        generated_at,
        findings: Vec::new(),
        environments,
        models,
        measurements,
        latencies,
        energies: measurements::energies(energies),
        ceilings,
        utilisations,
        knees,
        floors,
        memory_slopes,
        timelines,
        noise,
        position_effects: position::judged(position_effects, &run.headline),
        chips: chips::facts(&machines),
        generations: chips::generations(&machines, &comparison),
        comparison,
        machines,
        laws,
        rankings,
        choices,
        fits,
        histories: history::histories(history, &run.headline),
        gains,
        recommendations: Vec::new(),
        doubts: validity,
        disagreements,
        coverage,
        metrics,
        run,
    };
    report.recommendations = recommendations::recommendations(&report);
    report.findings = findings::findings(&report);
    report
}

/// Whether some case has enough launches for a bootstrap, which wants every iteration.
pub fn wants_iterations(launches: &[LaunchRow]) -> bool {
    let mut counts = HashMap::new();
    launches.iter().any(|launch| {
        let count = counts
            .entry((&launch.case, &launch.metric))
            .or_insert(0_usize);
        *count += 1;
        *count >= stats::BOOTSTRAP_LAUNCHES
    })
}

/// One measurement over another of the same machine; None where a value has no log.
fn claim(arm: &Measurement, other: &Measurement) -> Option<Claim> {
    let ratio = stats::welch_ratio(&arm.medians(), &other.medians())?;
    Some(Claim {
        ratio,
        p_holm: None,
        verdict: comparison::verdict(&ratio, arm),
        tainted: arm.tainted || other.tainted,
        reasons: measurements::distinct(arm.reasons.iter().chain(&other.reasons)),
    })
}

/// What has one key, in the order in which it is met.
fn group_by<T, K: Ord>(
    all: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> BTreeMap<K, Vec<T>> {
    let mut groups: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for item in all {
        groups.entry(key(&item)).or_default().push(item);
    }
    groups
}
