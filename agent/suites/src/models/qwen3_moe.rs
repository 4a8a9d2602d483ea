//! Qwen3, mixture of experts: Qwen3's attention, and in most layers, instead of one gated product, the
//! weighted sum of a few out of many.

use mlx_rs::Array;
use mlx_rs::error::Exception;
use serde_json::Value;

use super::config::{Config, ConfigError, invalid, whole};
use super::linear::{Embedding, Experts, Linear, project};
use super::weights::Weights;
use super::window::Sight;
use super::{BuildError, CausalLm, Dims, KvCache, qwen3};
use crate::device::{experts, ops};

/// From as many rows on, they are sorted by expert, as mlx-lm does.
const SORT_FROM: usize = 64;

pub struct Args {
    dense: qwen3::Args,
    experts: i32,
    active: i32,
    intermediate: i32,
    /// Whether the weights of the chosen experts are made to add up to one.
    normalise: bool,
    /// Layers without experts.
    dense_layers: Vec<i32>,
    sparse_step: i32,
}

impl Args {
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        let experts = config.required_size("num_experts")?;
        let active = config.required_size("num_experts_per_tok")?;
        if active > experts {
            return Err(ConfigError::Invalid {
                key: "num_experts_per_tok".to_owned(),
                expected: format!("at most num_experts ({experts})"),
                found: active.to_string(),
            });
        }
        Ok(Self {
            dense: qwen3::Args::read(config)?,
            experts,
            active,
            intermediate: config.required_size("moe_intermediate_size")?,
            normalise: config
                .flag("norm_topk_prob")?
                .ok_or(ConfigError::Missing("norm_topk_prob"))?,
            dense_layers: config
                .get("mlp_only_layers")
                .map_or(Ok(Vec::new()), layer_numbers)?,
            sparse_step: config.size("decoder_sparse_step")?.unwrap_or(1),
        })
    }

    fn is_sparse(&self, layer: i32) -> bool {
        !self.dense_layers.contains(&layer) && (layer + 1) % self.sparse_step == 0
    }
}

fn layer_numbers(value: &Value) -> Result<Vec<i32>, ConfigError> {
    let refused = || invalid("mlp_only_layers", "a list of layer numbers", value);
    let list = value.as_array().ok_or_else(refused)?;
    list.iter()
        .map(|number| whole(number).ok_or_else(refused))
        .collect()
}

/// Gated products of many experts, of which each token takes a few.
struct SparseMlp {
    router: Linear,
    gate: Experts,
    up: Experts,
    down: Experts,
    hidden: i32,
    active: i32,
    normalise: bool,
}

impl SparseMlp {
    fn new(args: &Args, path: &str, weights: &mut Weights) -> Result<Self, BuildError> {
        let (hidden, inner) = (args.dense.dims.hidden, args.intermediate);
        let shares = (args.experts, args.active);
        let mut experts =
            |name: &str, width, height| weights.experts(path, name, shares, width, height);
        Ok(Self {
            gate: experts("gate_proj", hidden, inner)?,
            up: experts("up_proj", hidden, inner)?,
            down: experts("down_proj", inner, hidden)?,
            router: weights.linear(&format!("{path}.gate"), hidden, args.experts, false)?,
            hidden,
            active: args.active,
            normalise: args.normalise,
        })
    }

    fn forward(&self, x: &Array, [batch, length]: [i32; 2]) -> Result<Array, Exception> {
        let shares = experts::softmax_last(&self.router.forward(x)?)?;
        let chosen = experts::largest(&shares, self.active)?;
        let mut shares = experts::take_along_last(&shares, &chosen)?;
        if self.normalise {
            shares = experts::divide(&shares, &experts::sum_axis(&shares, -1, true)?)?;
        }
        let [rows, pairs] = [batch * length, batch * length * self.active];
        let products = if pairs as usize >= SORT_FROM {
            let chosen = ops::reshape(&chosen, &[pairs])?;
            let order = experts::argsort(&chosen)?;
            let row =
                experts::floor_divide(&order, &Array::from_slice(&[self.active as u32], &[1]))?;
            let x = ops::take_rows(&ops::reshape(x, &[rows, 1, self.hidden])?, &row)?;
            let sorted = self.products(&x, &ops::take_rows(&chosen, &order)?, true)?;
            ops::take_rows(&sorted, &experts::argsort(&order)?)?
        } else {
            let x = ops::reshape(x, &[batch, length, 1, 1, self.hidden])?;
            self.products(&x, &chosen, false)?
        };
        let products = ops::reshape(&products, &[batch, length, self.active, self.hidden])?;
        let shares = ops::reshape(&shares, &[batch, length, self.active, 1])?;
        let sum = experts::sum_axis(&ops::multiply(&products, &shares)?, -2, false)?;
        ops::as_dtype(&sum, products.dtype())
    }

    fn products(&self, x: &Array, chosen: &Array, sorted: bool) -> Result<Array, Exception> {
        let gate = self.gate.forward(x, chosen, sorted)?;
        let up = self.up.forward(x, chosen, sorted)?;
        self.down.forward(&ops::swiglu(&gate, &up)?, chosen, sorted)
    }
}

enum Mlp {
    Dense(qwen3::Mlp),
    Sparse(SparseMlp),
}

struct Block {
    attention_norm: Array,
    attention: qwen3::Attention,
    mlp_norm: Array,
    mlp: Mlp,
    eps: f32,
}

impl Block {
    fn new(args: &Args, layer: i32, weights: &mut Weights) -> Result<Self, BuildError> {
        let path = format!("model.layers.{layer}");
        let (dense, mlp) = (&args.dense, format!("{path}.mlp"));
        let hidden = [dense.dims.hidden];
        let post = format!("{path}.post_attention_layernorm.weight");
        Ok(Self {
            attention_norm: weights.tensor(&format!("{path}.input_layernorm.weight"), &hidden)?,
            attention: qwen3::Attention::new(dense, &format!("{path}.self_attn"), weights)?,
            mlp_norm: weights.tensor(&post, &hidden)?,
            mlp: if args.is_sparse(layer) {
                Mlp::Sparse(SparseMlp::new(args, &mlp, weights)?)
            } else {
                Mlp::Dense(qwen3::Mlp::new(dense, &mlp, weights)?)
            },
            eps: dense.dims.rms_norm_eps,
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
        let change = match &self.mlp {
            Mlp::Dense(mlp) => mlp.forward(&normed)?,
            Mlp::Sparse(mlp) => mlp.forward(&normed, shape)?,
        };
        ops::add(&x, &change)
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
        } = args.dense.dims;
        Ok(Self {
            embedding: weights.embedding("model.embed_tokens", vocab, hidden)?,
            blocks: (0..layers)
                .map(|layer| Block::new(&args, layer, weights))
                .collect::<Result<_, _>>()?,
            norm: weights.tensor("model.norm.weight", &[hidden])?,
            head: weights.head(tied, hidden, vocab)?,
            dims: args.dense.dims,
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
