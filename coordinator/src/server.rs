//! Puts a coordinator together, and takes it apart in the reverse order.
//!
//! ```text
//!   data folder ─▶ Postgres ─▶ schema ─▶ CA, certificate ─▶ tasks ─▶ listening
//!   stopped     ◀─ Postgres ◀─ pool   ◀─────── streams told, tasks ended ◀─ stop
//! ```

mod database;
pub mod monitor;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use service::folders::{self, CoordinatorFile, DataFolder};
use service::hub::Cache;
use service::lifecycle::{Lifecycle, Stop};
use service::tls::{self, Authority};
use service::token::Token;
use time::OffsetDateTime;
use tokio::net::TcpListener;

pub use crate::dashboard::Listen;
use crate::dispatch::tokens::{Purpose, Role};
use crate::dispatch::{self, Dispatch, Parts, housekeeping, ingest, pulse};
use crate::{dashboard, rpc, store};
use database::Database;

/// The folder of models in a data folder.
pub const MODELS: &str = "models";
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7420";
/// How long streams and tasks have to end by themselves.
pub const GRACE: Duration = Duration::from_secs(10);

const POOL_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Config {
    /// Certificates, the operator's token and, without `database_url`, the database. Coordinators of one
    /// database need the same authority: start the second with copies of `ca.pem` and `ca.key`.
    pub data_dir: PathBuf,
    pub database_url: Option<String>,
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Further names and addresses that the server's certificate is good for.
    pub host_names: Vec<String>,
    /// Whether a machine that enrols waits until an operator lets it in.
    pub approve_machines: bool,
    /// Where monitoring systems ask; None: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where browsers of this machine ask, on loopback.
    pub dashboard_listen: Listen,
    /// Where the release archives lie that new machines download; None: `releases` in the data folder.
    pub releases: Option<PathBuf>,
    /// Where the models lie that machines get from here; None: `models` in the data folder.
    pub models: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Folder(#[from] folders::Error),
    #[error("{path} is in use by another coordinator: stop that one, or use another data folder", path = .0.display())]
    Locked(PathBuf),
    #[error("cannot lock {path}", path = path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Postgres(#[from] private_postgres::Error),
    #[error("the database cannot be used")]
    Store(#[from] store::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("cannot listen on {listen}")]
    Listen {
        listen: SocketAddr,
        source: io::Error,
    },
    #[error("cannot serve")]
    Serve(#[from] tonic::transport::Error),
    #[error(
        "the database holds a fleet already: restore into an empty data folder, or an empty database"
    )]
    NotEmpty,
    #[error("the backup cannot be restored")]
    Restore(#[from] store::dump::Error),
    #[error("the first operator's token cannot be made")]
    Token(#[from] dispatch::Error),
}

pub struct Coordinator;

/// A coordinator that listens.
pub struct Running {
    url: String,
    metrics: Option<SocketAddr>,
    dashboard: Option<SocketAddr>,
    folder: DataFolder,
    pool: store::Pool,
    database: Database,
    _lock: File,
}

impl Coordinator {
    /// Returns when it listens. Its tasks are the lifecycle's; when that has ended, call
    /// [`Running::finish`].
    pub async fn start(config: Config, lifecycle: &Lifecycle) -> Result<Running, Error> {
        let Config {
            data_dir,
            database_url,
            listen,
            host_names,
            approve_machines,
            metrics_listen,
            dashboard_listen,
            releases,
            models,
        } = config;
        let folder = DataFolder::at(data_dir);
        folder.create()?;
        let lock = lock(&folder)?;
        let database = Database::open(&folder, database_url.map(SecretString::from)).await?;
        let url = database.url();
        store::migrate::migrate(url).await?;
        let pool = store::connect(url)?;
        let reader = reader(&pool, url).await?;

        let now = OffsetDateTime::now_utc();
        let authority = Arc::new(Authority::open(&folder, now)?);
        let names = tls::server_names(listen, &host_names);
        let identity = authority.open_server(&folder, &names, now)?;
        let (listener, address) = bind(listen).await?;
        let monitor = bind_if_wished(metrics_listen).await?;
        let browsers = bind_dashboard(dashboard_listen, listen).await?;

        let url = url_of(address, &names);
        let tls = tls::server_config(&identity, authority.certificate());
        let parts = Parts {
            pool: pool.clone(),
            reader,
            tools: database.tools(),
            authority,
            approve_machines,
        };
        let (dispatch, queue, beats) = Dispatch::new(parts);
        operator_token(&folder, &dispatch).await?;
        housekeep(lifecycle, &dispatch, &pool, &database, queue, beats);
        let mut metrics = None;
        if let Some((listener, address)) = monitor {
            let monitor = monitor::serve(dispatch.clone(), listener, lifecycle.stop_handle());
            lifecycle.spawn("monitor", monitor);
            metrics = Some(address);
        }
        let releases = releases.unwrap_or_else(|| folder.root().join("releases"));
        let mut dashboard = None;
        if let Some((listener, address)) = browsers {
            let parts = dashboard::Parts {
                dispatch: dispatch.clone(),
                url: url.clone(),
                releases: releases.clone(),
                stop: lifecycle.stop_handle(),
                tasks: lifecycle.tracker(),
            };
            let pages = dashboard::serve(parts, listener);
            lifecycle.spawn("dashboard", pages);
            dashboard = Some(address);
        }
        let offers = rpc::Offers {
            releases,
            models: Cache::at(models.unwrap_or_else(|| folder.root().join(MODELS))),
        };
        serve(lifecycle, dispatch, listener, tls, offers)?;

        folder.write_coordinator(&CoordinatorFile { url: url.clone() })?;
        tracing::info!(url, folder = %folder.root().display(), "listening");
        Ok(Running {
            url,
            metrics,
            dashboard,
            folder,
            pool,
            database,
            _lock: lock,
        })
    }
}

/// What a backup brought.
pub struct Restored {
    pub machines: u64,
    pub runs: u64,
    pub samples: u64,
}

/// Fills an empty database from a backup and brings it up to date; nobody serves it meanwhile.
pub async fn restore(
    data_dir: PathBuf,
    database_url: Option<String>,
    file: &Path,
) -> Result<Restored, Error> {
    let folder = DataFolder::at(data_dir);
    folder.create()?;
    let _lock = lock(&folder)?;
    let database = Database::open(&folder, database_url.map(SecretString::from)).await?;
    let url = database.url();
    if !store::dump::is_empty(url).await? {
        return Err(Error::NotEmpty);
    }
    database.tools().restore(file).await?;
    store::migrate::adopt(url).await?;
    let store::dump::Held {
        machines,
        runs,
        samples,
    } = store::dump::held(url).await?;
    database.close().await?;
    Ok(Restored {
        machines,
        runs,
        samples,
    })
}

async fn bind_if_wished(
    listen: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, Error> {
    match listen {
        Some(listen) => Ok(Some(bind(listen).await?)),
        None => Ok(None),
    }
}

/// A port that nobody asked for is no reason to fail.
async fn bind_dashboard(
    wished: Listen,
    coordinator: SocketAddr,
) -> Result<Option<(TcpListener, SocketAddr)>, Error> {
    match wished {
        Listen::Off => Ok(None),
        Listen::At(address) => bind(address).await.map(Some),
        Listen::Beside => match bind(dashboard::beside(coordinator)).await {
            Ok(bound) => Ok(Some(bound)),
            Err(error) => {
                let error = dispatch::chain(&error);
                tracing::warn!(
                    error,
                    "there is no dashboard: give it a port by --dashboard-listen"
                );
                Ok(None)
            }
        },
    }
}

async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

impl Running {
    /// Where monitoring systems may ask.
    pub fn metrics_url(&self) -> Option<String> {
        Some(format!("http://{}/metrics", self.metrics?))
    }

    /// Where browsers of this machine may ask.
    pub fn dashboard_url(&self) -> Option<String> {
        Some(format!("http://{}", self.dashboard?))
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// After the lifecycle's end: the connections, and last the private Postgres.
    pub async fn finish(self) -> Result<(), Error> {
        let Self {
            url: _,
            metrics: _,
            dashboard: _,
            folder,
            pool,
            database,
            _lock,
        } = self;
        // Who finds it missing knows that nobody listens.
        drop(std::fs::remove_file(folder.coordinator()));
        if tokio::time::timeout(POOL_CLOSE_TIMEOUT, pool.close())
            .await
            .is_err()
        {
            tracing::warn!("connections to the database were still in use");
        }
        database.close().await
    }
}

/// One coordinator per data folder; the kernel gives the lock back when its owner dies.
fn lock(folder: &DataFolder) -> Result<File, Error> {
    let path = folder.root().join("coordinator.lock");
    let failed = |source| Error::Lock {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(folder.root().to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// SQL for everybody is a convenience: a database whose user may not make logins serves all else.
async fn reader(
    pool: &store::Pool,
    url: &SecretString,
) -> Result<Option<store::reader::Reader>, Error> {
    match store::reader::prepare(pool, url, &dispatch::random_password()).await {
        Ok(reader) => Ok(Some(reader)),
        Err(error) if error.lacks_privilege() => {
            tracing::warn!(
                "`mlx-fleet sql` is off: this database's user may not make logins (CREATEROLE)"
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The token of whoever owns the data folder, made on the first start, and again when the database or the
/// authority is another one.
async fn operator_token(folder: &DataFolder, dispatch: &Dispatch) -> Result<(), Error> {
    let path = folder.operator_token();
    match folders::read_secret(&path) {
        Ok(text) => {
            if let Ok(token) = text.expose_secret().parse::<Token>()
                && let Ok(caller) = dispatch.caller(&token).await
                && caller.role == Role::Admin
            {
                if dispatch.is_ours(&token) {
                    return Ok(());
                }
                // Somebody took the old authority away from this folder.
                dispatch.renounce().await?;
            }
        }
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error.into()),
    }
    let purpose = Purpose::Command(Role::Admin);
    let token = dispatch
        .create_token(purpose, Duration::ZERO, 0, "data folder", "")
        .await?;
    folders::write_secret(&path, &SecretString::from(token.expose().as_str()))?;
    tracing::info!(path = %path.display(), "made the operator's token");
    Ok(())
}

fn housekeep(
    lifecycle: &Lifecycle,
    dispatch: &Dispatch,
    pool: &store::Pool,
    database: &Database,
    queue: ingest::Queue,
    beats: pulse::Beats,
) {
    let stop = || lifecycle.stop_handle();
    lifecycle.spawn(
        "reaper",
        housekeeping::reap(dispatch.clone(), database.mend(), stop()),
    );
    lifecycle.spawn(
        "scheduler",
        housekeeping::schedule(dispatch.clone(), stop()),
    );
    let listen = housekeeping::listen(dispatch.clone(), pool.clone(), stop());
    lifecycle.spawn("listener", listen);
    let ingest = ingest::work(pool.clone(), Arc::clone(dispatch.counts()), queue);
    lifecycle.spawn("ingest", until_hard(ingest, stop()));
    let heartbeats = pulse::work(pool.clone(), beats);
    lifecycle.spawn("heartbeats", until_hard(heartbeats, stop()));
}

/// Work that ends by itself when the last session has, and must not be waited for any longer then.
async fn until_hard(work: impl Future<Output = ()>, stop: Stop) {
    tokio::select! {
        () = work => {}
        () = stop.hard() => {}
    }
}

fn serve(
    lifecycle: &Lifecycle,
    dispatch: Dispatch,
    listener: TcpListener,
    tls: tonic::transport::ServerTlsConfig,
    offers: rpc::Offers,
) -> Result<(), Error> {
    let stop: Stop = lifecycle.stop_handle();
    let context = rpc::Context {
        dispatch,
        stop: stop.clone(),
        tasks: lifecycle.tracker(),
    };
    let routes = rpc::routes(&context, offers);
    drop(context);
    let router = tls::server().tls_config(tls)?.add_routes(routes);
    let incoming = tls::accept(listener);
    lifecycle.spawn("server", async move {
        let soft = stop.clone();
        let ended = tokio::select! {
            ended = router.serve_with_incoming_shutdown(incoming, async move { soft.soft().await }) => ended,
            // Connections that do not end by themselves are dropped.
            () = stop.hard() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the server ended");
            stop.stop();
        }
    });
    Ok(())
}

/// How others reach this address; one that stands for all of them is named by the first that others can
/// use.
fn url_of(address: SocketAddr, names: &BTreeSet<String>) -> String {
    if !address.ip().is_unspecified() {
        return format!("https://{address}");
    }
    let outward = names
        .iter()
        .filter_map(|name| name.parse::<IpAddr>().ok())
        .find(|ip| !ip.is_loopback())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    format!("https://{}", SocketAddr::new(outward, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_on_every_address_is_named_by_one_that_others_can_use() {
        let names = ["127.0.0.1", "::1", "192.0.2.7", "mini"]
            .map(str::to_owned)
            .into();
        let url = |address: &str| url_of(address.parse().unwrap(), &names);
        assert_eq!(url("127.0.0.1:7420"), "https://127.0.0.1:7420");
        assert_eq!(url("0.0.0.0:7420"), "https://192.0.2.7:7420");
        assert_eq!(url("[::1]:1"), "https://[::1]:1");
    }
}
