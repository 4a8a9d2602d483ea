//! Greedy generation, the way mlx-lm does it: all of the prompt but its last token into the cache,
//! that token as a step of its own, and each step submitted before the one before it is read.

pub mod batch;
pub mod speculative;

use std::collections::VecDeque;

use mlx_rs::Array;
use mlx_rs::error::{Exception, Result};

use crate::device::{self, ops};
use crate::models::{CausalLm, KvCache, cache};

/// Tokens per evaluation while the prompt is read; mlx-lm's default.
pub const PREFILL_CHUNK: usize = 2048;

/// mlx-lm gives unused buffers back after as many tokens.
const CLEAR_EVERY: u64 = 256;

/// Computes keys and values for `ids` and nothing else: the last layer's attention and everything
/// after it would not be used. Returns when the device has finished.
pub fn prefill(
    model: &dyn CausalLm,
    cache: &mut [KvCache],
    ids: &[u32],
    chunk: usize,
) -> Result<()> {
    for part in ids.chunks(chunk.max(1)) {
        model.hidden(&ids_array(part), cache)?;
        cache::eval(cache)?;
        device::clear_cache()?;
    }
    Ok(())
}

/// Token ids as a batch of one.
pub fn ids_array(ids: &[u32]) -> Array {
    Array::from_slice(ids, &[1, ids.len() as i32])
}

/// Greedy decoding on top of a cache.
pub struct Decoder<'a> {
    model: &'a dyn CausalLm,
    cache: &'a mut [KvCache],
    /// Submitted and not read, oldest first: `[1, 1]` ids each.
    pending: VecDeque<Array>,
    /// The input of the next step: the newest submitted ids.
    newest: Array,
    first_logits: Option<Array>,
    read: u64,
}

impl<'a> Decoder<'a> {
    /// Submits the first step: `last` is the prompt's last token, the cache holds those before.
    pub fn start(model: &'a dyn CausalLm, cache: &'a mut [KvCache], last: u32) -> Result<Self> {
        let mut decoder = Self {
            model,
            cache,
            pending: VecDeque::with_capacity(2),
            newest: ids_array(&[last]),
            first_logits: None,
            read: 0,
        };
        decoder.submit()?;
        Ok(decoder)
    }

    /// Builds the step after the newest one and hands it to the device without waiting.
    pub fn submit(&mut self) -> Result<()> {
        self.build()?;
        self.hand_over()
    }

    /// Builds the graph of the step after the newest one; nothing is computed yet.
    pub fn build(&mut self) -> Result<()> {
        let hidden = self.model.hidden(&self.newest, self.cache)?;
        let logits = self.model.logits(&hidden)?;
        let next = ops::argmax_last(&logits)?;
        if self.first_logits.is_none() {
            self.first_logits = Some(logits);
        }
        self.pending.push_back(next.clone());
        self.newest = next;
        Ok(())
    }

    /// Hands the newest step to the device without waiting for it, unless MLX's queue is full.
    pub fn hand_over(&self) -> Result<()> {
        mlx_rs::transforms::async_eval([&self.newest])
    }

    /// Waits for the oldest token not yet read; submits a step first if there is none.
    pub fn read(&mut self) -> Result<u32> {
        if self.pending.is_empty() {
            self.submit()?;
        }
        let ids = self
            .pending
            .pop_front()
            .unwrap_or_else(|| self.newest.clone());
        let id = ids
            .try_item_exact::<u32>()
            .map_err(|error| Exception::custom(error.to_string()))?;
        self.read += 1;
        if self.read.is_multiple_of(CLEAR_EVERY) {
            device::clear_cache()?;
        }
        Ok(id)
    }

    /// Scores of the first step, over the vocabulary, in f32.
    pub fn first_logits(&self) -> Result<Vec<f32>> {
        let Some(logits) = &self.first_logits else {
            return Ok(Vec::new());
        };
        ops::as_dtype(logits, mlx_rs::Dtype::Float32)?
            .to_vec_exact::<f32>()
            .map_err(|error| Exception::custom(error.to_string()))
    }
}

/// Prefills and decodes `tokens` greedily: ids, and the scores at the prompt's last position.
pub fn greedy(model: &dyn CausalLm, prompt: &[u32], tokens: usize) -> Result<(Vec<u32>, Vec<f32>)> {
    let Some((&last, before)) = prompt.split_last() else {
        return Err(Exception::custom("the prompt is empty"));
    };
    let mut cache = model.new_cache();
    prefill(model, &mut cache, before, PREFILL_CHUNK)?;
    let mut decoder = Decoder::start(model, &mut cache, last)?;
    let mut ids = Vec::with_capacity(tokens);
    for n in 0..tokens {
        if n + 1 < tokens {
            decoder.submit()?;
        }
        ids.push(decoder.read()?);
    }
    let logits = decoder.first_logits()?;
    Ok((ids, logits))
}
