//! Tells the agent which commit it is built from.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told everything by its environment"
)]

#[path = "build/commit.rs"]
mod commit;

fn main() {
    commit::tell(&[
        "build.rs",
        "build",
        "src",
        "../proto/src",
        "../crates/domain",
        "../crates/service",
    ]);
}
