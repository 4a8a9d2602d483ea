//! Where the worker finds `libmlx`: beside it in a release archive, else where this build found it.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told everything by its environment"
)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let beside = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => "@executable_path/../lib",
        _ => "$ORIGIN/../lib",
    };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{beside}");
    if let Ok(lib) = std::env::var("DEP_MLX_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
