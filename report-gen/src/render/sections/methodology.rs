//! How the numbers came about, with the settings that this run really had.

use serde_json::Value;

use super::summary::timestamp;
use crate::render::document::{Block, Cell, Column, Section, Table};
use crate::report::Report;
use crate::stats;

pub fn section(report: &Report) -> Section {
    let imported = report.run.source.as_ref().map(|source| {
        Block::Text(format!(
            "These numbers are {source}'s: how they were measured is not known here, and they are \
             compared with nothing. A number stands with the digits that it was given with; a gate \
             refuses it only where it would be impossible however it was rounded. The rules below are \
             those of what this fleet measures, which an import meets only where it has the repetitions."
        ))
    });
    let mut blocks: Vec<Block> = imported.into_iter().collect();
    blocks.push(Block::List(rules()));
    if let Some(protocol) = report
        .run
        .protocol
        .as_object()
        .filter(|map| !map.is_empty())
    {
        let rows = protocol
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let value = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                vec![Cell::Code(name.clone()), Cell::Code(value)]
            })
            .collect();
        blocks.push(Block::Table(Table {
            caption: "The plan's protocol".to_owned(),
            columns: vec![Column::text("Setting"), Column::text("Value")],
            rows,
        }));
    }
    let shown: Vec<Vec<Cell>> = report
        .metrics
        .iter()
        .filter(|facts| report.measurements.iter().any(|m| m.metric == facts.metric))
        .map(|facts| {
            vec![
                Cell::Code(facts.metric.clone()),
                Cell::Text(facts.unit.clone()),
                Cell::Text(facts.description.clone()),
            ]
        })
        .collect();
    if !shown.is_empty() {
        blocks.push(Block::Table(Table {
            caption: "What was measured".to_owned(),
            columns: vec![
                Column::text("Metric"),
                Column::text("Unit"),
                Column::text("Definition"),
            ],
            rows: shown,
        }));
    }
    let run = &report.run;
    blocks.push(Block::Text(format!(
        "{} {} (SHA-256 {}), run {}; report made {}.",
        if run.source.is_some() {
            "Imported file"
        } else {
            "Plan file"
        },
        run.plan_file,
        run.plan_sha256,
        run.run_id,
        timestamp(report.generated_at)
    )));
    Section {
        id: "methodology",
        title: "Methodology",
        blocks,
    }
}

fn rules() -> Vec<String> {
    vec![
        "A launch is one fresh process for one case; its value is the median of its measured \
         iterations. Warm-up iterations are kept and not used."
            .to_owned(),
        format!(
            "An estimate is the geometric mean over launches. Its 95 % interval is a t interval on \
             the logs of the launches' values; from {} launches on, headline metrics have a \
             hierarchical bootstrap ({} resamples, seed {:#x}). Iterations are never pooled. n is \
             the number of launches.",
            stats::BOOTSTRAP_LAUNCHES,
            stats::RESAMPLES,
            stats::SEED
        ),
        format!(
            "A comparison is the ratio of two estimates with Welch's interval on logs. A verdict (faster \
             or slower of rates and times, smaller or larger of bytes, better or worse of the rest, \
             or equivalent) is given only when the whole interval lies beyond or within a margin of \
             {:.0} %, and p against that margin (one-sided beyond it, two one-sided tests within it) \
             stays below 0.05 after Holm's correction over all comparisons, ranks and gains of this report; \
             anything else is inconclusive.",
            stats::MARGIN * 100.0
        ),
        "A geometric mean over cases has its interval over blocks: the launches of one ordinal, which \
         share the machine's heat and clocks, are averaged over the cases first. Where the cases have \
         too few ordinals in common, it is as wide as if all cases moved together."
            .to_owned(),
        "Models are compared within a machine and a type. Laws are least squares through estimates, with \
         t intervals of their coefficients and n − 2 degrees of freedom; fewer than three different \
         points make none, and none is drawn where the interval of its slope or exponent holds zero."
            .to_owned(),
        "Machines are compared only where weights, quantisation, MLX, worker, agent, device, \
         matrix kernels, BLAS, MLX variables and the system's major version are equal, and stayed equal \
         through the case."
            .to_owned(),
        format!(
            "Nothing is dropped: outliers (modified z-score above 3.5, of at least {} launches) and \
             doubtful results stay in, marked. Invalid results enter no comparison and no geometric \
             mean.",
            stats::OUTLIER_LAUNCHES
        ),
        "1 GB is 1,000,000,000 bytes.".to_owned(),
    ]
}
