//! What the fleet offers to install.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fleet::{Fleet, binary, stdout};

/// Archives like `cargo xtask dist`'s, of the programs that are tested here, offered by the fleet.
pub struct Releases {
    folder: PathBuf,
    programs: PathBuf,
    /// The MLX that the worker was linked with.
    wheel: PathBuf,
    /// What they are said to run on.
    label: String,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Releases {
    pub fn of(fleet: &Fleet, label: &str) -> Self {
        let folder = fleet.data_dir().join("releases");
        let programs = fleet.dir.path().join("programs");
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&programs).unwrap();
        for name in ["mlx-fleet-agent", "mlx-fleet-suite"] {
            // What a debugger wants would be most of the archive.
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(programs.join(name)).arg(binary(name));
            assert!(strip.status().unwrap().success());
        }
        Self {
            folder,
            programs,
            wheel: wheel(),
            label: label.to_owned(),
        }
    }

    fn name(&self) -> String {
        format!("mlx-fleet-{VERSION}-{}", self.label)
    }

    /// Offers this release alone; `note` tells it from others, `agent` is its agent.
    pub fn offer(&self, note: &str, agent: &Path) -> PathBuf {
        let stage = tempfile::tempdir().unwrap();
        let root = stage.path().join(self.name());
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy(agent, root.join("bin/mlx-fleet-agent")).unwrap();
        fs::copy(
            self.programs.join("mlx-fleet-suite"),
            root.join("bin/mlx-fleet-suite"),
        )
        .unwrap();
        fs::write(root.join("note"), note).unwrap();
        for library in ["mlx/lib", "mlx_cpu.libs"] {
            let into = root.join("lib").join(library);
            fs::create_dir_all(&into).unwrap();
            for file in fs::read_dir(self.wheel.join(library)).unwrap() {
                let path = file.unwrap().path();
                if path.is_file() {
                    fs::copy(&path, into.join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        let archive = self.folder.join(format!("{}.tar.gz", self.name()));
        let mut tar = Command::new("tar");
        tar.args(["-I", "gzip -1"])
            .arg("-C")
            .arg(stage.path())
            .arg("-cf")
            .arg(&archive)
            .arg(self.name());
        assert!(tar.status().unwrap().success());
        self.write_sums();
        archive
    }

    pub fn offer_good(&self, note: &str) -> PathBuf {
        self.offer(note, &self.programs.join("mlx-fleet-agent"))
    }

    /// It starts, and ends.
    pub fn offer_broken(&self) {
        self.offer_script("broken", "[ \"$1\" = --version ]");
    }

    fn offer_script(&self, note: &str, script: &str) {
        let agent = self.programs.join(note);
        fs::write(&agent, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        self.offer(note, &agent);
    }

    /// It starts and stays, and never speaks to a coordinator.
    pub fn offer_mute(&self) {
        self.offer_script("mute", "[ \"$1\" = --version ] || exec sleep infinity");
    }

    fn write_sums(&self) {
        let sums = "sha256sum -- *.tar.gz >SHA256SUMS";
        let done = Command::new("sh")
            .args(["-c", sums])
            .current_dir(&self.folder)
            .status();
        assert!(done.unwrap().success());
    }
}

/// Where the loader finds it for the worker, in the tree that it was published in.
fn wheel() -> PathBuf {
    let told = Command::new("ldd")
        .arg(binary("mlx-fleet-suite"))
        .output()
        .unwrap();
    let told = stdout(&told);
    let library = told
        .lines()
        .find_map(|line| line.trim().strip_prefix("libmlx.so => "));
    let library = library
        .and_then(|rest| rest.split(" (").next())
        .expect("libmlx.so");
    Path::new(library).ancestors().nth(3).unwrap().to_owned()
}
