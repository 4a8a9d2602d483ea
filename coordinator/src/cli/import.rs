//! `import`: others' results, as a run of their own.

use std::path::PathBuf;
use std::process::ExitCode;

use domain::import::memory_bytes;
use domain::plan::Problem;
use proto::wire;

use super::connect::Where;
use super::exit::Failure;
use super::{plan, show};

#[derive(clap::Args)]
pub struct Args {
    /// A file of results: CSV as docs/import.md has it, the output of `llama-bench -o json` or jsonl,
    /// what `mlx_lm.benchmark` prints, or what `exo_bench.py --json-out` writes
    file: PathBuf,
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    coordinator: Where,
}

/// What the file itself does not say; a CSV says it all.
#[derive(clap::Args)]
#[command(next_help_heading = "What the file does not say")]
struct Given {
    /// The machine's name; without one, its chip
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// The chip as its system names it, such as "Apple M3 Max"
    #[arg(long)]
    chip: Option<String>,
    /// The chip's GPU cores, by which the gates know what it can do
    #[arg(long, value_name = "COUNT")]
    gpu_cores: Option<u32>,
    /// The machine's memory, such as 128GiB
    #[arg(long, value_parser = memory)]
    memory: Option<u64>,
    /// When it was measured, such as 2025-06-20
    #[arg(long)]
    date: Option<String>,
    /// The version of the tool that measured
    #[arg(long, value_name = "VERSION")]
    engine_version: Option<String>,
    /// The model's name
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Its architecture, such as llama-3.1-8b, by which the gates know its sizes
    #[arg(long, value_name = "NAME")]
    architecture: Option<String>,
    /// bf16, f16 or f32
    #[arg(long)]
    dtype: Option<String>,
    /// How its weights are quantised: none, or such as "affine 4-bit g64"
    #[arg(long)]
    quantisation: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// By the file's content
    Auto,
    Csv,
    ExoBench,
    LlamaBench,
    MlxLm,
}

impl Format {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "",
            Self::Csv => "csv",
            Self::ExoBench => "exo-bench",
            Self::LlamaBench => "llama-bench",
            Self::MlxLm => "mlx-lm",
        }
    }
}

fn memory(text: &str) -> Result<u64, String> {
    memory_bytes(text).ok_or_else(|| format!("`{text}` is no size such as 128GiB"))
}

pub async fn import(args: Args) -> Result<ExitCode, Failure> {
    let Args {
        file,
        format,
        given,
        coordinator,
    } = args;
    let text = plan::read(&file)?;
    let mut client = coordinator.connect().await?;
    let file_name = file.file_name().unwrap_or_default();
    let request = wire::ImportRunRequest {
        text: text.clone(),
        file_name: file_name.to_string_lossy().into_owned(),
        format: format.as_str().to_owned(),
        given: Some(given.into()),
    };
    let wire::ImportRunResponse {
        run_id,
        known,
        source,
        values,
        invalid,
        notes,
        problems,
    } = client.import_run(request).await?.into_inner();
    if !problems.is_empty() {
        let problems: Vec<Problem> = problems.iter().map(plan::problem).collect();
        plan::tell_problems(&file, &text, &problems);
        return Err(Failure::Told);
    }
    if known {
        show::note(format_args!(
            "this file was imported before, as run {run_id}"
        ));
        show::line(run_id)?;
        return Ok(ExitCode::SUCCESS);
    }
    for note in &notes {
        show::note(format_args!("note: {note}"));
    }
    show::note(format_args!(
        "imported {} of {source}; the gates refuse {invalid} of them",
        show::counted(values, ["value", "values"])
    ));
    show::line(run_id)?;
    Ok(ExitCode::SUCCESS)
}

impl From<Given> for wire::ImportGiven {
    fn from(given: Given) -> Self {
        let Given {
            machine,
            chip,
            gpu_cores,
            memory,
            date,
            engine_version,
            model,
            architecture,
            dtype,
            quantisation,
        } = given;
        Self {
            machine: machine.unwrap_or_default(),
            chip: chip.unwrap_or_default(),
            gpu_cores,
            memory_bytes: memory,
            date: date.unwrap_or_default(),
            engine_version: engine_version.unwrap_or_default(),
            model: model.unwrap_or_default(),
            architecture: architecture.unwrap_or_default(),
            dtype: dtype.unwrap_or_default(),
            quantisation: quantisation.unwrap_or_default(),
        }
    }
}
