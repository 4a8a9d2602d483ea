//! How rows look: tables for people, JSON for scripts.

use std::fmt::{Display, Write as _};
use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use domain::text::is_plain;
use proto::wire;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::exit::Failure;

/// A table without lines but under its head; as wide as the terminal, or as it needs in a pipe.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// So many of a thing: `1 job`, `3 jobs`.
pub fn counted(count: impl Into<u64>, [one, many]: [&str; 2]) -> String {
    let count = count.into();
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Prints a line; a reader that has gone ends the command.
pub fn line(text: impl Display) -> Result<(), Failure> {
    Ok(writeln!(
        std::io::stdout(),
        "{}",
        harmless(&text.to_string())
    )?)
}

/// A line for people, on standard error; a terminal that was closed is no reason to fail.
pub fn note(text: impl Display) {
    drop(writeln!(
        std::io::stderr(),
        "{}",
        harmless(&text.to_string())
    ));
}

/// The same for what was drawn with colours, of words that were made harmless before.
pub fn drawn(text: impl Display) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// What others wrote (names, reasons, the end of a worker's standard error) must not steer the terminal
/// that shows it. Written as JSON escapes, so that JSON stays what it was.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) || matches!(c, '\n' | '\t') {
            shown.push(c);
        } else {
            // All of them lie in the first plane.
            _ = write!(shown, "\\u{:04x}", c as u32);
        }
    }
    shown
}

pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(Failure::broke)?)
}

pub fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// RFC 3339 in UTC, to the second.
pub fn instant(unix_us: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix_us / 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// RFC 3339 in UTC, to the microsecond.
pub fn instant_us(unix_us: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_us) * 1000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// `42s`, `3m05s`, `2h10m`.
pub fn seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A run as scripts see it.
#[derive(Serialize)]
pub struct Run {
    run_id: String,
    plan: String,
    label: String,
    state: String,
    submitted_at: String,
    ended_at: Option<String>,
    jobs_total: u32,
    jobs_succeeded: u32,
    jobs_failed: u32,
    jobs_skipped: u32,
    launches_total: u32,
    launches_done: u32,
}

impl From<&wire::RunRow> for Run {
    fn from(row: &wire::RunRow) -> Self {
        let wire::RunRow {
            run_id,
            plan_name,
            state,
            submitted_unix_us,
            ended_unix_us,
            jobs_total,
            jobs_succeeded,
            jobs_failed,
            jobs_skipped,
            launches_total,
            launches_done,
            label,
        } = row.clone();
        Self {
            run_id,
            plan: plan_name,
            label,
            state,
            submitted_at: instant(submitted_unix_us),
            ended_at: ended_unix_us.map(instant),
            jobs_total,
            jobs_succeeded,
            jobs_failed,
            jobs_skipped,
            launches_total,
            launches_done,
        }
    }
}

/// A job as scripts see it.
#[derive(Serialize)]
pub struct Job {
    job_id: String,
    machine: String,
    suite: String,
    model: String,
    dtype: String,
    state: String,
    reason: String,
    launches_total: u32,
    launches_done: u32,
}

impl From<&wire::JobRow> for Job {
    fn from(row: &wire::JobRow) -> Self {
        let wire::JobRow {
            job_id,
            machine,
            suite,
            model,
            dtype,
            state,
            reason,
            launches_total,
            launches_done,
            started_unix_us: _,
            ended_unix_us: _,
        } = row.clone();
        Self {
            job_id,
            machine,
            suite,
            model,
            dtype,
            state,
            reason,
            launches_total,
            launches_done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal_and_json_stays_json() {
        let hostile = "mini\u{1b}]0;x\u{7}\r\u{9b}2J\u{202e}txt\nnext\tcell é";
        let shown = harmless(hostile);
        assert_eq!(
            shown,
            "mini\\u001b]0;x\\u0007\\u000d\\u009b2J\\u202etxt\nnext\tcell é"
        );
        let json = harmless(&serde_json::to_string(hostile).unwrap());
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }

    #[test]
    fn times_read_as_people_write_them() {
        assert_eq!(seconds(42), "42s");
        assert_eq!(seconds(185), "3m05s");
        assert_eq!(seconds(7800), "2h10m");
        assert_eq!(instant(0), "1970-01-01T00:00:00Z");
    }
}
