//! Projections and the embedding table, plain or quantised.

use mlx_rs::Array;
use mlx_rs::error::Result;

use crate::device::experts;
use crate::device::ops::{self, Packed};

/// `x Wᵀ + b`.
#[derive(Clone, Debug)]
pub enum Linear {
    Plain {
        /// The stored `[out, in]` matrix seen as `[in, out]`: transposed once here rather than at
        /// every call. No bytes move.
        weight_t: Array,
        bias: Option<Array>,
    },
    Quantized {
        weight: Packed,
        bias: Option<Array>,
    },
    Adapted {
        base: Box<Linear>,
        adapter: Adapter,
    },
}

/// What is trained beside a frozen projection: `scale · (x A) B` is added to it, in the adapter's
/// type and then cast to that of `x`, as in mlx-lm.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// `[in, rank]`.
    pub a: Array,
    /// `[rank, out]`.
    pub b: Array,
    pub scale: Array,
}

impl Adapter {
    fn forward(&self, x: &Array) -> Result<Array> {
        let narrow = ops::matmul(&ops::matmul(x, &self.a)?, &self.b)?;
        ops::as_dtype(&ops::multiply(&self.scale, &narrow)?, x.dtype())
    }
}

impl Linear {
    pub fn plain(weight: &Array, bias: Option<Array>) -> Result<Self> {
        let weight_t = ops::transpose(weight, &[1, 0])?;
        Ok(Self::Plain { weight_t, bias })
    }

    pub fn forward(&self, x: &Array) -> Result<Array> {
        match self {
            Self::Plain {
                weight_t,
                bias: None,
            } => ops::matmul(x, weight_t),
            Self::Plain {
                weight_t,
                bias: Some(bias),
            } => ops::addmm(bias, x, weight_t),
            Self::Quantized { weight, bias: None } => ops::quantized_matmul(x, weight),
            Self::Quantized {
                weight,
                bias: Some(bias),
            } => ops::add(&ops::quantized_matmul(x, weight)?, bias),
            Self::Adapted { base, adapter } => ops::add(&base.forward(x)?, &adapter.forward(x)?),
        }
    }
}

/// One projection of many experts.
#[derive(Clone, Debug)]
pub enum Experts {
    Plain {
        /// `[experts, in, out]`, transposed like a [`Linear`]'s.
        weight_t: Array,
    },
    Quantized(Packed),
}

impl Experts {
    pub fn plain(weight: &Array) -> Result<Self> {
        let weight_t = ops::transpose(weight, &[0, 2, 1])?;
        Ok(Self::Plain { weight_t })
    }

    /// Each row of `x` (`[…, 1, in]`) by the expert that `indices` give it; `sorted`: they ascend.
    pub fn forward(&self, x: &Array, indices: &Array, sorted: bool) -> Result<Array> {
        match self {
            Self::Plain { weight_t } => experts::gather_matmul(x, weight_t, indices, sorted),
            Self::Quantized(weight) => experts::gather_quantized_matmul(x, weight, indices, sorted),
        }
    }
}

/// A table of one row per token.
#[derive(Clone, Debug)]
pub enum Embedding {
    Plain { weight: Array, weight_t: Array },
    Quantized(Packed),
}

impl Embedding {
    pub fn plain(weight: Array) -> Result<Self> {
        let weight_t = ops::transpose(&weight, &[1, 0])?;
        Ok(Self::Plain { weight, weight_t })
    }

    pub fn lookup(&self, ids: &Array) -> Result<Array> {
        match self {
            Self::Plain { weight, .. } => ops::take_rows(weight, ids),
            Self::Quantized(table) => ops::dequantize(&Packed {
                weight: ops::take_rows(&table.weight, ids)?,
                scales: ops::take_rows(&table.scales, ids)?,
                biases: ops::take_rows(&table.biases, ids)?,
                ..*table
            }),
        }
    }

    /// The table as the output projection of a tied model.
    pub fn project(&self, hidden: &Array) -> Result<Array> {
        match self {
            Self::Plain { weight_t, .. } => ops::matmul(hidden, weight_t),
            Self::Quantized(table) => ops::quantized_matmul(hidden, table),
        }
    }
}

/// Where scores over the vocabulary come from: `lm_head`, or the table itself.
pub fn project(head: Option<&Linear>, table: &Embedding, hidden: &Array) -> Result<Array> {
    match head {
        Some(head) => head.forward(hidden),
        None => table.project(hidden),
    }
}
