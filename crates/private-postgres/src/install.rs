//! Finds PostgreSQL's programs on this machine.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::account::Account;
use crate::{Error, Result};

/// The oldest major version whose SQL and options we use.
const OLDEST_MAJOR: u32 = 14;

/// Folders whose children are one installation each; the newest comes first.
const VERSIONED: [(&str, &str); 2] = [
    ("/usr/lib/postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
];

const HOMEBREW: [&str; 2] = ["/opt/homebrew/opt", "/usr/local/opt"];
const HOMEBREW_MAJORS: [u32; 3] = [18, 17, 16];

/// PostgreSQL's programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    bin: PathBuf,
    major: u32,
}

impl Installation {
    /// The folder with `initdb` and `postgres`.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    pub fn major(&self) -> u32 {
        self.major
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// Where to look, in order.
pub(crate) struct Places<'a> {
    /// Set by the user: used or refused, nothing else is tried.
    pub(crate) chosen: Option<&'a Path>,
    pub(crate) path: Option<&'a OsStr>,
    /// Private copies, tried last.
    pub(crate) private: &'a [PathBuf],
}

/// The installation that can serve a cluster of this major version (any, when it is new).
pub(crate) fn find(
    places: &Places<'_>,
    account: &Account,
    cluster: Option<(&Path, u32)>,
) -> Result<Installation> {
    if let Some(bin) = places.chosen {
        let bin = bin_folder(bin);
        let found = probe(&bin, account).map_err(|reason| Error::BadInstallation {
            bin: bin.clone(),
            reason,
        })?;
        return fits(found, cluster);
    }
    let mut refused = Vec::new();
    let mut other_majors = BTreeSet::new();
    for bin in candidates(places) {
        match (probe(&bin, account), cluster) {
            (Ok(found), None) => return Ok(found),
            (Ok(found), Some((_, major))) if found.major == major => return Ok(found),
            (Ok(found), Some(_)) => drop(other_majors.insert(found.major)),
            (Err(reason), _) => refused.push(format!("{}: {reason}", bin.display())),
        }
    }
    match cluster {
        Some((cluster, made_by)) if !other_majors.is_empty() => Err(Error::MajorVersion {
            cluster: cluster.to_owned(),
            made_by,
            found: list(&other_majors),
        }),
        Some((_, made_by)) => Err(Error::NotFound {
            wanted: made_by.to_string(),
            refused,
        }),
        None => Err(Error::NotFound {
            wanted: format!("{OLDEST_MAJOR} or newer"),
            refused,
        }),
    }
}

fn fits(found: Installation, cluster: Option<(&Path, u32)>) -> Result<Installation> {
    match cluster {
        Some((cluster, made_by)) if made_by != found.major => Err(Error::MajorVersion {
            cluster: cluster.to_owned(),
            made_by,
            found: format!("{} ({})", found.major, found.bin.display()),
        }),
        _ => Ok(found),
    }
}

fn list(majors: &BTreeSet<u32>) -> String {
    let words: Vec<String> = majors.iter().map(u32::to_string).collect();
    words.join(", ")
}

/// Accepts the folder of programs, its parent, or the path of `postgres` or `pg_config` itself.
fn bin_folder(chosen: &Path) -> PathBuf {
    if chosen.is_file() {
        let real = std::fs::canonicalize(chosen).unwrap_or_else(|_| chosen.to_owned());
        return real.parent().unwrap_or(chosen).to_owned();
    }
    let below = chosen.join("bin");
    if below.join("postgres").exists() {
        return below;
    }
    chosen.to_owned()
}

/// Every folder that has a `postgres`, in the order of preference.
fn candidates(places: &Places<'_>) -> Vec<PathBuf> {
    let on_path = places.path.map(std::env::split_paths).into_iter().flatten();
    let mut all: Vec<PathBuf> = Vec::new();
    for folder in on_path {
        // Debian keeps pg_config on the path and postgres away from it.
        let told = folder.join("pg_config");
        if told.is_file() {
            all.extend(told_by(&told));
        }
        all.push(folder);
    }
    let (debian, app) = (VERSIONED[0], VERSIONED[1]);
    all.extend(versions(Path::new(debian.0), debian.1));
    for prefix in HOMEBREW {
        for major in HOMEBREW_MAJORS {
            all.push(PathBuf::from(format!("{prefix}/postgresql@{major}/bin")));
        }
    }
    all.extend(versions(Path::new(app.0), app.1));
    all.extend(places.private.iter().map(|folder| bin_folder(folder)));

    let mut seen = BTreeSet::new();
    all.iter()
        .filter_map(|bin| real_folder(bin))
        .filter(|bin| seen.insert(bin.clone()))
        .collect()
}

/// The folder of the program behind a link such as `/usr/local/bin/postgres`: its neighbours are
/// there.
fn real_folder(bin: &Path) -> Option<PathBuf> {
    let program = std::fs::canonicalize(bin.join("postgres")).ok()?;
    program.parent().map(Path::to_owned)
}

fn told_by(pg_config: &Path) -> Option<PathBuf> {
    let output = Account::Ours
        .command(pg_config)
        .arg("--bindir")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(text.trim_end()))
}

/// `parent/18/bin`, `parent/17/bin`, …: the highest number first.
fn versions(parent: &Path, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut numbered: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, entry.path().join(below)))
        })
        .collect();
    numbered.sort();
    numbered.into_iter().rev().map(|(_, bin)| bin).collect()
}

/// Runs `postgres --version` as the account that will run the server.
fn probe(bin: &Path, account: &Account) -> Result<Installation, String> {
    if !bin.join("initdb").is_file() {
        return Err("it has no initdb (is only the client installed?)".to_owned());
    }
    let output = account
        .command(&bin.join("postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} cannot run it: {error}", account.name()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let major = parse_major(&text)
        .ok_or_else(|| format!("`postgres --version` ended with {}", output.status))?;
    if major < OLDEST_MAJOR {
        return Err(format!("version {major} is older than {OLDEST_MAJOR}"));
    }
    Ok(Installation {
        bin: bin.to_owned(),
        major,
    })
}

/// `postgres (PostgreSQL) 15.14 (Debian …)`, `… 19beta1`.
fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits: &str = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder of programs that say they are this version.
    fn pretend(parent: &Path, major: u32) -> PathBuf {
        let bin = parent.join(major.to_string()).join("bin");
        fs::create_dir_all(&bin).unwrap();
        for program in ["postgres", "initdb"] {
            let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {major}.2 (Pretend)'\n");
            fs::write(bin.join(program), script).unwrap();
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(bin.join(program), mode).unwrap();
        }
        bin
    }

    fn only(chosen: &Path) -> Places<'_> {
        Places {
            chosen: Some(chosen),
            path: None,
            private: &[],
        }
    }

    #[test]
    fn the_major_version_is_read_from_every_kind_of_release() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 18.4", Some(18)),
            ("postgres (PostgreSQL) 19beta1", Some(19)),
            ("postgres", None),
            ("postgres (PostgreSQL) x", None),
        ] {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }

    #[test]
    fn numbered_folders_come_newest_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["9", "16", "17", "latest"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let found = versions(root.path(), "bin");
        let expected: Vec<_> = ["17/bin", "16/bin", "9/bin"]
            .iter()
            .map(|name| root.path().join(name))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_cluster_gets_the_installation_of_its_own_version() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (new, old) = (pretend(&root, 87), pretend(&root, 86));
        let path = std::env::join_paths([&new, &old]).unwrap();
        let places = Places {
            chosen: None,
            path: Some(&path),
            private: &[],
        };
        let any = find(&places, &Account::Ours, None).unwrap();
        assert_eq!((any.major, any.bin), (87, new));
        let same = find(&places, &Account::Ours, Some((&root, 86))).unwrap();
        assert_eq!((same.major, same.bin), (86, old));
        let error = find(&places, &Account::Ours, Some((&root, 85))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("made by PostgreSQL 85"), "{text}");
        assert!(text.contains("86, 87"), "{text}");
    }

    #[test]
    fn a_chosen_folder_is_used_or_refused_and_nothing_else_is_tried() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let bin = pretend(&root, 88);
        let program = bin.join("postgres");
        for chosen in [&bin, bin.parent().unwrap(), &program] {
            let found = find(&only(chosen), &Account::Ours, None).unwrap();
            assert_eq!(found.bin, bin, "{}", chosen.display());
        }
        let error = find(&only(&root), &Account::Ours, None).unwrap_err();
        assert!(matches!(error, Error::BadInstallation { .. }), "{error}");
    }

    #[test]
    fn too_old_a_version_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let bin = pretend(root.path(), 12);
        let reason = probe(&bin, &Account::Ours).unwrap_err();
        assert_eq!(reason, "version 12 is older than 14");
    }
}
