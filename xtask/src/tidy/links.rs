//! Rules on documents: a relative link leads to a file and a heading that exist, and README's list of
//! plans is the list of plans.

use std::collections::BTreeSet;

use super::{Problem, Tree, has_extension};

pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = plans(tree);
    for (path, text) in tree.texts().filter(|(path, _)| has_extension(path, "md")) {
        for (number, line) in prose(text) {
            for target in targets(line) {
                problems.extend(
                    broken(tree, path, text, target).map(|what| Problem::new(path, number, what)),
                );
            }
        }
    }
    problems
}

/// Lines with their numbers, without fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// What follows `](` up to `)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

fn broken(tree: &Tree, from: &str, own_text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        from.to_owned()
    } else {
        resolve(from, file)
    };
    if !tree.has(&path) {
        return Some(format!("link to `{target}`: there is no {path}"));
    }
    let mut texts = tree.texts().filter(|(other, _)| *other == path);
    let text = if path == from {
        own_text
    } else {
        texts.next().map_or("", |(_, text)| text)
    };
    let missing = !heading.is_empty()
        && !prose(text).any(|(_, line)| anchor(line).as_deref() == Some(heading));
    missing.then(|| format!("link to `{target}`: no heading `#{heading}` in {path}"))
}

/// `file` as seen from the folder of `from`, without `.` and `..`.
fn resolve(from: &str, file: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in file
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// The name that forges give a heading.
fn anchor(line: &str) -> Option<String> {
    let title = line
        .trim_start_matches('#')
        .strip_prefix(' ')
        .filter(|_| line.starts_with('#'))?;
    let kept = title.to_lowercase().replace(' ', "-");
    Some(
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
            .collect(),
    )
}

fn plans(tree: &Tree) -> Vec<Problem> {
    let Some((_, readme)) = tree.texts().find(|(path, _)| *path == "README.md") else {
        return vec![Problem::new("README.md", 0, "there is none")];
    };
    let is_plan = |path: &str| {
        path.strip_prefix("plans/")
            .is_some_and(|name| has_extension(name, "toml") && !name.contains('/'))
    };
    let named: BTreeSet<&str> = readme
        .split(|c: char| !(c.is_alphanumeric() || "/-_.".contains(c)))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| is_plan(word))
        .collect();
    let gone = named.iter().filter(|plan| !tree.has(plan)).map(|plan| {
        Problem::new(
            "README.md",
            0,
            format!("names {plan}, which does not exist"),
        )
    });
    let untold = tree
        .files
        .iter()
        .filter(|file| is_plan(&file.path) && !named.contains(file.path.as_str()))
        .map(|file| Problem::new(&file.path, 0, "README.md does not name this plan"));
    gone.chain(untold).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn links_resolve_from_where_they_stand() {
        let good = [
            (
                "README.md",
                "[a](docs/a.md#the-title) [b](#top) [w](https://example.org/x)\n# Top\n",
            ),
            (
                "docs/a.md",
                "# The title!\n[up](../README.md) [folder](../docs)\n",
            ),
        ];
        assert_eq!(check(&tree(&good)), []);
    }

    #[test]
    fn a_missing_file_and_a_missing_heading_are_refused() {
        for link in ["[a](docs/gone.md)", "[a](docs/a.md#gone)", "[a](#gone)"] {
            let files = [("README.md", link), ("docs/a.md", "# Here\n")];
            assert_eq!(check(&tree(&files)).len(), 1, "{link}");
        }
        let fenced = [("README.md", "```\n[a](gone.md)\n```\n")];
        assert_eq!(check(&tree(&fenced)), [], "code is not prose");
    }

    #[test]
    fn readme_and_plans_name_each_other() {
        assert_eq!(
            check(&tree(&[
                ("README.md", "run plans/a.toml."),
                ("plans/a.toml", "")
            ])),
            []
        );
        assert_eq!(check(&tree(&[("README.md", "run plans/a.toml")])).len(), 1);
        assert_eq!(
            check(&tree(&[("README.md", ""), ("plans/a.toml", "")])).len(),
            1
        );
    }
}
