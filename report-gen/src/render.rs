//! From a [`Report`] to files. Sections say what is shown, formats how; neither knows the other's
//! number. A section is a file in `sections/` and a line there; a format is a file here, a variant
//! and an arm below.

pub mod document;
pub mod sections;

mod comparison;
mod csv;
mod flat;
mod html;
mod json;
mod markdown;
mod parquet;
mod png;
mod svg;
mod terminal;

use std::fmt;
use std::str::FromStr;

pub use comparison::{ComparisonWords, comparison_words, terminal_comparison};
pub use html::{STYLE, policy};
pub use parquet::SampleFile;
pub(crate) use svg::draw as picture;
pub use terminal::terminal_summary;

use crate::report::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Markdown,
    Html,
    Csv,
    Json,
    Parquet,
    Svg,
    Png,
    /// A few lines for a terminal.
    Text,
}

impl Format {
    pub const ALL: [Format; 8] = [
        Self::Markdown,
        Self::Html,
        Self::Csv,
        Self::Json,
        Self::Parquet,
        Self::Svg,
        Self::Png,
        Self::Text,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Markdown => "md",
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Svg => "svg",
            Self::Png => "png",
            Self::Text => "txt",
        }
    }

    /// Whether a report of it is a single file.
    pub fn is_one_file(self) -> bool {
        matches!(self, Self::Markdown | Self::Html | Self::Json | Self::Text)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown format `{0}`, expected md, html, csv, json, parquet, svg, png or txt")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let known = Self::ALL.into_iter().find(|format| format.as_str() == text);
        known.ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// A file to be written, by its name within a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    pub name: String,
    pub bytes: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the HTML template failed")]
    Template(#[from] askama::Error),
    #[error("the report could not be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("the report could not be written as CSV")]
    Csv(#[from] ::csv::Error),
    #[error("the report could not be written as Parquet")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    #[error("a chart could not be drawn")]
    Png(#[from] png::Error),
    #[error(
        "there is no chart to draw: too little of the run counts yet; html and md say what is missing"
    )]
    NothingDrawn,
}

/// The report in each format: one file, one per table for CSV and Parquet, or one per chart for SVG and
/// PNG. Samples are no part of a report, and no file here: see [`SampleFile`].
pub fn render(report: &Report, formats: &[Format]) -> Result<Vec<RenderedFile>, Error> {
    // Drawn once, however many formats show them.
    let pictures = if formats.contains(&Format::Svg) || formats.contains(&Format::Png) {
        svg::pictures(report)?
    } else {
        Vec::new()
    };
    let one = |name: &str, text: String| {
        vec![RenderedFile {
            name: name.to_owned(),
            bytes: text.into_bytes(),
        }]
    };
    let mut files = Vec::new();
    for format in formats {
        files.extend(match format {
            Format::Markdown => one("report.md", markdown::render(report)),
            Format::Html => one("report.html", html::render(report)?),
            Format::Csv => csv::render(report)?,
            Format::Json => one("report.json", json::render(report)?),
            Format::Parquet => parquet::render(report)?,
            Format::Svg => svg::files(&pictures),
            Format::Png => png::render(&pictures)?,
            Format::Text => one("summary.txt", terminal_summary(report)),
        });
    }
    Ok(files)
}
