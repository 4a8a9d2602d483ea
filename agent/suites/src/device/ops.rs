//! MLX operations on this thread's kept stream.
//!
//! `mlx-rs` looks the default stream up, with four allocations, in every operation; a decode step of
//! a small model is some thousand operations, so the host time would show. It also has no
//! `slice_update` and no `force_fused`. Each function here is one call of mlx-c.

use mlx_rs::error::Result;
use mlx_rs::{Array, Dtype};

use super::compiled;
use super::raw::array;

/// Which keys a query may see.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// All of them: one query at the end of the keys.
    None,
    /// Those up to its own position, the queries being the last positions.
    Causal,
    /// Boolean, or added to the scores.
    Array(&'a Array),
}

impl Mask<'_> {
    /// What a step of `queries` tokens at the end of a sequence needs.
    pub fn for_queries(queries: i32) -> Self {
        if queries == 1 {
            Self::None
        } else {
            Self::Causal
        }
    }
}

/// Whether an unfused fallback may stand in for a fused kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fused {
    WhereAvailable,
    /// An error says why when there is no kernel.
    Required,
}

/// Softmax(Q Kᵀ scale + mask) V for `[batch, heads, length, dim]`; keys and values may have fewer
/// heads (a divisor), which are shared by groups of queries' heads.
pub fn attention(
    queries: &Array,
    keys: &Array,
    values: &Array,
    scale: f32,
    mask: Mask<'_>,
    fused: Fused,
) -> Result<Array> {
    // SAFETY: an empty handle stands for "no array" and owns nothing.
    let none = unsafe { mlx_sys::mlx_array_new() };
    let (mode, mask) = match mask {
        Mask::None => (c"", none),
        Mask::Causal => (c"causal", none),
        Mask::Array(mask) => (c"", mask.as_ptr()),
    };
    // SAFETY: every handle is borrowed from a live array, or empty.
    array(|res, stream| unsafe {
        mlx_sys::mlx_fast_scaled_dot_product_attention(
            res,
            queries.as_ptr(),
            keys.as_ptr(),
            values.as_ptr(),
            scale,
            mode.as_ptr(),
            mask,
            none,
            fused == Fused::Required,
            stream,
        )
    })
}

/// Which position of its sequence a step begins at.
#[derive(Clone, Copy, Debug)]
pub enum Offset<'a> {
    /// In every sequence.
    Same(i32),
    /// In each sequence its own, `[batch]`, of which this is the largest.
    Each(&'a Array, i32),
}

impl Offset<'_> {
    pub fn largest(self) -> i32 {
        match self {
            Self::Same(offset) | Self::Each(_, offset) => offset,
        }
    }
}

/// Rotates the first `dims` of the last axis by position; with `freqs`, by these wavelengths
/// instead of the powers of `base`.
pub fn rope(
    x: &Array,
    dims: i32,
    traditional: bool,
    base: Option<f32>,
    scale: f32,
    offset: Offset<'_>,
    freqs: Option<&Array>,
) -> Result<Array> {
    let base = mlx_sys::mlx_optional_float {
        value: base.unwrap_or(0.0),
        has_value: base.is_some(),
    };
    // SAFETY: handles are borrowed from live arrays, or empty for "no array".
    array(|res, stream| unsafe {
        let freqs = freqs.map_or_else(|| mlx_sys::mlx_array_new(), Array::as_ptr);
        let x = x.as_ptr();
        match offset {
            Offset::Same(offset) => mlx_sys::mlx_fast_rope(
                res,
                x,
                dims,
                traditional,
                base,
                scale,
                offset,
                freqs,
                stream,
            ),
            Offset::Each(offsets, _) => mlx_sys::mlx_fast_rope_dynamic(
                res,
                x,
                dims,
                traditional,
                base,
                scale,
                offsets.as_ptr(),
                freqs,
                stream,
            ),
        }
    })
}

pub fn rms_norm(x: &Array, weight: &Array, eps: f32) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays.
    array(|res, stream| unsafe {
        mlx_sys::mlx_fast_rms_norm(res, x.as_ptr(), weight.as_ptr(), eps, stream)
    })
}

pub fn matmul(a: &Array, b: &Array) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays.
    array(|res, stream| unsafe { mlx_sys::mlx_matmul(res, a.as_ptr(), b.as_ptr(), stream) })
}

/// `c + a b`.
pub fn addmm(c: &Array, a: &Array, b: &Array) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays.
    array(|res, stream| unsafe {
        mlx_sys::mlx_addmm(res, c.as_ptr(), a.as_ptr(), b.as_ptr(), 1.0, 1.0, stream)
    })
}

/// An affine-quantised matrix as mlx-community stores it: packed words, and a scale and a bias per
/// group of `group_size` values along the rows.
#[derive(Clone, Debug)]
pub struct Packed {
    pub weight: Array,
    pub scales: Array,
    pub biases: Array,
    pub group_size: i32,
    pub bits: i32,
}

/// `x Wᵀ`.
pub fn quantized_matmul(x: &Array, w: &Packed) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays, and the mode is NUL-terminated.
    array(|res, stream| unsafe {
        mlx_sys::mlx_quantized_matmul(
            res,
            x.as_ptr(),
            w.weight.as_ptr(),
            w.scales.as_ptr(),
            w.biases.as_ptr(),
            true,
            some_int(w.group_size),
            some_int(w.bits),
            c"affine".as_ptr(),
            stream,
        )
    })
}

pub(super) fn some_int(value: i32) -> mlx_sys::mlx_optional_int {
    mlx_sys::mlx_optional_int {
        value,
        has_value: true,
    }
}

pub fn add(a: &Array, b: &Array) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays.
    array(|res, stream| unsafe { mlx_sys::mlx_add(res, a.as_ptr(), b.as_ptr(), stream) })
}

pub fn multiply(a: &Array, b: &Array) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays.
    array(|res, stream| unsafe { mlx_sys::mlx_multiply(res, a.as_ptr(), b.as_ptr(), stream) })
}

pub fn sigmoid(x: &Array) -> Result<Array> {
    // SAFETY: the handle is borrowed from a live array.
    array(|res, stream| unsafe { mlx_sys::mlx_sigmoid(res, x.as_ptr(), stream) })
}

/// Rows of `x` by index.
pub fn take_rows(x: &Array, indices: &Array) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays.
    array(|res, stream| unsafe {
        mlx_sys::mlx_take_axis(res, x.as_ptr(), indices.as_ptr(), 0, stream)
    })
}

pub fn argmax_last(x: &Array) -> Result<Array> {
    // SAFETY: the handle is borrowed from a live array.
    array(|res, stream| unsafe { mlx_sys::mlx_argmax_axis(res, x.as_ptr(), -1, false, stream) })
}

pub fn as_dtype(x: &Array, dtype: Dtype) -> Result<Array> {
    // SAFETY: the handle is borrowed from a live array.
    array(|res, stream| unsafe { mlx_sys::mlx_astype(res, x.as_ptr(), dtype.into(), stream) })
}

pub fn reshape(x: &Array, shape: &[i32]) -> Result<Array> {
    // SAFETY: the handle is live, and the shape is as long as said.
    array(|res, stream| unsafe {
        mlx_sys::mlx_reshape(res, x.as_ptr(), shape.as_ptr(), shape.len(), stream)
    })
}

pub fn transpose(x: &Array, axes: &[i32]) -> Result<Array> {
    // SAFETY: the handle is live, and the axes are as many as said.
    array(|res, stream| unsafe {
        mlx_sys::mlx_transpose_axes(res, x.as_ptr(), axes.as_ptr(), axes.len(), stream)
    })
}

pub fn concatenate<'a>(parts: impl IntoIterator<Item = &'a Array>, axis: i32) -> Result<Array> {
    // SAFETY: the vector copies the live handles it is given and is freed before returning.
    array(|res, stream| unsafe {
        let vector = mlx_sys::mlx_vector_array_new();
        for part in parts {
            mlx_sys::mlx_vector_array_append_value(vector, part.as_ptr());
        }
        let status = mlx_sys::mlx_concatenate_axis(res, vector, axis, stream);
        mlx_sys::mlx_vector_array_free(vector);
        status
    })
}

pub fn zeros(shape: &[i32], dtype: Dtype) -> Result<Array> {
    // SAFETY: the shape is as long as said.
    array(|res, stream| unsafe {
        mlx_sys::mlx_zeros(res, shape.as_ptr(), shape.len(), dtype.into(), stream)
    })
}

/// The part of `x` from `start` to before `stop`, along each of its N axes.
pub fn slice<const N: usize>(x: &Array, start: &[i32; N], stop: &[i32; N]) -> Result<Array> {
    let strides = [1; N];
    // SAFETY: the handle is live, and the three lists have N entries each.
    array(|res, stream| unsafe {
        mlx_sys::mlx_slice(
            res,
            x.as_ptr(),
            start.as_ptr(),
            N,
            stop.as_ptr(),
            N,
            strides.as_ptr(),
            N,
            stream,
        )
    })
}

/// `x` with that part replaced; in place when nothing else holds `x`.
pub fn slice_update<const N: usize>(
    x: &Array,
    update: &Array,
    start: &[i32; N],
    stop: &[i32; N],
) -> Result<Array> {
    let strides = [1; N];
    // SAFETY: the handles are live, and the three lists have N entries each.
    array(|res, stream| unsafe {
        mlx_sys::mlx_slice_update(
            res,
            x.as_ptr(),
            update.as_ptr(),
            start.as_ptr(),
            N,
            stop.as_ptr(),
            N,
            strides.as_ptr(),
            N,
            stream,
        )
    })
}

/// The plain values of a packed matrix, in its scales' type.
pub fn dequantize(w: &Packed) -> Result<Array> {
    let as_scales = mlx_sys::mlx_optional_dtype {
        value: 0,
        has_value: false,
    };
    // SAFETY: handles are borrowed from live arrays, or empty; the mode is NUL-terminated.
    array(|res, stream| unsafe {
        mlx_sys::mlx_dequantize(
            res,
            w.weight.as_ptr(),
            w.scales.as_ptr(),
            w.biases.as_ptr(),
            some_int(w.group_size),
            some_int(w.bits),
            c"affine".as_ptr(),
            mlx_sys::mlx_array_new(),
            as_scales,
            stream,
        )
    })
}

/// `silu(gate) · up`, the activation of gated MLPs: one kernel, as in mlx-lm, where MLX can compile
/// one.
pub fn swiglu(gate: &Array, up: &Array) -> Result<Array> {
    match compiled::swiglu() {
        Some(kernel) => kernel.apply(gate, up),
        None => plain_swiglu(gate, up),
    }
}

pub(super) fn plain_swiglu(gate: &Array, up: &Array) -> Result<Array> {
    multiply(&multiply(gate, &sigmoid(gate)?)?, up)
}

/// `gelu(gate) · up`, with the approximation by a hyperbolic tangent: the same, of other models.
pub fn geglu(gate: &Array, up: &Array) -> Result<Array> {
    match compiled::geglu() {
        Some(kernel) => kernel.apply(gate, up),
        None => plain_geglu(gate, up),
    }
}

/// `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, in the order in which MLX writes it, so that the same
/// bits come out.
pub(super) fn plain_geglu(gate: &Array, up: &Array) -> Result<Array> {
    let like_gate = |value: f32| as_dtype(&Array::from_f32(value), gate.dtype());
    let cubed = gate.power(&like_gate(3.0)?)?;
    let inner = add(gate, &multiply(&like_gate(0.044_715)?, &cubed)?)?;
    let root = (2.0 / std::f64::consts::PI).sqrt() as f32;
    let tangent = mlx_rs::ops::tanh(multiply(&like_gate(root)?, &inner)?)?;
    let half = multiply(&like_gate(0.5)?, gate)?;
    multiply(&multiply(&half, &add(&like_gate(1.0)?, &tangent)?)?, up)
}

/// `[batch, length, heads · dim]` as `[batch, heads, length, dim]`. With one position the two orders
/// are the same bytes, and a decode step is spared a transposition.
pub fn split_heads(x: &Array, [batch, length]: [i32; 2], heads: i32, dim: i32) -> Result<Array> {
    if length == 1 {
        return reshape(x, &[batch, heads, 1, dim]);
    }
    transpose(&reshape(x, &[batch, length, heads, dim])?, &[0, 2, 1, 3])
}

/// The way back, `width` being heads times dim.
pub fn join_heads(x: &Array, [batch, length]: [i32; 2], width: i32) -> Result<Array> {
    if length == 1 {
        return reshape(x, &[batch, 1, width]);
    }
    reshape(&transpose(x, &[0, 2, 1, 3])?, &[batch, length, width])
}
