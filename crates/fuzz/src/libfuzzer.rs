//! libFuzzer, as `cargo xtask fuzz` builds it in: it sees which code an input reaches, and keeps those that
//! reach more.

#![expect(unsafe_code, reason = "libFuzzer is C++; nothing else here is unsafe")]

use std::ffi::{CString, c_char, c_int};
use std::path::PathBuf;
use std::sync::{Once, OnceLock};
use std::{fs, ptr, slice};

// Linked for its library alone; the function below is what its own `main` would call.
use libfuzzer_sys as _;

/// How long, and where what it finds on its way is kept, from `cargo xtask fuzz`.
const SECONDS: &str = "MLX_FLEET_FUZZ_SECONDS";
const FOLDER: &str = "MLX_FLEET_FUZZ_FOLDER";
/// More than any decoder of ours may take of memory, and of time for one input.
const LIMITS: [&str; 3] = ["-rss_limit_mb=2048", "-timeout=20", "-max_len=65536"];

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        count: *mut c_int,
        arguments: *mut *mut *mut c_char,
        one: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

/// What libfuzzer-sys would call of a program of its own.
#[unsafe(no_mangle)]
fn rust_fuzzer_test_input(_: &[u8]) -> i32 {
    0
}

static DECODE: OnceLock<fn(&[u8])> = OnceLock::new();

/// libfuzzer-sys ends the process at every panic, also at one that the decoder catches. One that it does not
/// catch ends it all the same, as libFuzzer wants it for an input that it found: no panic can leave [`one`].
static PANICS: Once = Once::new();

extern "C" fn one(data: *const u8, size: usize) -> c_int {
    PANICS.call_once(|| drop(std::panic::take_hook()));
    let bytes = if size == 0 {
        &[]
    } else {
        // SAFETY: libFuzzer lends `size` bytes for the time of the call.
        unsafe { slice::from_raw_parts(data, size) }
    };
    if let Some(decode) = DECODE.get() {
        decode(bytes);
    }
    0
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment, and only xtask tells"
)]
fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is missing: use `cargo xtask fuzz`"))
}

pub fn run(name: &str, inputs: &[Vec<u8>], decode: fn(&[u8])) {
    DECODE.set(decode).expect("one decoder in a process");
    let grown = PathBuf::from(told(FOLDER)).join(name);
    fs::create_dir_all(&grown).unwrap();
    for (number, input) in inputs.iter().enumerate() {
        fs::write(grown.join(format!("seed-{number}")), input).unwrap();
    }
    let found = super::folder(name);
    fs::create_dir_all(&found).unwrap();
    let mut arguments = vec![
        name.to_owned(),
        grown.display().to_string(),
        format!("-artifact_prefix={}/found-", found.display()),
        format!("-max_total_time={}", told(SECONDS)),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
    ];
    arguments.extend(LIMITS.map(str::to_owned));
    let arguments: Vec<CString> = arguments
        .into_iter()
        .map(|argument| CString::new(argument).unwrap())
        .collect();
    let mut pointers: Vec<*mut c_char> = arguments
        .iter()
        .map(|argument| argument.as_ptr().cast_mut())
        .chain([ptr::null_mut()])
        .collect();
    let mut count = arguments.len() as c_int;
    let mut list = pointers.as_mut_ptr();
    // SAFETY: a list of that many texts, ended by null, all of which outlive the call.
    let status = unsafe { LLVMFuzzerRunDriver(&raw mut count, &raw mut list, one) };
    assert_eq!(status, 0, "libFuzzer ended with {status}");
}
