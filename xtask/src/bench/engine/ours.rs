//! Our side: the worker, spoken to as an agent does.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use domain::metric::Metric;
use domain::model::{Dtype, ModelRef};
use domain::plan::Protocol;
use domain::suite::{Case, batch, decode, prefill, training};
use domain::worker::{Frame, Iteration, Phase, Request};
use proto::{frame, wire};
use report_gen::stats::median;
use serde::Deserialize;

use super::{Figures, ITERATIONS, Part, Work, with_blas};
use crate::repo;

/// Our worker, as an agent runs it.
pub struct Ours {
    binary: PathBuf,
    cache: PathBuf,
}

impl Ours {
    pub fn new() -> Result<Self> {
        let target = repo::target_folder()?;
        Ok(Self {
            binary: target.join("release/mlx-fleet-suite"),
            cache: target.join("bench-cache"),
        })
    }

    /// Where the model's weights are, written first where they are not there yet.
    pub fn folder(&self, model: &ModelRef) -> Result<PathBuf> {
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

    pub fn measure(&self, model: &ModelRef, part: Part, work: Work) -> Result<Figures> {
        let Work {
            prompt,
            new,
            batch,
            example,
        } = work;
        let mut figures = Figures::new();
        match part {
            Part::Inference => {
                let prefill = Case::Prefill(prefill::Case {
                    prompt_tokens: prompt,
                    depth: 0,
                    chunk: 2048,
                });
                // The first step takes the prompt's last token, as mlx-lm's does.
                let decode = Case::Decode(decode::Case {
                    new_tokens: new,
                    depth: prompt - 1,
                });
                let prefilled = self.launch(model, prefill)?;
                let decoded = self.launch(model, decode)?;
                figures.extend([
                    ("prompt_tps", middle(&prefilled, Metric::PrefillTpsMlxlm)?),
                    ("generation_tps", middle(&decoded, Metric::DecodeTpsMlxlm)?),
                    ("build_us", middle(&decoded, Metric::HostBuildUs)?),
                    ("host_us", middle(&decoded, Metric::HostOverheadUs)?),
                ]);
            }
            Part::Batch => {
                let case = Case::Batch(batch::Case {
                    batch_size: batch,
                    prompt_tokens: prompt,
                    new_tokens: new,
                    lengths: batch::Lengths::Equal,
                });
                let measured = self.launch(model, case)?;
                figures.extend([
                    ("batch_ttft_ms", middle(&measured, Metric::BatchTtftMs)?),
                    ("batch_tps", middle(&measured, Metric::BatchDecodeTps)?),
                ]);
            }
            Part::Training => {
                let modes = [
                    (training::Mode::Full, "full_ms"),
                    (training::Mode::Lora, "lora_ms"),
                ];
                for (mode, key) in modes {
                    let case = Case::Training(training::Case {
                        mode,
                        batch_size: batch,
                        sequence_tokens: example,
                    });
                    let measured = self.launch(model, case)?;
                    figures.insert(key, middle(&measured, Metric::TrainStepMs)?);
                }
            }
        }
        Ok(figures)
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
