//! Markdown for a code host: tables, no HTML. Charts are left out, since the table after each holds
//! the same numbers.

use std::fmt::Write as _;

use super::document::{Block, Cell, Notes, Number, Table};
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
    let notes = table.notes();
    for row in &table.rows {
        out.push('|');
        for cell in row {
            _ = write!(out, " {} |", cell_text(cell, &notes));
        }
        out.push('\n');
    }
    for (place, note) in notes.0.iter().enumerate() {
        let gap = if place == 0 { "\n" } else { "" };
        let (mark, words) = (note.mark(), escape(&note.words()));
        _ = writeln!(out, "{gap}- {mark}{} {words}", superscript(place + 1));
    }
}

/// A note's number, raised without markup.
fn superscript(number: usize) -> String {
    let raised = |digit: char| match digit {
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        _ => char::from_u32(u32::from('⁰') + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
    };
    number.to_string().chars().map(raised).collect()
}

fn cell_text(cell: &Cell, notes: &Notes<'_>) -> String {
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
            best,
        }) => {
            let mark = doubt
                .as_ref()
                .map(|doubt| format!(" {}{}", doubt.mark(), superscript(notes.number(doubt))))
                .unwrap_or_default();
            let value = if *best {
                format!("**{value}**")
            } else {
                value.clone()
            };
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

/// Keeps what stands on either side of it from being read as one; it has no width and breaks no line.
const JOINER: char = '\u{2060}';

/// A name must not make a table, a link, an image or HTML. Addresses become links without any markup,
/// and some readers look for them when escapes are gone: only another character keeps them apart.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            ':' if text[at..].starts_with("://") => out.extend([c, JOINER]),
            '@' => out.extend([c, JOINER]),
            '.' if ends_with_www(&text[..at]) => out.extend([JOINER, c]),
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

fn ends_with_www(text: &str) -> bool {
    let from = text.len().saturating_sub(3);
    text.get(from..)
        .is_some_and(|end| end.eq_ignore_ascii_case("www"))
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

    #[test]
    fn addresses_cannot_become_links() {
        for (name, link) in [
            ("www.evil.example", "www."),
            ("WWW.evil.example", "WWW."),
            ("https://evil.example", "://"),
            ("hf://A/x", "://"),
            ("a@b.example", "@b"),
        ] {
            let escaped = escape(name);
            assert!(!escaped.contains(link), "{escaped}");
            assert_eq!(escaped.replace(JOINER, ""), name);
        }
        assert_eq!(escape("qwen3-0.6b"), "qwen3-0.6b");
    }

    #[test]
    fn numbers_of_notes_are_raised() {
        assert_eq!(superscript(1023), "¹⁰²³");
    }
}
