//! A model's shape, as its config.json says it.

use serde::Serialize;
use serde_json::Value;

/// None where the file does not say it, or says it in other words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shape {
    pub layers: Option<u64>,
    pub hidden_size: Option<u64>,
    pub intermediate_size: Option<u64>,
    pub heads: Option<u64>,
    pub kv_heads: Option<u64>,
    pub head_dim: Option<u64>,
    pub experts: Option<u64>,
    pub vocabulary: Option<u64>,
    /// Positions that it was trained for.
    pub positions: Option<u64>,
}

impl Shape {
    /// A model of text and more keeps the text's shape in a part of its own.
    pub fn of(config: &Value) -> Self {
        let number = |key: &str| {
            let inner = config.get("text_config").and_then(|text| text.get(key));
            config.get(key).or(inner).and_then(Value::as_u64)
        };
        let (heads, hidden_size) = (number("num_attention_heads"), number("hidden_size"));
        let by_division = || Some(hidden_size? / heads.filter(|heads| *heads > 0)?);
        Self {
            layers: number("num_hidden_layers"),
            hidden_size,
            intermediate_size: number("intermediate_size"),
            heads,
            kv_heads: number("num_key_value_heads").or(heads),
            head_dim: number("head_dim").or_else(by_division),
            experts: number("num_experts").or_else(|| number("num_local_experts")),
            vocabulary: number("vocab_size"),
            positions: number("max_position_embeddings"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_config_leaves_out_follows_or_stays_unknown() {
        let shape = Shape::of(&json!({
            "num_hidden_layers": 22, "hidden_size": 2048, "num_attention_heads": 32,
            "num_key_value_heads": 4, "vocab_size": "many",
        }));
        assert_eq!((shape.layers, shape.kv_heads), (Some(22), Some(4)));
        assert_eq!(shape.head_dim, Some(64), "hidden size over heads");
        assert_eq!((shape.vocabulary, shape.experts), (None, None));
        let nested = Shape::of(&json!({ "text_config": { "num_attention_heads": 8 } }));
        assert_eq!((nested.heads, nested.kv_heads), (Some(8), Some(8)));
        assert_eq!(
            Shape::of(&json!({ "num_attention_heads": 0 })).head_dim,
            None
        );
        assert_eq!(Shape::of(&Value::Null), Shape::default());
    }
}
