//! `roofline`: what the machine can do at the most, as far as MLX gets it there. Each pass is a chain
//! of the same operation, so that none can be left out and dispatch is spread over several.
//!
//! Streams work in place: MLX writes into an operand that nobody else holds. A new array for every
//! result would time the system's handing out of fresh pages (on Linux more than half of it).

use domain::metric::Metric;
use domain::model::Dtype;
use domain::suite::roofline::Case;
use domain::worker::Finished;
use mlx_rs::Array;

use super::{Bench, Demand, random_array};
use crate::device::{self, ops};
use crate::harness::clock::{Region, Watch};
use crate::harness::{Observation, Shape, Trial, TrialError};

/// Operations of one pass.
const CHAIN: u32 = 4;

/// What a canary does: never changed, nor fitted to the machine's speed, for its values are compared
/// over time. One pass takes some 100 ms.
struct Fixed {
    size: u64,
    dtype: Dtype,
    megabytes: u64,
    chain: u32,
}

const ON_GPU: Fixed = Fixed {
    size: 4096,
    dtype: Dtype::Bf16,
    megabytes: 1000,
    chain: 8,
};

/// Processors have no arithmetic for bf16.
const ON_CPU: Fixed = Fixed {
    size: 1024,
    dtype: Dtype::F32,
    megabytes: 128,
    chain: 4,
};

impl Fixed {
    fn here() -> Self {
        // Without a device the launch ends at its first operation, with MLX's own words.
        if device::device_info().is_ok_and(|info| info.is_gpu) {
            ON_GPU
        } else {
            ON_CPU
        }
    }
}

pub fn demand(case: &Case) -> Demand {
    let bytes = match case {
        // Both ways' arrays, and what one of them makes.
        Case::Stream { megabytes } => 4 * megabytes * 1_000_000,
        Case::Gemm { size, dtype } => 4 * size * size * dtype.bytes(),
        Case::Dispatch => 0,
        Case::Canary => {
            let Fixed {
                size,
                dtype,
                megabytes,
                ..
            } = Fixed::here();
            2 * megabytes * 1_000_000 + 4 * size * size * dtype.bytes()
        }
    };
    Demand {
        bytes,
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    match case {
        Case::Stream { megabytes } => {
            let add = Ceiling {
                work: Work::Add {
                    x: stream_array(*megabytes)?,
                },
                name: "add",
                per_operation: 3.0 * stream_bytes(*megabytes),
                ..Ceiling::scale(*megabytes)?
            };
            bench.measure(&mut [Ceiling::scale(*megabytes)?, add])
        }
        Case::Gemm { size, dtype } => bench.measure(&mut [Ceiling::gemm(*size, *dtype)?]),
        Case::Dispatch => bench.measure(&mut [Ceiling {
            work: Work::Dispatch,
            last: random_array(&[8], Dtype::F32, 1.0)?,
            name: "dispatch",
            per_operation: 1.0,
            chain: 1,
            doubles: false,
        }]),
        Case::Canary => {
            let fixed = Fixed::here();
            let gemm = Ceiling {
                chain: fixed.chain,
                doubles: false,
                ..Ceiling::gemm(fixed.size, fixed.dtype)?
            };
            let scale = Ceiling {
                work: Work::Scale,
                // Drawing random values would take longer than all the rest.
                last: ones(fixed.megabytes)?,
                name: "scale",
                per_operation: 2.0 * stream_bytes(fixed.megabytes),
                chain: fixed.chain,
                doubles: false,
            };
            bench.measure(&mut [gemm, scale])
        }
    }
}

fn ones(megabytes: u64) -> Result<Array, TrialError> {
    let array = Array::ones::<f32>(&[stream_values(megabytes)])?;
    array.eval()?;
    Ok(array)
}

fn stream_array(megabytes: u64) -> Result<Array, TrialError> {
    random_array(&[stream_values(megabytes)], Dtype::F32, 1.0)
}

fn stream_values(megabytes: u64) -> i32 {
    (megabytes * 1_000_000 / 4) as i32
}

fn stream_bytes(megabytes: u64) -> f64 {
    (megabytes * 1_000_000) as f64
}

enum Work {
    Scale,
    Add { x: Array },
    Gemm { b: Array, dtype: Dtype },
    Dispatch,
}

struct Ceiling {
    work: Work,
    /// What the chain goes on with: each pass takes up where the one before it left off.
    last: Array,
    name: &'static str,
    /// Bytes, floating-point operations or dispatches.
    per_operation: f64,
    chain: u32,
    /// Whether twice the work is tried too.
    doubles: bool,
}

impl Ceiling {
    fn scale(megabytes: u64) -> Result<Self, TrialError> {
        Ok(Self {
            work: Work::Scale,
            last: stream_array(megabytes)?,
            name: "scale",
            per_operation: 2.0 * stream_bytes(megabytes),
            chain: CHAIN,
            doubles: true,
        })
    }

    fn gemm(size: u64, dtype: Dtype) -> Result<Self, TrialError> {
        let n = size as i32;
        // The deviation keeps products of products near one.
        let deviation = f64::from(n).sqrt().recip() as f32;
        Ok(Self {
            last: random_array(&[n, n], dtype, 1.0)?,
            work: Work::Gemm {
                b: random_array(&[n, n], dtype, deviation)?,
                dtype,
            },
            name: "gemm",
            per_operation: 2.0 * f64::from(n).powi(3),
            chain: CHAIN,
            doubles: true,
        })
    }
}

impl Trial for Ceiling {
    fn mode(&self) -> &'static str {
        self.name
    }

    fn shape(&self) -> Shape {
        Shape::Repeatable
    }

    fn marks_per_pass(&self) -> usize {
        0
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        Ok(())
    }

    fn run(&mut self, _watch: &mut Watch) -> Result<(), TrialError> {
        for _ in 0..self.chain {
            self.last = match &self.work {
                Work::Scale | Work::Dispatch => self.last.negative()?,
                Work::Add { x } => ops::add(&self.last, x)?,
                Work::Gemm { b, .. } => ops::matmul(&self.last, b)?,
            };
        }
        self.last.eval()?;
        Ok(device::synchronize()?)
    }

    fn double(&mut self, is_double: bool) -> Result<bool, TrialError> {
        if !self.doubles {
            return Ok(false);
        }
        self.chain = if is_double { 2 * CHAIN } else { CHAIN };
        Ok(true)
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let work = self.per_operation * f64::from(self.chain);
        let seconds = region.per_pass().as_secs_f64();
        let rate = work / seconds.max(1e-9);
        let mut seen = Observation {
            work: (work * f64::from(region.passes)) as u64,
            ..Observation::default()
        };
        match &self.work {
            Work::Scale => seen.sample(Metric::StreamGbps, rate / 1e9),
            Work::Add { .. } => seen.sample(Metric::StreamAddGbps, rate / 1e9),
            Work::Gemm { dtype, .. } => {
                let metric = match dtype {
                    Dtype::Bf16 => Metric::GemmTflopsBf16,
                    Dtype::F16 => Metric::GemmTflopsF16,
                    Dtype::F32 => Metric::GemmTflopsF32,
                };
                seen.sample(metric, rate / 1e12);
            }
            Work::Dispatch => seen.sample(Metric::DispatchUs, seconds * 1e6),
        }
        Ok(seen)
    }
}
