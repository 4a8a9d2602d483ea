//! `cargo xtask tidy`: the house rules that a compiler does not know. Each rule is a pure function from
//! the tree to problems, and the tests show each one refusing a bad tree. `deploy/test` runs it, and so
//! does the test at the end of this file.

mod clocks;
mod links;
mod text;
mod walls;

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

use crate::repo;

#[derive(clap::Args)]
#[command(about = "Check the house rules: who imports whom, file heads, sizes, links, words")]
pub struct Args {}

pub fn run(_: &Args) -> Result<()> {
    let tree = Tree::read()?;
    let mut problems = check(&tree);
    problems.extend(walls::check(&walls::packages()?));
    problems.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    if problems.is_empty() {
        println!("tidy: {} files, no problems", tree.files.len());
        return Ok(());
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    bail!("{} problems", problems.len())
}

fn check(tree: &Tree) -> Vec<Problem> {
    [
        text::check,
        links::check,
        clocks::check,
        walls::check_modules,
    ]
    .iter()
    .flat_map(|rule| rule(tree))
    .collect()
}

/// Every file that is tracked, or would be by `git add`; binary files have no text.
pub struct Tree {
    pub files: Vec<File>,
}

pub struct File {
    /// From the root, with `/`.
    pub path: String,
    pub text: Option<String>,
}

impl Tree {
    fn read() -> Result<Self> {
        let listed = repo::output_of(
            "git",
            &[
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
                "--deduplicate",
            ],
        )?;
        let mut files = Vec::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            // A file that was removed but not yet committed is still listed.
            let Ok(bytes) = std::fs::read(repo::root().join(path)) else {
                continue;
            };
            let text = if bytes.contains(&0) {
                None
            } else {
                String::from_utf8(bytes).ok()
            };
            files.push(File {
                path: path.to_owned(),
                text,
            });
        }
        Ok(Self { files })
    }

    fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
    }

    fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files
            .iter()
            .any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension() == Some(OsStr::new(extension))
}

#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    path: String,
    /// From 1; 0 is the whole file.
    line: usize,
    what: String,
}

impl Problem {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what } = self;
        match line {
            0 => write!(f, "{path}: {what}"),
            line => write!(f, "{path}:{line}: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of made-up files, for the rules' own tests.
    pub fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            text: Some((*text).to_owned()),
        };
        Tree {
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn this_repository_is_tidy() {
        run(&Args {}).unwrap();
    }

    #[test]
    fn a_problem_names_its_line_where_it_has_one() {
        assert_eq!(Problem::new("a.rs", 3, "x").to_string(), "a.rs:3: x");
        assert_eq!(Problem::new("a.rs", 0, "x").to_string(), "a.rs: x");
    }
}
