//! Reports and comparisons, made by `report-gen` from the views.

use report_gen::analyze::Refusal;
use report_gen::{Format, RenderedFile, RunChoice, render};

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

    /// One run over another; `across` names conditions that may differ.
    pub async fn compare_runs(
        &self,
        run: &str,
        baseline: &str,
        across: &[String],
        format: &str,
    ) -> Result<RenderedFile> {
        let run = RunChoice::Id(self.find_run(run).await?.to_string());
        let baseline = RunChoice::Id(self.find_run(baseline).await?.to_string());
        let compared = report_gen::compare_runs(&self.pool, &run, &baseline, across)
            .await
            .map_err(|error| match error {
                report_gen::Error::Refused(
                    refusal @ (Refusal::OneRun | Refusal::UnknownCondition { .. }),
                ) => Error::Invalid(refusal.to_string()),
                report_gen::Error::Refused(refusal) => Error::Precondition(refusal.to_string()),
                other => failed(other),
            })?;
        let bytes = match format {
            TERMINAL => report_gen::terminal_comparison(&compared).into_bytes(),
            "json" => serde_json::to_vec_pretty(&compared)
                .map_err(|error| Error::Internal(format!("no JSON: {error}")))?,
            other => {
                return Err(Error::Invalid(format!(
                    "unknown format `{other}`, expected {TERMINAL} or json"
                )));
            }
        };
        Ok(RenderedFile {
            name: format!("comparison.{format}"),
            bytes,
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: report_gen::Error) -> Error {
    if let report_gen::Error::Render(why @ render::Error::NothingDrawn) = &error {
        return Error::Precondition(why.to_string());
    }
    Error::Internal(format!("no report: {}", super::chain(&error)))
}
