//! `bench engine`: prefill, decode and host time per token against mlx-lm, on the same checkpoint,
//! machine, MLX and BLAS.
//!
//! A round starts a fresh process of each, in an order that alternates; each takes the median of
//! its iterations; a ratio is paired by round. The peer is timed as `mlx_lm.benchmark` times itself
//! (`peer.py` beside this file), ours by its own worker, through the frames that an agent reads.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use domain::metric::Metric;
use domain::model::{Dtype, ModelRef, ModelSource};
use domain::plan::Protocol;
use domain::suite::{Case, decode, prefill};
use domain::worker::{Frame, Iteration, Phase, Request};
use proto::{frame, wire};
use report_gen::stats::median;
use serde::Deserialize;

use super::Row;
use crate::repo;

/// Passes of which a process takes the median.
const ITERATIONS: u32 = 5;

#[derive(clap::Args)]
#[command(about = "Prefill, decode and host time per token against mlx-lm")]
pub struct Args {
    /// Fresh processes of each side for each model
    #[arg(long, default_value_t = 6)]
    rounds: u32,
    /// Models of the catalogue, by default a tiny, a small and a 0.5B-class one
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    models: Vec<String>,
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Prompt and new tokens: enough to time, little enough to end.
fn lengths(model: &str) -> (u64, u64) {
    if model.starts_with("nano") {
        (256, 64)
    } else {
        (64, 16)
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
    let mut rows = Vec::new();
    for name in models {
        let source: ModelSource = format!("synthetic:{name}").parse()?;
        let model = ModelRef {
            source,
            dtype: Some(dtype),
        };
        let folder = ours.folder(&model)?;
        let (prompt, new) = lengths(name);
        let mut rounds = Rounds::default();
        for round in 0..args.rounds {
            eprintln!("{name} {dtype}: round {} of {}", round + 1, args.rounds);
            let mine = || ours.measure(&model, prompt, new);
            let theirs = || peer.measure(&folder, prompt, new);
            if round % 2 == 0 {
                rounds.ours.push(mine()?);
                rounds.peers.push(theirs()?);
            } else {
                rounds.peers.push(theirs()?);
                rounds.ours.push(mine()?);
            }
        }
        rows.extend(rounds.rows(&format!("{name} {dtype}"), prompt, new));
    }
    super::print(&rows, args.json)
}

/// Medians of one process.
struct Figures {
    prefill_tps: f64,
    decode_tps: f64,
    build_us: f64,
    host_us: f64,
}

#[derive(Default)]
struct Rounds {
    ours: Vec<Figures>,
    peers: Vec<Figures>,
}

impl Rounds {
    fn rows(&self, model: &str, prompt: u64, new: u64) -> Vec<Row> {
        let row = |what: String, unit, figure: fn(&Figures) -> f64| {
            let values: Vec<f64> = self.ours.iter().map(figure).collect();
            let references: Vec<f64> = self.peers.iter().map(figure).collect();
            Row::paired(format!("{model}: {what}"), unit, &values, &references)
        };
        [
            row(format!("prefill {prompt}"), "tok/s", |figures| {
                figures.prefill_tps
            }),
            row(format!("decode {new} after {prompt}"), "tok/s", |figures| {
                figures.decode_tps
            }),
            row("host time to build a step".to_owned(), "µs", |figures| {
                figures.build_us
            }),
            row("… and hand it to MLX".to_owned(), "µs", |figures| {
                figures.host_us
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Our worker, as an agent runs it.
struct Ours {
    binary: PathBuf,
    cache: PathBuf,
}

impl Ours {
    fn new() -> Result<Self> {
        let target = repo::target_folder()?;
        Ok(Self {
            binary: target.join("release/mlx-fleet-suite"),
            cache: target.join("bench-cache"),
        })
    }

    /// Where the model's weights are, written first where they are not there yet.
    fn folder(&self, model: &ModelRef) -> Result<PathBuf> {
        #[derive(Deserialize)]
        struct Checked {
            model: Model,
        }
        #[derive(Deserialize)]
        struct Model {
            folder: PathBuf,
        }
        let source = model.source.to_string();
        let dtype = model.dtype.map_or("bf16", Dtype::as_str);
        let output = Command::new(&self.binary)
            .args(["check", "--json", "--max-tokens", "1", "--prompt-ids", "1"])
            .args(["--model", &source, "--dtype", dtype])
            .env("MLX_FLEET_CACHE", &self.cache)
            .output()
            .context("starting our worker")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let checked: Checked = serde_json::from_slice(&output.stdout)?;
        Ok(checked.model.folder)
    }

    fn measure(&self, model: &ModelRef, prompt: u64, new: u64) -> Result<Figures> {
        let chunk = 2048;
        let prefill = Case::Prefill(prefill::Case {
            prompt_tokens: prompt,
            depth: 0,
            chunk,
        });
        // The first step takes the prompt's last token, as mlx-lm's does.
        let decode = Case::Decode(decode::Case {
            new_tokens: new,
            depth: prompt - 1,
        });
        let prefilled = self.launch(model, prefill)?;
        let decoded = self.launch(model, decode)?;
        Ok(Figures {
            prefill_tps: middle(&prefilled, Metric::PrefillTpsMlxlm)?,
            decode_tps: middle(&decoded, Metric::DecodeTpsMlxlm)?,
            build_us: middle(&decoded, Metric::HostBuildUs)?,
            host_us: middle(&decoded, Metric::HostOverheadUs)?,
        })
    }

    fn launch(&self, model: &ModelRef, case: Case) -> Result<Vec<Iteration>> {
        let protocol = Protocol {
            iterations: ITERATIONS,
            // No repeats inside a region: the peer has none.
            min_region: Duration::ZERO,
            warmup_max_iterations: 3,
            ..Protocol::default()
        };
        let request = Request {
            model: Some(model.clone()),
            case,
            protocol,
            cache_dir: self.cache.to_string_lossy().into_owned(),
            memory_limit_bytes: u64::MAX,
            launch_seed: 0,
        };
        let mut child = with_blas(&mut Command::new(&self.binary))
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let mut stdout = child.stdout.take().context("no standard output")?;
        frame::write(&mut stdin, &wire::WorkerRequest::from(&request))?;
        let mut measured = Vec::new();
        while let Some(message) = frame::read::<wire::WorkerFrame>(&mut stdout)? {
            match Frame::try_from(message)? {
                Frame::Iteration(iteration) if iteration.phase == Phase::Measured => {
                    measured.push(iteration);
                }
                Frame::Failed(failed) => bail!("our worker failed: {}", failed.message),
                Frame::Started(_) | Frame::Model(_) | Frame::Iteration(_) | Frame::Finished(_) => {}
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("our worker ended with {status}");
        }
        Ok(measured)
    }
}

fn middle(iterations: &[Iteration], metric: Metric) -> Result<f64> {
    let samples = iterations.iter().flat_map(|iteration| &iteration.samples);
    let values: Vec<f64> = samples
        .filter(|sample| sample.metric == metric)
        .map(|sample| sample.value)
        .collect();
    median(&values).with_context(|| format!("our worker gave no {metric}"))
}

/// mlx-lm in the environment of the parity tests: the same MLX as ours.
struct Peer {
    python: PathBuf,
    script: PathBuf,
}

#[derive(Deserialize)]
struct PeerFigures {
    prompt_tps: Vec<f64>,
    generation_tps: Vec<f64>,
    build_us: Vec<f64>,
    host_us: Vec<f64>,
}

impl Peer {
    fn find() -> Result<Self> {
        let python = repo::root().join(".tools/parity-venv/bin/python");
        if !python.exists() {
            bail!("mlx-lm is not installed: run deploy/parity-venv");
        }
        Ok(Self {
            python,
            script: repo::root().join("xtask/src/bench/peer.py"),
        })
    }

    fn measure(&self, model: &Path, prompt: u64, new: u64) -> Result<Figures> {
        let output = with_blas(&mut Command::new(&self.python))
            .arg(&self.script)
            .arg(model)
            .args([prompt, new, ITERATIONS.into()].map(|number| number.to_string()))
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            std::io::stderr().write_all(&output.stdout)?;
            bail!("mlx-lm ended with {}", output.status);
        }
        let told: PeerFigures = serde_json::from_slice(&output.stdout)?;
        let middle = |values: &[f64]| median(values).context("mlx-lm gave no figure");
        Ok(Figures {
            prefill_tps: middle(&told.prompt_tps)?,
            decode_tps: middle(&told.generation_tps)?,
            build_us: middle(&told.build_us)?,
            host_us: middle(&told.host_us)?,
        })
    }
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
