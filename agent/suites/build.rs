//! Where the worker finds `libmlx`: beside it in a release archive, else where this build found it. And
//! which commit it is built from.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told everything by its environment"
)]

#[path = "../build/commit.rs"]
mod commit;

fn main() {
    commit::tell(&[
        "build.rs",
        "../build",
        "src",
        "../../proto/src",
        "../../crates/domain",
        "../../crates/mlx-sys",
    ]);
    let beside = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => "@executable_path/../lib",
        _ => "$ORIGIN/../lib",
    };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{beside}");
    if let Ok(lib) = std::env::var("DEP_MLX_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
