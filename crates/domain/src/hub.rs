//! Models as Hugging Face names them, and the names in its cache:
//!
//! ```text
//!   models--ORG--NAME/refs/main              the commit that a revision stands for
//!                    /snapshots/COMMIT/FILE  a link to
//!                    /blobs/DIGEST           the content, called by its own hash
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The scheme of a model's source in a plan.
pub const PREFIX: &str = "hf://";

/// The revision that is meant where none is named.
const DEFAULT_REVISION: &str = "main";

const CONFIG: &str = "config.json";
/// Says which shard holds which tensor.
pub const INDEX: &str = "model.safetensors.index.json";

/// Nobody's model has more shards.
pub const MAX_FILES: usize = 1000;
const MAX_FILE_NAME_BYTES: usize = 200;
/// What is refused may be long.
const MAX_SHOWN: usize = 200;

/// A repository of models, at a branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubModel {
    /// `ORG/NAME`
    pub repository: String,
    pub revision: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form hf://ORG/NAME or hf://ORG/NAME@REVISION")]
pub struct BadModel(pub String);

impl FromStr for HubModel {
    type Err = BadModel;

    fn from_str(text: &str) -> Result<Self, BadModel> {
        let bad = || BadModel(text.chars().take(MAX_SHOWN).collect());
        let rest = text.strip_prefix(PREFIX).ok_or_else(bad)?;
        let (repository, revision) = match rest.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (rest, None),
        };
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let (org, name) = repository.split_once('/').ok_or_else(bad)?;
        if !(plain(org) && plain(name) && revision.is_none_or(plain)) {
            return Err(bad());
        }
        Ok(Self {
            repository: repository.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.repository)?;
        match &self.revision {
            None => Ok(()),
            Some(revision) => write!(f, "@{revision}"),
        }
    }
}

impl HubModel {
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// The repository's folder in a cache.
    pub fn folder(&self) -> String {
        format!("models--{}", self.repository.replace('/', "--"))
    }
}

/// Where Hugging Face's own tools keep things for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    pub cache: PathBuf,
    /// What `hf auth login` wrote.
    pub token: PathBuf,
}

impl Folders {
    /// By their variables: `HF_HUB_CACHE` and `HF_TOKEN_PATH`, else in `HF_HOME`, else in its default.
    pub fn of(variable: impl Fn(&str) -> Option<PathBuf>, home: &Path) -> Self {
        let root = variable("HF_HOME").unwrap_or_else(|| {
            variable("XDG_CACHE_HOME")
                .unwrap_or_else(|| home.join(".cache"))
                .join("huggingface")
        });
        Self {
            cache: variable("HF_HUB_CACHE").unwrap_or_else(|| root.join("hub")),
            token: variable("HF_TOKEN_PATH").unwrap_or_else(|| root.join("token")),
        }
    }
}

/// A name that is a plain name in one folder, of a file that running the model takes: what mlx-lm
/// downloads too. Never a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no file that a model needs")]
pub struct BadFileName(pub String);

impl FromStr for FileName {
    type Err = BadFileName;

    fn from_str(text: &str) -> Result<Self, BadFileName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        let plain = text.len() <= MAX_FILE_NAME_BYTES
            && !text.starts_with('.')
            && text.chars().all(allowed);
        let kinds = [".json", ".jsonl", ".txt", ".jinja", ".tiktoken"];
        let needed = text == "tokenizer.model"
            || is_weights(text)
            || kinds.iter().any(|kind| text.ends_with(kind));
        if plain && needed {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadFileName(text.chars().take(MAX_SHOWN).collect()))
        }
    }
}

impl FileName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_weights(name: &str) -> bool {
    name.starts_with("model") && name.ends_with(".safetensors")
}

/// Whether files of these names can be a model.
pub fn is_model<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let (mut config, mut weights) = (false, false);
    for name in names {
        config |= name == CONFIG;
        weights |= is_weights(name);
    }
    config && weights
}

/// A commit of a repository, in hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(String);

/// What a file is called by: the hash of its content, in hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// SHA-256, of whatever is large.
    Sha256(String),
    /// Git's SHA-1 of a blob, of what is small.
    Git(String),
}

const SHA256_DIGITS: usize = 64;
const GIT_DIGITS: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 40 or 64 lower-case hexadecimal digits")]
pub struct BadDigest;

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        match text.len() {
            SHA256_DIGITS if is_hex(text) => Ok(Self::Sha256(text.to_owned())),
            GIT_DIGITS if is_hex(text) => Ok(Self::Git(text.to_owned())),
            _ => Err(BadDigest),
        }
    }
}

impl Digest {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Commit {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        // Git counts in either.
        text.parse::<Digest>()?;
        Ok(Self(text.to_owned()))
    }
}

impl Commit {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    pub name: FileName,
    pub bytes: u64,
    pub digest: Digest,
}

/// The files of a model at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    commit: Commit,
    files: Vec<HubFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSnapshot {
    #[error("it has no config.json, or no model*.safetensors: it is no model that MLX could load")]
    NoModel,
    #[error("`{0}` is in it twice")]
    Twice(FileName),
    #[error("it has {0} files; at most {MAX_FILES}")]
    TooMany(usize),
    #[error("its files are too large to be counted")]
    TooLarge,
}

impl Snapshot {
    pub fn new(commit: Commit, files: Vec<HubFile>) -> Result<Self, BadSnapshot> {
        if files.len() > MAX_FILES {
            return Err(BadSnapshot::TooMany(files.len()));
        }
        let mut names = BTreeSet::new();
        let mut bytes = 0_u64;
        for file in &files {
            if !names.insert(&file.name) {
                return Err(BadSnapshot::Twice(file.name.clone()));
            }
            bytes = bytes
                .checked_add(file.bytes)
                .filter(|bytes| i64::try_from(*bytes).is_ok())
                .ok_or(BadSnapshot::TooLarge)?;
        }
        if !is_model(names.into_iter().map(FileName::as_str)) {
            return Err(BadSnapshot::NoModel);
        }
        Ok(Self { commit, files })
    }

    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    pub fn files(&self) -> &[HubFile] {
        &self.files
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Of the weights alone.
    pub fn weight_bytes(&self) -> u64 {
        let weights = self.files.iter();
        weights
            .filter(|file| is_weights(file.name.as_str()))
            .map(|file| file.bytes)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_the_folder_or_are_programs_are_refused() {
        for good in [
            "config.json",
            "model.safetensors",
            "model-00001-of-00002.safetensors",
            "tokenizer.model",
            "chat_template.jinja",
        ] {
            assert_eq!(good.parse::<FileName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "..",
            "../config.json",
            "/etc/passwd.txt",
            "a/config.json",
            ".hidden.json",
            "a\\b.json",
            "a\0.json",
            "modeling.py",
            "consolidated.safetensors",
            "model.bin",
            &format!("{}.json", "x".repeat(MAX_FILE_NAME_BYTES)),
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_is_lower_case_hex_of_a_known_length() {
        assert!(matches!("0a".repeat(32).parse(), Ok(Digest::Sha256(_))));
        assert!(matches!("0a".repeat(20).parse(), Ok(Digest::Git(_))));
        for bad in [
            "",
            "0a",
            &"0A".repeat(32),
            &"0g".repeat(20),
            &"é".repeat(32),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_snapshot_is_a_model_whose_files_are_told_once() {
        let commit: Commit = "ab".repeat(20).parse().unwrap();
        let file = |name: &str, bytes| HubFile {
            name: name.parse().unwrap(),
            bytes,
            digest: "cd".repeat(32).parse().unwrap(),
        };
        let refused = |files| Snapshot::new(commit.clone(), files).unwrap_err();
        let (config, weights) = (file("config.json", 1), file("model.safetensors", 2));
        assert_eq!(refused(vec![config.clone()]), BadSnapshot::NoModel);
        assert_eq!(
            refused(vec![config.clone(), config.clone()]),
            BadSnapshot::Twice(config.name.clone())
        );
        assert_eq!(
            refused(vec![config.clone(), file("model.safetensors", u64::MAX)]),
            BadSnapshot::TooLarge
        );
        let model = Snapshot::new(commit, vec![config, weights]).unwrap();
        assert_eq!((model.bytes(), model.weight_bytes()), (3, 2));
    }

    #[test]
    fn folders_are_where_hugging_faces_tools_have_them() {
        let home = Path::new("/home/me");
        let of = |set: &[(&str, &str)]| {
            Folders::of(
                |name| {
                    let found = set.iter().find(|(known, _)| *known == name);
                    found.map(|(_, value)| PathBuf::from(value))
                },
                home,
            )
        };
        let cache = |set: &[(&str, &str)]| of(set).cache.display().to_string();
        assert_eq!(cache(&[]), "/home/me/.cache/huggingface/hub");
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c")]), "/c/huggingface/hub");
        assert_eq!(
            cache(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/c")]),
            "/h/hub"
        );
        assert_eq!(cache(&[("HF_HUB_CACHE", "/x"), ("HF_HOME", "/h")]), "/x");
        assert_eq!(of(&[("HF_HOME", "/h")]).token, Path::new("/h/token"));
    }
}
