//! Reports, rendered by `report-gen` from the views.

use report_gen::{Format, RenderedFile, RunChoice};

use super::{Dispatch, Error, Result};

/// For a terminal: the run's figures in a few tables.
const TERMINAL: &str = "txt";

impl Dispatch {
    /// The files of a report in one format.
    pub async fn render_report(&self, run: &str, format: &str) -> Result<Vec<RenderedFile>> {
        let run = RunChoice::Id(self.find_run(run).await?.to_string());
        if format == TERMINAL {
            let report = report_gen::report_of(&self.pool, &run)
                .await
                .map_err(failed)?;
            return Ok(vec![RenderedFile {
                name: "summary.txt".to_owned(),
                bytes: report_gen::terminal_summary(&report).into_bytes(),
            }]);
        }
        let format: Format = format
            .parse()
            .map_err(|why| Error::Invalid(format!("{why}, or {TERMINAL}")))?;
        report_gen::render_run(&self.pool, run, &[format])
            .await
            .map_err(failed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: report_gen::Error) -> Error {
    Error::Internal(format!("no report: {}", super::chain(&error)))
}
