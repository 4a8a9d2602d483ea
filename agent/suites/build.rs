//! Where the worker finds `libmlx`: in `lib` of a release archive, which is the wheel as it was published, or
//! else where this build found it. And which commit it is built from.

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
        Ok("macos") => "@executable_path/../lib/mlx/lib",
        _ => "$ORIGIN/../lib/mlx/lib",
    };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{beside}");
    // `cargo xtask dist` sets it: a folder of the builder's is nothing to look into elsewhere.
    println!("cargo::rerun-if-env-changed=MLX_FLEET_DIST");
    if std::env::var_os("MLX_FLEET_DIST").is_none()
        && let Ok(lib) = std::env::var("DEP_MLX_LIB")
    {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
