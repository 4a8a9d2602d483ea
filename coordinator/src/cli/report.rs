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
    /// The format; several may be given, separated by commas
    #[arg(long, value_delimiter = ',', value_enum, default_values = ["html"])]
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
    for file in fetch(&mut client, &args.run, &args.format).await? {
        show::line(write(&file, &args.out)?.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file by its name.
pub type Named = (String, Vec<u8>);

/// The files of one report, format by format.
pub async fn fetch(
    client: &mut Client,
    run: &str,
    formats: &[Format],
) -> Result<Vec<Named>, Failure> {
    let request = wire::RenderReportRequest {
        run: run.to_owned(),
        formats: formats.iter().map(|f| f.as_str().to_owned()).collect(),
    };
    files(client.render_report(request).await?.into_inner()).await
}

/// Writes a file whole or not at all, and says where.
pub fn write((name, bytes): &Named, out: &Path) -> Result<PathBuf, Failure> {
    // The coordinator names the files; a name must not leave the folder.
    let name = Path::new(name)
        .file_name()
        .ok_or_else(|| Failure::Broke(format!("the report's file name `{name}` is none")))?;
    std::fs::create_dir_all(out)
        .map_err(|error| Failure::Broke(format!("cannot make {}: {error}", out.display())))?;
    let path = out.join(name);
    let temporary = path.with_extension("part");
    File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(|error| Failure::Broke(format!("cannot write {}: {error}", path.display())))?;
    Ok(path)
}

/// Puts together what came in pieces.
pub async fn files(mut stream: tonic::Streaming<wire::ReportChunk>) -> Result<Vec<Named>, Failure> {
    let mut files: Vec<Named> = Vec::new();
    while let Some(wire::ReportChunk { file_name, data }) = stream.message().await? {
        match files.last_mut() {
            Some((name, bytes)) if *name == file_name => bytes.extend(data),
            _ => files.push((file_name, data)),
        }
    }
    Ok(files)
}
