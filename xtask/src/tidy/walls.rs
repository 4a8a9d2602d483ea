//! Who may import whom. The permission lists are the architecture (ARCHITECTURE.md, "Crates"): a new
//! edge is a decision, so it is written here or refused. `deny.toml` holds the same walls over the whole
//! graph; this rule also knows our own crates and, inside the coordinator and the report, modules.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Problem, Tree};
use crate::repo;

/// What each of our crates may use of ours. Tests may use more: see `OURS_IN_TESTS`.
const OURS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("fuzz", &[]),
    ("proto", &["domain"]),
    ("service", &["domain"]),
    ("private-postgres", &[]),
    ("mlx-sys", &[]),
    ("agent", &["domain", "proto", "service"]),
    ("suites", &["domain", "proto"]),
    ("report-gen", &["domain"]),
    (
        "coordinator",
        &[
            "domain",
            "private-postgres",
            "proto",
            "report-gen",
            "service",
        ],
    ),
    (
        "xtask",
        &[
            "domain",
            "private-postgres",
            "proto",
            "report-gen",
            "service",
        ],
    ),
];
const OURS_IN_TESTS: &[(&str, &str)] = &[
    ("agent", "fuzz"),
    ("domain", "fuzz"),
    ("proto", "fuzz"),
    ("report-gen", "private-postgres"),
    ("suites", "fuzz"),
];

/// Who alone may use a crate of others: its reach is the reason.
const THEIRS: &[(&str, &[&str])] = &[
    ("sqlx", &["coordinator", "report-gen", "xtask"]),
    ("mlx-rs", &["suites"]),
    ("mlx-sys", &["suites"]),
    (
        "tonic",
        &["agent", "coordinator", "proto", "service", "xtask"],
    ),
    ("tonic-prost", &["proto"]),
    ("rustls", &["agent", "coordinator", "service"]),
    ("rcgen", &["agent", "coordinator", "service"]),
    ("ureq", &["coordinator"]),
    (
        "tokio",
        &[
            "agent",
            "coordinator",
            "private-postgres",
            "report-gen",
            "service",
            "xtask",
        ],
    ),
    (
        "anyhow",
        &["agent", "coordinator", "report-gen", "suites", "xtask"],
    ),
];

/// Words that only some files of a crate may hold: (folder, word, where it may stand, why).
const MODULES: &[(&str, &str, &[&str], &str)] = &[
    (
        "coordinator/src/",
        "sqlx::",
        &["store"],
        "only `store` knows sqlx",
    ),
    (
        "coordinator/src/",
        "proto::",
        &["rpc", "cli", "client"],
        "only `rpc` knows the wire",
    ),
    (
        "report-gen/src/",
        "sqlx::",
        &["query"],
        "only `query` knows sqlx",
    ),
    (
        "report-gen/src/",
        "fleet.",
        &[],
        "the report reads only the views of schema `report`",
    ),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
pub struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    /// Only a dependency inside the workspace has one.
    path: Option<String>,
}

pub fn packages() -> Result<Vec<Package>> {
    let metadata: Metadata =
        serde_json::from_str(&repo::metadata()?).context("cannot read `cargo metadata`")?;
    Ok(metadata.packages)
}

pub fn check(packages: &[Package]) -> Vec<Problem> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Problem> {
    let Package {
        name,
        manifest_path,
        dependencies,
    } = package;
    let root = repo::root().to_string_lossy();
    let manifest = manifest_path
        .strip_prefix(&*root)
        .unwrap_or(manifest_path)
        .trim_start_matches('/');
    let problem = |what: String| Problem::new(manifest, 0, what);
    let Some((_, allowed)) = OURS.iter().find(|(ours, _)| ours == name) else {
        return vec![problem(format!(
            "`{name}` has no row in xtask/src/tidy/walls.rs"
        ))];
    };
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for Dependency {
        name: used,
        kind,
        path,
    } in dependencies
    {
        let test_only = kind.as_deref() == Some("dev");
        if !seen.insert((used, test_only)) {
            continue;
        }
        let allowed_in_tests = test_only && OURS_IN_TESTS.contains(&(name.as_str(), used.as_str()));
        if path.is_some() && used != name && !allowed.contains(&used.as_str()) && !allowed_in_tests
        {
            problems.push(problem(format!("`{name}` may not use our `{used}`")));
        }
        let reserved = THEIRS.iter().find(|(theirs, _)| theirs == used);
        if let Some((_, users)) = reserved
            && !users.contains(&name.as_str())
            && !test_only
        {
            problems.push(problem(format!(
                "`{used}` is for {} only",
                users.join(", ")
            )));
        }
    }
    problems
}

pub fn check_modules(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (folder, word, places, why) in MODULES {
        let files = tree
            .texts()
            .filter_map(|(path, text)| Some((path, path.strip_prefix(folder)?, text)));
        for (path, inside, text) in files {
            let module = inside.split(['/', '.']).next().unwrap_or_default();
            if places.contains(&module) {
                continue;
            }
            for (number, line) in (1..).zip(text.lines()) {
                if code_of(line).contains(word) {
                    problems.push(Problem::new(path, number, format!("`{word}` here: {why}")));
                }
            }
        }
    }
    problems
}

fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Package {
        let dependency = |(used, kind, ours): &(&str, Option<&str>, bool)| Dependency {
            name: (*used).to_owned(),
            kind: kind.map(str::to_owned),
            path: ours.then(|| format!("/x/{used}")),
        };
        Package {
            name: name.to_owned(),
            manifest_path: format!("{name}/Cargo.toml"),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn the_walls_hold_in_both_kinds_of_dependency() {
        for bad in [
            package("domain", &[("proto", None, true)]),
            package("agent", &[("suites", None, true)]),
            package("agent", &[("suites", Some("dev"), true)]),
            package("suites", &[("tokio", None, false)]),
            package("agent", &[("mlx-rs", None, false)]),
            package("domain", &[("sqlx", Some("build"), false)]),
            package("newcomer", &[]),
        ] {
            assert_eq!(check(&[bad]).len(), 1);
        }
        let good = package(
            "report-gen",
            &[
                ("domain", None, true),
                ("private-postgres", Some("dev"), true),
            ],
        );
        assert_eq!(check(&[good]), []);
    }

    #[test]
    fn inside_the_coordinator_only_store_knows_sqlx_and_only_rpc_the_wire() {
        let bad = tree(&[
            ("coordinator/src/dispatch/run.rs", "use sqlx::PgPool;\n"),
            ("coordinator/src/store.rs", "use proto::v1;\n"),
            ("report-gen/src/query/runs.sql", "select * from fleet.run\n"),
        ]);
        assert_eq!(check_modules(&bad).len(), 3);
        let good = tree(&[
            ("coordinator/src/store/job.rs", "use sqlx::PgPool;\n"),
            ("coordinator/src/rpc.rs", "use proto::v1; // not sqlx::\n"),
        ]);
        assert_eq!(check_modules(&good), []);
    }
}
