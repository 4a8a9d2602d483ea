//! `bench engine`: prefill, decode, batch, training step and host time per token against mlx-lm, on the
//! same checkpoint, machine, MLX and BLAS.
//!
//! A round starts fresh processes of each, in an order that alternates; each takes the median of
//! its iterations; a ratio is paired by round. The peer is timed as `mlx_lm.benchmark` times itself
//! (`engine/peer.py`), ours by its own worker, through the frames that an agent reads.

mod ours;
mod peer;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use domain::model::{Dtype, ModelRef, ModelSource};

use self::ours::Ours;
use self::peer::Peer;
use super::Row;
use crate::repo;

/// Passes of which a process takes the median.
const ITERATIONS: u32 = 5;

#[derive(clap::Args)]
#[command(about = "Prefill, decode, batch, training and host time per token against mlx-lm")]
pub struct Args {
    /// Fresh processes of each side for each model
    #[arg(long, default_value_t = 6)]
    rounds: u32,
    /// Models of the catalogue, by default a tiny, a small and a 0.5B-class one
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    models: Vec<String>,
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// Tokens of a prompt; by default 256 for the tiniest models, else 64
    #[arg(long, value_name = "TOKENS")]
    prompt: Option<u64>,
    /// Tokens to decode after it; by default 64 for the tiniest models, else 16
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(2..))]
    new: Option<u64>,
    /// Examples of a training step, and sequences at once
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    batch: u64,
    /// Tokens of an example
    #[arg(long, value_name = "TOKENS", default_value_t = 64)]
    example: u64,
    /// What to time, by default all
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    parts: Vec<Part>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// What is timed together, in one process of the peer.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Inference,
    Batch,
    Training,
}

impl Part {
    const ALL: [Self; 3] = [Self::Inference, Self::Batch, Self::Training];

    fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Batch => "batch",
            Self::Training => "training",
        }
    }
}

/// Enough to time, little enough to end.
#[derive(Clone, Copy)]
struct Work {
    prompt: u64,
    new: u64,
    /// Sequences at once, and examples of a training step.
    batch: u64,
    /// Positions of an example.
    example: u64,
}

impl Work {
    fn of(model: &str, args: &Args) -> Self {
        let (prompt, new) = if model.starts_with("nano") {
            (256, 64)
        } else {
            (64, 16)
        };
        Self {
            prompt: args.prompt.unwrap_or(prompt),
            new: args.new.unwrap_or(new),
            batch: args.batch,
            example: args.example,
        }
    }
}

/// Medians of one round on one side, by name.
type Figures = BTreeMap<&'static str, f64>;

/// What each part gives: the key of both sides' figures, its unit and its words.
fn rows_of(part: Part, work: Work) -> Vec<(&'static str, &'static str, String)> {
    let Work {
        prompt,
        new,
        batch,
        example,
    } = work;
    match part {
        Part::Inference => vec![
            ("prompt_tps", "tok/s", format!("prefill {prompt}")),
            (
                "generation_tps",
                "tok/s",
                format!("decode {new} after {prompt}"),
            ),
            ("build_us", "µs", "host time to build a step".to_owned()),
            ("host_us", "µs", "… and hand it to MLX".to_owned()),
        ],
        Part::Batch => vec![
            (
                "batch_ttft_ms",
                "ms",
                format!("{batch} at once: {prompt} tokens to the first"),
            ),
            (
                "batch_tps",
                "tok/s",
                format!("{batch} at once: decode {new} after {prompt}"),
            ),
        ],
        Part::Training => vec![
            (
                "full_ms",
                "ms",
                format!("training step, {batch} × {example}"),
            ),
            ("lora_ms", "ms", format!("LoRA step, {batch} × {example}")),
        ],
    }
}

pub fn run(args: &Args) -> Result<()> {
    let dtype: Dtype = args.dtype.parse()?;
    let peer = Peer::find()?;
    repo::output_of(
        "cargo",
        &["build", "--release", "--package", "suites", "--locked"],
    )?;
    let ours = Ours::new()?;
    let default = ["nano-llama", "mini-llama", "qwen2.5-0.5b"]
        .map(str::to_owned)
        .to_vec();
    let models = if args.models.is_empty() {
        &default
    } else {
        &args.models
    };
    let parts = if args.parts.is_empty() {
        &Part::ALL[..]
    } else {
        &args.parts
    };
    let mut rows = Vec::new();
    for name in models {
        let source: ModelSource = format!("synthetic:{name}").parse()?;
        let model = ModelRef {
            source,
            dtype: Some(dtype),
        };
        let folder = ours.folder(&model)?;
        let work = Work::of(name, args);
        for &part in parts {
            let (mut mine, mut theirs) = (Vec::new(), Vec::new());
            for round in 0..args.rounds {
                let part_name = part.as_str();
                eprintln!(
                    "{name} {dtype} {part_name}: round {} of {}",
                    round + 1,
                    args.rounds
                );
                if round % 2 == 0 {
                    mine.push(ours.measure(&model, part, work)?);
                }
                theirs.push(peer.measure(&folder, part, work)?);
                if round % 2 == 1 {
                    mine.push(ours.measure(&model, part, work)?);
                }
            }
            for (key, unit, words) in rows_of(part, work) {
                let mine = column(&mine, key)?;
                let theirs = column(&theirs, key)?;
                let name = format!("{name} {dtype}: {words}");
                rows.extend(Row::paired(name, unit, &mine, &theirs));
            }
        }
    }
    super::print(&rows, args.json)
}

fn column(rounds: &[Figures], key: &str) -> Result<Vec<f64>> {
    let figure = |figures: &Figures| figures.get(key).copied();
    let values: Option<Vec<f64>> = rounds.iter().map(figure).collect();
    values.with_context(|| format!("a side gave no {key}"))
}

/// The same BLAS on both sides: OpenBLAS where Debian has put it, as the agent starts workers.
fn with_blas(command: &mut Command) -> &mut Command {
    let arch = std::env::consts::ARCH;
    let library = format!("/usr/lib/{arch}-linux-gnu/openblas-pthread/libopenblas.so.0");
    if Path::new(&library).exists() {
        command.env("LD_PRELOAD", library);
    }
    command
}
