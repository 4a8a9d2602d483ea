//! `backup` and `restore`: the whole database as one file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use proto::wire;

use super::connect::{Client, Where, data_dir};
use super::exit::Failure;
use super::show;
use crate::server::{self, Restored};

#[derive(clap::Args)]
pub struct BackupArgs {
    /// The file to write; it must not exist. It holds all results and the hashes of tokens, but neither
    /// the authority's key nor any token: keep ca.pem and ca.key of the data folder beside it
    file: PathBuf,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct RestoreArgs {
    /// A file that `mlx-fleet backup` wrote
    file: PathBuf,
    /// The new coordinator's data folder, which must hold no database yet
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// An existing, empty Postgres database instead of a private one
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

pub async fn backup(args: BackupArgs) -> Result<ExitCode, Failure> {
    let BackupArgs { file, coordinator } = args;
    if file.exists() {
        return Err(Failure::Refused(format!(
            "{} exists: name a new file",
            file.display()
        )));
    }
    let mut client = coordinator.connect().await?;
    let mut unfinished = file.clone().into_os_string();
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    let written = write(&mut client, &unfinished).await;
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(failure) => {
            drop(fs::remove_file(&unfinished));
            return Err(failure);
        }
    };
    fs::rename(&unfinished, &file)?;
    show::line(format_args!("wrote {} ({bytes} bytes)", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

async fn write(client: &mut Client, path: &Path) -> Result<u64, Failure> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failure::Broke(format!("cannot write {}: {error}", path.display())))?;
    let mut chunks = client.backup(wire::BackupRequest {}).await?.into_inner();
    let mut bytes = 0;
    while let Some(wire::BackupChunk { data }) = chunks.message().await? {
        file.write_all(&data)?;
        bytes += data.len() as u64;
    }
    file.sync_all()?;
    Ok(bytes)
}

pub async fn restore(args: RestoreArgs) -> Result<ExitCode, Failure> {
    let RestoreArgs {
        file,
        data_dir: dir,
        database_url,
    } = args;
    if let Err(error) = fs::File::open(&file) {
        return Err(Failure::Refused(format!(
            "cannot read {}: {error}",
            file.display()
        )));
    }
    let dir = data_dir(dir.as_deref())?;
    let restored = server::restore(dir.clone(), database_url, &file).await;
    let Restored {
        machines,
        runs,
        samples,
    } = restored.map_err(|error| match error {
        server::Error::NotEmpty | server::Error::Locked(_) => Failure::Refused(error.to_string()),
        error => Failure::chain(&error),
    })?;
    show::line(format_args!(
        "restored {machines} machines, {runs} runs and {samples} samples"
    ))?;
    if !dir.join("ca.key").exists() {
        show::note(format_args!(
            "the authority is not in a backup: put the old ca.pem and ca.key into {} before `mlx-fleet \
             serve`, and machines and tokens go on as before; without them every machine must join anew",
            dir.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}
