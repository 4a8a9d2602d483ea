//! Where the server's files live, such that the account it runs as can reach its own and no more.
//!
//! ```text
//!   we are not root ------------------------------> DIR/postgres, 0700
//!   root, the account can enter DIR/postgres -----> DIR/postgres, 0711 (secrets inside are 0600)
//!   root, some parent is closed (mode 0700)     --> FALLBACK/<name>, and DIR/postgres links to it
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::{Error, Result};

/// Entering, not listing.
const OTHERS_MAY_ENTER: u32 = 0o011;
/// A cap on the search for a free name in the fallback folder.
const MAX_RELOCATED: u32 = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
    /// Whether the files are outside the data folder.
    pub(crate) relocated: bool,
}

impl Layout {
    /// The absolute path, free of links, of what `DIR/postgres` means.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// A cluster in the making; renamed when complete.
    pub(crate) fn unfinished_cluster(&self) -> PathBuf {
        self.root.join("cluster.new")
    }

    pub(crate) fn password(&self) -> PathBuf {
        self.root.join("password")
    }

    pub(crate) fn port(&self) -> PathBuf {
        self.root.join("port")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }
}

/// Makes the data folder (0700) where it is missing; the answer is absolute and free of links.
pub(crate) fn open_data_dir(data_dir: &Path) -> Result<PathBuf> {
    create_private(data_dir)?;
    fs::canonicalize(data_dir).map_err(Error::file("resolve", data_dir))
}

/// The account that made the cluster, so that root and a user can take turns on one data folder;
/// else the one that would make it now.
pub(crate) fn account_for(data_dir: &Path) -> Result<Account> {
    let chosen = Account::choose()?;
    let Account::Other { uid, .. } = chosen else {
        return Ok(chosen);
    };
    match fs::metadata(data_dir.join("postgres/cluster")) {
        Ok(cluster) if cluster.uid() != 0 && cluster.uid() != uid => Ok(Account::Other {
            name: format!("uid {}", cluster.uid()),
            uid: cluster.uid(),
            gid: cluster.gid(),
        }),
        _ => Ok(chosen),
    }
}

/// Settles `DIR/postgres`; `data_dir` comes from [`open_data_dir`].
pub(crate) fn settle(data_dir: &Path, account: &Account, fallback: &Path) -> Result<Layout> {
    let inside = data_dir.join("postgres");
    if inside.is_symlink() {
        return follow(&inside, account);
    }
    create_private(&inside)?;
    if *account != Account::Ours {
        let_others_enter(data_dir)?;
        let_others_enter(&inside)?;
        if !account.can_enter(&inside) {
            return relocate(data_dir, &inside, account, fallback);
        }
    }
    Ok(Layout {
        root: inside,
        relocated: false,
    })
}

/// `DIR/postgres` is a link of an earlier start.
fn follow(link: &Path, account: &Account) -> Result<Layout> {
    let root = fs::canonicalize(link).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Corrupt {
            path: link.to_owned(),
            what: "a link to a folder that is gone".to_owned(),
            mend: "bring the folder back, or remove the link to begin with an empty database",
        },
        _ => Error::file("follow the link", link)(error),
    })?;
    if !account.can_enter(&root) {
        return Err(unreachable(account, root));
    }
    Ok(Layout {
        root,
        relocated: true,
    })
}

/// Puts the files where the account can enter, and leaves a link.
fn relocate(data_dir: &Path, inside: &Path, account: &Account, fallback: &Path) -> Result<Layout> {
    // A folder that holds a cluster was made elsewhere and moved here: its data is not ours to
    // leave behind.
    if fs::remove_dir(inside).is_err() {
        return Err(unreachable(account, inside.to_owned()));
    }
    create_private(fallback)?;
    let_others_enter(fallback)?;
    if let Some(parent) = fallback.parent() {
        let_others_enter(parent)?;
    }
    let fallback = fs::canonicalize(fallback).map_err(Error::file("resolve", fallback))?;
    let root = create_unused(&fallback, &readable_name(data_dir))?;
    let_others_enter(&root)?;
    if !account.can_enter(&root) {
        fs::remove_dir(&root).map_err(Error::file("remove", &root))?;
        return Err(unreachable(account, root));
    }
    symlink(&root, inside).map_err(Error::file("make the link", inside))?;
    tracing::info!(
        account = account.name(),
        folder = %root.display(),
        link = %inside.display(),
        "the account cannot enter the data folder's parents: the database is kept elsewhere"
    );
    Ok(Layout {
        root,
        relocated: true,
    })
}

/// A folder of that name, or with a number when an earlier data folder at the same path left one:
/// old data must not reappear in a new data folder.
fn create_unused(parent: &Path, name: &str) -> Result<PathBuf> {
    for number in 1..=MAX_RELOCATED {
        let path = match number {
            1 => parent.join(name),
            _ => parent.join(format!("{name}-{number}")),
        };
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                tracing::info!(folder = %path.display(), "a database of an earlier data folder is still here; remove it when it is no longer wanted");
            }
            Err(error) => return Err(Error::file("make the folder", path)(error)),
        }
    }
    Err(Error::Corrupt {
        path: parent.to_owned(),
        what: format!("{MAX_RELOCATED} folders named {name}"),
        mend: "remove those that are no longer wanted",
    })
}

/// `/srv/my data` becomes `srv-my-data`: people look here when they wonder what takes the space.
fn readable_name(data_dir: &Path) -> String {
    let text = data_dir.to_string_lossy();
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let name = words.join("-");
    let tail = name.len().saturating_sub(100);
    format!("data-{}", &name[tail..])
}

fn create_private(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::file("make the folder", path))
}

fn let_others_enter(path: &Path) -> Result<()> {
    let mode = fs::metadata(path)
        .map_err(Error::file("look at", path))?
        .permissions()
        .mode();
    if mode & OTHERS_MAY_ENTER == OTHERS_MAY_ENTER {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode | OTHERS_MAY_ENTER))
        .map_err(Error::file("give o+x to", path))
}

fn unreachable(account: &Account, path: PathBuf) -> Error {
    Error::Unreachable {
        account: account.name().to_owned(),
        path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_name_is_readable_and_short() {
        assert_eq!(readable_name(Path::new("/srv/my data")), "data-srv-my-data");
        let long = format!("/srv/{}", "ä/x".repeat(200));
        assert!(readable_name(Path::new(&long)).len() <= 105);
        assert_eq!(readable_name(Path::new("/")), "data-");
    }

    #[test]
    fn an_old_folder_of_the_same_name_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let first = create_unused(parent.path(), "data-x").unwrap();
        fs::write(first.join("old"), "data").unwrap();
        let second = create_unused(parent.path(), "data-x").unwrap();
        assert_ne!(first, second);
        assert!(fs::read_dir(second).unwrap().next().is_none());
    }

    #[test]
    fn a_link_to_nowhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink(dir.path().join("gone"), dir.path().join("postgres")).unwrap();
        let error = settle(dir.path(), &Account::Ours, Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}
