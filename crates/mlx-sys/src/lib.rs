//! Raw bindings to mlx-c 0.7.0, over the MLX library that Apple publishes on PyPI.
//!
//! The published crate of this name builds MLX from source and links on Macs with Xcode only. This
//! one has the same interface, so `mlx-rs` is none the wiser, but compiles nothing except mlx-c's
//! thin C layer (`build.rs`) and links `libmlx` from the wheel that Python users run. The features
//! exist because `mlx-rs` names them; what the library can do was decided when the wheel was built.
//!
//! `bindings.rs` is generated (see `source/`) and the same on every target. What is not, is here.

mod bindings;

pub use bindings::*;

/// C's `FILE`, of which only the address is ever handled.
#[repr(C)]
pub struct FILE {
    _opaque: [u8; 0],
}

/// IEEE half precision, by its bits: Rust has no stable type that C's `__fp16` could be.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct float16_t(pub u16);

/// bfloat16, by its bits.
pub type bfloat16_t = u16;

// mlx-c declares these on aarch64 only; elsewhere `native/half.cpp` defines them.
unsafe extern "C" {
    pub fn mlx_array_item_float16(res: *mut float16_t, arr: mlx_array) -> ::std::os::raw::c_int;
    pub fn mlx_array_item_bfloat16(res: *mut bfloat16_t, arr: mlx_array) -> ::std::os::raw::c_int;
    pub fn mlx_array_data_float16(arr: mlx_array) -> *const float16_t;
    pub fn mlx_array_data_bfloat16(arr: mlx_array) -> *const bfloat16_t;
}

/// Mach's coarse clock, which `mlx-rs` calls for its random seed, on systems without Mach.
#[cfg(not(target_vendor = "apple"))]
#[unsafe(no_mangle)]
pub extern "C" fn mach_approximate_time() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
