//! From a model's folder to a model in memory, strictly: whatever is missing, misshapen, damaged or
//! left over is refused with the name of the file and what is wrong with it.
//!
//! Phases, each timed: configuration, tokenizer, headers (checked here, before MLX reads a byte),
//! build (lazy: every tensor's name, type and shape is settled before its data is read), weights (the
//! reading itself, and the cast where one is asked for).

pub mod header;
pub mod identity;
pub mod parts;
pub mod source;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use domain::model::Dtype;
use mlx_rs::Array;

use crate::chat::ChatError;
use crate::device::{self, ops};
use crate::models::weights::Quantization;
use crate::models::{self, BuildError, CausalLm, Config, ConfigError, WeightError, Weights};
use crate::tokenizer::{Tokenizer, TokenizerError};
use header::{Header, HeaderError};
use parts::Parts;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{folder}: no model*.safetensors files here; is this a model's folder?")]
    NoWeights { folder: PathBuf },
    #[error("{index} names `{missing}`, which is not there")]
    MissingShard { index: PathBuf, missing: String },
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("tensor `{name}` is in both {first} and {second}")]
    Duplicate {
        name: String,
        first: PathBuf,
        second: PathBuf,
    },
    #[error("{folder}: {source}")]
    Config {
        folder: PathBuf,
        source: ConfigError,
    },
    #[error("{folder}: {source}")]
    Weight {
        folder: PathBuf,
        source: WeightError,
    },
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("{path}: MLX cannot read it: {why}")]
    Unreadable { path: PathBuf, why: String },
    #[error("MLX refused while loading: {0}")]
    Mlx(#[from] mlx_rs::error::Exception),
}

impl LoadError {
    pub(crate) fn build(folder: &Path, error: BuildError) -> Self {
        let folder = folder.to_owned();
        match error {
            BuildError::Config(source) => Self::Config { folder, source },
            BuildError::Weight(source) => Self::Weight { folder, source },
            BuildError::Mlx(error) => Self::Mlx(error),
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// The files of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFolder {
    pub path: PathBuf,
    pub config: PathBuf,
    /// Sorted by name.
    pub weights: Vec<PathBuf>,
    pub tokenizer: Option<PathBuf>,
    /// Whether the values are random.
    pub synthetic: bool,
}

impl ModelFolder {
    /// Looks for the files, as mlx-lm does: every `model*.safetensors`, whatever an index says.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let mut weights = Vec::new();
        for entry in fs::read_dir(path).map_err(LoadError::io(path))? {
            let entry = entry.map_err(LoadError::io(path))?.path();
            let name = entry
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.starts_with("model") && name.ends_with(".safetensors") {
                weights.push(entry);
            }
        }
        weights.sort();
        let config = path.join("config.json");
        if !config.is_file() {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(LoadError::Io {
                path: config,
                source: missing,
            });
        }
        if weights.is_empty() {
            let none = LoadError::NoWeights {
                folder: path.to_owned(),
            };
            return Err(missing_shard(path).unwrap_or(none));
        }
        let tokenizer = Some(path.join("tokenizer.json")).filter(|file| file.is_file());
        Ok(Self {
            path: path.to_owned(),
            config,
            weights,
            tokenizer,
            synthetic: false,
        })
    }
}

/// What an index says of a file that is not there: the download did not finish. It is asked only when
/// something is missing, for a folder may hold everything beside an index of other files.
fn missing_shard(folder: &Path) -> Option<LoadError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let index = folder.join("model.safetensors.index.json");
    let parsed: Index = serde_json::from_slice(&fs::read(&index).ok()?).ok()?;
    let missing = parsed
        .weight_map
        .into_values()
        .filter(|file| !folder.join(file).is_file())
        .min()?;
    Some(LoadError::MissingShard { index, missing })
}

/// How to load.
pub struct Options<'a> {
    /// Cast the floating-point tensors to this type; None: as stored.
    pub dtype: Option<Dtype>,
    /// A monotonic clock in nanoseconds, from any start.
    pub clock: &'a dyn Fn() -> u64,
}

/// Nanoseconds of each phase, in the order they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    pub config_ns: u64,
    pub tokenizer_ns: u64,
    pub header_ns: u64,
    pub build_ns: u64,
    pub weights_ns: u64,
}

impl Phases {
    pub fn total_ns(&self) -> u64 {
        let Self {
            config_ns,
            tokenizer_ns,
            header_ns,
            build_ns,
            weights_ns,
        } = self;
        config_ns + tokenizer_ns + header_ns + build_ns + weights_ns
    }
}

/// What the files turned out to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// As the configuration says it, before any renaming.
    pub model_type: String,
    /// A tied embedding counts once, and packed values as what they stand for.
    pub parameters: u64,
    /// Bytes of the weight files, headers included.
    pub file_bytes: u64,
    /// In memory, in the type they are computed in.
    pub weight_bytes: u64,
    /// Of these, read for every decoded token: all but a table that is only looked up
    /// and the experts that it does not choose.
    pub decode_bytes: u64,
    pub kv_bytes_per_token: u64,
    /// What activations are computed in.
    pub dtype: Dtype,
    /// `none`, or such as `affine 4-bit g64`.
    pub quantisation: String,
    pub config_json: String,
}

pub struct Loaded {
    pub model: Box<dyn CausalLm>,
    /// None where the folder has no `tokenizer.json`.
    pub tokenizer: Option<Tokenizer>,
    pub facts: Facts,
    pub phases: Phases,
}

/// Loads a model; on return all of its weights are in memory and the device is idle.
pub fn load(folder: &ModelFolder, options: &Options<'_>) -> Result<Loaded, LoadError> {
    let loaded = load_and(folder, options, |_, _, _| ())?;
    Ok(loaded.0)
}

/// The same, and what the model was built of.
pub fn load_parts(
    folder: &ModelFolder,
    options: &Options<'_>,
) -> Result<(Loaded, Parts), LoadError> {
    load_and(folder, options, Parts::new)
}

/// Loads, and keeps something of what the model is built of: whatever holds the tensors holds their
/// memory.
fn load_and<T>(
    folder: &ModelFolder,
    options: &Options<'_>,
    keep: impl FnOnce(&Config, &Quantization, &HashMap<String, Array>) -> T,
) -> Result<(Loaded, T), LoadError> {
    let mut watch = Stopwatch {
        clock: options.clock,
        last: (options.clock)(),
    };
    let mut phases = Phases::default();
    let refuse_config = |source| LoadError::Config {
        folder: folder.path.clone(),
        source,
    };

    let config_json = fs::read_to_string(&folder.config).map_err(LoadError::io(&folder.config))?;
    let config = Config::parse(&config_json).map_err(refuse_config)?;
    let model_type = config.model_type().map_err(refuse_config)?.to_owned();
    let vocab = config.required_size("vocab_size").map_err(refuse_config)?;
    let quantization = Quantization::read(&config).map_err(refuse_config)?;
    phases.config_ns = watch.lap();

    let tokenizer = match &folder.tokenizer {
        Some(file) => Some(Tokenizer::load(file, vocab as usize)?),
        None => None,
    };
    phases.tokenizer_ns = watch.lap();

    let headers = read_headers(&folder.weights)?;
    phases.header_ns = watch.lap();

    let tensors = open_tensors(&folder.weights, options.dtype)?;
    let kept = keep(&config, &quantization, &tensors);
    let mut weights = Weights::new(tensors, quantization);
    let model = models::build(&config, &mut weights).map_err(|error| {
        let missing = matches!(error, BuildError::Weight(WeightError::Missing(_)))
            .then(|| missing_shard(&folder.path));
        let refusal = LoadError::build(&folder.path, error);
        missing.flatten().unwrap_or(refusal)
    })?;
    let (tally, quantisation) = (weights.tally(), weights.quantisation_label());
    let all = weights.taken().to_vec();
    weights
        .finish()
        .map_err(|source| LoadError::build(&folder.path, source.into()))?;
    phases.build_ns = watch.lap();

    mlx_rs::transforms::eval(&all)?;
    device::synchronize()?;
    phases.weights_ns = watch.lap();

    let dtype = compute_dtype(&all);
    let gathered = if model.dims().tied {
        0
    } else {
        tally.embedding_bytes
    };
    let facts = Facts {
        model_type,
        parameters: tally.parameters,
        file_bytes: headers.iter().map(|header| header.file_bytes).sum(),
        weight_bytes: tally.bytes,
        decode_bytes: tally.bytes - gathered - tally.idle_bytes,
        kv_bytes_per_token: model.dims().kv_bytes_per_token(dtype.bytes()),
        dtype,
        quantisation,
        config_json,
    };
    let loaded = Loaded {
        model,
        tokenizer,
        facts,
        phases,
    };
    Ok((loaded, kept))
}

struct Stopwatch<'a> {
    clock: &'a dyn Fn() -> u64,
    last: u64,
}

impl Stopwatch<'_> {
    /// Since the last call.
    fn lap(&mut self) -> u64 {
        let now = (self.clock)();
        let lap = now.saturating_sub(self.last);
        self.last = now;
        lap
    }
}

fn read_headers(files: &[PathBuf]) -> Result<Vec<Header>, LoadError> {
    let mut headers = Vec::with_capacity(files.len());
    let mut owner: HashMap<String, &PathBuf> = HashMap::new();
    for file in files {
        let header = Header::read(file)?;
        for name in &header.tensors {
            if let Some(first) = owner.insert(name.clone(), file) {
                return Err(LoadError::Duplicate {
                    name: name.clone(),
                    first: first.clone(),
                    second: file.clone(),
                });
            }
        }
        headers.push(header);
    }
    Ok(headers)
}

/// The files' tensors, not read yet, without those that the models have no use for.
fn open_tensors(
    files: &[PathBuf],
    dtype: Option<Dtype>,
) -> Result<HashMap<String, Array>, LoadError> {
    let mut tensors = HashMap::new();
    for file in files {
        let opened = Array::load_safetensors(file).map_err(|error| LoadError::Unreadable {
            path: file.clone(),
            why: error.to_string(),
        })?;
        for (name, array) in opened {
            // Old exports carry the rotary table.
            if name.ends_with("rotary_emb.inv_freq") {
                continue;
            }
            let array = match dtype {
                Some(dtype) if is_float(array.dtype()) => ops::as_dtype(&array, mlx_dtype(dtype))?,
                _ => array,
            };
            tensors.insert(name, array);
        }
    }
    Ok(tensors)
}

fn is_float(dtype: mlx_rs::Dtype) -> bool {
    use mlx_rs::Dtype::{Bfloat16, Float16, Float32};
    matches!(dtype, Bfloat16 | Float16 | Float32)
}

pub(crate) fn mlx_dtype(dtype: Dtype) -> mlx_rs::Dtype {
    match dtype {
        Dtype::Bf16 => mlx_rs::Dtype::Bfloat16,
        Dtype::F16 => mlx_rs::Dtype::Float16,
        Dtype::F32 => mlx_rs::Dtype::Float32,
    }
}

/// Mixed types promote to the widest, as MLX's operations do.
fn compute_dtype(tensors: &[Array]) -> Dtype {
    let has = |wanted| tensors.iter().any(|tensor| tensor.dtype() == wanted);
    let (bf16, f16) = (has(mlx_rs::Dtype::Bfloat16), has(mlx_rs::Dtype::Float16));
    match (has(mlx_rs::Dtype::Float32), bf16, f16) {
        (true, _, _) | (false, true, true) => Dtype::F32,
        (false, true, false) => Dtype::Bf16,
        (false, false, _) => Dtype::F16,
    }
}
