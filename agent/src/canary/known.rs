//! The best that canaries did, by the conditions that they did it under; kept in a file, so that a
//! machine that is hot when its agent starts is not its own measure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::machine::Inventory;
use domain::record::{Canary, SensorsCost};
use domain::worker::Started;
use serde::{Deserialize, Serialize};
use service::folders;

/// Releases of the system and of MLX, some years of them; beyond it the least lately used are forgotten.
const MAX_KNOWN: usize = 32;

/// Changes with the worker's canary, whose values are then others.
const RECIPE: u32 = 1;

/// What must be equal for two canaries to be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    recipe: u32,
    mlx_device: String,
    mlx_architecture: String,
    mlx_version: String,
    metallib_sha256: String,
    blas: String,
    mlx_env: BTreeMap<String, String>,
    os_build: String,
    debug_build: bool,
}

impl Conditions {
    pub fn of(started: &Started, inventory: &Inventory) -> Self {
        let started = started.clone();
        Self {
            recipe: RECIPE,
            mlx_device: started.mlx_device,
            mlx_architecture: started.mlx_architecture,
            mlx_version: started.mlx_version,
            metallib_sha256: started.metallib_sha256,
            blas: started.blas,
            mlx_env: started.mlx_env,
            os_build: inventory.os_build.clone(),
            debug_build: started.debug_build,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Best {
    conditions: Conditions,
    gemm_tflops: f64,
    stream_gbps: f64,
    sensors_cost: Option<SensorsCost>,
}

/// The file and what it holds, the lately used last.
#[derive(Debug)]
pub struct Known {
    path: PathBuf,
    best: Vec<Best>,
}

impl Known {
    pub fn open(path: &Path) -> Self {
        let best = match folders::read_public(path) {
            Ok(text) => serde_json::from_str(&text).unwrap_or_else(|error| {
                let path = path.display();
                tracing::warn!(%path, %error, "the best canaries cannot be read: begun anew");
                Vec::new()
            }),
            Err(error) if error.is_missing() => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "the best canaries cannot be read: begun anew");
                Vec::new()
            }
        };
        Self {
            path: path.to_owned(),
            best,
        }
    }

    /// A canary's share of the best, which it may be itself.
    pub fn judge(&mut self, conditions: Conditions, gemm_tflops: f64, stream_gbps: f64) -> Canary {
        let place = self.best.iter().position(|it| it.conditions == conditions);
        let before = place.map(|place| self.best.remove(place));
        let sensors_cost = before.as_ref().and_then(|it| it.sensors_cost);
        let (gemm, stream) = before.map_or((0.0, 0.0), |it| (it.gemm_tflops, it.stream_gbps));
        let best = Best {
            conditions,
            gemm_tflops: gemm.max(gemm_tflops),
            stream_gbps: stream.max(stream_gbps),
            sensors_cost,
        };
        let canary = Canary {
            gemm_tflops,
            gemm_ratio: gemm_tflops / best.gemm_tflops,
            stream_gbps,
            stream_ratio: stream_gbps / best.stream_gbps,
        };
        self.best.push(best);
        let older = self.best.len().saturating_sub(MAX_KNOWN);
        self.best.drain(..older);
        if gemm_tflops > gemm || stream_gbps > stream {
            self.save();
        }
        canary
    }

    /// Of the conditions judged last.
    pub fn sensors_cost(&self) -> Option<SensorsCost> {
        self.best.last()?.sensors_cost
    }

    pub fn set_sensors_cost(&mut self, cost: SensorsCost) {
        if let Some(best) = self.best.last_mut() {
            best.sensors_cost = Some(cost);
            self.save();
        }
    }

    fn save(&self) {
        let text = serde_json::to_string_pretty(&self.best).unwrap_or_default();
        if let Err(error) = folders::write_public(&self.path, &text) {
            tracing::warn!(%error, "the best canaries are not kept");
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the same quotient is the same number")]
mod tests {
    use super::*;

    fn conditions(mlx_version: &str) -> Conditions {
        let started = Started {
            mlx_version: mlx_version.to_owned(),
            ..Started::default()
        };
        Conditions::of(&started, &Inventory::default())
    }

    fn ratios(canary: Canary) -> [f64; 2] {
        [canary.gemm_ratio, canary.stream_ratio]
    }

    #[test]
    fn a_canary_is_held_against_the_best_of_its_own_conditions_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("canary.json");
        let mut known = Known::open(&path);
        let first = known.judge(conditions("1"), 10.0, 400.0);
        assert_eq!(ratios(first), [1.0, 1.0]);
        let slower = known.judge(conditions("1"), 9.0, 500.0);
        assert_eq!(ratios(slower), [0.9, 1.0]);

        let mut known = Known::open(&path);
        let again = known.judge(conditions("1"), 8.0, 400.0);
        assert_eq!(ratios(again), [0.8, 0.8]);
        let other = known.judge(conditions("2"), 5.0, 100.0);
        assert_eq!(ratios(other), [1.0, 1.0]);
    }

    #[test]
    fn the_cost_of_the_sensors_is_kept_with_its_conditions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("canary.json");
        let mut known = Known::open(&path);
        known.judge(conditions("1"), 10.0, 400.0);
        assert_eq!(known.sensors_cost(), None);
        let cost = SensorsCost {
            percent: 0.1,
            low: -0.2,
            high: 0.4,
        };
        known.set_sensors_cost(cost);
        known.judge(conditions("2"), 10.0, 400.0);
        assert_eq!(known.sensors_cost(), None);

        let mut known = Known::open(&path);
        known.judge(conditions("1"), 9.0, 300.0);
        assert_eq!(known.sensors_cost(), Some(cost));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("canary.json");
        std::fs::write(&path, "[{\"conditions\":").unwrap();
        let first = Known::open(&path).judge(conditions("1"), 2.0, 3.0);
        assert_eq!(ratios(first), [1.0, 1.0]);
        let again = Known::open(&path).judge(conditions("1"), 1.0, 3.0);
        assert_eq!(ratios(again), [0.5, 1.0]);
    }

    #[test]
    fn the_conditions_used_least_lately_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("canary.json");
        let mut known = Known::open(&path);
        known.judge(conditions("kept"), 2.0, 2.0);
        known.judge(conditions("dropped"), 2.0, 2.0);
        for version in 0..MAX_KNOWN - 1 {
            known.judge(conditions(&version.to_string()), 1.0, 1.0);
            let kept = known.judge(conditions("kept"), 1.0, 1.0);
            assert_eq!(ratios(kept), [0.5, 0.5]);
        }
        let mut known = Known::open(&path);
        assert_eq!(known.best.len(), MAX_KNOWN);
        let dropped = known.judge(conditions("dropped"), 1.0, 1.0);
        assert_eq!(ratios(dropped), [1.0, 1.0]);
    }
}
