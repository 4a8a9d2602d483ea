//! Makes the cluster (PGDATA) once, and reads what is written in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::Stdio;

use rand::CryptoRng;

use crate::account::Account;
use crate::folder::Layout;
use crate::{Error, Installation, Result};

pub(crate) const SUPERUSER: &str = "fleet";

/// Appended to `postgresql.conf` once; a user may edit it there.
const SETTINGS: &str = "
# --- mlx-fleet: a small server beside a measurement
shared_buffers = 64MB
work_mem = 8MB
maintenance_work_mem = 64MB
max_wal_size = 512MB
wal_compression = on
max_connections = 100
jit = off
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
";

/// The major version that made the cluster, `None` when there is none yet.
pub(crate) fn major(layout: &Layout) -> Result<Option<u32>> {
    let path = layout.cluster().join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(Error::Corrupt {
                path,
                what: format!("{text:?}, not a version"),
                mend: "restore the folder from a backup",
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Runs initdb beside the final place, then renames: a start that was killed half-way leaves
/// nothing that looks like a cluster.
pub(crate) fn create(
    layout: &Layout,
    installation: &Installation,
    account: &Account,
    rng: &mut impl CryptoRng,
) -> Result<()> {
    let unfinished = layout.unfinished_cluster();
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(Error::file("remove", &unfinished))?;
    }
    write_password(layout, account, rng)?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&unfinished)
        .map_err(Error::file("make the folder", &unfinished))?;
    account.own(&unfinished)?;

    let program = installation.program("initdb");
    let output = account
        .command(&program)
        .arg("--pgdata")
        .arg(&unfinished)
        .args(["--username", SUPERUSER, "--pwfile"])
        .arg(layout.password())
        .args([
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            // Byte order and English messages on every machine and every version.
            "--no-locale",
            "--data-checksums",
        ])
        .stdin(Stdio::null())
        .output()
        .map_err(Error::file("run", program))?;
    if !output.status.success() {
        return Err(Error::Initdb {
            cluster: unfinished,
            status: output.status,
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    append(&unfinished.join("postgresql.conf"), SETTINGS)?;
    fs::rename(&unfinished, layout.cluster()).map_err(Error::file("rename", &unfinished))?;
    sync(layout.root())
}

pub(crate) fn read_password(layout: &Layout) -> Result<String> {
    let path = layout.password();
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let password = text.trim();
    // It goes into a URL, and initdb reads the same file.
    if password.is_empty() || !password.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Error::Corrupt {
            path,
            what: "not a password of ours".to_owned(),
            mend: "restore the file from a backup",
        });
    }
    Ok(password.to_owned())
}

fn write_password(layout: &Layout, account: &Account, rng: &mut impl CryptoRng) -> Result<()> {
    let path = layout.password();
    let mut bytes = [0_u8; 24];
    rng.fill_bytes(&mut bytes);
    let mut text: String = bytes.into_iter().flat_map(hex_digits).collect();
    text.push('\n');
    replace(&path, &text)?;
    // initdb reads it as that account; we, root, can read it all the same.
    account.own(&path)
}

pub(crate) fn hex_digits(byte: u8) -> [char; 2] {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    [digit(byte >> 4), digit(byte & 0xf)]
}

/// Writes a small file of ours, mode 0600, so that it is there in full or not at all.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let unfinished = path.with_extension("new");
    let write = || -> io::Result<()> {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(Error::file("write", path))?;
    path.parent().map_or(Ok(()), sync)
}

fn append(path: &Path, text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(Error::file("append to", path))
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::file("flush", folder))
}
