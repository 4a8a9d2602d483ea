//! How a checkpoint says that its layers are quantised.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::models::config::{Config, ConfigError, unsupported, whole};

/// How a layer's weights are packed. Only MLX's affine mode exists here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    pub group_size: i32,
    pub bits: i32,
}

/// The `quantization` key: a packing for all layers, and exceptions by path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantization {
    pub default: Option<Packing>,
    /// None: the layer is not quantised.
    pub layers: HashMap<String, Option<Packing>>,
}

impl Quantization {
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        if let Some(table) = config.table("quantization")? {
            return Self::read_table("quantization", table);
        }
        let Some(table) = config.table("quantization_config")? else {
            return Ok(Self::default());
        };
        match table.get("quant_method") {
            None => Self::read_table("quantization_config", table),
            Some(method) => Err(unsupported(
                "quantization_config.quant_method",
                format!("{method} weights; convert them with mlx_lm.convert"),
            )),
        }
    }

    fn read_table(key: &str, table: &Map<String, Value>) -> Result<Self, ConfigError> {
        let mut layers = HashMap::new();
        for (path, value) in table {
            match value {
                Value::Object(exception) => {
                    let key = format!("{key}.{path}");
                    layers.insert(path.clone(), Some(Packing::read(&key, exception)?));
                }
                Value::Bool(false) => {
                    layers.insert(path.clone(), None);
                }
                _ => {}
            }
        }
        Ok(Self {
            default: Some(Packing::read(key, table)?),
            layers,
        })
    }
}

/// Known to MLX's kernels.
const GROUP_SIZES: [i32; 3] = [32, 64, 128];
const BITS: [i32; 6] = [2, 3, 4, 5, 6, 8];

impl Packing {
    /// What shapes say: rows of `words` 32-bit words and `groups` scales, for `width` values.
    pub(super) fn from_shapes(words: i32, groups: i32, width: i32) -> Option<Self> {
        let divide = |a: i32, b: i32| (b > 0 && a % b == 0).then(|| a / b);
        let group_size = divide(width, groups)?;
        let bits = divide(words.checked_mul(32)?, width)?;
        (GROUP_SIZES.contains(&group_size) && BITS.contains(&bits))
            .then_some(Self { group_size, bits })
    }

    fn read(key: &str, table: &Map<String, Value>) -> Result<Self, ConfigError> {
        match table.get("mode") {
            None | Some(Value::Null) => {}
            Some(Value::String(mode)) if mode == "affine" => {}
            Some(mode) => {
                return Err(unsupported(
                    &format!("{key}.mode"),
                    format!("quantisation mode {mode}; only affine is"),
                ));
            }
        }
        let number = |name: &str, known: &[i32]| {
            let value = table.get(name).unwrap_or(&Value::Null);
            whole(value)
                .filter(|number| known.contains(number))
                .ok_or_else(|| ConfigError::Invalid {
                    key: format!("{key}.{name}"),
                    expected: format!("one of {known:?}"),
                    found: value.to_string(),
                })
        };
        Ok(Self {
            group_size: number("group_size", &GROUP_SIZES)?,
            bits: number("bits", &BITS)?,
        })
    }
}
