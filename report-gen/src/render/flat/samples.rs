//! The record itself as a table. It is no part of a [`Report`](crate::Report), and may be too long for
//! one table: it comes in pieces.

use super::{Flat, OF_ROW, Of};
use crate::report::Run;
use crate::rows::SampleRow;

pub fn samples(run: &Run, rows: &[SampleRow]) -> Flat {
    Of::rows("samples", rows)
        .text("run_id", |_| run.run_id.to_string())
        .text("label", |_| run.label.clone())
        .text("machine", |s| s.case.machine.clone())
        .variant(|s| &s.case.variant)
        .text("suite", |s| s.case.suite.clone())
        .text("case_key", |s| s.case.case_key.as_str().to_owned())
        .whole("launch", "", |s| i64::from(s.launch))
        .whole("iteration", "", |s| i64::from(s.iteration))
        .text("phase", |s| s.phase.clone())
        .text("mode", |s| s.mode.clone())
        .time("started_at", |s| s.started_at)
        .text("metric", |s| s.metric.clone())
        .text("unit", |s| s.unit.clone())
        .number("value", OF_ROW, |s| s.value)
        .flag("valid", |s| s.valid)
        .flag("tainted", |s| s.tainted)
        .texts("reasons", |s| &s.reasons)
        .done()
}
