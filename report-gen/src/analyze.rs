//! From rows to a [`Report`]: grouping, estimates, comparisons, findings. Pure; the clock is an
//! argument.

mod comparison;
mod findings;
mod measurements;

use std::collections::HashMap;

use time::OffsetDateTime;

use crate::report::{FORMAT_VERSION, Model, Report, Variant};
use crate::rows::{LaunchRow, ModelRow, Rows};
use crate::stats;

/// Makes the report of one run.
pub fn analyze(rows: Rows, generated_at: OffsetDateTime) -> Report {
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
        validity,
        coverage,
        metrics,
    } = rows;
    let models: Vec<Model> = models.into_iter().map(real_model).collect();
    let samples = measurements::group_iterations(iterations);
    let measurements = measurements::measurements(launches, &samples, &models);
    let comparison = comparison::compare(
        baseline,
        &measurements,
        &samples,
        &differences,
        &run.headline,
    );
    let mut report = Report {
        format_version: FORMAT_VERSION,
        generated_at,
        run,
        findings: Vec::new(),
        machines,
        environments,
        models,
        measurements,
        latencies,
        energies: measurements::energies(energies),
        comparison,
        doubts: validity,
        coverage,
        metrics,
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

fn real_model(row: ModelRow) -> Model {
    let ModelRow {
        model,
        model_source,
        model_digest,
        model_type,
        dtype,
        quantisation,
        parameters,
        weight_bytes,
        decode_bytes,
        kv_bytes_per_token,
        synthetic,
    } = row;
    Model {
        variant: Variant {
            model,
            dtype: Some(dtype),
            quantisation: Some(quantisation),
            digest: Some(model_digest),
        },
        model_source,
        model_type,
        parameters,
        weight_bytes,
        decode_bytes,
        kv_bytes_per_token,
        synthetic,
    }
}
