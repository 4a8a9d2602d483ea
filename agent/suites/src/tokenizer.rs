//! `tokenizer.json` through Hugging Face's tokenizers, held against the model's vocabulary.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("{path}: not a tokenizer: {why}")]
    Parse { path: PathBuf, why: String },
    #[error(
        "{path}: the tokenizer does not match the model: it has {tokens} tokens, \
         the model's vocab_size is {vocab}"
    )]
    TooLarge {
        path: PathBuf,
        tokens: usize,
        vocab: usize,
    },
    #[error(
        "the tokenizer does not match the model: the text contains token {id}, \
         the model's vocab_size is {vocab}"
    )]
    OutOfVocabulary { id: u32, vocab: usize },
    #[error("cannot tokenize: {0}")]
    Encode(String),
}

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab: usize,
}

impl Tokenizer {
    /// Added tokens may lie beyond the model's vocabulary (fine-tunes add padding that never
    /// occurs); an ordinary token may not.
    pub fn load(path: &Path, vocab: usize) -> Result<Self, TokenizerError> {
        let inner =
            tokenizers::Tokenizer::from_file(path).map_err(|error| TokenizerError::Parse {
                path: path.to_owned(),
                why: error.to_string(),
            })?;
        let tokens = inner.get_vocab_size(false);
        if tokens > vocab {
            return Err(TokenizerError::TooLarge {
                path: path.to_owned(),
                tokens,
                vocab,
            });
        }
        Ok(Self { inner, vocab })
    }

    /// Ids of the text, with the special tokens that the model expects round it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .inner
            .encode(text, true)
            .map_err(|error| TokenizerError::Encode(error.to_string()))?;
        let ids = encoding.get_ids();
        match ids.iter().find(|&&id| id as usize >= self.vocab) {
            Some(&id) => Err(TokenizerError::OutOfVocabulary {
                id,
                vocab: self.vocab,
            }),
            None => Ok(ids.to_vec()),
        }
    }

    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner
            .decode(ids, true)
            .map_err(|error| TokenizerError::Encode(error.to_string()))
    }
}
