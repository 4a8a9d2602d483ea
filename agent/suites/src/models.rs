//! The architectures, one file each, named by `model_type`.
//!
//! A model is arithmetic over arrays: it knows no tokenizer, file or clock. [`build`] reads the
//! arguments from `config.json`, takes every weight it expects from [`Weights`] and leaves what it
//! does not know there, for the caller to refuse. Each file has the same order: Args, Attention, Mlp,
//! Block, Model. To add one: a file, its line in the registry below, a row in the parity test.

pub mod cache;
pub mod config;
pub mod linear;
pub mod rope;
pub mod weights;
pub mod window;

mod gemma3_text;
mod llama;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;

use mlx_rs::Array;
use mlx_rs::error::Exception;

pub use cache::KvCache;
pub use config::{Config, ConfigError};
pub use weights::{WeightError, Weights};

/// A decoder-only language model.
pub trait CausalLm {
    fn dims(&self) -> &Dims;

    /// The last hidden states, normalised, of `ids` (`[batch, length]`) placed after what the cache
    /// holds; the cache then holds them too. Shape `[batch, length, hidden]`.
    fn hidden(&self, ids: &Array, cache: &mut [KvCache]) -> Result<Array, Exception>;

    /// Scores over the vocabulary for hidden states of any leading shape. Slice the hidden states
    /// first: what is computed here is computed for every position given.
    fn logits(&self, hidden: &Array) -> Result<Array, Exception>;

    /// An empty cache, one entry per layer.
    fn new_cache(&self) -> Vec<KvCache> {
        (0..self.dims().layers)
            .map(|_| KvCache::default())
            .collect()
    }
}

/// The sizes that all architectures share.
#[derive(Clone, Debug, PartialEq)]
pub struct Dims {
    pub hidden: i32,
    pub layers: i32,
    pub intermediate: i32,
    pub heads: i32,
    pub kv_heads: i32,
    pub head_dim: i32,
    pub vocab: i32,
    pub rms_norm_eps: f32,
    pub max_positions: Option<i32>,
    /// Whether the embedding table is the output projection too.
    pub tied: bool,
}

impl Dims {
    /// Bytes of keys and values that one more position adds.
    pub fn kv_bytes_per_token(&self, bytes_per_value: u64) -> u64 {
        2 * self.layers as u64 * self.kv_heads as u64 * self.head_dim as u64 * bytes_per_value
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Weight(#[from] WeightError),
    #[error("MLX refused while the model was built: {0}")]
    Mlx(#[from] Exception),
}

macro_rules! models {
    ($($module:ident $($name:literal)+;)*) => {
        /// What [`build`] knows, for messages.
        pub const MODEL_TYPES: &[&str] = &[$($($name),+),*];

        /// Makes the model that the configuration describes from its weights.
        pub fn build(
            config: &Config,
            weights: &mut Weights,
        ) -> Result<Box<dyn CausalLm>, BuildError> {
            Ok(match config.model_type()? {
                $($($name)|+ => {
                    let args = $module::Args::read(config)?;
                    Box::new($module::Model::new(args, weights)?)
                })*
                other => return Err(ConfigError::UnknownModelType(other.to_owned()).into()),
            })
        }
    };
}

// Each with every `model_type` that it is called by.
models! {
    gemma3_text "gemma3_text";
    // Mistral's dense models are Llamas by another name.
    llama "llama" "mistral";
    phi3 "phi3";
    qwen2 "qwen2";
    qwen3 "qwen3";
    qwen3_moe "qwen3_moe";
}
