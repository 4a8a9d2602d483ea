//! What is published of the run's chips: ceilings, and another engine's rates.

use serde::Serialize;

use crate::stats::Ratio;

/// A chip of the run, by name and GPU cores.
#[derive(Clone, Debug, Serialize)]
pub struct ChipFacts {
    /// As the system calls it.
    pub chip: String,
    pub gpu_cores: Option<i32>,
    pub machines: Vec<String>,
    pub bandwidth_gbps: f64,
    pub bandwidth_source: &'static str,
    /// Of the GPU's processors of general use; None where no clock is known.
    pub fp32_tflops: Option<f64>,
    /// `apple` or `derived`; empty where there is none.
    pub fp32_kind: &'static str,
    /// llama.cpp's, of a model of 7 B; empty where nobody has reported any.
    pub reference: Vec<ReferenceRates>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct ReferenceRates {
    /// `F16`, `Q8_0` or `Q4_0`.
    pub precision: &'static str,
    pub prefill_tps: f64,
    pub decode_tps: f64,
    /// Weights read per second in decoding, in 10⁹ bytes.
    pub gbps: f64,
    /// Operations per second in prefill, in 10¹².
    pub tflops: f64,
}

/// One chip over another: what a gain has from bandwidth, what from compute, and what from neither.
#[derive(Clone, Debug, Serialize)]
pub struct Generation {
    pub from: String,
    pub to: String,
    /// Whose chips they are; None where only what is published speaks of them.
    pub machines: Option<[String; 2]>,
    pub bandwidth: f64,
    /// Of the fastest operations that the GPUs have; None where one is not known.
    pub compute: Option<f64>,
    pub reference: Option<ReferenceGain>,
    /// This run's geometric means over comparable cases.
    pub decode: Option<Ratio>,
    pub prefill: Option<Ratio>,
}

/// llama.cpp's rates on one chip over those on the other, at the precision that all chips have.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ReferenceGain {
    pub decode: f64,
    pub prefill: f64,
    /// Of the time that a prompt and its answer take less, the share that decoding saves; None where
    /// either of them takes longer.
    pub decode_share_of_saving: Option<f64>,
}

impl Generation {
    /// What is left of a gain in decoding when bandwidth is taken out.
    pub fn beyond_bandwidth(&self, decode: f64) -> f64 {
        decode / self.bandwidth
    }

    /// What is left of a gain in prefill when compute is taken out.
    pub fn beyond_compute(&self, prefill: f64) -> Option<f64> {
        Some(prefill / self.compute?)
    }
}
