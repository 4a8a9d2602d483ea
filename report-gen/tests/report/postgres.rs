//! A private Postgres with our migrations and views and the seeded fleet of `fixtures/make.py`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use domain::chip;
use domain::llama_cpp;
use domain::metric::Metric;
use domain::reason::Reason;
use private_postgres::{Options, Server};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

pub struct Database {
    server: Server,
    // Dropped after the server, which lives in it.
    _folder: tempfile::TempDir,
}

impl Database {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            // The server's own account has to enter it.
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let mut options = Options::new(folder.path().join("data"));
        options.fallback_dir = folder.path().join("cluster");
        Self {
            server: Server::start(&options).unwrap(),
            _folder: folder,
        }
    }

    pub fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    /// A new database with tables, views and the fleet.
    pub async fn with_fleet(&self, name: &str) -> PgConnection {
        let mut connection = self.with_schema(name).await;
        load_fleet(&mut connection).await;
        connection
    }

    /// A new database with tables and views.
    pub async fn with_schema(&self, name: &str) -> PgConnection {
        let mut connection = self.empty(name).await;
        let migrations = Migrator::new(repository("coordinator/migrations"))
            .await
            .unwrap();
        migrations
            .run_direct(None, &mut connection, false)
            .await
            .unwrap();
        build_views(&mut connection).await;
        write_vocabulary(&mut connection).await;
        write_published(&mut connection).await;
        connection
    }

    async fn empty(&self, name: &str) -> PgConnection {
        let mut server = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let create = format!("create database {name}");
        server.execute(AssertSqlSafe(create)).await.unwrap();
        PgConnection::connect(&self.url(name)).await.unwrap()
    }

    /// Connections that may do what a reader may, and no more.
    pub async fn reader(&self, name: &str) -> PgPool {
        PgPoolOptions::new()
            .max_connections(2)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("set role report_reader").await?;
                    Ok(())
                })
            })
            .connect(&self.url(name))
            .await
            .unwrap()
    }
}

async fn load_fleet(connection: &mut PgConnection) {
    let fleet = read(&repository("report-gen/tests/fixtures/fleet.sql"));
    sqlx::raw_sql(AssertSqlSafe(fleet))
        .execute(&mut *connection)
        .await
        .unwrap();
    connection.execute("analyze").await.unwrap();
}

/// The view files in order, each in one transaction, as the coordinator does at its start.
pub async fn build_views(connection: &mut PgConnection) {
    let mut files: Vec<PathBuf> = fs::read_dir(repository("coordinator/views"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    files.sort();
    for file in files {
        let mut transaction = connection.begin().await.unwrap();
        let built = sqlx::raw_sql(AssertSqlSafe(read(&file)))
            .execute(&mut *transaction)
            .await;
        built.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        transaction.commit().await.unwrap();
    }
}

/// The domain's words and chips, as the coordinator writes them at its start.
async fn write_vocabulary(connection: &mut PgConnection) {
    for metric in Metric::ALL {
        sqlx::query("insert into fleet.metric values ($1, $2, $3, $4)")
            .bind(metric.name())
            .bind(metric.unit())
            .bind(metric.direction().as_str())
            .bind(metric.description())
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    for reason in Reason::ALL {
        sqlx::query("insert into fleet.reason values ($1, $2, $3)")
            .bind(reason.code())
            .bind(reason.severity().as_str())
            .bind(reason.description())
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    for (name, cores, spec) in chip::answers() {
        sqlx::query("insert into fleet.chip values ($1, $2, $3, $4, $5, $6, $7)")
            .bind(name)
            .bind(cores.map(|cores| cores as i32))
            .bind(spec.bandwidth_gbps)
            .bind(spec.bandwidth_source)
            .bind(spec.fp32_tflops)
            .bind(spec.fp32_kind)
            .bind(spec.peak_tflops())
            .execute(&mut *connection)
            .await
            .unwrap();
    }
}

/// What others have published, likewise: a table that came with a migration of its own.
async fn write_published(connection: &mut PgConnection) {
    for it in llama_cpp::published() {
        sqlx::query(
            "insert into fleet.reference_result
             values ('llama.cpp', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(llama_cpp::SOURCE)
        .bind(it.chip)
        .bind(it.gpu_cores as i32)
        .bind(llama_cpp::MODEL)
        .bind(llama_cpp::PARAMETERS as i64)
        .bind(it.precision.as_str())
        .bind(it.precision.bytes() as i64)
        .bind(it.suite.to_string())
        .bind(it.case_key)
        .bind(it.metric.name())
        .bind(it.value)
        .execute(&mut *connection)
        .await
        .unwrap();
    }
}

pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(path)
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
