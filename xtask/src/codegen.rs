//! `cargo xtask codegen`: the protobuf files to Rust, without protoc. The result is committed, so that
//! a build needs no generator and a reviewer sees what a change of the wire does; `--check` (also a
//! test) proves it fresh.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::repo;

const PROTO_ROOT: &str = "proto/proto";
const GENERATED: &str = "proto/src/gen";

#[derive(clap::Args)]
#[command(about = "Generate proto/src/gen from proto/proto")]
pub struct Args {
    /// Change nothing; fail when the committed files are stale
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let fresh = generate()?;
    let folder = repo::root().join(GENERATED);
    if args.check {
        return check(&fresh, &read_folder(&folder)?);
    }
    write(&fresh, &folder)
}

/// File name to content. In memory, so that a failed generation leaves the committed files alone.
type Files = BTreeMap<String, String>;

fn generate() -> Result<Files> {
    let include = repo::root().join(PROTO_ROOT);
    let protos = repo::files_with_extension(&include, "proto")?;
    let descriptors = protox::compile(&protos, [&include]).map_err(|error| {
        // protox puts file, line and column in the debug form only.
        anyhow::anyhow!("{error}\n{error:?}")
    })?;
    let out = tempfile::tempdir().context("cannot make a folder for generated code")?;
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::codec::SmallBuffers")
        .client_mod_attribute(".", "#[cfg(feature = \"rpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"rpc\")]")
        .out_dir(out.path())
        .compile_fds(descriptors)
        .context("cannot generate Rust from the protobuf descriptors")?;
    read_folder(out.path())
}

fn read_folder(folder: &Path) -> Result<Files> {
    if !folder.is_dir() {
        return Ok(Files::new());
    }
    repo::files_with_extension(folder, "rs")?
        .iter()
        .map(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let content = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Ok((name, content))
        })
        .collect()
}

fn write(fresh: &Files, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for stale in read_folder(folder)?
        .keys()
        .filter(|name| !fresh.contains_key(*name))
    {
        std::fs::remove_file(folder.join(stale))
            .with_context(|| format!("cannot remove {stale}"))?;
    }
    for (name, content) in fresh {
        let path = folder.join(name);
        // An unchanged file keeps its time stamp, so that nothing is built again for it.
        if std::fs::read_to_string(&path).is_ok_and(|old| &old == content) {
            continue;
        }
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {GENERATED}/{name}");
    }
    Ok(())
}

fn check(fresh: &Files, committed: &Files) -> Result<()> {
    let stale: Vec<&str> = fresh
        .keys()
        .chain(committed.keys())
        .filter(|name| fresh.get(*name) != committed.get(*name))
        .map(String::as_str)
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "stale in {GENERATED}: {}; run `cargo xtask codegen`",
        stale.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_wire_code_is_fresh() {
        run(&Args { check: true }).unwrap();
    }

    #[test]
    fn a_changed_a_missing_and_a_left_over_file_are_all_stale() {
        let files = |list: &[(&str, &str)]| -> Files {
            list.iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect()
        };
        let fresh = files(&[("a.rs", "1"), ("b.rs", "2")]);
        assert!(check(&fresh, &fresh).is_ok());
        for committed in [
            files(&[("a.rs", "1"), ("b.rs", "changed")]),
            files(&[("a.rs", "1")]),
            files(&[("a.rs", "1"), ("b.rs", "2"), ("c.rs", "left over")]),
        ] {
            assert!(check(&fresh, &committed).is_err());
        }
    }
}
