//! `report-gen`: a run's report without a coordinator, straight from its database.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use report_gen::{Format, PgPool, RunChoice};

/// Write the report of a run
#[derive(Parser)]
#[command(version)]
struct Args {
    /// `latest`, a run's id, or the beginning of one
    #[arg(default_value = "latest")]
    run: RunChoice,
    /// Where the results are; a user of the role report_reader is enough
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// md, html, csv, json, parquet, svg, png or txt; several may be given, separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "html",
        value_name = "FORMAT"
    )]
    format: Vec<Format>,
    /// Folder to write into; it is made when it is missing
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let pool = PgPool::connect(&args.database_url)
        .await
        .context("cannot connect to the database; see --database-url")?;
    let files = report_gen::render_run(&pool, args.run, &args.format).await?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    for file in files {
        let path = args.out.join(&file.name);
        std::fs::write(&path, &file.bytes)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
