//! Functions that MLX compiles into one kernel.
//!
//! A processor's kernels are compiled by the system's C++ compiler while the program runs, and a
//! machine that only runs a release may have none: then the function stays in parts.

use std::cell::OnceCell;

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_sys::{mlx_closure, mlx_vector_array};

use super::ops;
use super::raw;

/// A compiled function of two arrays. Lives as long as its thread, like the stream it runs on.
pub(super) struct Kernel {
    closure: mlx_closure,
}

impl Kernel {
    pub(super) fn apply(&self, a: &Array, b: &Array) -> Result<Array> {
        let inputs = [a.as_ptr(), b.as_ptr()];
        // SAFETY: vectors are created, read and freed here, and hold counted references; the closure
        // is this thread's and never freed.
        raw::array(|result, _| unsafe {
            let inputs = mlx_sys::mlx_vector_array_new_data(inputs.as_ptr(), inputs.len());
            let mut outputs = mlx_sys::mlx_vector_array_new();
            let mut status = mlx_sys::mlx_closure_apply(&raw mut outputs, self.closure, inputs);
            if status == 0 {
                status = mlx_sys::mlx_vector_array_get(result, outputs, 0);
            }
            mlx_sys::mlx_vector_array_free(outputs);
            mlx_sys::mlx_vector_array_free(inputs);
            status
        })
    }

    /// Compiles and tries the function; None where that fails.
    fn new(body: Body) -> Option<Self> {
        raw::stream();
        // SAFETY: the function is static, and the plain closure is freed after it was compiled.
        let closure = unsafe {
            let plain = mlx_sys::mlx_closure_new_func(Some(body));
            let mut compiled = mlx_sys::mlx_closure_new();
            let status = mlx_sys::mlx_compile(&raw mut compiled, plain, true);
            mlx_sys::mlx_closure_free(plain);
            raw::check(status).ok()?;
            compiled
        };
        let kernel = Self { closure };
        let probe = Array::from_slice(&[1.0_f32, 2.0], &[2]);
        kernel
            .apply(&probe, &probe)
            .and_then(|result| result.eval())
            .ok()?;
        Some(kernel)
    }
}

type Body = unsafe extern "C" fn(*mut mlx_vector_array, mlx_vector_array) -> i32;

/// Compiled once for its thread; None where it cannot be.
macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident $body:ident $plain:path;)*) => {
        $(
            $(#[$doc])*
            pub(super) fn $name() -> Option<&'static Kernel> {
                thread_local! {
                    // Leaked, so that what is handed out lives as long as the program.
                    static KERNEL: OnceCell<Option<&'static Kernel>> = const { OnceCell::new() };
                }
                KERNEL.with(|kernel| {
                    *kernel.get_or_init(|| {
                        Kernel::new($body).map(|kernel| &*Box::leak(Box::new(kernel)))
                    })
                })
            }

            unsafe extern "C" fn $body(
                result: *mut mlx_vector_array,
                inputs: mlx_vector_array,
            ) -> i32 {
                // SAFETY: MLX calls this with what `trace` wants.
                unsafe { trace(result, inputs, $plain) }
            }
        )*
    };
}

kernels! {
    swiglu swiglu_body ops::plain_swiglu;
    geglu geglu_body ops::plain_geglu;
}

/// Called by MLX while it compiles, with two tracers.
unsafe fn trace(
    result: *mut mlx_vector_array,
    inputs: mlx_vector_array,
    function: fn(&Array, &Array) -> Result<Array>,
) -> i32 {
    let input = |index| {
        // SAFETY: MLX passes two inputs, and the handle is a reference of our own.
        unsafe {
            let mut handle = mlx_sys::mlx_array_new();
            mlx_sys::mlx_vector_array_get(&raw mut handle, inputs, index);
            Array::from_ptr(handle)
        }
    };
    match function(&input(0), &input(1)) {
        Err(_) => 1,
        Ok(output) => {
            // SAFETY: `result` is MLX's to fill, and the vector takes a reference of its own.
            unsafe { mlx_sys::mlx_vector_array_set_value(result, output.as_ptr()) }
        }
    }
}
