//! The checkpoints that `parity.py` writes with mlx-lm, and what other scripts make of them, written
//! once and shared by every test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use suites::load::parts::Parts;
use suites::load::{self, LoadError, Loaded, ModelFolder, Options};

/// What mlx-lm computed from a case's checkpoint.
#[derive(Deserialize)]
pub struct Reference {
    pub precision: String,
    pub prompt_ids: Vec<u32>,
    pub prompt_text: Option<String>,
    pub greedy_ids: Vec<u32>,
    /// By the chunk that the prompt was read in: scores at its last position.
    pub logits: BTreeMap<String, Vec<f32>>,
    pub full: Vec<f32>,
    pub parameters: u64,
    pub weight_bytes: u64,
    pub packed: Vec<Packed>,
}

/// The same after `quantize_model`, and what that costs on the prompt.
#[derive(Deserialize)]
pub struct Packed {
    pub bits: i32,
    pub group_size: i32,
    pub logits: Vec<f32>,
    pub weight_bytes: u64,
    pub perplexity: f64,
    pub baseline_perplexity: f64,
    pub kl_mean: f64,
    pub top1_agree: f64,
}

pub struct Case {
    pub name: String,
    pub folder: PathBuf,
    pub reference: Reference,
}

/// Every case whose name begins so; that there are some is part of every test.
pub fn cases(prefix: &str) -> Vec<Case> {
    let mut folders: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        })
        .collect();
    folders.sort();
    assert!(
        !folders.is_empty(),
        "parity.py wrote no case named {prefix}…"
    );
    folders
        .into_iter()
        .map(|folder| {
            let text = fs::read(folder.join("reference.json")).unwrap();
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            Case {
                name,
                folder,
                reference: serde_json::from_slice(&text).unwrap(),
            }
        })
        .collect()
}

pub fn case(name: &str) -> Case {
    cases(name)
        .into_iter()
        .find(|case| case.name == name)
        .unwrap()
}

/// A copy of a case's checkpoint, to be spoilt.
pub fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(case(name).folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

pub fn load(folder: &Path) -> Result<Loaded, LoadError> {
    load_parts(folder).map(|(loaded, _)| loaded)
}

pub fn load_parts(folder: &Path) -> Result<(Loaded, Parts), LoadError> {
    load::load_parts(
        &ModelFolder::open(folder)?,
        &Options {
            dtype: None,
            clock: &|| 0,
        },
    )
}

fn folder() -> PathBuf {
    written_by("parity", &[])
}

/// What mlx-lm and MLX's optimizer make of some of the checkpoints.
pub fn trained() -> PathBuf {
    written_by("training", &["parity"])
}

/// What `NAME.py` writes, given the folders that other scripts wrote. Tests run in several processes:
/// the first writes, the others wait for its lock.
pub fn written_by(name: &str, sources: &[&str]) -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let script = |name: &str| scripts.join(format!("{name}.py"));
    let inputs: Vec<PathBuf> = sources.iter().map(|name| written_by(name, &[])).collect();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = target.join(name);
    fs::create_dir_all(target).unwrap();
    let lock = File::create(target.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let texts = sources.iter().chain([&name]).map(|name| script(name));
    let wanted: String = texts
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let written = folder.join(format!("{name}.py"));
    if fs::read_to_string(&written).is_ok_and(|script| script == wanted) {
        return folder;
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    let output = Command::new(python())
        .arg(script(name))
        .args(inputs)
        .arg(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}.py failed: {said}");
    // Last, so that an interrupted run is begun again.
    fs::write(written, wanted).unwrap();
    folder
}

#[expect(clippy::disallowed_methods, reason = "the setting is this test's own")]
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let venv = std::env::var_os("MLX_FLEET_PARITY_VENV")
        .map_or_else(|| root.join(".tools/parity-venv"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(
        python.is_file(),
        "{} is missing: these tests compare with mlx-lm; run deploy/parity-venv",
        python.display()
    );
    python
}
