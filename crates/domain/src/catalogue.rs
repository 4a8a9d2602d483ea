//! Exact architectures by name, for models measured without their weights.
//!
//! `synthetic:NAME` stands for one of these with seeded random weights. Speed does not depend on
//! the values, so models that are gated or not yet downloaded can be measured. The numbers are those
//! of the published `config.json` files; the `nano-` and `mini-` models exist nowhere else and are for trying out.

use serde_json::{Value, json};

/// The shape of a decoder-only transformer, enough to write its `config.json` and count its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Architecture {
    pub name: &'static str,
    pub model_type: &'static str,
    pub hidden_size: u64,
    pub layers: u64,
    pub intermediate_size: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    pub vocab_size: u64,
    pub tied: bool,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    /// Factor of the `llama3` RoPE scaling over 8,192 positions, where the model has one.
    pub llama3_rope_factor: Option<f64>,
    pub max_positions: u64,
}

/// The prefix of a model's source that names an entry of the catalogue.
pub const PREFIX: &str = "synthetic:";

#[rustfmt::skip]
const CATALOGUE: &[Architecture] = &[
    Architecture { name: "nano-llama", model_type: "llama", hidden_size: 256, layers: 4, intermediate_size: 704, heads: 8, kv_heads: 4, head_dim: 32, vocab_size: 4096, tied: false, rms_norm_eps: 1e-5, rope_theta: 10_000.0, llama3_rope_factor: None, max_positions: 4096 },
    Architecture { name: "nano-qwen2", model_type: "qwen2", hidden_size: 256, layers: 4, intermediate_size: 704, heads: 8, kv_heads: 2, head_dim: 32, vocab_size: 4096, tied: true, rms_norm_eps: 1e-6, rope_theta: 1e6, llama3_rope_factor: None, max_positions: 4096 },
    Architecture { name: "nano-qwen3", model_type: "qwen3", hidden_size: 256, layers: 4, intermediate_size: 704, heads: 8, kv_heads: 4, head_dim: 64, vocab_size: 4096, tied: true, rms_norm_eps: 1e-6, rope_theta: 1e6, llama3_rope_factor: None, max_positions: 4096 },
    Architecture { name: "nano-phi3", model_type: "phi3", hidden_size: 256, layers: 4, intermediate_size: 704, heads: 8, kv_heads: 4, head_dim: 32, vocab_size: 4096, tied: false, rms_norm_eps: 1e-5, rope_theta: 10_000.0, llama3_rope_factor: None, max_positions: 4096 },
    Architecture { name: "mini-llama", model_type: "llama", hidden_size: 768, layers: 12, intermediate_size: 2048, heads: 12, kv_heads: 4, head_dim: 64, vocab_size: 32_000, tied: false, rms_norm_eps: 1e-5, rope_theta: 10_000.0, llama3_rope_factor: None, max_positions: 4096 },
    Architecture { name: "tinyllama-1.1b", model_type: "llama", hidden_size: 2048, layers: 22, intermediate_size: 5632, heads: 32, kv_heads: 4, head_dim: 64, vocab_size: 32_000, tied: false, rms_norm_eps: 1e-5, rope_theta: 10_000.0, llama3_rope_factor: None, max_positions: 2048 },
    Architecture { name: "qwen2.5-0.5b", model_type: "qwen2", hidden_size: 896, layers: 24, intermediate_size: 4864, heads: 14, kv_heads: 2, head_dim: 64, vocab_size: 151_936, tied: true, rms_norm_eps: 1e-6, rope_theta: 1e6, llama3_rope_factor: None, max_positions: 32_768 },
    Architecture { name: "qwen2.5-1.5b", model_type: "qwen2", hidden_size: 1536, layers: 28, intermediate_size: 8960, heads: 12, kv_heads: 2, head_dim: 128, vocab_size: 151_936, tied: true, rms_norm_eps: 1e-6, rope_theta: 1e6, llama3_rope_factor: None, max_positions: 32_768 },
    Architecture { name: "qwen2.5-7b", model_type: "qwen2", hidden_size: 3584, layers: 28, intermediate_size: 18_944, heads: 28, kv_heads: 4, head_dim: 128, vocab_size: 152_064, tied: false, rms_norm_eps: 1e-6, rope_theta: 1e6, llama3_rope_factor: None, max_positions: 32_768 },
    Architecture { name: "llama-3.2-1b", model_type: "llama", hidden_size: 2048, layers: 16, intermediate_size: 8192, heads: 32, kv_heads: 8, head_dim: 64, vocab_size: 128_256, tied: true, rms_norm_eps: 1e-5, rope_theta: 500_000.0, llama3_rope_factor: Some(32.0), max_positions: 131_072 },
    Architecture { name: "llama-3.1-8b", model_type: "llama", hidden_size: 4096, layers: 32, intermediate_size: 14_336, heads: 32, kv_heads: 8, head_dim: 128, vocab_size: 128_256, tied: false, rms_norm_eps: 1e-5, rope_theta: 500_000.0, llama3_rope_factor: Some(8.0), max_positions: 131_072 },
    Architecture { name: "phi-3-mini-4k", model_type: "phi3", hidden_size: 3072, layers: 32, intermediate_size: 8192, heads: 32, kv_heads: 32, head_dim: 96, vocab_size: 32_064, tied: false, rms_norm_eps: 1e-5, rope_theta: 10_000.0, llama3_rope_factor: None, max_positions: 4096 },
    Architecture { name: "qwen3-0.6b", model_type: "qwen3", hidden_size: 1024, layers: 28, intermediate_size: 3072, heads: 16, kv_heads: 8, head_dim: 128, vocab_size: 151_936, tied: true, rms_norm_eps: 1e-6, rope_theta: 1e6, llama3_rope_factor: None, max_positions: 40_960 },
    Architecture { name: "qwen3-1.7b", model_type: "qwen3", hidden_size: 2048, layers: 28, intermediate_size: 6144, heads: 16, kv_heads: 8, head_dim: 128, vocab_size: 151_936, tied: true, rms_norm_eps: 1e-6, rope_theta: 1e6, llama3_rope_factor: None, max_positions: 40_960 },
    Architecture { name: "qwen3-4b", model_type: "qwen3", hidden_size: 2560, layers: 36, intermediate_size: 9728, heads: 32, kv_heads: 8, head_dim: 128, vocab_size: 151_936, tied: true, rms_norm_eps: 1e-6, rope_theta: 1e6, llama3_rope_factor: None, max_positions: 40_960 },
    Architecture { name: "qwen3-8b", model_type: "qwen3", hidden_size: 4096, layers: 36, intermediate_size: 12_288, heads: 32, kv_heads: 8, head_dim: 128, vocab_size: 151_936, tied: false, rms_norm_eps: 1e-6, rope_theta: 1e6, llama3_rope_factor: None, max_positions: 40_960 },
];

/// The entry named, without the `synthetic:` prefix.
pub fn find(name: &str) -> Option<&'static Architecture> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}

pub fn names() -> impl Iterator<Item = &'static str> {
    CATALOGUE.iter().map(|entry| entry.name)
}

impl Architecture {
    /// Qwen2 has biases on its query, key and value projections, the others none.
    fn has_qkv_bias(&self) -> bool {
        self.model_type == "qwen2"
    }

    /// Qwen3 normalises queries and keys per head.
    fn has_qk_norm(&self) -> bool {
        self.model_type == "qwen3"
    }

    /// Number of parameters of one layer's matrices, biases and norms.
    fn layer_parameters(&self) -> u64 {
        let q = self.heads * self.head_dim;
        let kv = self.kv_heads * self.head_dim;
        let attention = self.hidden_size * (q + 2 * kv) + q * self.hidden_size;
        let mlp = 3 * self.hidden_size * self.intermediate_size;
        let norms = 2 * self.hidden_size
            + if self.has_qk_norm() {
                2 * self.head_dim
            } else {
                0
            };
        let biases = if self.has_qkv_bias() { q + 2 * kv } else { 0 };
        attention + mlp + norms + biases
    }

    /// Number of parameters; a tied embedding counts once.
    pub fn parameters(&self) -> u64 {
        let embeddings = self.vocab_size * self.hidden_size * if self.tied { 1 } else { 2 };
        self.layers * self.layer_parameters() + embeddings + self.hidden_size
    }

    /// Bytes of weights read for one decoded token: all but the gathered embedding table, which a
    /// tied model reads whole as its output projection.
    pub fn decode_bytes(&self, bytes_per_parameter: u64) -> u64 {
        let gathered = if self.tied {
            0
        } else {
            self.vocab_size * self.hidden_size
        };
        (self.parameters() - gathered) * bytes_per_parameter
    }

    pub fn weight_bytes(&self, bytes_per_parameter: u64) -> u64 {
        self.parameters() * bytes_per_parameter
    }

    /// Bytes that one more position adds to the key and value cache.
    pub fn kv_bytes_per_token(&self, bytes_per_value: u64) -> u64 {
        2 * self.layers * self.kv_heads * self.head_dim * bytes_per_value
    }

    /// The `config.json` of this architecture, as its publisher writes it.
    pub fn config_json(&self, dtype: &str) -> Value {
        let mut config = json!({
            "model_type": self.model_type,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "intermediate_size": self.intermediate_size,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "max_position_embeddings": self.max_positions,
            "tie_word_embeddings": self.tied,
            "torch_dtype": dtype,
        });
        if let Some(factor) = self.llama3_rope_factor {
            config["rope_scaling"] = json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            });
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of MEASUREMENT's model arithmetic: parameters (B), decode and weight GB in bf16, KV bytes.
    #[test]
    fn arithmetic_equals_the_published_models() {
        for (name, parameters, decode, weights, kv) in [
            ("tinyllama-1.1b", "1.1000", "2.069", "2.200", 22_528),
            ("qwen2.5-0.5b", "0.4940", "0.988", "0.988", 12_288),
            ("qwen2.5-1.5b", "1.5437", "3.087", "3.087", 28_672),
            ("qwen2.5-7b", "7.6156", "14.141", "15.231", 57_344),
            ("llama-3.2-1b", "1.2358", "2.472", "2.472", 32_768),
            ("llama-3.1-8b", "8.0303", "15.010", "16.061", 131_072),
            ("phi-3-mini-4k", "3.8211", "7.445", "7.642", 393_216),
            ("qwen3-0.6b", "0.5960", "1.192", "1.192", 114_688),
            ("qwen3-1.7b", "1.7206", "3.441", "3.441", 114_688),
            ("qwen3-4b", "4.0225", "8.045", "8.045", 147_456),
            ("qwen3-8b", "8.1907", "15.137", "16.381", 147_456),
        ] {
            let model = find(name).unwrap();
            let billions = |n: u64| n as f64 / 1e9;
            assert_eq!(
                format!("{:.4}", billions(model.parameters())),
                parameters,
                "{name}"
            );
            assert_eq!(
                format!("{:.3}", billions(model.decode_bytes(2))),
                decode,
                "{name}"
            );
            assert_eq!(
                format!("{:.3}", billions(model.weight_bytes(2))),
                weights,
                "{name}"
            );
            assert_eq!(model.kv_bytes_per_token(2), kv, "{name}");
        }
    }
}
