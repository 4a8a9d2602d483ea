//! A Postgres and a coordinator of the release build, and what each of them takes.

use std::fs::File;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use private_postgres::Options;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use super::operator::Operator;
use crate::{coordinator, process};

pub struct World {
    coordinator: Child,
    pub url: String,
    pub database_url: String,
    postgres: private_postgres::Server,
    // Dropped after the server, which lives in it.
    pub folder: TempDir,
}

/// What processes took in a while.
#[derive(Clone, Copy, Default)]
pub struct Load {
    /// Of one core.
    pub coordinator: f64,
    pub postgres: f64,
    pub agents: f64,
    /// Of the coordinator: its pages, those that it shares in proportion.
    pub pss_mb: f64,
}

impl World {
    pub fn start() -> Result<Self> {
        let folder = coordinator::folder()?;
        let mut options = Options::new(folder.path().join("postgres"));
        options.fallback_dir = folder.path().join("cluster");
        let postgres = private_postgres::Server::start(&options)?;
        let database_url = postgres.url("postgres");
        let (coordinator, url) = serve(&folder, &database_url, "127.0.0.1:0")?;
        Ok(Self {
            coordinator,
            url,
            database_url,
            postgres,
            folder,
        })
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("coordinator")
    }

    pub async fn operator(&self) -> Result<Operator> {
        Operator::connect(&self.data_dir(), &self.url).await
    }

    pub async fn database(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.database_url).await?)
    }

    /// Without a word, as a machine loses power, and at once again at the same address; when that was.
    pub fn crash_and_restart(&mut self) -> Result<Instant> {
        self.coordinator.kill()?;
        self.coordinator.wait()?;
        let began = Instant::now();
        let address = self.url.trim_start_matches("https://").to_owned();
        (self.coordinator, self.url) = serve(&self.folder, &self.database_url, &address)?;
        Ok(began)
    }

    /// Looks for so long, while whoever else works does.
    pub async fn load(&self, agents: u32, time: Duration) -> Result<Load> {
        let postmaster = u32::try_from(self.postgres.pid().context("Postgres has ended")?)?;
        let look = || -> Result<[f64; 3]> {
            let mut postgres = process::cpu_seconds(postmaster)?;
            for backend in process::children(postmaster)? {
                // A backend may end between the two looks.
                postgres += process::cpu_seconds(backend).unwrap_or_default();
            }
            let coordinator = process::cpu_seconds(self.coordinator.id())?;
            Ok([coordinator, postgres, process::cpu_seconds(agents)?])
        };
        let (before, began) = (look()?, Instant::now());
        tokio::time::sleep(time).await;
        let (after, seconds) = (look()?, began.elapsed().as_secs_f64());
        let [coordinator, postgres, agents] =
            [0, 1, 2].map(|part| (after[part] - before[part]) / seconds);
        Ok(Load {
            coordinator,
            postgres,
            agents,
            pss_mb: self.pss_mb()?,
        })
    }

    pub fn pss_mb(&self) -> Result<f64> {
        process::pss_mb(self.coordinator.id())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        process::terminate(self.coordinator.id()).ok();
        self.coordinator.wait().ok();
    }
}

fn serve(folder: &TempDir, database_url: &str, listen: &str) -> Result<(Child, String)> {
    let log = folder.path().join("coordinator.log");
    let file = File::options().create(true).append(true).open(&log)?;
    let mut coordinator = coordinator::command_at(listen, &folder.path().join("coordinator"))?
        .args(["--log", "warn"])
        .env("DATABASE_URL", database_url)
        .stderr(file)
        .spawn()
        .context("cannot start the coordinator")?;
    let url = coordinator::url(&mut coordinator)?;
    let why = || std::fs::read_to_string(&log).unwrap_or_default();
    let url = url.with_context(|| format!("the coordinator did not come up: {}", why()))?;
    Ok((coordinator, url))
}
