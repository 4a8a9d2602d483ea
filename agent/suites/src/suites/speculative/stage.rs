//! The two models with their caches, at the prompt's end: where every turn begins.

use super::pair::Pair;
use super::prompt::Prompt;
use crate::generate::Decoder;
use crate::generate::speculative::{Side, Speculator};
use crate::harness::TrialError;
use crate::models::{CausalLm, KvCache};
use crate::suites::prefill::{allocated_bytes, reach_depth, return_to};

pub(super) struct Stage<'a> {
    pub(super) pair: &'a Pair,
    pub(super) prompt: Prompt,
    /// The model's, which both ways use, and the draft's.
    caches: [Vec<KvCache>; 2],
}

impl<'a> Stage<'a> {
    pub(super) fn new(pair: &'a Pair, prompt: Prompt) -> Self {
        Self {
            pair,
            prompt,
            caches: pair.models().map(CausalLm::new_cache),
        }
    }

    /// Puts the prompt but for its last token into both caches, unless it is there.
    pub(super) fn fill(&mut self) -> Result<(), TrialError> {
        let (_, before) = self.prompt.split();
        for (model, cache) in self.pair.models().into_iter().zip(&mut self.caches) {
            reach_depth(model, cache, before)?;
        }
        Ok(())
    }

    /// Forgets what came after it.
    pub(super) fn rewind(&mut self) {
        let (_, before) = self.prompt.split();
        for cache in &mut self.caches {
            return_to(cache, before.len());
        }
    }

    /// The model alone, its first step submitted.
    pub(super) fn decoder(&mut self) -> Result<Decoder<'_>, TrialError> {
        let [model, _] = self.pair.models();
        let (last, _) = self.prompt.split();
        Ok(Decoder::start(model, &mut self.caches[0], last)?)
    }

    /// The model and its draft.
    pub(super) fn speculator(&mut self, draft_tokens: usize) -> Speculator<'_> {
        let [model, draft] = self.pair.models();
        let (last, _) = self.prompt.split();
        let [of_model, of_draft] = &mut self.caches;
        let target = Side {
            model,
            cache: of_model,
        };
        let draft = Side {
            model: draft,
            cache: of_draft,
        };
        Speculator::start(target, draft, last, draft_tokens)
    }

    /// Allocated for the model and for its draft.
    pub(super) fn kv_bytes(&self) -> [u64; 2] {
        self.caches.each_ref().map(|cache| allocated_bytes(cache))
    }
}
