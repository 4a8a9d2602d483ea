//! The sections, in the order of the report. To add one: a file here and a line in [`all`].

mod comparison;
mod coverage;
mod environment;
mod inference;
mod matrix;
mod methodology;
mod models;
mod quantization;
mod summary;
mod validity;

mod tables;

pub use summary::timestamp;

use super::document::Section;
use crate::report::Report;

pub fn all(report: &Report) -> Vec<Section> {
    let mut sections = vec![
        summary::section(report),
        environment::section(report),
        models::section(report),
        inference::section(report),
    ];
    sections.extend(quantization::section(report));
    sections.extend([
        comparison::section(report),
        validity::section(report),
        coverage::section(report),
        matrix::section(report),
        methodology::section(report),
    ]);
    sections
}
