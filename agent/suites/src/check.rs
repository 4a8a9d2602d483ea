//! `mlx-fleet-suite check`: what the engine computes for one prompt, for anyone to compare with
//! another engine.

use std::path::PathBuf;

use domain::model::Dtype;
use serde::Serialize;

use crate::generate;
use crate::load::source::{self, Places, SourceError};
use crate::load::{self, LoadError, Options};
use crate::system;
use crate::tokenizer::TokenizerError;

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// A folder, hf://ORG/NAME[@REVISION] of the Hugging Face cache, or synthetic:NAME
    #[arg(long)]
    model: String,
    #[command(flatten)]
    prompt: PromptArgs,
    /// How many tokens to generate
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    max_tokens: u32,
    /// Cast the weights: bf16, f16 or f32 [default: as stored; bf16 for synthetic models]
    #[arg(long)]
    dtype: Option<Dtype>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct PromptArgs {
    /// Text, for models with a tokenizer
    #[arg(long)]
    prompt: Option<String>,
    /// Token ids, such as 1,2,3
    #[arg(long, value_delimiter = ',')]
    prompt_ids: Option<Vec<u32>>,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("{0} has no tokenizer.json; give --prompt-ids instead of --prompt")]
    NoTokenizer(String),
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("--prompt-ids: {id} is not in the model's vocabulary of {vocab}")]
    OutOfVocabulary { id: u32, vocab: i32 },
    #[error(
        "the model computes {bad} scores of {all} that are not finite: damaged weights, or too large for their type"
    )]
    NotFinite { bad: usize, all: usize },
    #[error("MLX refused: {0}")]
    Mlx(#[from] mlx_rs::error::Exception),
}

/// The printed object. `logits` are those at the prompt's last position.
#[derive(Debug, Serialize)]
pub struct Checked {
    pub prompt_ids: Vec<u32>,
    pub greedy_ids: Vec<u32>,
    pub logits: Vec<f32>,
    pub model: CheckedModel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct CheckedModel {
    /// Where it was read from.
    pub folder: PathBuf,
    #[serde(rename = "type")]
    pub model_type: String,
    pub parameters: u64,
    pub weight_bytes: u64,
    pub quantisation: String,
    pub dtype: Dtype,
}

/// Loads the model and generates. `clock` is monotonic, in nanoseconds.
pub fn check(args: &CheckArgs, clock: &dyn Fn() -> u64) -> Result<Checked, CheckError> {
    system::allow_many_files();
    let places = Places::from_env();
    let folder = source::resolve(&source::parse(&args.model)?, args.dtype, &places)?;
    let loaded = load::load(
        &folder,
        &Options {
            dtype: args.dtype,
            clock,
        },
    )?;
    let model = loaded.model.as_ref();
    let prompt_ids = match (&args.prompt.prompt, &args.prompt.prompt_ids) {
        (Some(text), _) => loaded
            .tokenizer
            .as_ref()
            .ok_or_else(|| CheckError::NoTokenizer(args.model.clone()))?
            .encode(text)?,
        (None, ids) => ids.clone().unwrap_or_default(),
    };
    if prompt_ids.is_empty() {
        return Err(CheckError::EmptyPrompt);
    }
    let vocab = model.dims().vocab;
    if let Some(&id) = prompt_ids
        .iter()
        .find(|&&id| i64::from(id) >= i64::from(vocab))
    {
        return Err(CheckError::OutOfVocabulary { id, vocab });
    }
    let (greedy_ids, logits) = generate::greedy(model, &prompt_ids, args.max_tokens as usize)?;
    let bad = logits.iter().filter(|score| !score.is_finite()).count();
    if bad > 0 {
        let all = logits.len();
        return Err(CheckError::NotFinite { bad, all });
    }
    let text = match &loaded.tokenizer {
        Some(tokenizer) => Some(tokenizer.decode(&greedy_ids)?),
        None => None,
    };
    let facts = loaded.facts;
    Ok(Checked {
        prompt_ids,
        greedy_ids,
        logits,
        model: CheckedModel {
            folder: folder.path,
            model_type: facts.model_type,
            parameters: facts.parameters,
            weight_bytes: facts.weight_bytes,
            quantisation: facts.quantisation,
            dtype: facts.dtype,
        },
        text,
    })
}

impl CheckArgs {
    pub fn wants_json(&self) -> bool {
        self.json
    }
}

impl Checked {
    /// A summary for people.
    pub fn summary(&self) -> String {
        let CheckedModel {
            folder: _,
            model_type,
            parameters,
            weight_bytes,
            quantisation,
            dtype,
        } = &self.model;
        let mut lines = format!(
            "model: {model_type}, {parameters} parameters, {weight_bytes} bytes in {dtype}, \
             quantisation {quantisation}\nprompt: {:?}\ngreedy: {:?}",
            self.prompt_ids, self.greedy_ids
        );
        if let Some(text) = &self.text {
            lines.push_str("\ntext: ");
            lines.push_str(text);
        }
        lines
    }
}
