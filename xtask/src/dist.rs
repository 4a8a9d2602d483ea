//! `cargo xtask dist`: release archives. An archive holds the programs, the MLX that they run with (the
//! wheel's libraries, as Apple published them), the plans, all licences and a bill of materials; beside the
//! archives stand their checksums. What a loader will read in each file is checked before it is packed.
//!
//! ```text
//!   build ─▶ collect: programs, MLX, licences, SBOM ─▶ check each program and library ─▶ pack ─▶ SHA256SUMS
//! ```

mod archive;
mod elf;
mod licences;
mod macho;
mod packages;
mod sbom;
mod signature;
mod target;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::repo;
use archive::{Entry, Source};
use packages::Packages;
use target::Target;

/// What an archive installs, from which package.
const PROGRAMS: &[&str] = &[
    "mlx-fleet",
    "mlx-fleet-agent",
    "mlx-fleet-suite",
    "report-gen",
];
/// For whoever sets up a coordinator and has no checkout.
const DEPLOY: &[&str] = &["compose.yaml", "mlx-fleet.service"];
/// Tells the worker's build script to look for MLX in the archive and nowhere else.
const RELEASE: &str = "MLX_FLEET_DIST";

#[derive(clap::Args)]
#[command(
    about = "Build release archives, each with its licences and bill of materials, and their checksums"
)]
pub struct Args {
    /// What to build for, by default for this machine. For macOS one of three: they differ in the MLX that
    /// goes along, which is made for that system and later ones
    #[arg(long = "target", value_name = "TARGET", value_enum)]
    targets: Vec<Target>,
    /// Where the archives and SHA256SUMS go
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let targets = if args.targets.is_empty() {
        vec![Target::native()]
    } else {
        args.targets.clone()
    };
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    for target in targets {
        let programs = build(target)?;
        let mlx = target.fetch_mlx()?;
        let name = format!("mlx-fleet-{}-{}", env!("CARGO_PKG_VERSION"), target.label());
        let entries = collect(target, &programs, &mlx)?;
        check(target, &entries)?;
        let path = args.out.join(format!("{name}.tar.gz"));
        archive::pack(&path, &name, &entries)?;
        println!("{}", path.display());
    }
    archive::write_sums(&args.out)
}

/// The folder with the programs.
fn build(target: Target) -> Result<PathBuf> {
    let mut command = target.cargo_build()?;
    command.arg("--locked").env(RELEASE, "1");
    for program in PROGRAMS {
        command.args(["--bin", program]);
    }
    run_in_root(&mut command)?;
    target.built()
}

fn run_in_root(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .current_dir(repo::root())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(
        status.success(),
        "{program} failed; the messages above say why"
    );
    Ok(())
}

fn collect(target: Target, programs: &Path, mlx: &Path) -> Result<Vec<Entry>> {
    let root = repo::root();
    let mut entries = Vec::new();
    for program in PROGRAMS {
        entries.push(Entry::program(
            &format!("bin/{program}"),
            programs.join(program),
        ));
    }
    for library in target.libraries(mlx)? {
        let inside = library.strip_prefix(mlx).context("outside of the wheel")?;
        entries.push(Entry::file(&format!("lib/{}", inside.display()), library));
    }
    for plan in repo::files_with_extension(&root.join("plans"), "toml")? {
        let name = plan.file_name().unwrap_or_default().to_string_lossy();
        entries.push(Entry::file(&format!("plans/{name}"), plan.clone()));
    }
    for name in DEPLOY {
        let path = format!("deploy/{name}");
        entries.push(Entry::file(&path, root.join(&path)));
    }

    let packages = Packages::read(target.triple())?;
    for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
        entries.push(Entry::file(&format!("licences/{name}"), root.join(name)));
    }
    let third_party = licences::gather(&packages, mlx)?;
    entries.push(Entry::text("licences/third-party.txt", third_party));
    let bill = sbom::write(&packages, &std::fs::read_to_string(mlx.join("wheel"))?)?;
    entries.push(Entry::text("sbom.json", bill));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// Of what a machine needs, what an archive with these paths lacks. A wheel may change its tree.
fn lacking(target: Target, there: &[&str]) -> Vec<String> {
    let programs = PROGRAMS.iter().map(|program| format!("bin/{program}"));
    let mlx: &[&str] = match target {
        Target::Linux => &["lib/mlx/lib/libmlx.so"],
        // The metallib has the kernels: without it nothing runs on a GPU.
        Target::Macos14 | Target::Macos15 | Target::Macos26 => {
            &["lib/mlx/lib/libmlx.dylib", "lib/mlx/lib/mlx.metallib"]
        }
    };
    let deploy = DEPLOY.iter().map(|name| format!("deploy/{name}"));
    let words = [
        "licences/LICENSE-APACHE",
        "licences/LICENSE-MIT",
        "licences/third-party.txt",
        "plans/quick.toml",
        "sbom.json",
    ];
    let rest = mlx.iter().chain(&words).map(|path| (*path).to_owned());
    let needed = programs.chain(deploy).chain(rest);
    needed
        .filter(|path| !there.contains(&path.as_str()))
        .collect()
}

/// The archive is whole, and every program and library in it is as its loader wants it.
fn check(target: Target, entries: &[Entry]) -> Result<()> {
    let ours: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let lacking = lacking(target, &ours).into_iter();
    let mut problems: Vec<String> = lacking.map(|path| format!("{path}: missing")).collect();
    let mut looked_at = 0;
    for entry in entries {
        let Source::File(path) = &entry.source else {
            continue;
        };
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let found = match target.oldest_macos() {
            Some(oldest) if macho::is_one(&bytes) => {
                macho::check(&entry.path, &bytes, oldest, &ours)
            }
            None if elf::is_one(&bytes) => elf::check(&entry.path, &bytes, &ours),
            _ => continue,
        };
        looked_at += 1;
        let found = found.with_context(|| format!("{} cannot be read", path.display()))?;
        problems.extend(
            found
                .into_iter()
                .map(|what| format!("{}: {what}", entry.path)),
        );
    }
    ensure!(
        looked_at > PROGRAMS.len(),
        "programs or MLX are of another system"
    );
    if problems.is_empty() {
        return Ok(());
    }
    bail!("nothing was packed:\n{}", problems.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_without_something_that_a_machine_needs_is_not_whole() {
        for target in [Target::Linux, Target::Macos14, Target::Macos26] {
            let all = lacking(target, &[]);
            let there: Vec<&str> = all.iter().map(String::as_str).collect();
            assert_eq!(lacking(target, &there), [""; 0]);
            for gone in &there {
                let rest: Vec<&str> = there.iter().copied().filter(|path| path != gone).collect();
                assert_eq!(lacking(target, &rest), [*gone]);
            }
        }
        let kernels = "lib/mlx/lib/mlx.metallib".to_owned();
        assert!(lacking(Target::Macos26, &[]).contains(&kernels));
        assert!(!lacking(Target::Linux, &[]).contains(&kernels));
    }
}
