//! Reports of a run, and comparisons of two: read, analyse, render.
//!
//! The way of a number: [`query`] reads the views of schema `report` into plain [`rows`]; [`analyze`]
//! makes one [`report::Report`] of them with the help of [`stats`]; [`render`] writes it in each
//! [`Format`]. Only `query` does I/O; everything after it is pure, and every number of every format is in
//! the `Report`. Only samples go from `query` to `render` directly, into a Parquet file of their own.

#[cfg(feature = "query")]
pub mod query;

pub mod analyze;
pub mod explore;
pub mod report;
pub mod rows;
pub mod stats;

pub mod render;

mod number;
mod titles;

#[cfg(feature = "query")]
use futures_util::TryStreamExt;
#[cfg(feature = "query")]
use time::OffsetDateTime;

pub use number::quantity;
#[cfg(feature = "query")]
pub use query::{PgPool, RunChoice};
pub use render::{
    Format, RenderedFile, render as render_report, terminal_comparison, terminal_summary,
};
pub use report::{Report, RunComparison};
pub use titles::metric_title;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[cfg(feature = "query")]
    #[error("the run could not be read")]
    Query(#[from] query::Error),
    #[error("the report could not be written")]
    Render(#[from] render::Error),
    #[error(transparent)]
    Refused(#[from] analyze::Refusal),
}

/// Reads and analyses one run.
#[cfg(feature = "query")]
pub async fn report_of(pool: &PgPool, run: &RunChoice) -> Result<Report, Error> {
    let rows = query::rows(pool, run).await?;
    Ok(analyze::analyze(rows, OffsetDateTime::now_utc()))
}

/// Reads two runs and compares the first with the second; `across` names what may differ.
#[cfg(feature = "query")]
pub async fn compare_runs(
    pool: &PgPool,
    run: &RunChoice,
    baseline: &RunChoice,
    across: &[String],
) -> Result<RunComparison, Error> {
    let pair = query::run_pair(pool, run, baseline).await?;
    let now = OffsetDateTime::now_utc();
    Ok(analyze::compare_runs(pair, across, now)?)
}

/// Reads and analyses one run, and renders it in each format; as Parquet with its samples.
#[cfg(feature = "query")]
pub async fn render_run(
    pool: &PgPool,
    run: RunChoice,
    formats: &[Format],
) -> Result<Vec<RenderedFile>, Error> {
    let report = report_of(pool, &run).await?;
    let wanted = formats.to_owned();
    // Pictures take seconds of arithmetic, in which a server has to go on answering.
    let work = move || (render_report(&report, &wanted), report);
    let (files, report) = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    };
    let mut files = files?;
    if formats.contains(&Format::Parquet) {
        files.push(samples_of(pool, &report.run).await?);
    }
    Ok(files)
}

#[cfg(feature = "query")]
async fn samples_of(pool: &PgPool, run: &report::Run) -> Result<RenderedFile, Error> {
    let mut file = render::SampleFile::of(run)?;
    let mut samples = std::pin::pin!(query::samples(pool, run.run_id));
    while let Some(sample) = samples.try_next().await? {
        file.push(sample)?;
    }
    Ok(file.finish()?)
}
