//! One CSV file per flat table. A text that a spreadsheet would run as a formula gets an apostrophe in
//! front; what is not known is empty.

use time::format_description::well_known::Rfc3339;

use super::flat::{self, Flat, Values};
use super::{Error, RenderedFile};
use crate::report::Report;

pub fn render(report: &Report) -> Result<Vec<RenderedFile>, Error> {
    let tables = flat::all(report);
    let file = |table: &Flat| {
        Ok(RenderedFile {
            name: format!("{}.csv", table.name),
            bytes: bytes(table)?,
        })
    };
    tables.iter().map(file).collect()
}

fn bytes(table: &Flat) -> Result<Vec<u8>, csv::Error> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(table.columns.iter().map(|column| column.name))?;
    for row in 0..table.rows() {
        out.write_record(table.columns.iter().map(|column| cell(&column.values, row)))?;
    }
    out.into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

fn cell(values: &Values, row: usize) -> String {
    let known = match values {
        Values::Text(all) => all[row].as_deref().map(text),
        Values::Texts(all) => Some(text(&all[row].join(" "))),
        Values::Number(all) => all[row].map(|value| value.to_string()),
        Values::Whole(all) => all[row].map(|value| value.to_string()),
        Values::Flag(all) => all[row].map(|value| value.to_string()),
        Values::Time(all) => all[row].and_then(|value| value.format(&Rfc3339).ok()),
    };
    known.unwrap_or_default()
}

/// A name is the user's; `=HYPERLINK(…)` in a cell must stay a text.
fn text(text: &str) -> String {
    let runs = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if runs {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn formulas_become_texts() {
        assert_eq!(text("=1+1"), "'=1+1");
        assert_eq!(text("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(text("mini-=1"), "mini-=1");
    }
}
