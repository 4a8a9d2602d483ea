//! Which commit a program is built from, for the record of each launch: numbers of two builds are not
//! compared, and a version alone does not tell builds apart. `MLX_FLEET_COMMIT` says it where there
//! is no git, as in an archive of the sources.

use std::path::Path;
use std::process::Command;

const VARIABLE: &str = "MLX_FLEET_COMMIT";

/// Hands the commit to the crate being built, and has it asked again when one of the folders changes
/// or git's head moves: what is built anew anyway, and not more.
pub fn tell(sources: &[&str]) {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    for folder in sources {
        println!("cargo::rerun-if-changed={folder}");
    }
    for name in ["HEAD", "logs/HEAD"] {
        // A file that is missing would have it asked at every build.
        if let Some(path) =
            git(&["rev-parse", "--git-path", name]).filter(|p| Path::new(p).exists())
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let told = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let commit = told.or_else(head).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={VARIABLE}={commit}");
}

fn head() -> Option<String> {
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() {
        commit
    } else {
        format!("{commit}-modified")
    })
}

fn git(args: &[&str]) -> Option<String> {
    // Without a lock: a build must not stand in the way of the user's own git.
    let said = Command::new("git")
        .arg("--no-optional-locks")
        .args(args)
        .output()
        .ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    said.status.success().then(|| text.trim().to_owned())
}
