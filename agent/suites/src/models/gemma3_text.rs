//! Gemma 3, its language model: windows on most layers, norms before and after each half of a block,
//! and norms whose weights are differences from one.

use mlx_rs::error::Exception;
use mlx_rs::{Array, Dtype};
use serde_json::Value;

use super::config::{Config, ConfigError, read_sizes, unsupported};
use super::linear::{Embedding, Linear, project};
use super::rope::{Rope, RopeArgs};
use super::weights::Weights;
use super::window::{self, Sight, Window};
use super::{BuildError, CausalLm, Dims, KvCache};
use crate::device::ops::{self, Fused};

pub struct Args {
    dims: Dims,
    /// Of the layers that see everything, and of those with a window.
    rope: RopeArgs,
    local_rope: RopeArgs,
    windows: Vec<Option<Window>>,
    scale: f32,
}

impl Args {
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        config.check_activation(&["gelu_pytorch_tanh"])?;
        // Newer files write it by kind of layer.
        let is_by_kind = config
            .table("rope_parameters")?
            .is_some_and(|table| table.values().any(Value::is_object));
        if is_by_kind {
            let what = "scaling by kind of layer; write rope_theta, rope_local_base_freq and \
                        rope_scaling";
            return Err(unsupported("rope_parameters", what));
        }
        let kv_heads = config.size("num_key_value_heads")?.unwrap_or(1);
        let head_dim = config.size("head_dim")?.unwrap_or(256);
        let scalar = config.positive("query_pre_attn_scalar")?.unwrap_or(256.0);
        let local = config.positive("rope_local_base_freq")?.unwrap_or(10_000.0);
        // The files tell whether it is tied, not the configuration.
        let dims = read_sizes(config, kv_heads, Some(head_dim), false)?;
        Ok(Self {
            rope: RopeArgs::read(config, Some(1_000_000.0))?,
            local_rope: RopeArgs::plain(local),
            windows: window::of_layers(&sliding_layers(config, dims.layers)?, config)?,
            scale: scalar.sqrt().recip() as f32,
            dims,
        })
    }
}

/// `layer_types`, or all layers but every so many.
fn sliding_layers(config: &Config, layers: i32) -> Result<Vec<bool>, ConfigError> {
    if config.get("layer_types").is_some() {
        return config.sliding_layers();
    }
    let pattern = config.size("sliding_window_pattern")?.unwrap_or(6);
    Ok((1..=layers).map(|layer| layer % pattern != 0).collect())
}

/// A norm's weights as they multiply: the files hold the difference from one.
fn norm(path: &str, width: i32, weights: &mut Weights) -> Result<Array, BuildError> {
    let weight = weights.tensor(&format!("{path}.weight"), &[width])?;
    let one = ops::as_dtype(&Array::from_f32(1.0), weight.dtype())?;
    Ok(ops::add(&one, &weight)?)
}

struct Attention {
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
    fn new(
        args: &Args,
        rope: &RopeArgs,
        path: &str,
        weights: &mut Weights,
    ) -> Result<Self, BuildError> {
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
            q_norm: norm(&format!("{path}.q_norm"), head_dim, weights)?,
            k_norm: norm(&format!("{path}.k_norm"), head_dim, weights)?,
            eps: args.dims.rms_norm_eps,
            rope: Rope::new(rope, head_dim)?,
            heads,
            kv_heads,
            head_dim,
            scale: args.scale,
        })
    }

    fn forward(
        &self,
        x: &Array,
        shape: [i32; 2],
        sight: &Sight,
        cache: &mut KvCache,
    ) -> Result<Array, Exception> {
        let length = shape[1];
        let by_head = |x: &Array, heads| ops::split_heads(x, shape, heads, self.head_dim);
        let queries = by_head(&self.q.forward(x)?, self.heads)?;
        let keys = by_head(&self.k.forward(x)?, self.kv_heads)?;
        let values = by_head(&self.v.forward(x)?, self.kv_heads)?;
        let queries = ops::rms_norm(&queries, &self.q_norm, self.eps)?;
        let keys = ops::rms_norm(&keys, &self.k_norm, self.eps)?;
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
        self.o
            .forward(&ops::join_heads(&out, shape, self.heads * self.head_dim)?)
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
        Ok(Self {
            gate: weights.linear(&format!("{path}.gate_proj"), hidden, intermediate, false)?,
            up: weights.linear(&format!("{path}.up_proj"), hidden, intermediate, false)?,
            down: weights.linear(&format!("{path}.down_proj"), intermediate, hidden, false)?,
        })
    }

    fn forward(&self, x: &Array) -> Result<Array, Exception> {
        self.down
            .forward(&ops::geglu(&self.gate.forward(x)?, &self.up.forward(x)?)?)
    }
}

struct Block {
    attention_norm: Array,
    attention: Attention,
    after_attention_norm: Array,
    mlp_norm: Array,
    mlp: Mlp,
    after_mlp_norm: Array,
    eps: f32,
}

impl Block {
    fn new(
        args: &Args,
        window: Option<Window>,
        path: &str,
        weights: &mut Weights,
    ) -> Result<Self, BuildError> {
        let hidden = args.dims.hidden;
        let rope = if window.is_some() {
            &args.local_rope
        } else {
            &args.rope
        };
        let mut of = |name: &str| norm(&format!("{path}.{name}"), hidden, weights);
        let [
            attention_norm,
            after_attention_norm,
            mlp_norm,
            after_mlp_norm,
        ] = [
            of("input_layernorm")?,
            of("post_attention_layernorm")?,
            of("pre_feedforward_layernorm")?,
            of("post_feedforward_layernorm")?,
        ];
        Ok(Self {
            attention_norm,
            attention: Attention::new(args, rope, &format!("{path}.self_attn"), weights)?,
            after_attention_norm,
            mlp_norm,
            mlp: Mlp::new(args, &format!("{path}.mlp"), weights)?,
            after_mlp_norm,
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
        let out = self.attention.forward(&normed, shape, sight, cache)?;
        let x = residual(
            x,
            &ops::rms_norm(&out, &self.after_attention_norm, self.eps)?,
        )?;
        let normed = ops::rms_norm(&x, &self.mlp_norm, self.eps)?;
        let out = self.mlp.forward(&normed)?;
        residual(&x, &ops::rms_norm(&out, &self.after_mlp_norm, self.eps)?)
    }
}

/// The sum, kept within what 16 bits can hold: this model's residuals grow beyond it.
fn residual(x: &Array, y: &Array) -> Result<Array, Exception> {
    if x.dtype() != Dtype::Float16 {
        return ops::add(x, y);
    }
    let wide = |x: &Array| ops::as_dtype(x, Dtype::Float32);
    let sum = ops::add(&wide(x)?, &wide(y)?)?;
    let bound = Array::from_f32(half::f16::MAX.to_f32());
    let clipped = mlx_rs::ops::clip(&sum, (&bound.negative()?, &bound))?;
    ops::as_dtype(&clipped, Dtype::Float16)
}

pub struct Model {
    embedding: Embedding,
    /// `√hidden`, rounded to bf16 as the published model was trained.
    embedding_scale: f32,
    blocks: Vec<Block>,
    norm: Array,
    /// None: tied to the embedding.
    head: Option<Linear>,
    windows: Vec<Option<Window>>,
    dims: Dims,
}

impl Model {
    pub fn new(mut args: Args, weights: &mut Weights) -> Result<Self, BuildError> {
        args.dims.tied = !weights.has_head();
        let Dims {
            hidden,
            vocab,
            tied,
            ..
        } = args.dims;
        let embedding = weights.embedding("model.embed_tokens", vocab, hidden)?;
        let blocks = args.windows.iter().enumerate().map(|(layer, window)| {
            Block::new(&args, *window, &format!("model.layers.{layer}"), weights)
        });
        Ok(Self {
            embedding,
            embedding_scale: half::bf16::from_f64(f64::from(hidden).sqrt()).to_f32(),
            blocks: blocks.collect::<Result<_, _>>()?,
            norm: norm("model.norm", hidden, weights)?,
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
        let embedded = self.embedding.lookup(ids)?;
        let scale = ops::as_dtype(&Array::from_f32(self.embedding_scale), embedded.dtype())?;
        let mut x = ops::multiply(&embedded, &scale)?;
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
