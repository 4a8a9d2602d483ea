//! What measuring needs of MLX and its safe interface does not give: fences, device facts, fused
//! attention on demand, and operations without a per-call search for the stream.
//!
//! This module and its children hold all of the crate's unsafe code. MLX's streams belong to the
//! thread that made them, so everything here is called on the one thread that owns MLX.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Once;

use mlx_rs::Array;
use mlx_rs::error::{Exception, Result};
use mlx_sys::{mlx_array, mlx_stream};

#[expect(unsafe_code, reason = "mlx-c is a C interface")]
mod compiled;
#[expect(unsafe_code, reason = "mlx-c is a C interface")]
pub mod experts;
#[expect(unsafe_code, reason = "mlx-c is a C interface")]
pub mod ops;

#[expect(unsafe_code, reason = "mlx-c is a C interface")]
mod raw {
    use super::Exception;
    use super::{
        Array, CStr, Cell, Once, RefCell, Result, c_char, c_void, mlx_array, mlx_stream, ptr,
    };

    unsafe extern "C" {
        // mlx-rs's own handler, which its errors are read from. Exported by that crate.
        fn default_mlx_error_handler(message: *const c_char, data: *mut c_void);
    }

    thread_local! {
        static STREAM: Cell<Option<mlx_stream>> = const { Cell::new(None) };
        static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
    }

    extern "C" fn remember(message: *const c_char, data: *mut c_void) {
        // SAFETY: mlx-c passes a NUL-terminated message that outlives this call.
        let text = unsafe { CStr::from_ptr(message) }
            .to_string_lossy()
            .into_owned();
        LAST_ERROR.with_borrow_mut(|last| *last = text);
        // SAFETY: same message; mlx-rs's handler copies it.
        unsafe { default_mlx_error_handler(message, data) }
    }

    /// Without a handler mlx-c ends the process. mlx-rs sets its own at its first call, so that
    /// call comes first, and ours passes every message on to it.
    fn handle_errors() {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            let _ = mlx_rs::memory::active_memory();
            // SAFETY: a plain function without data, so there is nothing to destroy.
            unsafe { mlx_sys::mlx_set_error_handler(Some(remember), ptr::null_mut(), None) }
        });
    }

    #[track_caller]
    pub(super) fn check(status: i32) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        Err(Exception::custom(
            LAST_ERROR.with_borrow_mut(std::mem::take),
        ))
    }

    /// This thread's default stream, looked up once and kept until the process ends.
    pub(super) fn stream() -> mlx_stream {
        if let Some(stream) = STREAM.get() {
            return stream;
        }
        handle_errors();
        // SAFETY: the device and the stream are written before they are read; the device is freed.
        let stream = unsafe {
            let mut device = mlx_sys::mlx_device_new();
            mlx_sys::mlx_get_default_device(&raw mut device);
            let mut stream = mlx_sys::mlx_stream_new();
            mlx_sys::mlx_get_default_stream(&raw mut stream, device);
            mlx_sys::mlx_device_free(device);
            stream
        };
        STREAM.set(Some(stream));
        stream
    }

    /// Runs an operation that writes one array.
    #[track_caller]
    pub(super) fn array(op: impl FnOnce(*mut mlx_array, mlx_stream) -> i32) -> Result<Array> {
        let stream = stream();
        // SAFETY: an empty handle owns nothing; mlx-c fills it, and on failure there is nothing to free.
        let mut result = unsafe { mlx_sys::mlx_array_new() };
        check(op(&raw mut result, stream))?;
        // SAFETY: the operation succeeded, so the handle is valid and ours alone.
        Ok(unsafe { Array::from_ptr(result) })
    }

    pub(super) fn synchronize() -> Result<()> {
        let stream = stream();
        // SAFETY: the stream is this thread's and lives as long as the process.
        check(unsafe { mlx_sys::mlx_synchronize(stream) })
    }

    pub(super) fn version() -> Result<String> {
        handle_errors();
        // SAFETY: the string is created, read while alive and freed here.
        unsafe {
            let mut text = mlx_sys::mlx_string_new();
            check(mlx_sys::mlx_version(&raw mut text))?;
            let version = CStr::from_ptr(mlx_sys::mlx_string_data(text))
                .to_string_lossy()
                .into_owned();
            mlx_sys::mlx_string_free(text);
            Ok(version)
        }
    }

    /// The default device's kind and its facts by key, as MLX reports them.
    pub(super) struct Info {
        info: mlx_sys::mlx_device_info,
        pub(super) is_gpu: bool,
    }

    impl Info {
        pub(super) fn read() -> Result<Self> {
            handle_errors();
            // SAFETY: both handles are created here; the device is freed, the info in `drop`.
            unsafe {
                let mut device = mlx_sys::mlx_device_new();
                check(mlx_sys::mlx_get_default_device(&raw mut device))?;
                let mut kind = mlx_sys::mlx_device_type__MLX_CPU;
                check(mlx_sys::mlx_device_get_type(&raw mut kind, device))?;
                let mut info = mlx_sys::mlx_device_info_new();
                let status = mlx_sys::mlx_device_info_get(&raw mut info, device);
                mlx_sys::mlx_device_free(device);
                let is_gpu = kind == mlx_sys::mlx_device_type__MLX_GPU;
                let info = Self { info, is_gpu };
                check(status)?;
                Ok(info)
            }
        }

        fn has(&self, key: &CStr) -> bool {
            let mut exists = false;
            // SAFETY: `info` is valid while `self` lives, and the key is NUL-terminated.
            let status = unsafe {
                mlx_sys::mlx_device_info_has_key(&raw mut exists, self.info, key.as_ptr())
            };
            status == 0 && exists
        }

        pub(super) fn text(&self, key: &CStr) -> Option<String> {
            if !self.has(key) {
                return None;
            }
            let mut value = ptr::null();
            // SAFETY: as in `has`; the text belongs to `info` and is copied before returning.
            unsafe {
                let status =
                    mlx_sys::mlx_device_info_get_string(&raw mut value, self.info, key.as_ptr());
                (status == 0 && !value.is_null())
                    .then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
            }
        }

        pub(super) fn size(&self, key: &CStr) -> Option<u64> {
            if !self.has(key) {
                return None;
            }
            let mut value = 0;
            // SAFETY: as in `has`.
            let status = unsafe {
                mlx_sys::mlx_device_info_get_size(&raw mut value, self.info, key.as_ptr())
            };
            (status == 0).then_some(value as u64)
        }
    }

    impl Drop for Info {
        fn drop(&mut self) {
            // SAFETY: created in `read` and freed only here.
            unsafe { mlx_sys::mlx_device_info_free(self.info) };
        }
    }
}

/// Waits until everything submitted to this thread's stream has finished: the fence round a timed
/// region.
pub fn synchronize() -> Result<()> {
    raw::synchronize()
}

/// Whether MLX can compile functions into kernels here: on a processor it needs a C++ compiler.
pub fn compiles() -> bool {
    compiled::swiglu().is_some()
}

/// The version of the MLX library that is linked.
pub fn mlx_version() -> Result<String> {
    raw::version()
}

/// What MLX runs on. Sizes are in bytes and absent where the backend does not tell them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    pub is_gpu: bool,
    pub name: String,
    /// Such as `applegpu_g13s`, or the processor's architecture.
    pub architecture: String,
    pub memory_bytes: Option<u64>,
    pub recommended_working_set_bytes: Option<u64>,
    pub max_buffer_bytes: Option<u64>,
}

pub fn device_info() -> Result<DeviceInfo> {
    let info = raw::Info::read()?;
    Ok(DeviceInfo {
        is_gpu: info.is_gpu,
        name: info
            .text(c"device_name")
            .unwrap_or_else(|| if info.is_gpu { "gpu" } else { "cpu" }.to_owned()),
        architecture: info
            .text(c"architecture")
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        memory_bytes: info.size(c"memory_size"),
        recommended_working_set_bytes: info.size(c"max_recommended_working_set_size"),
        max_buffer_bytes: info.size(c"max_buffer_length"),
    })
}

/// MLX's allocator at a moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Held by live arrays.
    pub active_bytes: u64,
    /// Freed but kept for reuse.
    pub cache_bytes: u64,
    /// Most ever active since the last reset.
    pub peak_bytes: u64,
}

pub fn memory() -> Result<Memory> {
    Ok(Memory {
        active_bytes: mlx_rs::memory::active_memory()? as u64,
        cache_bytes: mlx_rs::memory::cache_memory()? as u64,
        peak_bytes: mlx_rs::memory::peak_memory()? as u64,
    })
}

/// Starts a new peak: what is active now is the floor of the next reading.
pub fn reset_peak_memory() -> Result<()> {
    mlx_rs::memory::reset_peak_memory()
}

/// Gives the allocator's kept buffers back to the system.
pub fn clear_cache() -> Result<()> {
    mlx_rs::memory::clear_cache()
}

/// Asks the system to keep the model's memory resident, as mlx-lm does while it generates. Returns
/// the limit in force, or None where the backend has no such thing.
pub fn wire_memory(info: &DeviceInfo) -> Result<Option<u64>> {
    match info.recommended_working_set_bytes {
        Some(bytes) if info.is_gpu && cfg!(target_os = "macos") => {
            mlx_rs::memory::set_wired_limit(bytes as usize)?;
            Ok(Some(bytes))
        }
        _ => Ok(None),
    }
}
