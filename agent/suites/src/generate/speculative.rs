//! Greedy speculative decoding, the way mlx-lm does it: a draft model proposes tokens one after
//! another, the target takes all of them in one step, and those that it would have said itself count,
//! with one more of its own.
//!
//! ```text
//!   draft   y ─▶ d1 ─▶ d2 ─▶ d3          y: the newest token, in no cache yet
//!   target  y    d1    d2    d3   at once
//!           ▼    ▼     ▼     ▼
//!           d1   d2    t     …           two accepted, t follows; d3 leaves both caches
//! ```
//!
//! A round is read before the next begins, for what it drafts follows from what was accepted.

use mlx_rs::Array;
use mlx_rs::error::{Exception, Result};

use super::ids_array;
use crate::device::{self, ops};
use crate::models::{CausalLm, KvCache};

/// A model and what it holds of the text: all of it but the newest token.
pub struct Side<'a> {
    pub model: &'a dyn CausalLm,
    pub cache: &'a mut [KvCache],
}

impl Side<'_> {
    /// What the model prefers at the end of `ids`: `[1, 1]`.
    fn next(&mut self, ids: &Array) -> Result<Array> {
        let hidden = self.model.hidden(ids, self.cache)?;
        let (length, width) = (hidden.dim(1), hidden.dim(2));
        let last = if length == 1 {
            hidden
        } else {
            ops::slice(&hidden, &[0, length - 1, 0], &[1, length, width])?
        };
        ops::argmax_last(&self.model.logits(&last)?)
    }

    fn trim(&mut self, positions: usize) {
        for layer in self.cache.iter_mut() {
            layer.trim(positions as i32);
        }
    }
}

/// What one verification came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Tokens that were drafted.
    pub offered: usize,
    /// How many of them, from the first on, the target says too.
    pub accepted: usize,
    /// Those and one more of the target's own, unless no more was wanted.
    pub emitted: usize,
}

pub struct Speculator<'a> {
    target: Side<'a>,
    draft: Side<'a>,
    draft_tokens: usize,
    /// `[1, 1]`: what the target takes next.
    newest: Array,
    /// What the draft takes next: the newest, and before it its own last token where that was accepted
    /// without ever having gone in.
    unseen: Array,
    /// Of this round, `[1, 1]` each.
    drafted: Vec<Array>,
    /// Tokens still wanted in this round.
    wanted: usize,
}

impl<'a> Speculator<'a> {
    /// `last` is the prompt's last token; both caches hold those before it.
    pub fn start(target: Side<'a>, draft: Side<'a>, last: u32, draft_tokens: usize) -> Self {
        let newest = ids_array(&[last]);
        Self {
            target,
            draft,
            draft_tokens,
            unseen: newest.clone(),
            newest,
            drafted: Vec::with_capacity(draft_tokens),
            wanted: 0,
        }
    }

    /// Drafts for a round of at most `wanted` tokens, each step handed to the device as it is built.
    pub fn draft(&mut self, wanted: usize) -> Result<()> {
        self.wanted = wanted;
        self.drafted.clear();
        for place in 0..self.draft_tokens.min(wanted) {
            let ids = if place == 0 {
                &self.unseen
            } else {
                &self.drafted[place - 1]
            };
            let next = self.draft.next(ids)?;
            mlx_rs::transforms::async_eval([&next])?;
            self.drafted.push(next);
        }
        Ok(())
    }

    /// Waits for what was drafted, which [`Self::verify`] does by itself: to tell their times apart.
    pub fn settle(&self) -> Result<()> {
        mlx_rs::transforms::eval(&self.drafted)?;
        device::synchronize()
    }

    /// Verifies what was drafted, waits, and appends the tokens of the round.
    pub fn verify(&mut self, tokens: &mut Vec<u32>) -> Result<Round> {
        let drafted = ops::concatenate(&self.drafted, 1)?;
        let ids = ops::concatenate([&self.newest, &drafted], 1)?;
        let hidden = self.target.model.hidden(&ids, self.target.cache)?;
        let said = ops::argmax_last(&self.target.model.logits(&hidden)?)?;
        mlx_rs::transforms::eval([&said, &drafted])?;

        let (said, drafted) = (read(&said)?, read(&drafted)?);
        let agree = said.iter().zip(drafted);
        let accepted = agree.take_while(|(said, drafted)| said == drafted).count();
        let offered = drafted.len();
        let emitted = self.wanted.min(accepted + 1);
        tokens.extend_from_slice(&said[..emitted]);

        // The target holds the newest token and every draft, the draft model all but its last one.
        self.target.trim(offered - accepted);
        self.draft.trim((offered - accepted).saturating_sub(1));
        let newest = said[accepted];
        self.newest = ids_array(&[newest]);
        self.unseen = match drafted.last() {
            Some(&last) if accepted == offered => ids_array(&[last, newest]),
            _ => self.newest.clone(),
        };
        Ok(Round {
            offered,
            accepted,
            emitted,
        })
    }
}

fn read(ids: &Array) -> Result<&[u32]> {
    ids.try_as_slice()
        .map_err(|error| Exception::custom(error.to_string()))
}

/// Prefills both models and decodes `tokens`: ids, and whether each was drafted.
pub fn generate(
    target: &dyn CausalLm,
    draft: &dyn CausalLm,
    prompt: &[u32],
    draft_tokens: usize,
    tokens: usize,
) -> Result<(Vec<u32>, Vec<bool>)> {
    let Some((&last, before)) = prompt.split_last() else {
        return Err(Exception::custom("the prompt is empty"));
    };
    let mut caches = [target, draft].map(CausalLm::new_cache);
    for (model, cache) in [target, draft].into_iter().zip(&mut caches) {
        super::prefill(model, cache, before, super::PREFILL_CHUNK)?;
    }
    let [mut of_target, mut of_draft] = caches;
    let side = |model, cache| Side { model, cache };
    let mut speculator = Speculator::start(
        side(target, &mut of_target),
        side(draft, &mut of_draft),
        last,
        draft_tokens,
    );
    let (mut ids, mut from_draft) = (Vec::with_capacity(tokens), Vec::with_capacity(tokens));
    while ids.len() < tokens {
        speculator.draft(tokens - ids.len())?;
        let Round { accepted, .. } = speculator.verify(&mut ids)?;
        from_draft.resize(from_draft.len() + accepted, true);
        from_draft.resize(ids.len(), false);
    }
    Ok((ids, from_draft))
}
