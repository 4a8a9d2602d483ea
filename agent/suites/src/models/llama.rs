//! Llama: Llama 2 and 3.x, TinyLlama, Mistral and what else calls itself so. A `sliding_window` is
//! applied to the layers that `layer_types` says slide, and to no others, as in mlx-lm: early
//! Mistrals, which slide everywhere and do not say it so, attend to everything there and here.

use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::config::{Config, ConfigError, read_dims};
use super::linear::{Embedding, Linear, project};
use super::rope::{Rope, RopeArgs};
use super::weights::Weights;
use super::window::{self, Sight, Window};
use super::{BuildError, CausalLm, Dims, KvCache};
use crate::device::ops::{self, Fused};

pub struct Args {
    dims: Dims,
    rope: RopeArgs,
    attention_bias: bool,
    mlp_bias: bool,
    /// Of each layer; None: it sees every position.
    windows: Vec<Option<Window>>,
}

impl Args {
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        let heads = config.required_size("num_attention_heads")?;
        let kv_heads = config.size("num_key_value_heads")?.unwrap_or(heads);
        let tied = config.flag("tie_word_embeddings")?.unwrap_or(true);
        Ok(Self {
            dims: read_dims(config, kv_heads, config.size("head_dim")?, tied)?,
            rope: RopeArgs::read(config, Some(10_000.0))?,
            attention_bias: config.flag("attention_bias")?.unwrap_or(false),
            mlp_bias: config.flag("mlp_bias")?.unwrap_or(false),
            windows: window::of_layers(&config.sliding_layers()?, config)?,
        })
    }
}

struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
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
        let (queries, keys, bias) = (heads * head_dim, kv_heads * head_dim, args.attention_bias);
        Ok(Self {
            q: weights.linear(&format!("{path}.q_proj"), hidden, queries, bias)?,
            k: weights.linear(&format!("{path}.k_proj"), hidden, keys, bias)?,
            v: weights.linear(&format!("{path}.v_proj"), hidden, keys, bias)?,
            o: weights.linear(&format!("{path}.o_proj"), queries, hidden, bias)?,
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
        [batch, length]: [i32; 2],
        sight: &Sight,
        cache: &mut KvCache,
    ) -> Result<Array, Exception> {
        let by_head = |x: &Array, heads| ops::split_heads(x, [batch, length], heads, self.head_dim);
        let queries = by_head(&self.q.forward(x)?, self.heads)?;
        let keys = by_head(&self.k.forward(x)?, self.kv_heads)?;
        let values = by_head(&self.v.forward(x)?, self.kv_heads)?;
        let queries = self.rope.forward(&queries, sight.offset(), length)?;
        let keys = self.rope.forward(&keys, sight.offset(), length)?;
        let (keys, values) = sight.of(cache.append(&keys, &values, length)?)?;
        let out = ops::attention(
            &queries,
            &keys,
            &values,
            self.scale,
            sight.mask(),
            Fused::WhereAvailable,
        )?;
        self.o.forward(&ops::join_heads(
            &out,
            [batch, length],
            self.heads * self.head_dim,
        )?)
    }
}

struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Mlp {
    fn new(args: &Args, path: &str, weights: &mut Weights) -> Result<Self, BuildError> {
        let Dims {
            hidden,
            intermediate,
            ..
        } = args.dims;
        let bias = args.mlp_bias;
        Ok(Self {
            gate: weights.linear(&format!("{path}.gate_proj"), hidden, intermediate, bias)?,
            up: weights.linear(&format!("{path}.up_proj"), hidden, intermediate, bias)?,
            down: weights.linear(&format!("{path}.down_proj"), intermediate, hidden, bias)?,
        })
    }

    fn forward(&self, x: &Array) -> Result<Array, Exception> {
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
    windows: Vec<Option<Window>>,
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
            windows: args.windows,
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
        let sights = window::Sights::new(&self.windows, cache, shape[1])?;
        for ((block, cache), window) in self.blocks.iter().zip(cache).zip(&self.windows) {
            x = block.forward(&x, shape, sights.of(*window), cache)?;
        }
        ops::rms_norm(&x, &self.norm, self.dims.rms_norm_eps)
    }

    fn logits(&self, hidden: &Array) -> Result<Array, Exception> {
        project(self.head.as_ref(), &self.embedding, hidden)
    }
}
