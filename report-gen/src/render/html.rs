//! One HTML file that needs nothing else: styles, script, chart library and data are inside it.

mod chart;

use askama::Template;

use super::document::{Block, Cell, Chart, Number, Plot, Section};
use super::sections;
use super::sections::timestamp;
use crate::report::{FindingKind, Report};

const STYLE: &str = include_str!("../../assets/report.css");
const SCRIPT: &str = include_str!("../../assets/report.js");
const ECHARTS: &str = include_str!("../../assets/echarts/echarts.min.js");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Report,
    sections: Vec<Section>,
    submitted: String,
    style: &'static str,
    script: &'static str,
    /// Empty when nothing is drawn: then the library is not inlined either.
    echarts: &'static str,
}

pub fn render(report: &Report) -> Result<String, askama::Error> {
    let sections = sections::all(report);
    let drawn = sections
        .iter()
        .flat_map(|section| &section.blocks)
        .any(|b| matches!(b, Block::Chart(_)));
    let page = Page {
        report,
        sections,
        submitted: timestamp(report.run.submitted_at),
        style: STYLE,
        script: SCRIPT,
        echarts: if drawn { ECHARTS } else { "" },
    };
    page.render()
}

/// What the template asks of a chart.
impl Chart {
    fn options(&self) -> String {
        chart::options(self)
    }

    fn height_px(&self) -> usize {
        chart::height_px(self)
    }

    /// The picture in words; the table that follows has the numbers.
    fn description(&self) -> String {
        let drawn = match &self.plot {
            Plot::Bars { categories, series } => {
                format!(
                    "Bars of {} rows in {} series",
                    categories.len(),
                    series.len()
                )
            }
            Plot::Lines { series, .. } => format!("{} lines", series.len()),
            Plot::Ratios { rows, .. } => format!("{} ratios with their intervals", rows.len()),
        };
        format!("{}. {drawn}; the table below has the numbers.", self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_inlined_can_end_its_own_element() {
        assert!(!SCRIPT.contains("</script") && !ECHARTS.contains("</script"));
        assert!(!STYLE.contains("</style"));
    }

    #[test]
    fn nothing_inlined_asks_the_network() {
        for text in [SCRIPT, STYLE] {
            for word in [
                "http://", "https://", "fetch(", "import(", "url(", "@import",
            ] {
                assert!(!text.contains(word), "{word}");
            }
        }
    }
}
