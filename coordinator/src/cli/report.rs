//! `report`: the report of a run, rendered by the coordinator and written here.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use proto::wire;

use super::connect::{Client, Where};
use super::exit::Failure;
use super::show;

#[derive(clap::Args)]
pub struct Args {
    /// The run: its id, an unambiguous beginning of it, or `latest`
    run: String,
    /// The format; may be given several times
    #[arg(long, value_enum, default_values = ["html"])]
    format: Vec<Format>,
    /// The folder to write into
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Md,
    Html,
    /// A file for each table
    Csv,
    Json,
    /// The tables of csv with types and units, and every sample
    Parquet,
    /// A picture of each chart, for slides
    Svg,
    /// The same in pixels
    Png,
    /// A summary for the terminal
    Txt,
}

impl Format {
    fn as_str(self) -> &'static str {
        match self {
            Self::Md => "md",
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Svg => "svg",
            Self::Png => "png",
            Self::Txt => "txt",
        }
    }
}

pub async fn report(args: Args) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    for format in args.format {
        for path in write(&mut client, &args.run, format, &args.out).await? {
            show::line(path.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches one format and writes its files, each whole or not at all.
pub async fn write(
    client: &mut Client,
    run: &str,
    format: Format,
    out: &Path,
) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    for (name, bytes) in fetch(client, run, format).await? {
        // The coordinator names the files; a name must not leave the folder.
        let name = Path::new(&name)
            .file_name()
            .ok_or_else(|| Failure::Broke(format!("the report's file name `{name}` is none")))?;
        std::fs::create_dir_all(out)
            .map_err(|error| Failure::Broke(format!("cannot make {}: {error}", out.display())))?;
        let path = out.join(name);
        let temporary = path.with_extension("part");
        File::create(&temporary)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| Failure::Broke(format!("cannot write {}: {error}", path.display())))?;
        written.push(path);
    }
    Ok(written)
}

/// The files of one format, by name.
pub async fn fetch(
    client: &mut Client,
    run: &str,
    format: Format,
) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let request = wire::RenderReportRequest {
        run: run.to_owned(),
        format: format.as_str().to_owned(),
    };
    files(client.render_report(request).await?.into_inner()).await
}

/// Puts together what came in pieces.
pub async fn files(
    mut stream: tonic::Streaming<wire::ReportChunk>,
) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some(wire::ReportChunk { file_name, data }) = stream.message().await? {
        match files.last_mut() {
            Some((name, bytes)) if *name == file_name => bytes.extend(data),
            _ => files.push((file_name, data)),
        }
    }
    Ok(files)
}
