//! `config.json`, read key by key so that a refusal names the key, what it holds and what it should.

use serde_json::{Map, Value};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("config.json is not a JSON object: {0}")]
    NotJson(String),
    #[error("config.json: `{0}` is missing")]
    Missing(&'static str),
    #[error("config.json: `{key}` must be {expected}, found {found}")]
    Invalid {
        key: String,
        expected: String,
        found: String,
    },
    #[error(
        "config.json: model_type `{0}` is not supported; those that are: {list}",
        list = super::MODEL_TYPES.join(", ")
    )]
    UnknownModelType(String),
    #[error("config.json: `{key}` asks for {what}, which is not supported")]
    Unsupported { key: String, what: String },
}

/// Above every model there is, and low enough that products fit MLX's 32-bit shapes.
const MAX_SIZE: i32 = 1 << 24;

/// A parsed `config.json`.
#[derive(Clone, Debug)]
pub struct Config {
    keys: Map<String, Value>,
}

impl Config {
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(keys)) => Ok(Self { keys }),
            Ok(other) => Err(ConfigError::NotJson(format!("it holds {}", kind(&other)))),
            Err(error) => Err(ConfigError::NotJson(error.to_string())),
        }
    }

    pub fn from_map(keys: Map<String, Value>) -> Self {
        Self { keys }
    }

    pub fn model_type(&self) -> Result<&str, ConfigError> {
        self.text("model_type")?
            .ok_or(ConfigError::Missing("model_type"))
    }

    /// The key's value; `null` counts as absent, as it does for transformers.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    pub fn text(&self, key: &'static str) -> Result<Option<&str>, ConfigError> {
        self.get(key)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| invalid(key, "a string", value))
            })
            .transpose()
    }

    pub fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.get(key)
            .map(|value| {
                value
                    .as_bool()
                    .ok_or_else(|| invalid(key, "true or false", value))
            })
            .transpose()
    }

    /// A count: a whole number from 1 to [`MAX_SIZE`].
    pub fn size(&self, key: &'static str) -> Result<Option<i32>, ConfigError> {
        self.get(key)
            .map(|value| {
                whole(value)
                    .filter(|size| (1..=MAX_SIZE).contains(size))
                    .ok_or_else(|| invalid(key, "a whole number from 1 to 16777216", value))
            })
            .transpose()
    }

    pub fn required_size(&self, key: &'static str) -> Result<i32, ConfigError> {
        self.size(key)?.ok_or(ConfigError::Missing(key))
    }

    pub fn positive(&self, key: &'static str) -> Result<Option<f64>, ConfigError> {
        self.get(key).map(|value| positive(key, value)).transpose()
    }

    pub fn table(&self, key: &'static str) -> Result<Option<&Map<String, Value>>, ConfigError> {
        self.get(key)
            .map(|value| {
                value
                    .as_object()
                    .ok_or_else(|| invalid(key, "an object", value))
            })
            .transpose()
    }

    /// For each layer, whether it sees a window of positions rather than all: `layer_types`.
    pub fn sliding_layers(&self) -> Result<Vec<bool>, ConfigError> {
        let layers = self.required_size("num_hidden_layers")? as usize;
        let Some(kinds) = self.get("layer_types") else {
            return Ok(vec![false; layers]);
        };
        let list = kinds
            .as_array()
            .ok_or_else(|| invalid("layer_types", "a list of strings", kinds))?;
        if list.len() != layers {
            return Err(ConfigError::Invalid {
                key: "layer_types".to_owned(),
                expected: format!("a list of {layers}, one for each of num_hidden_layers"),
                found: format!("{}", list.len()),
            });
        }
        let slides = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(unsupported("layer_types", format!("{kind} layers"))),
        };
        list.iter().map(slides).collect()
    }

    /// Refuses layers that slide, of an architecture whose layers never do.
    pub fn refuse_sliding_layers(&self) -> Result<(), ConfigError> {
        if self.sliding_layers()?.contains(&true) {
            return Err(unsupported("layer_types", "\"sliding_attention\" layers"));
        }
        Ok(())
    }

    /// Refuses an activation that the architecture does not have.
    pub fn check_activation(&self, known: &[&str]) -> Result<(), ConfigError> {
        for key in ["hidden_act", "hidden_activation"] {
            if let Some(activation) = self.text(key)?
                && !known.contains(&activation)
            {
                return Err(unsupported(key, format!("activation `{activation}`")));
            }
        }
        Ok(())
    }

    /// Refuses what would compute something else than these models do.
    pub fn refuse_unsupported(&self) -> Result<(), ConfigError> {
        // Only the layers from `max_window_layers` on would slide.
        if self.flag("use_sliding_window")? == Some(true)
            && self.size("max_window_layers")? < self.size("num_hidden_layers")?
        {
            return Err(unsupported(
                "use_sliding_window",
                "sliding-window attention",
            ));
        }
        if self.get("model_file").is_some() {
            return Err(unsupported("model_file", "a model of its own in Python"));
        }
        Ok(())
    }
}

pub(super) fn unsupported(key: &str, what: impl Into<String>) -> ConfigError {
    ConfigError::Unsupported {
        key: key.to_owned(),
        what: what.into(),
    }
}

pub(super) fn invalid(key: &str, expected: &str, found: &Value) -> ConfigError {
    let mut found = found.to_string();
    if found.len() > 60 {
        found = found.chars().take(60).chain("…".chars()).collect();
    }
    ConfigError::Invalid {
        key: key.to_owned(),
        expected: expected.to_owned(),
        found,
    }
}

/// Python writes whole numbers as `8.0` at times.
pub(super) fn whole(value: &Value) -> Option<i32> {
    let number = value.as_f64()?;
    (number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX)).then_some(number as i32)
}

pub(super) fn positive(key: &str, value: &Value) -> Result<f64, ConfigError> {
    value
        .as_f64()
        .filter(|number| *number > 0.0 && number.is_finite())
        .ok_or_else(|| invalid(key, "a number above 0", value))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The sizes of an architecture whose gated product goes through SiLU: all but a few.
pub(super) fn read_dims(
    config: &Config,
    kv_heads: i32,
    head_dim: Option<i32>,
    tied: bool,
) -> Result<super::Dims, ConfigError> {
    config.check_activation(&["silu", "swish"])?;
    read_sizes(config, kv_heads, head_dim, tied)
}

/// The sizes that all architectures read alike. `head_dim` and `kv_heads` are what the
/// configuration says, since the defaults differ.
pub(super) fn read_sizes(
    config: &Config,
    kv_heads: i32,
    head_dim: Option<i32>,
    tied: bool,
) -> Result<super::Dims, ConfigError> {
    config.refuse_unsupported()?;
    let hidden = config.required_size("hidden_size")?;
    let heads = config.required_size("num_attention_heads")?;
    let head_dim = match head_dim {
        Some(head_dim) => head_dim,
        None if hidden % heads == 0 => hidden / heads,
        None => {
            return Err(ConfigError::Invalid {
                key: "hidden_size".to_owned(),
                expected: format!("a multiple of num_attention_heads ({heads}), or head_dim given"),
                found: hidden.to_string(),
            });
        }
    };
    if heads % kv_heads != 0 {
        return Err(ConfigError::Invalid {
            key: "num_key_value_heads".to_owned(),
            expected: format!("a divisor of num_attention_heads ({heads})"),
            found: kv_heads.to_string(),
        });
    }
    if head_dim % 2 != 0 {
        return Err(ConfigError::Invalid {
            key: "head_dim".to_owned(),
            expected: "even, since positions rotate pairs".to_owned(),
            found: head_dim.to_string(),
        });
    }
    if i64::from(heads) * i64::from(head_dim) > i64::from(MAX_SIZE) {
        return Err(ConfigError::Invalid {
            key: "num_attention_heads".to_owned(),
            expected: format!("at most {MAX_SIZE} with head_dim ({head_dim}) multiplied"),
            found: heads.to_string(),
        });
    }
    Ok(super::Dims {
        hidden,
        layers: config.required_size("num_hidden_layers")?,
        intermediate: config.required_size("intermediate_size")?,
        heads,
        kv_heads,
        head_dim,
        vocab: config.required_size("vocab_size")?,
        rms_norm_eps: config
            .positive("rms_norm_eps")?
            .ok_or(ConfigError::Missing("rms_norm_eps"))? as f32,
        max_positions: config.size("max_position_embeddings")?,
        tied,
    })
}
