//! What an archive is for: how it is built, which MLX goes into it, what it is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::repo;

/// Links for macOS on Linux.
const CROSS_BUILD: &str = "../shared/tools/check-macos";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// This machine's architecture, MLX on the CPU
    Linux,
    Macos14,
    Macos15,
    /// With the M5's matrix kernels
    Macos26,
}

impl Target {
    /// On a Mac, the archive that runs on every Mac that MLX supports.
    pub fn native() -> Self {
        if cfg!(target_os = "macos") {
            Self::Macos14
        } else {
            Self::Linux
        }
    }

    /// As `install-agent.sh` asks for it.
    pub fn label(self) -> String {
        match self {
            Self::Linux => format!("linux-{}", std::env::consts::ARCH),
            Self::Macos14 => "macos14-arm64".to_owned(),
            Self::Macos15 => "macos15-arm64".to_owned(),
            Self::Macos26 => "macos26-arm64".to_owned(),
        }
    }

    /// The oldest macOS that may run it. Apple's wheel "for macOS 26" says 26.2 inside.
    pub fn oldest_macos(self) -> Option<(u32, u32)> {
        match self {
            Self::Linux => None,
            Self::Macos14 => Some((14, 0)),
            Self::Macos15 => Some((15, 0)),
            Self::Macos26 => Some((26, 2)),
        }
    }

    pub fn triple(self) -> &'static str {
        match self {
            Self::Linux if cfg!(target_arch = "aarch64") => "aarch64-unknown-linux-gnu",
            Self::Linux => "x86_64-unknown-linux-gnu",
            Self::Macos14 | Self::Macos15 | Self::Macos26 => "aarch64-apple-darwin",
        }
    }

    fn is_cross(self) -> bool {
        self != Self::Linux && !cfg!(target_os = "macos")
    }

    /// `cargo build --release`, up to the names of the programs.
    pub fn cargo_build(self) -> Result<Command> {
        if self.is_cross() {
            let tool = repo::root().join(CROSS_BUILD);
            ensure!(
                tool.is_file(),
                "{CROSS_BUILD}, which links for macOS on Linux, is not here: run this on a Mac"
            );
            let mut command = Command::new(tool);
            command.arg("build");
            return Ok(command);
        }
        ensure!(
            self != Self::Linux || cfg!(target_os = "linux"),
            "an archive for Linux is built on Linux"
        );
        let mut command = Command::new("cargo");
        command.args(["build", "--release"]);
        if cfg!(target_os = "macos") {
            // One build for all three: the oldest system decides.
            command.env("MACOSX_DEPLOYMENT_TARGET", "14.0");
        }
        Ok(command)
    }

    /// Where the programs are then.
    pub fn built(self) -> Result<PathBuf> {
        let target = repo::target_folder()?;
        Ok(if self.is_cross() {
            target.join("macos/aarch64-apple-darwin/release")
        } else {
            target.join("release")
        })
    }

    /// The unpacked wheel.
    pub fn fetch_mlx(self) -> Result<PathBuf> {
        let (folder, arguments): (&str, &[&str]) = match self {
            Self::Linux => (".mlx", &[]),
            Self::Macos14 => (".mlx/macos14", &["--macos", "14"]),
            Self::Macos15 => (".mlx/macos15", &["--macos", "15"]),
            Self::Macos26 => (".mlx/macos26", &["--macos", "26"]),
        };
        super::run_in_root(Command::new("deploy/fetch-mlx").args(arguments))?;
        Ok(repo::root().join(folder))
    }

    /// Of the wheel what a program loads, in the wheel's own tree: its libraries find each other by it.
    pub fn libraries(self, mlx: &Path) -> Result<Vec<PathBuf>> {
        let mut folders = vec![mlx.join("mlx/lib")];
        if self == Self::Linux {
            folders.push(mlx.join("mlx_cpu.libs"));
        }
        let mut found = Vec::new();
        for folder in folders {
            let entries = std::fs::read_dir(&folder)
                .with_context(|| format!("cannot list {}", folder.display()))?;
            for entry in entries {
                let path = entry?.path();
                // Beside them lies a folder for CMake.
                if path.is_file() {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn the_script_asks_for_archives_by_these_names() {
        let script = include_str!("../../../deploy/install-agent.sh");
        for target in [Target::Macos14, Target::Macos15, Target::Macos26] {
            let label = target.label();
            let class = label.strip_suffix("-arm64").unwrap();
            assert!(script.contains(&format!("echo {class}-arm64")), "{label}");
        }
        assert!(Target::Linux.label().starts_with("linux-"));
        assert!(script.contains("echo \"linux-$(uname -m)\""));
    }
}
