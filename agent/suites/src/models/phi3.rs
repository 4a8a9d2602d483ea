//! Phi-3, Phi-3.5 and Phi-4, dense: a Llama whose query, key and value projections are one matrix, and
//! those of the gated product another. Their `sliding_window` is not applied, as mlx-lm does not.

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
    dims: Dims,
    rope: RopeArgs,
}

impl Args {
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        config.refuse_sliding_layers()?;
        let heads = config.required_size("num_attention_heads")?;
        let kv_heads = config.size("num_key_value_heads")?.unwrap_or(heads);
        let tied = config.flag("tie_word_embeddings")?.unwrap_or(false);
        Ok(Self {
            dims: read_dims(config, kv_heads, None, tied)?,
            rope: RopeArgs::read_partial(config, Some(10_000.0))?,
        })
    }
}

struct Attention {
    qkv: Linear,
    o: Linear,
    rope: Rope,
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    scale: f32,
}

impl Attention {
    fn new(args: &Args, path: &str, weights: &mut Weights) -> Result<Self, BuildError> {
        let Dims {
            hidden,
            heads,
            kv_heads,
            head_dim,
            ..
        } = args.dims;
        let all = (heads + 2 * kv_heads) * head_dim;
        Ok(Self {
            qkv: weights.linear(&format!("{path}.qkv_proj"), hidden, all, false)?,
            o: weights.linear(&format!("{path}.o_proj"), heads * head_dim, hidden, false)?,
            rope: Rope::new(&args.rope, head_dim)?,
            heads,
            kv_heads,
            head_dim,
            scale: (head_dim as f32).sqrt().recip(),
        })
    }

    fn forward(
        &self,
        x: &Array,
        shape: [i32; 2],
        sight: &Sight,
        cache: &mut KvCache,
    ) -> Result<Array, Exception> {
        let [_, length] = shape;
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let qkv = self.qkv.forward(x)?;
        let by_head = |[from, to]: [i32; 2], heads| {
            ops::split_heads(
                &columns(&qkv, shape, from, to)?,
                shape,
                heads,
                self.head_dim,
            )
        };
        let values = by_head([queries + keys, queries + 2 * keys], self.kv_heads)?;
        let keys = by_head([queries, queries + keys], self.kv_heads)?;
        let queries = by_head([0, queries], self.heads)?;
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
}

/// Columns of what a joined projection gives.
fn columns(x: &Array, [batch, length]: [i32; 2], from: i32, to: i32) -> Result<Array, Exception> {
    ops::slice(x, &[0, 0, from], &[batch, length, to])
}

struct Mlp {
    gate_up: Linear,
    down: Linear,
    intermediate: i32,
}

impl Mlp {
    fn new(args: &Args, path: &str, weights: &mut Weights) -> Result<Self, BuildError> {
        let Dims {
            hidden,
            intermediate,
            ..
        } = args.dims;
        let both = 2 * intermediate;
        Ok(Self {
            gate_up: weights.linear(&format!("{path}.gate_up_proj"), hidden, both, false)?,
            down: weights.linear(&format!("{path}.down_proj"), intermediate, hidden, false)?,
            intermediate,
        })
    }

    fn forward(&self, x: &Array, shape: [i32; 2]) -> Result<Array, Exception> {
        let both = self.gate_up.forward(x)?;
        let gate = columns(&both, shape, 0, self.intermediate)?;
        let up = columns(&both, shape, self.intermediate, 2 * self.intermediate)?;
        self.down.forward(&ops::swiglu(&gate, &up)?)
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
        ops::add(&x, &self.mlp.forward(&normed, shape)?)
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
