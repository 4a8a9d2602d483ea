//! One HTML file that needs nothing else: styles, script, chart library and data are inside it.

mod chart;

use std::sync::LazyLock;

use askama::Template;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::document::{Block, Cell, Chart, Number, Section};
use super::sections;
use super::sections::timestamp;
use crate::report::{FindingKind, Report};

/// The look of a page: colours of both themes, tables, labels.
pub const STYLE: &str = include_str!("../../assets/report.css");
const SCRIPT: &str = include_str!("../../assets/report.js");
const CHART_LIBRARY: &str = concat!(
    "/* Apache ECharts 6.1.0, Apache License 2.0, Copyright The Apache Software Foundation; zrender, \
     BSD 3-Clause, Copyright Baidu Inc. */\n",
    include_str!("../../assets/echarts/echarts.min.js")
);

/// What a browser may run of a page: its own scripts by their hashes, and nothing from anywhere.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hashes = [CHART_LIBRARY, SCRIPT].map(|script| {
            let hash = BASE64_STANDARD.encode(Sha256::digest(script));
            format!("'sha256-{hash}'")
        });
        format!(
            "default-src 'none'; style-src 'unsafe-inline'; script-src {}; img-src data:; base-uri 'none'; \
             form-action 'none'",
            hashes.join(" ")
        )
    });
    &POLICY
}

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
        echarts: if drawn { CHART_LIBRARY } else { "" },
    };
    page.render()
}

/// What the templates ask of a chart.
impl Chart {
    fn options(&self) -> String {
        chart::options(self)
    }

    fn height_px(&self) -> usize {
        chart::height_px(self)
    }

    /// The picture in words; the table that follows has the numbers.
    fn description(&self) -> String {
        let left_out = self
            .left_out()
            .map(|of| format!(" ({of}; the table has all)"));
        format!(
            "{}. {}{}; the table below has the numbers.",
            self.title,
            self.drawn(),
            left_out.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance as WCAG 2 defines it, of a colour such as `#0072b2`.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn what_is_drawn_stands_out_from_both_themes_backgrounds() {
        let themes: Vec<&str> = STYLE.split("--bg:").skip(1).collect();
        assert_eq!(themes.len(), 3, "light, dark by choice, dark by preference");
        for theme in themes {
            let theme = format!("--bg:{}", theme.split('}').next().unwrap());
            let colour = |name: &str| {
                let value = theme.split(&format!("--{name}: ")).nth(1).unwrap();
                luminance(value.split(';').next().unwrap())
            };
            let drawn = [
                "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "good", "bad", "muted",
            ];
            for name in drawn {
                for background in ["bg", "panel"] {
                    let (a, b) = (colour(name), colour(background));
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(contrast >= 3.0, "{name} on {background}: {contrast:.2}");
                }
            }
        }
    }

    #[test]
    fn nothing_inlined_can_end_its_own_element() {
        assert!(!SCRIPT.contains("</script") && !CHART_LIBRARY.contains("</script"));
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
