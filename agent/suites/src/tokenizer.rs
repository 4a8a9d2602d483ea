//! `tokenizer.json` through Hugging Face's tokenizers, held against the model's vocabulary.

use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// A token that means another text to another tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{token}` is {ours} to one and {theirs} to the other", ours = place(*ours), theirs = place(*theirs))]
pub struct Difference {
    pub token: String,
    pub ours: Option<u32>,
    pub theirs: Option<u32>,
}

fn place(id: Option<u32>) -> String {
    id.map_or_else(|| "unknown".to_owned(), |id| format!("token {id}"))
}

/// The library panics at some files that are not sound, and they come from anywhere.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the tokenizers library panicked: the file is damaged".to_owned()),
    }
}

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab: usize,
}

impl Tokenizer {
    /// Added tokens may lie beyond the model's vocabulary (fine-tunes add padding that never
    /// occurs); an ordinary token may not.
    pub fn load(path: &Path, vocab: usize) -> Result<Self, TokenizerError> {
        let refuse = |why: String| TokenizerError::Parse {
            path: path.to_owned(),
            why,
        };
        let mut inner = guarded(|| tokenizers::Tokenizer::from_file(path)).map_err(refuse)?;
        // Left over from training in many files; transformers switches both off, and a prompt that
        // is cut or filled up is another prompt.
        inner
            .with_truncation(None)
            .map_err(|error| refuse(error.to_string()))?;
        inner.with_padding(None);
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

    /// Ids of the text, with the special tokens that the model expects round it, unless the text
    /// begins with the first of them, as one from a chat template does.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encode = |with_special| {
            guarded(|| self.inner.encode(text, with_special)).map_err(TokenizerError::Encode)
        };
        let (plain, special) = (encode(false)?, encode(true)?);
        let begins_twice = special.len() > plain.len()
            && !plain.is_empty()
            && special.get_ids()[..2] == [plain.get_ids()[0]; 2];
        let encoding = if begins_twice { plain } else { special };
        let ids = encoding.get_ids();
        match ids.iter().find(|&&id| id as usize >= self.vocab) {
            Some(&id) => Err(TokenizerError::OutOfVocabulary {
                id,
                vocab: self.vocab,
            }),
            None => Ok(ids.to_vec()),
        }
    }

    /// The first ordinary token, in the order of the alphabet, whose id is not the same in both. Added
    /// tokens are left aside: fine-tunes rename them, and text is hardly made of them.
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        let (ours, theirs) = (self.inner.get_vocab(false), other.inner.get_vocab(false));
        let token = ours
            .keys()
            .chain(theirs.keys())
            .filter(|token| ours.get(*token) != theirs.get(*token))
            .min()?;
        Some(Difference {
            token: token.clone(),
            ours: ours.get(token).copied(),
            theirs: theirs.get(token).copied(),
        })
    }

    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        guarded(|| self.inner.decode(ids, true)).map_err(TokenizerError::Encode)
    }
}
