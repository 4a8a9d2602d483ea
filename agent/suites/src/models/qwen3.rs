//! Qwen3, dense: a Llama whose heads have their own width and normalised queries and keys.

use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::config::{Config, ConfigError, read_dims};
use super::linear::{Embedding, Linear, project};
use super::rope::{Rope, RopeArgs};
use super::weights::Weights;
use super::window::Sight;
use super::{BuildError, CausalLm, Dims, KvCache};
use crate::device::ops::{self, Fused};

pub struct Args {
    pub(super) dims: Dims,
    rope: RopeArgs,
}

impl Args {
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        config.refuse_sliding_layers()?;
        let kv_heads = config.required_size("num_key_value_heads")?;
        let head_dim = config.required_size("head_dim")?;
        let tied = config
            .flag("tie_word_embeddings")?
            .ok_or(ConfigError::Missing("tie_word_embeddings"))?;
        Ok(Self {
            dims: read_dims(config, kv_heads, Some(head_dim), tied)?,
            rope: RopeArgs::read(config, None)?,
        })
    }
}

pub(super) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: Array,
    k_norm: Array,
    eps: f32,
    rope: Rope,
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    scale: f32,
}

impl Attention {
    pub(super) fn new(args: &Args, path: &str, weights: &mut Weights) -> Result<Self, BuildError> {
        let Dims {
            hidden,
            heads,
            kv_heads,
            head_dim,
            ..
        } = args.dims;
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        Ok(Self {
            q: weights.linear(&format!("{path}.q_proj"), hidden, queries, false)?,
            k: weights.linear(&format!("{path}.k_proj"), hidden, keys, false)?,
            v: weights.linear(&format!("{path}.v_proj"), hidden, keys, false)?,
            o: weights.linear(&format!("{path}.o_proj"), queries, hidden, false)?,
            q_norm: weights.tensor(&format!("{path}.q_norm.weight"), &[head_dim])?,
            k_norm: weights.tensor(&format!("{path}.k_norm.weight"), &[head_dim])?,
            eps: args.dims.rms_norm_eps,
            rope: Rope::new(&args.rope, head_dim)?,
            heads,
            kv_heads,
            head_dim,
            scale: (head_dim as f32).sqrt().recip(),
        })
    }

    pub(super) fn forward(
        &self,
        x: &Array,
        shape: [i32; 2],
        sight: &Sight,
        cache: &mut KvCache,
    ) -> Result<Array, Exception> {
        let [_, length] = shape;
        let queries = self.normed_heads(&self.q.forward(x)?, &self.q_norm, shape, self.heads)?;
        let keys = self.normed_heads(&self.k.forward(x)?, &self.k_norm, shape, self.kv_heads)?;
        let values = ops::split_heads(&self.v.forward(x)?, shape, self.kv_heads, self.head_dim)?;
        let queries = self.rope.forward(&queries, sight.offset(), length)?;
        let keys = self.rope.forward(&keys, sight.offset(), length)?;
        let (keys, values) = cache.append(&keys, &values, length)?;
        let out = ops::attention(
            &queries,
            &keys,
            &values,
            self.scale,
            sight.mask(),
            Fused::WhereAvailable,
        )?;
        self.o
            .forward(&ops::join_heads(&out, shape, self.heads * self.head_dim)?)
    }

    /// `[batch, heads, length, head_dim]`, each head normalised; before the transposition, since the
    /// norm wants its rows whole and would copy a transposed array.
    fn normed_heads(
        &self,
        x: &Array,
        norm: &Array,
        [batch, length]: [i32; 2],
        heads: i32,
    ) -> Result<Array, Exception> {
        if length == 1 {
            let split = ops::reshape(x, &[batch, heads, 1, self.head_dim])?;
            return ops::rms_norm(&split, norm, self.eps);
        }
        let split = ops::reshape(x, &[batch, length, heads, self.head_dim])?;
        ops::transpose(&ops::rms_norm(&split, norm, self.eps)?, &[0, 2, 1, 3])
    }
}

pub(super) struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Mlp {
    pub(super) fn new(args: &Args, path: &str, weights: &mut Weights) -> Result<Self, BuildError> {
        let Dims {
            hidden,
            intermediate,
            ..
        } = args.dims;
        Ok(Self {
            gate: weights.linear(&format!("{path}.gate_proj"), hidden, intermediate, false)?,
            up: weights.linear(&format!("{path}.up_proj"), hidden, intermediate, false)?,
            down: weights.linear(&format!("{path}.down_proj"), intermediate, hidden, false)?,
        })
    }

    pub(super) fn forward(&self, x: &Array) -> Result<Array, Exception> {
        self.down
            .forward(&ops::swiglu(&self.gate.forward(x)?, &self.up.forward(x)?)?)
    }
}

struct Block {
    attention_norm: Array,
    attention: Attention,
    mlp_norm: Array,
    mlp: Mlp,
    eps: f32,
}

impl Block {
    fn new(args: &Args, path: &str, weights: &mut Weights) -> Result<Self, BuildError> {
        let hidden = [args.dims.hidden];
        let post = format!("{path}.post_attention_layernorm.weight");
        Ok(Self {
            attention_norm: weights.tensor(&format!("{path}.input_layernorm.weight"), &hidden)?,
            attention: Attention::new(args, &format!("{path}.self_attn"), weights)?,
            mlp_norm: weights.tensor(&post, &hidden)?,
            mlp: Mlp::new(args, &format!("{path}.mlp"), weights)?,
            eps: args.dims.rms_norm_eps,
        })
    }

    fn forward(
        &self,
        x: &Array,
        shape: [i32; 2],
        sight: &Sight,
        cache: &mut KvCache,
    ) -> Result<Array, Exception> {
        let normed = ops::rms_norm(x, &self.attention_norm, self.eps)?;
        let x = ops::add(x, &self.attention.forward(&normed, shape, sight, cache)?)?;
        let normed = ops::rms_norm(&x, &self.mlp_norm, self.eps)?;
        ops::add(&x, &self.mlp.forward(&normed)?)
    }
}

pub struct Model {
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: Array,
    /// None: tied to the embedding.
    head: Option<Linear>,
    dims: Dims,
}

impl Model {
    pub fn new(args: Args, weights: &mut Weights) -> Result<Self, BuildError> {
        let Dims {
            hidden,
            layers,
            vocab,
            tied,
            ..
        } = args.dims;
        Ok(Self {
            embedding: weights.embedding("model.embed_tokens", vocab, hidden)?,
            blocks: (0..layers)
                .map(|layer| Block::new(&args, &format!("model.layers.{layer}"), weights))
                .collect::<Result<_, _>>()?,
            norm: weights.tensor("model.norm.weight", &[hidden])?,
            head: weights.head(tied, hidden, vocab)?,
            dims: args.dims,
        })
    }
}

impl CausalLm for Model {
    fn dims(&self) -> &Dims {
        &self.dims
    }

    fn hidden(&self, ids: &Array, cache: &mut [KvCache]) -> Result<Array, Exception> {
        let shape = [ids.dim(0), ids.dim(1)];
        let mut x = self.embedding.lookup(ids)?;
        let sight = Sight::of_everything(cache, shape[1])?;
        for (block, cache) in self.blocks.iter().zip(cache) {
            x = block.forward(&x, shape, &sight, cache)?;
        }
        ops::rms_norm(&x, &self.norm, self.dims.rms_norm_eps)
    }

    fn logits(&self, hidden: &Array) -> Result<Array, Exception> {
        project(self.head.as_ref(), &self.embedding, hidden)
    }
}
