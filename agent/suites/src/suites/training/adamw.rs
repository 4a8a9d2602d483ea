//! AdamW as MLX's own optimizer computes it: without bias correction, in the parameters' type.

use half::{bf16, f16};
use mlx_rs::error::Exception;
use mlx_rs::{Array, Dtype};

use crate::device::ops::{add, multiply};

/// Ten times mlx-lm's own: what it adds to a weight in bf16 must not be lost to rounding, or a loss
/// on random weights does not fall.
pub const LEARNING_RATE: f64 = 1e-4;
const BETAS: [f64; 2] = [0.9, 0.999];
const EPS: f64 = 1e-8;
const WEIGHT_DECAY: f64 = 0.01;

/// A parameter, or its gradient's running mean, or that of its square.
pub struct Updated {
    pub parameter: Array,
    pub first_moment: Array,
    pub second_moment: Array,
}

/// The update of parameters of one type.
pub struct AdamW {
    rate: Array,
    /// Each with what it leaves of one.
    first: [Array; 2],
    second: [Array; 2],
    eps: Array,
    /// What weight decay leaves of a parameter.
    kept: Array,
}

impl AdamW {
    /// The constants are rounded to the type one by one, as a number beside an array is in Python.
    pub fn new(dtype: Dtype) -> Result<Self, Exception> {
        let constant = |value: f64| scalar(value as f32, dtype);
        let of = |beta: f64| [constant(beta), constant(1.0 - beta)];
        let rate = constant(LEARNING_RATE);
        let decay = multiply(&rate, &constant(WEIGHT_DECAY))?;
        let kept = constant(1.0).subtract(&decay)?;
        // A constant of a compiled function has to be one, not the arithmetic that led to it.
        kept.eval()?;
        Ok(Self {
            rate,
            first: of(BETAS[0]),
            second: of(BETAS[1]),
            eps: constant(EPS),
            kept,
        })
    }

    pub fn update(
        &self,
        parameter: &Array,
        first_moment: &Array,
        second_moment: &Array,
        gradient: &Array,
    ) -> Result<Updated, Exception> {
        let mean = |[beta, rest]: &[Array; 2], old: &Array, new: &Array| {
            add(&multiply(beta, old)?, &multiply(rest, new)?)
        };
        let first_moment = mean(&self.first, first_moment, gradient)?;
        let second_moment = mean(&self.second, second_moment, &gradient.square()?)?;
        let step = multiply(&self.rate, &first_moment)?
            .divide(&add(&second_moment.sqrt()?, &self.eps)?)?;
        Ok(Updated {
            parameter: multiply(parameter, &self.kept)?.subtract(&step)?,
            first_moment,
            second_moment,
        })
    }
}

fn scalar(value: f32, dtype: Dtype) -> Array {
    match dtype {
        Dtype::Bfloat16 => Array::from_slice(&[bf16::from_f32(value)], &[]),
        Dtype::Float16 => Array::from_slice(&[f16::from_f32(value)], &[]),
        _ => Array::from_f32(value),
    }
}
