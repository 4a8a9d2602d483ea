//! Which weights a case runs with, and what was found in them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::catalogue::{self, Architecture};
use crate::hub::{self, BadModel, HubModel};
use crate::text::is_plain;

/// The floating-point type that unquantised weights are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    Bf16,
    F16,
    F32,
}

impl Dtype {
    pub const NAMES: [&'static str; 3] = ["bf16", "f16", "f32"];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    pub fn bytes(self) -> u64 {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown dtype `{0}`, expected bf16, f16 or f32")]
pub struct UnknownDtype(pub String);

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(name: &str) -> Result<Self, UnknownDtype> {
        match name {
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            "f32" => Ok(Self::F32),
            other => Err(UnknownDtype(other.to_owned())),
        }
    }
}

/// As long as a path may be.
const MAX_SOURCE_BYTES: usize = 1024;

/// Where weights come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ModelSource {
    /// An absolute folder on the machine that measures.
    Folder(String),
    /// An entry of the Hugging Face cache there.
    Hub(HubModel),
    /// An architecture of the catalogue with seeded random weights.
    Synthetic(&'static Architecture),
}

impl Eq for Architecture {}

impl std::hash::Hash for Architecture {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Why a model's source was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    #[error("unknown synthetic model `{name}`")]
    UnknownSynthetic { name: String },
    #[error(
        "`{text}` names no model: a folder must be absolute, since each machine reads it from its own disk"
    )]
    RelativeFolder { text: String },
    #[error(
        "a model's source has at most {MAX_SOURCE_BYTES} bytes and no control characters; this one is \
         {text:?}"
    )]
    Unprintable { text: String },
    #[error(transparent)]
    Hub(#[from] BadModel),
}

impl FromStr for ModelSource {
    type Err = BadSource;

    fn from_str(text: &str) -> Result<Self, BadSource> {
        if text.len() > MAX_SOURCE_BYTES || !text.chars().all(is_plain) {
            return Err(BadSource::Unprintable {
                text: text.chars().take(40).collect(),
            });
        }
        if let Some(name) = text.strip_prefix(catalogue::PREFIX) {
            return catalogue::find(name).map(Self::Synthetic).ok_or_else(|| {
                BadSource::UnknownSynthetic {
                    name: name.to_owned(),
                }
            });
        }
        if text.starts_with(hub::PREFIX) {
            return Ok(Self::Hub(text.parse()?));
        }
        if text.starts_with('/') {
            return Ok(Self::Folder(text.to_owned()));
        }
        Err(BadSource::RelativeFolder {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for ModelSource {
    type Error = BadSource;

    fn try_from(text: String) -> Result<Self, BadSource> {
        text.parse()
    }
}

impl From<ModelSource> for String {
    fn from(source: ModelSource) -> Self {
        source.to_string()
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => f.write_str(path),
            Self::Hub(model) => model.fmt(f),
            Self::Synthetic(architecture) => {
                write!(f, "{}{}", catalogue::PREFIX, architecture.name)
            }
        }
    }
}

/// Stands where a model's name would, for a suite about the machine itself.
pub const NO_MODEL: &str = "(machine)";

/// One model in one precision, as a job asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelRef {
    pub source: ModelSource,
    /// None: as stored (the way to run quantised checkpoints).
    pub dtype: Option<Dtype>,
}

impl ModelRef {
    /// A short name for people: the last part of the source.
    pub fn label(&self) -> String {
        match &self.source {
            ModelSource::Folder(path) => path
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or(path)
                .to_owned(),
            ModelSource::Hub(HubModel { repository, .. }) => repository
                .rsplit('/')
                .next()
                .unwrap_or(repository)
                .to_owned(),
            ModelSource::Synthetic(architecture) => architecture.name.to_owned(),
        }
    }

    /// How a job's model reads in tables: its label, or [`NO_MODEL`].
    pub fn label_of(model: Option<&Self>) -> String {
        model.map_or_else(|| NO_MODEL.to_owned(), Self::label)
    }

    /// How the precision reads in tables: a type, or what the files hold.
    pub fn dtype_label(&self) -> &'static str {
        self.dtype.map_or("as stored", Dtype::as_str)
    }
}

/// What a worker found in the files: identity is content, the label is for people.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelIdentity {
    /// SHA-256 over configuration, weights and tokenizer, in hex.
    pub digest: String,
    pub model_type: String,
    pub label: String,
    pub source: String,
    pub dtype: Dtype,
    /// `none`, or such as `affine 4-bit g64`.
    pub quantisation: String,
    pub parameters: u64,
    pub weight_bytes: u64,
    pub decode_bytes: u64,
    pub kv_bytes_per_token: u64,
    pub synthetic: bool,
    pub config_json: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_a_round_trip_and_nonsense_is_refused_by_name() {
        for text in [
            "/models/llama",
            "hf://mlx-community/Qwen3-0.6B-4bit",
            "hf://a/b@main",
            "synthetic:qwen3-8b",
        ] {
            assert_eq!(text.parse::<ModelSource>().unwrap().to_string(), text);
        }
        for text in [
            "models/x",
            "hf://only",
            "hf://../../etc@x",
            "synthetic:qwen9",
        ] {
            let refused = text.parse::<ModelSource>().unwrap_err().to_string();
            assert!(
                refused.contains(text.trim_start_matches("synthetic:")),
                "{refused}"
            );
        }
        let long = format!("/{}", "x".repeat(MAX_SOURCE_BYTES));
        for text in [
            "/models/\u{1b}[2J",
            "/models/\u{202e}x",
            "hf://a/b\0",
            &long,
        ] {
            let refused = text.parse::<ModelSource>().unwrap_err();
            assert!(
                matches!(refused, BadSource::Unprintable { .. }),
                "{refused}"
            );
            assert!(refused.to_string().chars().all(is_plain), "{refused}");
        }
    }
}
