//! The licences of all that is inside an archive, in one file: each text once, with those it is for.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::packages::{Package, Packages};
use crate::repo;

/// How files are called that hold a licence or must go along with one.
const BEGINNINGS: &[&str] = &[
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];
/// What is compiled in and comes from no crate.
const ASSETS: &[(&str, &str)] = &[
    ("Apache ECharts and zrender", "report-gen/assets/echarts"),
    ("Inter (font)", "report-gen/assets/inter"),
];
const HEAD: &str = "\
mlx-fleet itself is licensed under Apache-2.0 or MIT, at your choice: the two files beside this one.
Its programs hold, or run with, the following works of others, each under its own licence. Rust's
standard library is part of every program: Apache-2.0 or MIT, copyright The Rust Project contributors.

";

/// Text of a licence to the works under it.
type Texts = BTreeMap<String, Vec<String>>;

pub fn gather(packages: &Packages, mlx: &Path) -> Result<String> {
    let mut texts = Texts::new();
    let mut silent = Vec::new();
    for package in &packages.others {
        let name = format!("{} {}", package.name, package.version);
        if add(&mut texts, &name, &package.folder())? == 0 {
            silent.push((name, terms(package)));
        }
    }
    let mlx_c = packages.mlx_c.folder().join("src/mlx-c");
    must(&mut texts, "mlx-c", &mlx_c)?;
    must(&mut texts, "MLX", &mlx_info(mlx)?.join("licenses"))?;
    for (name, folder) in ASSETS {
        must(&mut texts, name, &repo::root().join(folder))?;
    }
    let mut whole = HEAD.to_owned();
    for (name, terms) in silent {
        // Published without its text; the expression is what its author states.
        writeln!(whole, "{name}: {terms}")?;
    }
    for (text, names) in texts {
        write!(
            whole,
            "\n{}\n{}\n\n{text}\n",
            "=".repeat(80),
            names.join("\n")
        )?;
    }
    Ok(whole)
}

fn terms(package: &Package) -> &str {
    package.license.as_deref().unwrap_or("no terms are stated")
}

/// How many files were found.
fn add(texts: &mut Texts, name: &str, folder: &Path) -> Result<usize> {
    let mut found = 0;
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        if !path.is_file() || !BEGINNINGS.iter().any(|begin| file.starts_with(begin)) {
            continue;
        }
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = String::from_utf8_lossy(&bytes)
            .replace("\r\n", "\n")
            .trim()
            .to_owned();
        texts.entry(text).or_default().push(name.to_owned());
        found += 1;
    }
    Ok(found)
}

fn must(texts: &mut Texts, name: &str, folder: &Path) -> Result<()> {
    let found = add(texts, name, folder)?;
    anyhow::ensure!(found > 0, "no licence of {name} in {}", folder.display());
    Ok(())
}

/// What the wheel says of itself.
fn mlx_info(mlx: &Path) -> Result<PathBuf> {
    let entries =
        std::fs::read_dir(mlx).with_context(|| format!("cannot list {}", mlx.display()))?;
    let mut folders = entries.flatten().map(|entry| entry.path());
    let info = folders.find(|path| path.extension().is_some_and(|end| end == "dist-info"));
    info.with_context(|| format!("no dist-info in {}", mlx.display()))
}
