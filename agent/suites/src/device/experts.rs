//! MLX operations of mixtures of experts: choosing experts, and products with the chosen ones.

use mlx_rs::Array;
use mlx_rs::error::Result;

use super::ops::{Packed, some_int};
use super::raw::array;

/// Over the last axis, summed in f32 whatever the type.
pub fn softmax_last(x: &Array) -> Result<Array> {
    // SAFETY: the handle is borrowed from a live array.
    array(|res, stream| unsafe { mlx_sys::mlx_softmax_axis(res, x.as_ptr(), -1, true, stream) })
}

/// The indices of each row's `count` largest values, in no particular order; `x` is
/// `[batch, length, width]`. No gradient flows through a choice.
pub fn largest(x: &Array, count: i32) -> Result<Array> {
    let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
    // SAFETY: the handle is borrowed from a live array.
    let ordered = array(|res, stream| unsafe {
        mlx_sys::mlx_argpartition_axis(res, x.as_ptr(), -count, -1, stream)
    })?;
    let largest = super::ops::slice(&ordered, &[0, 0, width - count], &[batch, length, width])?;
    // SAFETY: the handle is borrowed from a live array.
    array(|res, stream| unsafe { mlx_sys::mlx_stop_gradient(res, largest.as_ptr(), stream) })
}

/// Along the last axis.
pub fn take_along_last(x: &Array, indices: &Array) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays.
    array(|res, stream| unsafe {
        mlx_sys::mlx_take_along_axis(res, x.as_ptr(), indices.as_ptr(), -1, stream)
    })
}

pub fn sum_axis(x: &Array, axis: i32, keep: bool) -> Result<Array> {
    // SAFETY: the handle is borrowed from a live array.
    array(|res, stream| unsafe { mlx_sys::mlx_sum_axis(res, x.as_ptr(), axis, keep, stream) })
}

pub fn divide(a: &Array, b: &Array) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays.
    array(|res, stream| unsafe { mlx_sys::mlx_divide(res, a.as_ptr(), b.as_ptr(), stream) })
}

pub fn floor_divide(a: &Array, b: &Array) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays.
    array(|res, stream| unsafe { mlx_sys::mlx_floor_divide(res, a.as_ptr(), b.as_ptr(), stream) })
}

/// The order that sorts a vector.
pub fn argsort(x: &Array) -> Result<Array> {
    // SAFETY: the handle is borrowed from a live array.
    array(|res, stream| unsafe { mlx_sys::mlx_argsort(res, x.as_ptr(), stream) })
}

/// Arrays of one shape as one, along a new first axis.
pub fn stack(parts: &[Array]) -> Result<Array> {
    let handles: Vec<_> = parts.iter().map(Array::as_ptr).collect();
    // SAFETY: the vector copies the handles it is given and is freed before returning.
    array(|res, stream| unsafe {
        let vector = mlx_sys::mlx_vector_array_new_data(handles.as_ptr(), handles.len());
        let status = mlx_sys::mlx_stack_axis(res, vector, 0, stream);
        mlx_sys::mlx_vector_array_free(vector);
        status
    })
}

/// `x W[i]` for matrices `[experts, in, out]`, each row of `x` with the expert of its index;
/// `sorted`: the indices ascend, so that each expert is read once.
pub fn gather_matmul(x: &Array, weight_t: &Array, indices: &Array, sorted: bool) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays, or empty for "no array".
    array(|res, stream| unsafe {
        mlx_sys::mlx_gather_mm(
            res,
            x.as_ptr(),
            weight_t.as_ptr(),
            mlx_sys::mlx_array_new(),
            indices.as_ptr(),
            sorted,
            stream,
        )
    })
}

/// The same for packed matrices `[experts, out, in]`: `x W[i]ᵀ`.
pub fn gather_quantized_matmul(
    x: &Array,
    w: &Packed,
    indices: &Array,
    sorted: bool,
) -> Result<Array> {
    // SAFETY: handles are borrowed from live arrays, or empty; the mode is NUL-terminated.
    array(|res, stream| unsafe {
        mlx_sys::mlx_gather_qmm(
            res,
            x.as_ptr(),
            w.weight.as_ptr(),
            w.scales.as_ptr(),
            w.biases.as_ptr(),
            mlx_sys::mlx_array_new(),
            indices.as_ptr(),
            true,
            some_int(w.group_size),
            some_int(w.bits),
            c"affine".as_ptr(),
            sorted,
            stream,
        )
    })
}
