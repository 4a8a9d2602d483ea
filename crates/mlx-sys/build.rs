//! Compiles mlx-c and links the MLX that `deploy/setup` unpacked.
//!
//! `MLX_PREFIX` names the unpacked wheel's `mlx/` folder; without it, `.mlx/mlx` in the workspace.
//! Dependents read `DEP_MLX_LIB` (for their rpath), `DEP_MLX_PREFIX` and `DEP_MLX_VERSION`.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told everything by its environment"
)]

use std::path::{Path, PathBuf};
use std::process::exit;
use std::{env, fs};

#[path = "build/source.rs"]
mod source;

/// What mlx-c 0.7.0 is written for; its C++ calls do not compile, or worse, against another minor.
const MLX_MINOR: &str = "0.32";

fn main() {
    if let Err(why) = build() {
        // One line: cargo prints a panic's backtrace advice too, which helps nobody here.
        eprintln!("error: {why}");
        exit(1);
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=MLX_PREFIX");
    for watched in ["build.rs", "build", "native", "source/Cargo.lock"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let target_os = env::var("CARGO_CFG_TARGET_OS").expect("set by cargo");
    let prefix = prefix(&manifest)?;
    let version = version(&prefix)?;
    let library = prefix.join("lib").join(match target_os.as_str() {
        "macos" => "libmlx.dylib",
        _ => "libmlx.so",
    });
    if !library.is_file() {
        return Err(format!(
            "{} is missing: MLX_PREFIX is for another platform, or half unpacked; run deploy/setup",
            library.display()
        ));
    }
    println!("cargo::rerun-if-changed={}", library.display());

    compile(&manifest, &prefix, &target_os)?;

    let lib = prefix.join("lib");
    println!("cargo::rustc-link-search=native={}", lib.display());
    println!("cargo::rustc-link-lib=dylib=mlx");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo::metadata=lib={}", lib.display());
    println!("cargo::metadata=prefix={}", prefix.display());
    println!("cargo::metadata=version={version}");
    println!("cargo::rustc-env=MLX_SYS_VERSION={version}");
    Ok(())
}

fn prefix(manifest: &Path) -> Result<PathBuf, String> {
    let prefix = env::var_os("MLX_PREFIX")
        .filter(|path| !path.is_empty())
        .map_or_else(|| manifest.join("../../.mlx/mlx"), PathBuf::from);
    fs::canonicalize(&prefix).map_err(|_| {
        format!(
            "no MLX at {}: run deploy/setup, or set MLX_PREFIX to an unpacked wheel's mlx folder",
            prefix.display()
        )
    })
}

fn version(prefix: &Path) -> Result<String, String> {
    let header = prefix.join("include/mlx/version.h");
    println!("cargo::rerun-if-changed={}", header.display());
    let text = fs::read_to_string(&header)
        .map_err(|error| format!("{}: {error}; run deploy/setup", header.display()))?;
    let part = |name: &str| {
        text.lines()
            .find_map(|line| {
                line.strip_prefix("#define MLX_VERSION_")?
                    .strip_prefix(name)
            })
            .map(str::trim)
            .ok_or_else(|| format!("{}: no MLX_VERSION_{name}", header.display()))
    };
    let version = format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?);
    if version.starts_with(&format!("{MLX_MINOR}.")) {
        Ok(version)
    } else {
        Err(format!(
            "{} holds MLX {version}, and mlx-c 0.7.0 needs {MLX_MINOR}: run deploy/setup",
            prefix.display()
        ))
    }
}

fn compile(manifest: &Path, prefix: &Path, target_os: &str) -> Result<(), String> {
    let mlx_c = source::locate(&manifest.join("source"))?;
    let sources = source::files(&mlx_c, "cpp");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        // Never a debug build: this layer is on the path that is measured.
        .opt_level(2)
        .debug(false)
        .define("NDEBUG", None)
        .warnings(false)
        .include(&mlx_c)
        .include(prefix.join("include"))
        .flag("-include")
        .flag(manifest.join("native/format.h"))
        .files(sources)
        .file(manifest.join("native/half.cpp"));
    if target_os == "macos" && env::var_os("MACOSX_DEPLOYMENT_TARGET").is_none() {
        // The oldest system Apple's wheel runs on; the default is that of the SDK at hand.
        build.flag("-mmacosx-version-min=14.0");
    }
    build
        .try_compile("mlxc")
        .map_err(|error| format!("mlx-c does not compile: {error}"))
}
