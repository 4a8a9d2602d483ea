//! The committed bindings are those of the pinned mlx-c, and the library behind them is the one that
//! mlx-c was written for.

use std::ffi::CStr;
use std::path::Path;

#[path = "../build/source.rs"]
mod source;

fn mlx_c() -> std::path::PathBuf {
    source::locate(&Path::new(env!("CARGO_MANIFEST_DIR")).join("source")).unwrap()
}

#[test]
fn the_bindings_were_made_from_the_pinned_headers() {
    let digest = source::digest(&source::files(&mlx_c(), "h"));
    let bindings = include_str!("../src/bindings.rs");
    assert!(
        bindings.contains(&format!("// Headers: {digest:016x}\n")),
        "run: cargo run --manifest-path crates/mlx-sys/source/Cargo.toml"
    );
}

#[test]
fn every_function_that_the_headers_declare_is_bound() {
    let bound = concat!(
        include_str!("../src/bindings.rs"),
        include_str!("../src/lib.rs")
    );
    let mut declared = 0;
    for header in source::files(&mlx_c(), "h") {
        let text = std::fs::read_to_string(&header).unwrap();
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "_(".contains(c))) {
            let Some((name, _)) = word.split_once('(') else {
                continue;
            };
            // What is defined and not declared (macros) is in capitals or has no prefix.
            if !name.starts_with("mlx_") || name == "mlx_error" {
                continue;
            }
            declared += 1;
            assert!(
                bound.contains(&format!("pub fn {name}(")),
                "{name} of {}",
                header.display()
            );
        }
    }
    assert!(declared > 500, "{declared}: the headers were not read");
}

#[test]
fn the_library_answers_with_the_version_that_was_built_against() {
    // SAFETY: the string is created, read while alive and freed.
    let version = unsafe {
        let mut text = mlx_sys::mlx_string_new();
        assert_eq!(mlx_sys::mlx_version(&raw mut text), 0);
        let version = CStr::from_ptr(mlx_sys::mlx_string_data(text))
            .to_str()
            .unwrap()
            .to_owned();
        mlx_sys::mlx_string_free(text);
        version
    };
    assert_eq!(version, env!("MLX_SYS_VERSION"));
}

#[test]
fn half_precision_values_are_read_by_their_bits() {
    let data = [1.5_f32];
    let shape = [1];
    // SAFETY: the arrays are created, evaluated by `item`, and freed.
    unsafe {
        let stream = mlx_sys::mlx_default_cpu_stream_new();
        let single = mlx_sys::mlx_array_new_data(
            data.as_ptr().cast(),
            shape.as_ptr(),
            1,
            mlx_sys::mlx_dtype__MLX_FLOAT32,
        );
        let cast = |dtype| {
            let mut half = mlx_sys::mlx_array_new();
            assert_eq!(mlx_sys::mlx_astype(&raw mut half, single, dtype, stream), 0);
            assert_eq!(mlx_sys::mlx_array_eval(half), 0);
            half
        };
        let half = cast(mlx_sys::mlx_dtype__MLX_FLOAT16);
        let mut bits = mlx_sys::float16_t::default();
        assert_eq!(mlx_sys::mlx_array_item_float16(&raw mut bits, half), 0);
        assert_eq!(bits.0, 0x3e00);
        assert_eq!((*mlx_sys::mlx_array_data_float16(half)).0, 0x3e00);

        let brain = cast(mlx_sys::mlx_dtype__MLX_BFLOAT16);
        let mut bits = 0;
        assert_eq!(mlx_sys::mlx_array_item_bfloat16(&raw mut bits, brain), 0);
        assert_eq!(bits, 0x3fc0);
        assert_eq!(*mlx_sys::mlx_array_data_bfloat16(brain), 0x3fc0);

        for array in [single, half, brain] {
            mlx_sys::mlx_array_free(array);
        }
        mlx_sys::mlx_stream_free(stream);
    }
}
