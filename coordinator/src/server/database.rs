//! Where the database comes from: a URL that was given, or a private server in the data folder.

use std::sync::{Arc, Mutex, PoisonError};

use private_postgres::{Options, Server};
use secrecy::SecretString;
use service::folders::DataFolder;

use super::Error;
use crate::dispatch::housekeeping::Mend;
use crate::store;
use crate::store::dump::Tools;

const NAME: &str = "mlx_fleet";

pub struct Database {
    url: SecretString,
    /// None once closed, or when the server is somebody else's.
    private: Arc<Mutex<Option<Server>>>,
}

impl Database {
    pub async fn open(folder: &DataFolder, url: Option<SecretString>) -> Result<Self, Error> {
        if let Some(url) = url {
            let private = Arc::default();
            return Ok(Self { url, private });
        }
        let options = Options::new(folder.root());
        let server = blocking(move || Server::start(&options)).await?;
        store::create_database(&SecretString::from(server.url("postgres")), NAME).await?;
        Ok(Self {
            url: SecretString::from(server.url(NAME)),
            private: Arc::new(Mutex::new(Some(server))),
        })
    }

    pub fn url(&self) -> &SecretString {
        &self.url
    }

    pub fn tools(&self) -> Tools {
        let private = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        let bin = private
            .as_ref()
            .map(|server| server.installation().bin().to_owned());
        Tools {
            url: self.url.clone(),
            bin,
        }
    }

    /// Starts a private server again that was killed; somebody else's is theirs to mend.
    pub fn mend(&self) -> Mend {
        let private = Arc::clone(&self.private);
        Arc::new(move || {
            let mut server = private.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(server) = server.as_mut()
                && let Err(error) = server.ensure_running()
            {
                tracing::error!(%error, "postgres does not start");
            }
        })
    }

    pub async fn close(self) -> Result<(), Error> {
        let server = self
            .private
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match server {
            Some(mut server) => Ok(blocking(move || server.stop()).await?),
            None => Ok(()),
        }
    }
}

/// The private server's own functions wait for processes.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> private_postgres::Result<T> + Send + 'static,
) -> private_postgres::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
