//! Markdown for a code host: tables, no HTML. Charts are left out, since the table after each holds
//! the same numbers.

use std::fmt::Write as _;

use super::document::{Block, Cell, Number, Table};
use super::sections;
use super::sections::timestamp;
use crate::report::{FindingKind, Report};

pub fn render(report: &Report) -> String {
    let mut out = format!(
        "# {}\n\nRun `{}`, submitted {}.\n",
        escape(&report.run.plan),
        report.run.run_id,
        timestamp(report.run.submitted_at)
    );
    for section in sections::all(report) {
        _ = writeln!(out, "\n## {}", section.title);
        for block in &section.blocks {
            write_block(&mut out, block);
        }
    }
    out
}

fn write_block(out: &mut String, block: &Block) {
    match block {
        Block::Heading(text) => _ = writeln!(out, "\n### {}", escape(text)),
        Block::Text(text) => _ = writeln!(out, "\n{}", escape(text)),
        Block::Note(text) => _ = writeln!(out, "\n> {}", escape(text)),
        Block::Findings(findings) => {
            out.push('\n');
            for finding in findings {
                let mark = match finding.kind {
                    FindingKind::Result => "",
                    FindingKind::Caution => "**Caution:** ",
                };
                _ = writeln!(out, "- {mark}{}", escape(&finding.text));
            }
        }
        Block::List(lines) => {
            out.push('\n');
            for line in lines {
                _ = writeln!(out, "- {}", escape(line));
            }
        }
        Block::Table(table) => write_table(out, table),
        Block::Chart(_) => {}
    }
}

fn write_table(out: &mut String, table: &Table) {
    _ = write!(out, "\n**{}**\n\n|", escape(&table.caption));
    for column in &table.columns {
        let unit = match column.unit.as_str() {
            "" => String::new(),
            unit => format!(", {}", escape(unit)),
        };
        _ = write!(out, " {}{unit} |", escape(&column.title));
    }
    *out += "\n|";
    for column in &table.columns {
        *out += if column.numeric { " ---: |" } else { " --- |" };
    }
    out.push('\n');
    for row in &table.rows {
        out.push('|');
        for cell in row {
            _ = write!(out, " {} |", cell_text(cell));
        }
        out.push('\n');
    }
}

fn cell_text(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => escape(text),
        Cell::Code(text) => code(text),
        Cell::Verdict(verdict) => verdict.to_string(),
        Cell::Missing => "–".to_owned(),
        Cell::Number(Number {
            value,
            interval,
            n,
            doubt,
        }) => {
            let mark = doubt
                .as_ref()
                .map(|doubt| format!(" {}", doubt.mark()))
                .unwrap_or_default();
            let n = n.map(|n| format!("n = {n}"));
            let inside: Vec<String> = interval.iter().cloned().chain(n).collect();
            if inside.is_empty() {
                format!("{value}{mark}")
            } else {
                format!("{value}{mark} ({})", inside.join("; "))
            }
        }
    }
}

/// A name must not make a table, a link, an image or HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' => out.extend(['\\', c]),
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Inside backticks nothing can be escaped but by longer fences; a pipe still ends a cell.
fn code(text: &str) -> String {
    if text.contains(['`', '|']) || text.chars().any(char::is_control) || text.is_empty() {
        return escape(text);
    }
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_write_markup() {
        assert_eq!(
            escape("<b>|![x](y)\n# z"),
            "&lt;b&gt;\\|\\!\\[x\\](y) \\# z"
        );
        assert_eq!(code("a|b"), "a\\|b");
        assert_eq!(code("decode_tps"), "`decode_tps`");
    }
}
