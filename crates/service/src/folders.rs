//! The data folder: where it is, what its files are called, and how a secret gets into one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::sys;

/// Where root's daemons keep their data on Linux.
const SYSTEM_DATA_DIR: &str = "/var/lib/mlx-fleet";
const APPLICATION: &str = "mlx-fleet";
/// Readable by everybody on the machine.
const OTHERS_READ: u32 = 0o007;
const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path}", path = path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("this user has no home folder: name a data folder with --data-dir")]
    NoHome,
    #[error(
        "{path} holds a secret and everybody can read it: `chmod 600 {path}`",
        path = path.display()
    )]
    Exposed { path: PathBuf },
    #[error("{path} is not what was written there", path = path.display())]
    Coordinator {
        path: PathBuf,
        source: serde_json::Error,
    },
}

impl Error {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Whether the file simply is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What a local coordinator leaves for the commands beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorFile {
    pub url: String,
}

/// One daemon's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Names a folder without touching it.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where data goes when nobody says: `/var/lib/mlx-fleet` for root on Linux, else the
    /// platform's folder for application data.
    pub fn default_location() -> Result<Self, Error> {
        if cfg!(target_os = "linux") && sys::is_root() {
            return Ok(Self::at(SYSTEM_DATA_DIR));
        }
        let platform = directories::ProjectDirs::from("", "", APPLICATION).ok_or(Error::NoHome)?;
        Ok(Self::at(platform.data_dir()))
    }

    /// Makes the folder, closed to others, where it is missing.
    pub fn create(&self) -> Result<(), Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(Error::file("make the folder", &self.root))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the local coordinator is; there while it runs.
    pub fn coordinator(&self) -> PathBuf {
        self.root.join("coordinator.json")
    }

    /// A coordinator's own CA's certificate.
    pub fn ca_certificate(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    pub fn ca_key(&self) -> PathBuf {
        self.root.join("ca.key")
    }

    /// The server's certificate and key in one file, so that they always match.
    pub fn server_identity(&self) -> PathBuf {
        self.root.join("server.pem")
    }

    pub fn operator_token(&self) -> PathBuf {
        self.root.join("operator.token")
    }

    /// The certificate of the CA that an agent enrolled with.
    pub fn agent_authority(&self) -> PathBuf {
        self.root.join("agent-ca.pem")
    }

    pub fn agent_certificate(&self) -> PathBuf {
        self.root.join("agent.pem")
    }

    pub fn agent_key(&self) -> PathBuf {
        self.root.join("agent.key")
    }

    pub fn write_coordinator(&self, file: &CoordinatorFile) -> Result<(), Error> {
        let path = self.coordinator();
        let text = serde_json::to_string(file).map_err(|source| Error::Coordinator {
            path: path.clone(),
            source,
        })?;
        write_public(&path, &format!("{text}\n"))
    }

    pub fn read_coordinator(&self) -> Result<CoordinatorFile, Error> {
        let path = self.coordinator();
        let text = read_public(&path)?;
        serde_json::from_str(&text).map_err(|source| Error::Coordinator { path, source })
    }
}

/// Writes a file that only its owner can read, at once or not at all.
pub fn write_secret(path: &Path, secret: &SecretString) -> Result<(), Error> {
    replace(path, secret.expose_secret(), SECRET_MODE).map_err(Error::file("write", path))
}

/// Reads a secret, without the white space around it; refuses one that everybody can read.
pub fn read_secret(path: &Path) -> Result<SecretString, Error> {
    let file = File::open(path).map_err(Error::file("open", path))?;
    let metadata = file.metadata().map_err(Error::file("look at", path))?;
    if metadata.permissions().mode() & OTHERS_READ != 0 {
        return Err(Error::Exposed {
            path: path.to_owned(),
        });
    }
    let text = io::read_to_string(file).map_err(Error::file("read", path))?;
    Ok(SecretString::from(text.trim()))
}

/// Writes a file that anybody may read, at once or not at all.
pub fn write_public(path: &Path, text: &str) -> Result<(), Error> {
    replace(path, text, PUBLIC_MODE).map_err(Error::file("write", path))
}

pub fn read_public(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::file("read", path))
}

fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let unfinished = parent.join(format!(
        ".{}.{}.new",
        name.to_string_lossy(),
        std::process::id()
    ));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_private_even_where_an_open_file_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.key");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_secret(&path, &"new\n".into()).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read_secret(&path).unwrap().expose_secret(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no litter");
    }

    #[test]
    fn a_secret_that_everybody_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.token");
        write_public(&path, "secret").unwrap();
        let error = read_secret(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_missing_secret_is_told_from_an_unreadable_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            read_secret(&folder.path().join("none"))
                .unwrap_err()
                .is_missing()
        );
        assert!(!read_secret(folder.path()).unwrap_err().is_missing());
    }

    #[test]
    fn the_coordinators_address_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::at(folder.path().join("a/b"));
        data.create().unwrap();
        assert_eq!(mode(data.root()), 0o700);
        let file = CoordinatorFile {
            url: "https://127.0.0.1:4433".to_owned(),
        };
        data.write_coordinator(&file).unwrap();
        assert_eq!(data.read_coordinator().unwrap(), file);
        fs::write(data.coordinator(), "{").unwrap();
        let error = data.read_coordinator().unwrap_err();
        assert!(matches!(error, Error::Coordinator { .. }), "{error}");
    }
}
