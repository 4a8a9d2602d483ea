//! Rules on a file's own text: its head, its length, and the words that never go in.

use super::{Problem, Tree, has_extension};

const MAX_LINES: usize = 600;

/// Longer files, each with the reason why cutting it would make it worse.
const LONG: &[(&str, &str)] = &[];

/// Written by tools: `cargo xtask codegen`, `cargo xtask sqlx`, insta, bindgen, cargo,
/// others.
fn is_generated(path: &str) -> bool {
    path.starts_with("proto/src/gen/")
        || path.starts_with(".sqlx/")
        || path == "Cargo.lock"
        || path == "crates/mlx-sys/src/bindings.rs"
        || path.starts_with("report-gen/assets/echarts/")
        || path.starts_with("crates/fuzz/corpus/")
        || has_extension(path, "snap")
        || path.ends_with(".min.js")
}

pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| !is_generated(path)) {
        let rust = has_extension(path, "rs");
        if rust {
            problems.extend(head(path, text));
            problems.extend(length(path, text));
        }
        if text.starts_with("#!") {
            problems.extend(script(path, text));
        }
        if !text.is_empty() && !text.ends_with('\n') {
            problems.push(Problem::new(
                path,
                text.lines().count(),
                "no newline at the end",
            ));
        }
        for (number, line) in (1..).zip(text.lines()) {
            if line.ends_with([' ', '\t', '\r']) {
                problems.push(Problem::new(path, number, "trailing whitespace"));
            }
            problems.extend(words(path, number, line, rust));
        }
    }
    problems
}

fn head(path: &str, text: &str) -> Option<Problem> {
    (!text.starts_with("//! ")).then(|| {
        Problem::new(
            path,
            1,
            "a file begins with a `//!` that says why it exists",
        )
    })
}

fn length(path: &str, text: &str) -> Option<Problem> {
    let lines = text.lines().count();
    let listed = LONG.iter().any(|(long, _)| *long == path);
    match (lines > MAX_LINES, listed) {
        (true, false) => Some(format!(
            "{lines} lines, the limit is {MAX_LINES}: cut it, or give the reason in xtask/src/tidy/text.rs"
        )),
        (false, true) => Some("no longer long: take it off the list in xtask/src/tidy/text.rs".into()),
        _ => None,
    }
    .map(|what| Problem::new(path, 0, what))
}

fn script(path: &str, text: &str) -> Option<Problem> {
    let strict = text.lines().any(|line| line == "set -euo pipefail");
    (text.contains("bash") && !strict)
        .then(|| Problem::new(path, 1, "a bash script says `set -euo pipefail`"))
}

/// Needles are written in two halves, so that this file does not hold them.
const RUST_WORDS: &[(&str, &str)] = &[
    (
        concat!("#[ign", "ore"),
        "a test that is not run is not a test",
    ),
    (concat!("to", "do!("), "no stubs"),
    (concat!("unimpl", "emented!("), "no stubs"),
    (concat!("d", "bg!("), "left-over of debugging"),
];
const WORDS: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/fa", "rm/"), "a path of one machine"),
    (concat!("/Us", "ers/"), "a path of one machine"),
    (
        concat!("pyp", "i.org"),
        "name the package, not the registry's host: users have mirrors",
    ),
    (
        concat!("python", "hosted"),
        "name the package, not the registry's host: users have mirrors",
    ),
    (
        concat!("registry.", "npmjs"),
        "name the package, not the registry's host: users have mirrors",
    ),
    (
        concat!("crates", ".io/"),
        "name the package, not the registry's host: users have mirrors",
    ),
    (
        concat!("deb.", "debian"),
        "name the package, not the registry's host: users have mirrors",
    ),
];

fn words(path: &str, number: usize, line: &str, rust: bool) -> Vec<Problem> {
    let rust_words = if rust { RUST_WORDS } else { &[] };
    rust_words
        .iter()
        .chain(WORDS)
        .filter(|(needle, _)| line.contains(needle))
        .map(|(needle, why)| Problem::new(path, number, format!("`{needle}`: {why}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    fn whats(files: &[(&str, &str)]) -> Vec<String> {
        check(&tree(files))
            .into_iter()
            .map(|problem| problem.what)
            .collect()
    }

    #[test]
    fn a_rust_file_says_first_why_it_exists() {
        assert!(whats(&[("a.rs", "//! Why.\n\nfn main() {}\n")]).is_empty());
        assert_eq!(whats(&[("a.rs", "// no\nfn main() {}\n")]).len(), 1);
        assert!(
            whats(&[("proto/src/gen/a.rs", "fn main() {}\n")]).is_empty(),
            "generated"
        );
    }

    #[test]
    fn a_long_file_needs_a_reason() {
        let text = format!("//! Why.\n{}", "\n".repeat(MAX_LINES));
        assert!(whats(&[("a.rs", &text)])[0].starts_with("601 lines"));
        assert!(whats(&[("a.md", &text)]).is_empty());
    }

    #[test]
    fn forbidden_words_are_found_where_they_matter() {
        for (needle, _) in RUST_WORDS {
            assert_eq!(
                whats(&[("a.rs", &format!("//! Why.\n{needle}\n"))]).len(),
                1,
                "{needle}"
            );
            assert!(
                whats(&[("a.md", &format!("{needle}\n"))]).is_empty(),
                "{needle} in prose"
            );
        }
        for (needle, _) in WORDS {
            assert_eq!(
                whats(&[("a.toml", &format!("x = {needle}\n"))]).len(),
                1,
                "{needle}"
            );
        }
    }

    #[test]
    fn white_space_and_loose_scripts_are_refused() {
        assert_eq!(whats(&[("a.md", "x \n")]), ["trailing whitespace"]);
        assert_eq!(whats(&[("a.md", "x")]), ["no newline at the end"]);
        assert_eq!(whats(&[("run", "#!/usr/bin/env bash\necho\n")]).len(), 1);
        assert!(whats(&[("run", "#!/usr/bin/env bash\nset -euo pipefail\n")]).is_empty());
    }
}
