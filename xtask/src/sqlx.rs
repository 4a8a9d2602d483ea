//! `cargo xtask sqlx`: checks every `query!` against a real server and writes what the compiler needs to
//! do so without one (`.sqlx`, committed). sqlx's own command line tool does the same for one database
//! that the user brings; here it is a private one, with our migrations and views, gone afterwards.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use private_postgres::{Options, Server};
use serde::Deserialize;
use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::repo;

const CACHE: &str = ".sqlx";

#[derive(clap::Args)]
#[command(about = "Check every SQL query against a private Postgres and refresh .sqlx")]
pub struct Args {
    /// Change nothing; fail when the committed files are stale
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Result<()> {
    // The server's own account has to enter it.
    let scratch = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .context("cannot make a folder for the private Postgres")?;
    let mut options = Options::new(scratch.path().join("data"));
    options.fallback_dir = scratch.path().join("cluster");
    let server = Server::start(&options)?;
    let url = server.url("postgres");
    build_schema(&url)?;

    let fresh_folder = scratch.path().join("queries");
    std::fs::create_dir(&fresh_folder)?;
    check_queries(&url, &fresh_folder)?;
    drop(server);

    let fresh = read_folder(&fresh_folder)?;
    let cache = repo::root().join(CACHE);
    let committed = read_folder(&cache)?;
    if !args.check {
        return write(&fresh, &committed, &cache);
    }
    let stale = stale(&fresh, &committed);
    if stale.is_empty() {
        println!("sqlx: {} queries, all fresh", fresh.len());
        return Ok(());
    }
    bail!(
        "stale in {CACHE}: {}; run `cargo xtask sqlx`",
        stale.join(", ")
    )
}

/// Migrations and views, as the coordinator applies them at its start.
fn build_schema(url: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        let migrations = repo::root().join("coordinator/migrations");
        Migrator::new(migrations)
            .await?
            .run_direct(None, &mut connection, false)
            .await?;
        for view in repo::files_with_extension(&repo::root().join("coordinator/views"), "sql")? {
            let text = std::fs::read_to_string(&view)?;
            // Our own file, not a user's words.
            sqlx::raw_sql(AssertSqlSafe(text))
                .execute(&mut connection)
                .await
                .with_context(|| format!("{} is refused", view.display()))?;
        }
        connection.close().await?;
        Ok(())
    })
}

/// Compiles what holds queries against the live server; sqlx's macros write one file per query.
fn check_queries(url: &str, folder: &Path) -> Result<()> {
    let packages = packages_with_queries()?;
    // A macro runs only when its file is compiled again.
    let _touched = packages
        .iter()
        .flat_map(|package| &package.targets)
        .map(|target| Touched::touch(&target.src_path))
        .collect::<Result<Vec<_>>>()?;
    let mut cargo = Command::new("cargo");
    cargo.args(["check", "--quiet", "--all-targets"]);
    for package in &packages {
        cargo.args(["--package", &package.name]);
    }
    let status = cargo
        .current_dir(repo::root())
        .env("DATABASE_URL", url)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", folder)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("some queries do not fit the schema, or the code around them does not compile");
    }
    Ok(())
}

/// A file that looks just changed until this is dropped. The old time comes back, so that other builds
/// of the same target folder see nothing.
struct Touched {
    file: File,
    before: SystemTime,
}

impl Touched {
    fn touch(path: &Path) -> Result<Self> {
        let describe = || format!("cannot touch {}", path.display());
        let file = File::options()
            .append(true)
            .open(path)
            .with_context(describe)?;
        let before = file.metadata()?.modified()?;
        file.set_modified(SystemTime::now())
            .with_context(describe)?;
        Ok(Self { file, before })
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        // Failing costs the next build a few seconds.
        let _ = self.file.set_modified(self.before);
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

#[derive(Deserialize)]
struct Target {
    src_path: PathBuf,
}

fn packages_with_queries() -> Result<Vec<Package>> {
    let metadata: Metadata = serde_json::from_str(&repo::metadata()?)?;
    let uses_sqlx = |package: &Package| package.dependencies.iter().any(|d| d.name == "sqlx");
    let packages = metadata.packages.into_iter();
    Ok(packages
        .filter(|package| package.name != "xtask" && uses_sqlx(package))
        .collect())
}

/// File name to what it holds.
type Queries = BTreeMap<String, Value>;

fn read_folder(folder: &Path) -> Result<Queries> {
    if !folder.is_dir() {
        return Ok(Queries::new());
    }
    repo::files_with_extension(folder, "json")?
        .iter()
        .map(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = std::fs::read(path)?;
            let value = serde_json::from_slice(&text)
                .with_context(|| format!("{} is not JSON", path.display()))?;
            Ok((name, value))
        })
        .collect()
}

fn stale(fresh: &Queries, committed: &Queries) -> Vec<String> {
    let names = fresh
        .keys()
        .chain(committed.keys().filter(|name| !fresh.contains_key(*name)));
    names
        .filter(|name| fresh.get(*name) != committed.get(*name))
        .map(|name| {
            let query = fresh
                .get(name)
                .or_else(|| committed.get(name))
                .map(|value| &value["query"]);
            let words = query
                .and_then(Value::as_str)
                .unwrap_or_default()
                .split_whitespace();
            format!("{name} ({}…)", words.take(6).collect::<Vec<_>>().join(" "))
        })
        .collect()
}

fn write(fresh: &Queries, committed: &Queries, cache: &Path) -> Result<()> {
    std::fs::create_dir_all(cache).with_context(|| format!("cannot make {CACHE}"))?;
    for gone in committed.keys().filter(|name| !fresh.contains_key(*name)) {
        std::fs::remove_file(cache.join(gone))?;
    }
    let changed = fresh
        .iter()
        .filter(|(name, value)| committed.get(*name) != Some(*value));
    for (name, value) in changed {
        let text = serde_json::to_string_pretty(value)?;
        std::fs::write(cache.join(name), text + "\n")?;
    }
    println!("sqlx: {} queries in {CACHE}", fresh.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_changed_a_missing_and_a_left_over_query_are_stale() {
        let queries = |list: &[(&str, Value)]| -> Queries {
            list.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect()
        };
        let one = json!({"query": "select 1", "nullable": [false]});
        let other = json!({"query": "select 1", "nullable": [true]});
        let fresh = queries(&[("a.json", one.clone())]);
        assert!(stale(&fresh, &fresh).is_empty());
        assert_eq!(
            stale(&fresh, &queries(&[("a.json", other)])),
            ["a.json (select 1…)"]
        );
        assert_eq!(stale(&fresh, &queries(&[])).len(), 1);
        assert_eq!(
            stale(
                &fresh,
                &queries(&[("a.json", one.clone()), ("b.json", one)])
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_touched_file_gets_its_time_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let time = || file.path().metadata().unwrap().modified().unwrap();
        let past = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        file.as_file().set_modified(past).unwrap();
        let touched = Touched::touch(file.path()).unwrap();
        assert!(time() > past);
        drop(touched);
        assert_eq!(time(), past);
    }
}
