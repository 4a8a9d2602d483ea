//! From rows to a [`Report`]: grouping, estimates, comparisons, findings. Pure; the clock is an
//! argument.

mod comparison;
mod findings;
mod measurements;
mod monotone;
mod position;
mod runs;
mod variants;

use std::collections::HashMap;

use time::OffsetDateTime;

use comparison::Measured;
pub use runs::{CONDITIONS, Refusal, compare_runs, difference_counts, headline_of_both};

use crate::report::{FORMAT_VERSION, Report};
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
        validity,
        disagreements,
        coverage,
        metrics,
    } = rows;
    let samples = measurements::group_iterations(iterations);
    let measurements = measurements::measurements(&run, launches, &samples, &models);
    let comparison = comparison::compare(
        baseline,
        Measured {
            measurements: &measurements,
            samples: &samples,
        },
        &differences,
        &run.headline,
    );
    let mut report = Report {
        format_version: FORMAT_VERSION,
        generated_at,
        findings: Vec::new(),
        machines,
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
        position_effects: position::judged(position_effects, &run.headline),
        comparison,
        doubts: validity,
        disagreements,
        coverage,
        metrics,
        run,
    };
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
