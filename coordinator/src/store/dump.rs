//! The whole of schema `fleet` as one file, written and read by Postgres's own tools.
//!
//! Left out: schema `report`, which a start makes again, and the list of migrations, which sqlx keeps in
//! schema `public`: a setting says what it holds ([`migrate::adopt`](super::migrate::adopt)).

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// Read at once from the tool, and handed on.
const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{program} cannot be started: install Postgres's client programs (`apt install \
         postgresql-client`, `brew install libpq`), of the server's version or a newer one"
    )]
    NoTool { program: String, source: io::Error },
    #[error("{program} cannot be listened to")]
    Pipe { program: String, source: io::Error },
    #[error("{program} ended with {status}: {said}")]
    Failed {
        program: String,
        status: ExitStatus,
        said: String,
    },
    #[error(transparent)]
    Store(#[from] super::Error),
}

/// Postgres's tools, and the database that they are for.
#[derive(Clone)]
pub struct Tools {
    pub url: SecretString,
    /// Where the server's own programs are; None: those that are on the path.
    pub bin: Option<PathBuf>,
}

impl Tools {
    /// Hands the dump over piece by piece, until `take` wants no more.
    pub async fn dump<F>(&self, mut take: impl FnMut(Vec<u8>) -> F) -> Result<(), Error>
    where
        F: Future<Output = bool>,
    {
        let name = "pg_dump";
        let mut command = self.command(name)?;
        command.args([
            "--format=custom",
            "--schema=fleet",
            "--no-owner",
            "--no-acl",
        ]);
        let mut child = spawn(&mut command, name)?;
        let mut out = child.stdout.take();
        let told = async {
            let Some(out) = &mut out else { return Ok(true) };
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = out.read(&mut chunk).await?;
                chunk.truncate(read);
                if read == 0 {
                    return Ok(true);
                }
                if !take(chunk).await {
                    return Ok(false);
                }
            }
        };
        ended(&mut child, name, told).await
    }

    /// Fills an empty database from a file, whole or not at all.
    pub async fn restore(&self, file: &Path) -> Result<(), Error> {
        let name = "pg_restore";
        let mut command = self.command(name)?;
        command
            .args([
                "--no-owner",
                "--no-acl",
                "--exit-on-error",
                "--single-transaction",
            ])
            .arg(format!("--dbname={}", self.database()?))
            .arg(file);
        let mut child = spawn(&mut command, name)?;
        ended(&mut child, name, async { Ok(true) }).await
    }

    /// What names the server is in the environment: arguments can be read by everybody on the machine.
    fn command(&self, name: &str) -> Result<Command, Error> {
        let options = self.options()?;
        let program = match &self.bin {
            Some(bin) => bin.join(name),
            None => PathBuf::from(name),
        };
        let mut command = Command::new(program);
        let host = options.get_socket().map_or_else(
            || options.get_host().into(),
            |socket| socket.clone().into_os_string(),
        );
        let url = options.to_url_lossy();
        let password = percent_decode_str(url.password().unwrap_or_default());
        command
            .env("PGHOST", host)
            .env("PGPORT", options.get_port().to_string())
            .env("PGUSER", options.get_username())
            .env("PGDATABASE", self.database()?)
            .env("PGPASSWORD", &*password.decode_utf8_lossy())
            .env("PGSSLMODE", ssl_mode(options.get_ssl_mode()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    fn database(&self) -> Result<String, Error> {
        let options = self.options()?;
        let name = options.get_database().unwrap_or(options.get_username());
        Ok(name.to_owned())
    }

    fn options(&self) -> Result<PgConnectOptions, Error> {
        let url = self.url.expose_secret().parse();
        Ok(url.map_err(super::Error::Url)?)
    }
}

fn ssl_mode(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

fn spawn(command: &mut Command, name: &str) -> Result<Child, Error> {
    command.spawn().map_err(|source| Error::NoTool {
        program: name.to_owned(),
        source,
    })
}

/// Waits for the tool while its output is read; one that nobody wants to hear is killed when dropped.
async fn ended(
    child: &mut Child,
    name: &str,
    told: impl Future<Output = io::Result<bool>>,
) -> Result<(), Error> {
    let pipe = |source| Error::Pipe {
        program: name.to_owned(),
        source,
    };
    let mut complaints = child.stderr.take();
    let said = async {
        let mut said = String::new();
        if let Some(complaints) = &mut complaints {
            complaints.read_to_string(&mut said).await?;
        }
        Ok(said)
    };
    let (wanted, said) = tokio::try_join!(told, said).map_err(pipe)?;
    if !wanted {
        return Ok(());
    }
    let status = child.wait().await.map_err(pipe)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        program: name.to_owned(),
        status,
        said: said.trim().replace('\n', "; "),
    })
}

/// Whether the database holds nothing of ours.
pub async fn is_empty(url: &SecretString) -> super::Result<bool> {
    let mut connection = super::connect_first(url).await?;
    let empty = sqlx::query_scalar!(
        r#"select to_regnamespace('fleet') is null
               and to_regclass('public._sqlx_migrations') is null as "empty!""#
    )
    .fetch_one(&mut connection)
    .await?;
    Ok(empty)
}

/// What a restored database holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub machines: u64,
    pub runs: u64,
    pub samples: u64,
}

pub async fn held(url: &SecretString) -> super::Result<Held> {
    let mut connection = super::connect_first(url).await?;
    let row = sqlx::query!(
        r#"select (select count(*) from fleet.machine) as "machines!",
               (select count(*) from fleet.run) as "runs!",
               (select count(*) from fleet.sample) as "samples!""#
    )
    .fetch_one(&mut connection)
    .await?;
    Ok(Held {
        machines: row.machines as u64,
        runs: row.runs as u64,
        samples: row.samples as u64,
    })
}
