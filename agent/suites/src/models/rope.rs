//! Rotary positions, with the ways that published configurations stretch them.

mod args;

use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::BuildError;
use super::config::ConfigError;
use crate::device::ops::{self, Offset};
use args::PARTIAL;

pub use args::{RopeArgs, Scaling, Yarn, positions_reached, same_base_up_to};

/// The rotation of one model's heads.
#[derive(Clone, Debug)]
pub struct Rope {
    dims: i32,
    traditional: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Powers {
        base: f32,
        scale: f32,
    },
    Dynamic {
        theta: f64,
        factor: f64,
        max_positions: i32,
    },
    Wavelengths {
        freqs: Array,
        gain: Option<Array>,
    },
}

impl Rope {
    pub fn new(args: &RopeArgs, head_dim: i32) -> Result<Self, BuildError> {
        let theta = args.theta;
        let base = theta as f32;
        let dims = (f64::from(head_dim) * args.share) as i32;
        if dims < 2 || dims > head_dim || dims % 2 != 0 {
            return Err(ConfigError::Invalid {
                key: PARTIAL.to_owned(),
                expected: format!("an even part of head_dim ({head_dim})"),
                found: args.share.to_string(),
            }
            .into());
        }
        let kind = match &args.scaling {
            Scaling::None => Kind::Powers { base, scale: 1.0 },
            Scaling::Linear { factor } => Kind::Powers {
                base,
                scale: (1.0 / factor) as f32,
            },
            &Scaling::Dynamic {
                factor,
                max_positions,
            } => Kind::Dynamic {
                theta,
                factor,
                max_positions,
            },
            &Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => Kind::Wavelengths {
                freqs: array(&llama3_freqs(
                    &powers(theta, dims)?,
                    factor,
                    low,
                    high,
                    original,
                )),
                gain: None,
            },
            Scaling::Yarn(yarn) => {
                let gain = yarn_gain(yarn);
                Kind::Wavelengths {
                    freqs: array(&yarn_freqs(&powers(theta, dims)?, theta, dims, yarn)),
                    gain: gain_array(gain, dims, head_dim),
                }
            }
            &Scaling::Proportional { factor, share } => Kind::Wavelengths {
                freqs: array(&proportional_freqs(
                    &powers(theta, dims)?,
                    dims,
                    factor,
                    share,
                )?),
                gain: None,
            },
            Scaling::Long { factors, gain } => {
                let powers = powers(theta, dims)?;
                if factors.len() != powers.len() {
                    return Err(ConfigError::Invalid {
                        key: "rope_scaling.long_factor".to_owned(),
                        expected: format!("{} numbers, one per rotated pair", powers.len()),
                        found: format!("{}", factors.len()),
                    }
                    .into());
                }
                let pairs = factors.iter().zip(&powers);
                let freqs: Vec<f32> = pairs.map(|(factor, power)| factor * power).collect();
                Kind::Wavelengths {
                    freqs: array(&freqs),
                    gain: gain_array(*gain, dims, head_dim),
                }
            }
        };
        Ok(Self {
            dims,
            traditional: args.traditional,
            kind,
        })
    }

    /// Rotates `x` (`[batch, heads, length, head_dim]`, `length` positions from `offset`).
    pub fn forward(&self, x: &Array, offset: Offset<'_>, length: i32) -> Result<Array, Exception> {
        let (dims, traditional) = (self.dims, self.traditional);
        match &self.kind {
            &Kind::Powers { base, scale } => {
                ops::rope(x, dims, traditional, Some(base), scale, offset, None)
            }
            &Kind::Dynamic {
                theta,
                factor,
                max_positions,
            } => {
                // One base for all sequences of a step, that of the longest: `fit` refuses those that
                // need several.
                let end = offset.largest() + length;
                let base = dynamic_base(theta, dims, factor, max_positions, end);
                ops::rope(x, dims, traditional, Some(base as f32), 1.0, offset, None)
            }
            Kind::Wavelengths { freqs, gain } => {
                let scaled = match gain {
                    Some(gain) => Some(ops::multiply(x, &ops::as_dtype(gain, x.dtype())?)?),
                    None => None,
                };
                let x = scaled.as_ref().unwrap_or(x);
                ops::rope(x, dims, traditional, None, 1.0, offset, Some(freqs))
            }
        }
    }
}

/// What multiplies a head before it rotates: the gain over the dimensions that do.
fn gain_array(gain: f64, dims: i32, head_dim: i32) -> Option<Array> {
    if (gain - 1.0).abs() <= f64::EPSILON {
        return None;
    }
    let gain = gain as f32;
    Some(if dims == head_dim {
        Array::from_f32(gain)
    } else {
        let of = |dim| if dim < dims { gain } else { 1.0 };
        array(&(0..head_dim).map(of).collect::<Vec<_>>())
    })
}

fn array(freqs: &[f32]) -> Array {
    Array::from_slice(freqs, &[freqs.len() as i32])
}

/// `theta^(2i/dims)`: what MLX calls frequencies are their inverses. Through MLX and in f32, as all
/// arithmetic on them here, so that every bit is as in mlx-lm: a bit of an angle is one of a score.
fn powers(theta: f64, dims: i32) -> Result<Vec<f32>, Exception> {
    let exponents: Vec<f32> = (0..dims / 2)
        .map(|i| (2 * i) as f32 / dims as f32)
        .collect();
    let powers = Array::from_f32(theta as f32).power(array(&exponents))?;
    powers
        .to_vec_exact::<f32>()
        .map_err(|error| Exception::custom(error.to_string()))
}

fn llama3_freqs(powers: &[f32], factor: f64, low: f64, high: f64, original: f64) -> Vec<f32> {
    let (longest, shortest) = ((original / low) as f32, (original / high) as f32);
    let (factor, low, range) = (factor as f32, low as f32, (high - low) as f32);
    let stretch = |&freq: &f32| {
        let wavelength = std::f32::consts::TAU * freq;
        if wavelength > longest {
            freq * factor
        } else if wavelength > shortest && wavelength < longest {
            let smooth = (original as f32 / wavelength - low) / range;
            freq / ((1.0 - smooth) / factor + smooth)
        } else {
            freq
        }
    };
    powers.iter().map(stretch).collect()
}

fn yarn_freqs(powers: &[f32], theta: f64, dims: i32, yarn: &Yarn) -> Vec<f32> {
    let dims = f64::from(dims);
    let correction = |rotations: f64| {
        dims * (yarn.original / (rotations * std::f64::consts::TAU)).ln() / (2.0 * theta.ln())
    };
    let low = correction(yarn.beta_fast).floor().max(0.0);
    let mut high = correction(yarn.beta_slow).ceil().min(dims - 1.0);
    if (high - low).abs() < f64::EPSILON {
        high += 0.001;
    }
    let (low, range, factor) = (low as f32, (high - low) as f32, yarn.factor as f32);
    let stretch = |(i, &freq): (usize, &f32)| {
        let keep = 1.0 - ((i as f32 - low) / range).clamp(0.0, 1.0);
        let stretched = factor * freq;
        (stretched * freq) / (stretched * keep + freq * (1.0 - keep))
    };
    powers.iter().enumerate().map(stretch).collect()
}

/// An infinite wavelength stands still.
fn proportional_freqs(
    powers: &[f32],
    dims: i32,
    factor: f64,
    share: f64,
) -> Result<Vec<f32>, ConfigError> {
    let moving = (f64::from(dims) * share) as usize;
    if moving > dims as usize || !moving.is_multiple_of(2) {
        return Err(ConfigError::Invalid {
            key: format!("rope_scaling.{PARTIAL}"),
            expected: format!("an even part of head_dim ({dims})"),
            found: share.to_string(),
        });
    }
    let of = |(pair, &power): (usize, &f32)| {
        if pair < moving / 2 {
            factor as f32 * power
        } else {
            f32::INFINITY
        }
    };
    Ok(powers.iter().enumerate().map(of).collect())
}

fn yarn_gain(yarn: &Yarn) -> f64 {
    let gain = |mscale: f64| match yarn.factor {
        factor if factor <= 1.0 => 1.0,
        factor => 0.1 * mscale * factor.ln() + 1.0,
    };
    gain(yarn.mscale) / gain(yarn.mscale_all_dim)
}

fn dynamic_base(theta: f64, dims: i32, factor: f64, max_positions: i32, length: i32) -> f64 {
    let stretch = f64::from(length.max(max_positions)) / f64::from(max_positions);
    let exponent = f64::from(dims) / f64::from(dims - 2);
    theta * (factor * stretch - (factor - 1.0)).powf(exponent)
}
