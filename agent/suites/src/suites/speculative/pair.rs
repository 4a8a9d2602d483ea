//! A model and its draft in one process: whether they speak of the same tokens, and who they are.

use std::fs;

use domain::model::ModelSource;
use domain::suite::speculative::{Case, vocabularies_differ};
use sha2::{Digest, Sha256};

use crate::harness::TrialError;
use crate::harness::clock;
use crate::load::source::{self, SourceError};
use crate::load::{self, LoadError, Loaded, ModelFolder, Options, identity};
use crate::models::{CausalLm, Config};
use crate::suites::{Bench, Ready, keep_resident};
use crate::tokenizer::{Difference, Tokenizer};

/// Why a model is not measured with a draft.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error("the draft {draft}: {source}")]
    Source {
        draft: ModelSource,
        source: Box<SourceError>,
    },
    #[error("{}", vocabularies_differ(draft, *drafts, *models))]
    Vocabulary {
        draft: ModelSource,
        drafts: u64,
        models: u64,
    },
    #[error(
        "the draft {draft} has another tokenizer than the model ({difference}): they cannot verify each \
         other; keep this model to other suites with `suites`, or name another draft"
    )]
    Tokenizer {
        draft: ModelSource,
        difference: Difference,
    },
}

pub struct Pair {
    /// Its memory was looked at before the draft was loaded.
    pub target: Ready,
    pub draft: Loaded,
}

impl Pair {
    pub fn load(bench: &Bench<'_>, case: &Case) -> Result<Self, TrialError> {
        let target = Ready::settle(bench.load_files()?)?;
        let wanted = case.draft_beside(target.loaded.facts.dtype);
        let folder =
            source::resolve(&wanted.source, wanted.dtype, bench.places).map_err(refuse(case))?;
        check_sizes(case, &folder, target.loaded.model.as_ref())?;
        let clock = clock::nanoseconds();
        let options = Options {
            dtype: wanted.dtype,
            clock: &clock,
        };
        let draft = load::load(&folder, &options).map_err(of_draft(case))?;
        if let (Some(ours), Some(drafts)) = (&target.loaded.tokenizer, &draft.tokenizer) {
            check_tokens(case, ours, drafts)?;
        }
        let digest = identity::identify(&folder, &bench.places.cache)
            .map_err(of_draft(case))?
            .digest;
        bench.announce_as(&target.loaded.facts, |identity| {
            identity.label = format!("{} + {}", identity.label, wanted.label());
            identity.source = format!(
                "{} with draft {} sha256:{digest}",
                identity.source, case.draft
            );
            identity.digest = of_pair(&identity.digest, &digest);
        })?;
        keep_resident()?;
        Ok(Self { target, draft })
    }

    /// The model, then its draft.
    pub fn models(&self) -> [&dyn CausalLm; 2] {
        [&self.target.loaded, &self.draft].map(|loaded| loaded.model.as_ref())
    }
}

/// What was measured is the pair: with another draft it is another thing, whatever the draft is
/// called, and must not be compared as if it were the same.
fn of_pair(target: &str, draft: &str) -> String {
    hex::encode(Sha256::digest(format!("{target} {draft}\n")))
}

fn refuse(case: &Case) -> impl FnOnce(SourceError) -> DraftError {
    let draft = case.draft.clone();
    |source| DraftError::Source {
        draft,
        source: Box::new(source),
    }
}

fn of_draft(case: &Case) -> impl FnOnce(LoadError) -> DraftError {
    let refuse = refuse(case);
    |error| refuse(SourceError::Load(error))
}

/// Before its weights are read.
fn check_sizes(case: &Case, folder: &ModelFolder, target: &dyn CausalLm) -> Result<(), DraftError> {
    let text = fs::read_to_string(&folder.config).map_err(LoadError::io(&folder.config));
    let text = text.map_err(of_draft(case))?;
    let size = Config::parse(&text).and_then(|config| config.required_size("vocab_size"));
    let size = size.map_err(|source| {
        of_draft(case)(LoadError::Config {
            folder: folder.path.clone(),
            source,
        })
    })?;
    let (drafts, models) = (size as u64, target.dims().vocab as u64);
    if drafts == models {
        return Ok(());
    }
    Err(DraftError::Vocabulary {
        draft: case.draft.clone(),
        drafts,
        models,
    })
}

fn check_tokens(case: &Case, ours: &Tokenizer, drafts: &Tokenizer) -> Result<(), DraftError> {
    match ours.difference(drafts) {
        None => Ok(()),
        Some(difference) => Err(DraftError::Tokenizer {
            draft: case.draft.clone(),
            difference,
        }),
    }
}
