//! The crates that are inside the programs of an archive: what cargo resolved for its target, from our
//! packages along normal dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::repo;

/// Whose programs are packed.
const OURS: &[&str] = &["agent", "coordinator", "report-gen", "suites"];
/// The published crate that mlx-c's sources come from; only its sources are used.
const SOURCES: &str = "crates/mlx-sys/source/Cargo.toml";
const MLX_C: &str = "mlx-sys";

pub struct Packages {
    /// In the order of their names.
    pub others: Vec<Package>,
    pub mlx_c: Package,
}

#[derive(Clone, Deserialize)]
pub struct Package {
    pub id: String,
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    manifest_path: PathBuf,
    /// None for what lies in this repository.
    source: Option<String>,
    /// SHA-256 of the published crate.
    #[serde(skip)]
    pub checksum: Option<String>,
}

impl Package {
    pub fn folder(&self) -> PathBuf {
        self.manifest_path
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// None is a normal dependency.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Packages {
    pub fn read(triple: &str) -> Result<Self> {
        let metadata = metadata(&["--filter-platform", triple])?;
        let sums = checksums()?;
        let inside = reachable(&metadata);
        let mut others: Vec<Package> = metadata
            .packages
            .into_iter()
            .filter(|package| package.source.is_some() && inside.contains(&package.id))
            .collect();
        for package in &mut others {
            let key = (package.name.clone(), package.version.clone());
            package.checksum = sums.get(&key).cloned();
        }
        others.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        let sources = self::metadata(&["--manifest-path", SOURCES])?.packages;
        let mlx_c = sources.into_iter().find(|package| package.name == MLX_C);
        Ok(Self {
            others,
            mlx_c: mlx_c.context("mlx-c's sources are missing: run deploy/setup")?,
        })
    }
}

fn metadata(arguments: &[&str]) -> Result<Metadata> {
    let always = ["metadata", "--format-version=1", "--locked", "--offline"];
    let text = repo::output_of("cargo", &[&always, arguments].concat())?;
    serde_json::from_str(&text).context("cannot read `cargo metadata`")
}

fn reachable(metadata: &Metadata) -> BTreeSet<String> {
    let nodes: BTreeMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node))
        .collect();
    let roots = metadata.packages.iter();
    let roots =
        roots.filter(|package| package.source.is_none() && OURS.contains(&package.name.as_str()));
    let mut open: Vec<&str> = roots.map(|package| package.id.as_str()).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id.to_owned()) {
            continue;
        }
        let edges = nodes
            .get(id)
            .map(|node| node.deps.iter())
            .into_iter()
            .flatten();
        let normal = edges.filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        open.extend(normal.map(|edge| edge.pkg.as_str()));
    }
    seen
}

fn checksums() -> Result<BTreeMap<(String, String), String>> {
    let path = repo::root().join("Cargo.lock");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let lock: Lock =
        toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    let packages = lock.package.into_iter();
    Ok(packages
        .filter_map(|locked| Some(((locked.name, locked.version), locked.checksum?)))
        .collect())
}
