//! Greedy decoding of several sequences in step, whatever the lengths of their prompts.
//!
//! Prompts that are shorter than the longest are filled up at their beginning, as mlx-lm does, so that
//! one step takes every sequence's last token. No position sees what fills a sequence up, and each token
//! is rotated by its place in its own sequence: a sequence gets what it would get alone.

use mlx_rs::Array;
use mlx_rs::error::{Exception, Result};

use super::PREFILL_CHUNK;
use crate::device::{self, ops};
use crate::models::{CausalLm, KvCache, cache};

/// Any id of the vocabulary: nobody sees what is computed for it.
const FILLER: u32 = 0;

pub struct Batch<'a> {
    model: &'a dyn CausalLm,
    cache: Vec<KvCache>,
    /// `[batch, 1]`
    newest: Array,
}

impl<'a> Batch<'a> {
    /// Reads the prompts but for their last tokens, and waits for it.
    pub fn fill(model: &'a dyn CausalLm, prompts: &[&[u32]]) -> Result<Self> {
        let rows = prompts.len() as i32;
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        if prompts.iter().any(|prompt| prompt.is_empty()) || longest == 0 {
            return Err(Exception::custom("a prompt of the batch is empty"));
        }
        let mut ids = Vec::with_capacity(prompts.len() * longest);
        let mut padding = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let missing = longest - prompt.len();
            padding.push(missing as i32);
            ids.extend(std::iter::repeat_n(FILLER, missing));
            ids.extend(*prompt);
        }
        let length = longest as i32;
        let ids = Array::from_slice(&ids, &[rows, length]);
        let mut cache = if padding.iter().all(|&missing| missing == 0) {
            model.new_cache()
        } else {
            let padding = Array::from_slice(&padding, &[rows]);
            let layers = 0..model.dims().layers;
            layers.map(|_| KvCache::padded(&padding)).collect()
        };
        let mut from = 0;
        while from < length - 1 {
            let to = (from + PREFILL_CHUNK as i32).min(length - 1);
            let part = ops::slice(&ids, &[0, from], &[rows, to])?;
            model.hidden(&part, &mut cache)?;
            cache::eval(&cache)?;
            device::clear_cache()?;
            from = to;
        }
        Ok(Self {
            model,
            cache,
            newest: ops::slice(&ids, &[0, length - 1], &[rows, length])?,
        })
    }

    /// Hands the next step to the device without waiting; the ids it gives, `[batch, 1]`.
    pub fn submit(&mut self) -> Result<Array> {
        let hidden = self.model.hidden(&self.newest, &mut self.cache)?;
        self.newest = ops::argmax_last(&self.model.logits(&hidden)?)?;
        mlx_rs::transforms::async_eval([&self.newest])?;
        Ok(self.newest.clone())
    }
}

/// The ids of a step, one of each sequence.
pub fn read(step: &Array) -> Result<Vec<u32>> {
    step.to_vec_exact::<u32>()
        .map_err(|error| Exception::custom(error.to_string()))
}
