//! Reports and comparisons, made by `report-gen` from the views.

use report_gen::analyze::Refusal;
use report_gen::render::{self, UnknownFormat};
use report_gen::{Format, RenderedFile, RunChoice, RunComparison};

use super::{Dispatch, Error, Result};

impl Dispatch {
    /// The files of one report, format by format.
    pub async fn render_report(&self, run: &str, formats: &[String]) -> Result<Vec<RenderedFile>> {
        let formats: Vec<Format> = formats
            .iter()
            .map(|format| format.parse())
            .collect::<std::result::Result<_, _>>()
            .map_err(|why: UnknownFormat| Error::Invalid(why.to_string()))?;
        if formats.is_empty() {
            return Err(Error::Invalid("no format is named".to_owned()));
        }
        let run = RunChoice::Id(self.find_run(run).await?.to_string());
        let _turn = self.desk.reports.acquire().await;
        report_gen::render_run(&self.pool, run, &formats)
            .await
            .map_err(failed)
    }

    /// One run over another; `across` names conditions that may differ.
    pub async fn compare(
        &self,
        run: &str,
        baseline: &str,
        across: &[String],
    ) -> Result<RunComparison> {
        let run = RunChoice::Id(self.find_run(run).await?.to_string());
        let baseline = RunChoice::Id(self.find_run(baseline).await?.to_string());
        report_gen::compare_runs(&self.pool, &run, &baseline, across)
            .await
            .map_err(|error| match error {
                report_gen::Error::Refused(
                    refusal @ (Refusal::OneRun | Refusal::UnknownCondition { .. }),
                ) => Error::Invalid(refusal.to_string()),
                report_gen::Error::Refused(refusal) => Error::Precondition(refusal.to_string()),
                other => failed(other),
            })
    }

    /// The same as a file.
    pub async fn compare_runs(
        &self,
        run: &str,
        baseline: &str,
        across: &[String],
        format: &str,
    ) -> Result<RenderedFile> {
        let compared = self.compare(run, baseline, across).await?;
        let bytes = match format {
            "txt" => report_gen::terminal_comparison(&compared).into_bytes(),
            "json" => serde_json::to_vec_pretty(&compared)
                .map_err(|error| Error::Internal(format!("no JSON: {error}")))?,
            other => {
                return Err(Error::Invalid(format!(
                    "unknown format `{other}`, expected txt or json"
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
