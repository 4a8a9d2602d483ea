//! From a model's name to its folder: a path, an entry of the Hugging Face cache, or synthetic.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use domain::hub::{self, HubModel};
use domain::model::{BadSource, Dtype, ModelSource};

use super::{LoadError, ModelFolder};
use crate::synthetic::{self, SyntheticError};

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Name(#[from] BadSource),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Synthetic(#[from] SyntheticError),
    #[error(
        "{repository} at {revision} is not in the Hugging Face cache ({cache}); download it there with \
         `hf download {repository} --revision {revision}`, or for the whole fleet with \
         `mlx-fleet model fetch {model}` where the coordinator runs",
        repository = model.repository,
        revision = model.revision(),
        cache = cache.display()
    )]
    NotDownloaded { model: HubModel, cache: PathBuf },
}

/// Where models are looked for and made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Ours: synthetic weights and remembered digests.
    pub cache: PathBuf,
    /// Hugging Face's, which is only read.
    pub hub: PathBuf,
}

impl Places {
    /// `MLX_FLEET_CACHE`, else the platform's cache folder; `HF_HUB_CACHE`, else `HF_HOME`'s hub,
    /// else its default.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads where models are"
    )]
    pub fn from_env() -> Self {
        let named = |name: &str| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let bases = directories::BaseDirs::new();
        let home = bases
            .as_ref()
            .map_or_else(env::temp_dir, |bases| bases.home_dir().to_owned());
        let cache = named("MLX_FLEET_CACHE").unwrap_or_else(|| {
            bases
                .as_ref()
                .map_or_else(|| home.join(".cache"), |bases| bases.cache_dir().to_owned())
                .join("mlx-fleet")
        });
        let hub = hub::Folders::of(named, &home).cache;
        Self { cache, hub }
    }
}

/// The folder of a parsed source. Synthetic weights are written first where they are not there yet,
/// in `dtype` (bf16 where none is asked for).
pub fn resolve(
    source: &ModelSource,
    dtype: Option<Dtype>,
    places: &Places,
) -> Result<ModelFolder, SourceError> {
    match source {
        ModelSource::Folder(path) => Ok(ModelFolder::open(Path::new(path))?),
        ModelSource::Hub(model) => {
            let missing = || SourceError::NotDownloaded {
                model: model.clone(),
                cache: places.hub.clone(),
            };
            let snapshot = hub_snapshot(&places.hub, model).ok_or_else(missing)?;
            Ok(ModelFolder::open(&snapshot)?)
        }
        ModelSource::Synthetic(architecture) => {
            let dtype = dtype.unwrap_or(Dtype::Bf16);
            Ok(synthetic::ensure(architecture, dtype, &places.cache)?)
        }
    }
}

/// A name as a person types it: folders may be relative to where they are.
pub fn parse(name: &str) -> Result<ModelSource, SourceError> {
    let named = name.contains("://") || name.starts_with(domain::catalogue::PREFIX);
    if named {
        return Ok(name.parse()?);
    }
    let path = std::path::absolute(name).map_err(LoadError::io(Path::new(name)))?;
    Ok(ModelSource::Folder(path.to_string_lossy().into_owned()))
}

/// The revision is a commit or a name in `refs`.
fn hub_snapshot(cache: &Path, model: &HubModel) -> Option<PathBuf> {
    let entry = cache.join(model.folder());
    let revision = model.revision();
    let commit = fs::read_to_string(entry.join("refs").join(revision));
    let commit = commit.as_deref().map_or(revision, str::trim);
    Some(entry.join("snapshots").join(commit)).filter(|snapshot| snapshot.is_dir())
}
