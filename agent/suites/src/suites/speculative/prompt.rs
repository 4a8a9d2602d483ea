//! What is continued: real text, for how often a draft is right depends on it.

use domain::suite::speculative::{self, PROMPT_TOKENS};

use crate::load::{LoadError, Loaded};
use crate::suites::tokens;

/// Written for this suite, so that no model was trained on them before they were published; both end
/// in the middle, as what is to be continued does.
pub const CODE: &str = include_str!("code.txt");
pub const PROSE: &str = include_str!("prose.txt");

pub(super) struct Prompt {
    pub(super) ids: Vec<u32>,
    /// What iterations with such a prompt are called.
    pub(super) mode: &'static str,
}

impl Prompt {
    /// The beginning of the text in the model's own tokens; as many random ids where the model has no
    /// tokenizer, other ones for each kind.
    pub(super) fn of(
        kind: speculative::Prompt,
        model: &Loaded,
        seed: u64,
    ) -> Result<Self, LoadError> {
        let most = PROMPT_TOKENS as usize;
        let (text, place) = match kind {
            speculative::Prompt::Code => (CODE, 0),
            speculative::Prompt::Prose => (PROSE, most),
        };
        let (mut ids, mode) = if let Some(tokenizer) = &model.tokenizer {
            (tokenizer.encode(text)?, "in_turn")
        } else {
            let vocab = model.model.dims().vocab as u32;
            let ids = tokens::random(seed, place + most, vocab);
            (ids[place..].to_vec(), "in_turn_random_ids")
        };
        ids.truncate(most);
        Ok(Self { ids, mode })
    }

    /// The last token, which the first step takes, and those before it.
    pub(super) fn split(&self) -> (u32, &[u32]) {
        let (last, before) = self.ids.split_last().expect("both texts have tokens");
        (*last, before)
    }
}
