//! The findings as a page for people, and as JSON.

use std::fmt::Write;

use super::{Finding, Verdict, is_sound};

const WIDTH: usize = 96;

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Spoils => "spoils",
        }
    }
}

/// What spoils comes first, and what is well last.
pub fn to_text(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    let names = sorted.iter().map(|it| it.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in sorted {
        let Finding {
            check,
            verdict,
            found,
            means,
            mend,
        } = finding;
        let head = format!("{:6}  {check:names$}  ", verdict.as_str());
        put(&mut text, &head, found);
        let indent = " ".repeat(8);
        for (what, words) in [("It means: ", means), ("To mend it: ", mend)] {
            if !words.is_empty() {
                put(&mut text, &format!("{indent}{what}"), words);
            }
        }
    }
    let count = |verdict| findings.iter().filter(|it| it.verdict == verdict).count();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "\n{} spoil measurements, {} to know of, {} in order",
        count(Verdict::Spoils),
        count(Verdict::Warn),
        count(Verdict::Ok)
    );
    text
}

/// A paragraph, its lines under its first word.
fn put(text: &mut String, head: &str, words: &str) {
    let indent = " ".repeat(head.len());
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(head)
        .subsequent_indent(&indent)
        .break_words(false);
    text.push_str(&textwrap::fill(words, options));
    text.push('\n');
}

pub fn to_json(findings: &[Finding]) -> serde_json::Value {
    let all: Vec<_> = findings
        .iter()
        .map(|finding| {
            let Finding {
                check,
                verdict,
                found,
                means,
                mend,
            } = finding;
            serde_json::json!({
                "check": check, "verdict": verdict.as_str(), "found": found, "means": means,
                "mend": mend,
            })
        })
        .collect();
    serde_json::json!({ "sound": is_sound(findings), "findings": all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("swap", "0 MB"),
            Finding::spoils("power", "on battery", "clocks are held down", "plug it in"),
        ]
    }

    #[test]
    fn what_spoils_comes_first_with_what_it_means_and_how_to_mend_it() {
        assert_eq!(
            to_text(&findings()),
            "spoils  power  on battery\n\
             \x20       It means: clocks are held down\n\
             \x20       To mend it: plug it in\n\
             ok      swap   0 MB\n\
             \n\
             1 spoil measurements, 0 to know of, 1 in order\n"
        );
    }

    #[test]
    fn long_words_are_broken_under_their_first() {
        let mut text = String::new();
        put(&mut text, "head  ", &"word ".repeat(40));
        assert!(text.lines().count() > 1);
        for line in text.lines() {
            assert!(line.len() <= WIDTH, "{line}");
        }
        assert!(text.lines().nth(1).unwrap().starts_with("      word"));
    }

    #[test]
    fn one_that_spoils_is_enough() {
        assert_eq!(to_json(&findings())["sound"], false);
        assert_eq!(to_json(&findings()[..1])["sound"], true);
        assert_eq!(to_json(&findings())["findings"][1]["verdict"], "spoils");
    }
}
