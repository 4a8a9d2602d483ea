//! The sections, in the order of the report. To add one: a file here and a line in [`all`].

mod answers;
mod architectures;
mod attention;
mod batch;
mod ceilings;
mod chips;
mod comparison;
mod coverage;
mod energy;
mod environment;
mod heat;
mod history;
mod inference;
mod laws;
mod matrix;
mod memory;
mod methodology;
mod models;
mod quantization;
mod rankings;
mod recommendations;
mod speculative;
mod summary;
mod sustained;
mod tradeoffs;
mod training;
mod validity;
mod which;

mod tables;

pub use summary::timestamp;

use super::document::Section;
use crate::report::Report;

pub fn all(report: &Report) -> Vec<Section> {
    let mut sections = vec![
        summary::section(report),
        environment::section(report),
        models::section(report),
    ];
    sections.extend(architectures::section(report));
    sections.push(inference::section(report));
    let of_suites = [
        energy::section(report),
        answers::section(report),
        memory::section(report),
        attention::section(report),
        training::section(report),
        batch::section(report),
        quantization::section(report),
        speculative::section(report),
        sustained::section(report),
        ceilings::section(report),
        laws::section(report),
        rankings::section(report),
        tradeoffs::section(report),
        which::section(report),
        recommendations::section(report),
    ];
    sections.extend(of_suites.into_iter().flatten());
    sections.push(comparison::section(report));
    sections.extend(chips::section(report));
    sections.extend(history::section(report));
    if report.run.source.is_none() {
        sections.push(heat::section(report));
    }
    sections.push(validity::section(report));
    // An import has no plan that anything could be missing of.
    if report.run.source.is_none() {
        sections.push(coverage::section(report));
    }
    sections.extend([matrix::section(report), methodology::section(report)]);
    sections
}
