//! The other side: mlx-lm, timed by `peer.py`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use report_gen::stats::median;

use super::{Figures, ITERATIONS, Part, Work, rows_of, with_blas};
use crate::repo;

/// mlx-lm in the environment of the parity tests: the same MLX as ours.
pub struct Peer {
    python: PathBuf,
    script: PathBuf,
}

impl Peer {
    pub fn find() -> Result<Self> {
        let python = repo::root().join(".tools/parity-venv/bin/python");
        if !python.exists() {
            bail!("mlx-lm is not installed: run deploy/parity-venv");
        }
        Ok(Self {
            python,
            script: repo::root().join("xtask/src/bench/engine/peer.py"),
        })
    }

    pub fn measure(&self, model: &Path, part: Part, work: Work) -> Result<Figures> {
        let Work {
            prompt,
            new,
            batch,
            example,
        } = work;
        let numbers = [prompt, new, batch, example, ITERATIONS.into()];
        let output = with_blas(&mut Command::new(&self.python))
            .arg(&self.script)
            .arg(part.as_str())
            .arg(model)
            .args(numbers.map(|number| number.to_string()))
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            std::io::stderr().write_all(&output.stdout)?;
            bail!("mlx-lm ended with {}", output.status);
        }
        let mut told: BTreeMap<String, Vec<f64>> = serde_json::from_slice(&output.stdout)?;
        rows_of(part, work)
            .into_iter()
            .map(|(key, ..)| {
                let values = told.remove(key).unwrap_or_default();
                let middle = median(&values).with_context(|| format!("mlx-lm gave no {key}"))?;
                Ok((key, middle))
            })
            .collect()
    }
}
