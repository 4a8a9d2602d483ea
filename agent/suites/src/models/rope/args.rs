//! What a configuration says of the rotation, read and checked.

use serde_json::{Map, Value};

use crate::models::config::{Config, ConfigError, invalid, positive, unsupported, whole};

/// The scaling a configuration asks for, in its own words.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    None,
    /// Positions divided by the factor.
    Linear {
        factor: f64,
    },
    /// The base grows with the sequence once it is longer than the model was trained for.
    Dynamic {
        factor: f64,
        max_positions: i32,
    },
    /// Long wavelengths stretched, short ones kept, between them a blend (Llama 3.1).
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
    /// The same idea with a ramp over dimensions, and a gain (YaRN, arXiv 2309.00071).
    Yarn(Yarn),
    /// A factor for each wavelength, and a gain for the growth of the context (LongRoPE, arXiv
    /// 2402.13753). As in mlx-lm, those for long contexts, at every length.
    Long {
        factors: Vec<f32>,
        gain: f64,
    },
    /// The first pairs of each head rotate, their wavelengths multiplied by the factor; the others
    /// stand still.
    Proportional {
        factor: f64,
        share: f64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    pub factor: f64,
    pub original: f64,
    pub beta_fast: f64,
    pub beta_slow: f64,
    pub mscale: f64,
    pub mscale_all_dim: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RopeArgs {
    pub theta: f64,
    /// Pairs of neighbours rather than of halves.
    pub traditional: bool,
    /// The part of each head that rotates, from its start.
    pub share: f64,
    pub scaling: Scaling,
}

impl RopeArgs {
    /// Reads `rope_theta`, `rope_traditional` and `rope_scaling`, or transformers 5's
    /// `rope_parameters`, which holds the first and the last. None in `default_theta`: required.
    pub fn read(config: &Config, default_theta: Option<f64>) -> Result<Self, ConfigError> {
        let args = Self::read_partial(config, default_theta)?;
        if (args.share - 1.0).abs() > f64::EPSILON {
            let what = format!("rotation of a part ({}) of each head", args.share);
            return Err(unsupported(PARTIAL, what));
        }
        Ok(args)
    }

    /// Plain rotation of whole heads.
    pub fn plain(theta: f64) -> Self {
        Self {
            theta,
            traditional: false,
            share: 1.0,
            scaling: Scaling::None,
        }
    }

    /// The same for an architecture that may rotate a part of each head: `partial_rotary_factor`.
    pub fn read_partial(config: &Config, default_theta: Option<f64>) -> Result<Self, ConfigError> {
        let nested = config.table("rope_parameters")?;
        let theta = match config.positive("rope_theta")? {
            Some(theta) => Some(theta),
            None => nested
                .and_then(|table| table.get("rope_theta"))
                .map(|value| positive("rope_parameters.rope_theta", value))
                .transpose()?,
        };
        let (key, table) = match config.table("rope_scaling")? {
            Some(table) => ("rope_scaling", Some(table)),
            None => ("rope_parameters", nested),
        };
        let table = table.map(|entries| Table { key, entries });
        let scaling = table.map_or(Ok(Scaling::None), |table| read_scaling(table, config))?;
        let share = match (config.positive(PARTIAL)?, &scaling) {
            (Some(share), _) => Some(share),
            // There it says which part moves, not which part is rotated at all.
            (None, Scaling::Proportional { .. }) => None,
            (None, _) => table.map_or(Ok(None), |table| table.number(PARTIAL))?,
        };
        Ok(Self {
            theta: theta
                .or(default_theta)
                .ok_or(ConfigError::Missing("rope_theta"))?,
            traditional: config.flag("rope_traditional")?.unwrap_or(false),
            share: share.unwrap_or(1.0),
            scaling,
        })
    }
}

pub(super) const PARTIAL: &str = "partial_rotary_factor";

/// An object of the configuration, for messages that name the whole path.
#[derive(Clone, Copy)]
struct Table<'a> {
    key: &'a str,
    entries: &'a Map<String, Value>,
}

impl Table<'_> {
    fn number(self, name: &str) -> Result<Option<f64>, ConfigError> {
        self.entries
            .get(name)
            .filter(|value| !value.is_null())
            .map(|value| positive(&format!("{}.{name}", self.key), value))
            .transpose()
    }

    fn factor(self) -> Result<f64, ConfigError> {
        self.number("factor")?
            .ok_or_else(|| self.missing("factor", "a number above 0"))
    }

    fn numbers(self, name: &str) -> Result<Vec<f32>, ConfigError> {
        let key = format!("{}.{name}", self.key);
        let value = self.entries.get(name);
        let list = value.and_then(Value::as_array);
        let list = list.ok_or_else(|| self.missing(name, "a list of numbers"))?;
        list.iter()
            .map(|value| Ok(positive(&key, value)? as f32))
            .collect()
    }

    fn missing(self, name: &str, expected: &str) -> ConfigError {
        ConfigError::Invalid {
            key: format!("{}.{name}", self.key),
            expected: expected.to_owned(),
            found: self
                .entries
                .get(name)
                .map_or("nothing".to_owned(), Value::to_string),
        }
    }
}

fn read_scaling(table: Table<'_>, config: &Config) -> Result<Scaling, ConfigError> {
    let max_positions = config.size("max_position_embeddings")?;
    // Either key may be there and empty beside the other.
    let is_said = |value: &&Value| !value.is_null() && value.as_str() != Some("");
    let of = |key| table.entries.get(key).filter(is_said);
    let kind = match of("type").or_else(|| of("rope_type")) {
        None => "default",
        Some(Value::String(kind)) => kind,
        Some(other) => {
            return Err(invalid(
                &format!("{}.rope_type", table.key),
                "a string",
                other,
            ));
        }
    };
    Ok(match kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear {
            factor: table.factor()?,
        },
        "dynamic" => Scaling::Dynamic {
            factor: table.factor()?,
            max_positions: max_positions.ok_or(ConfigError::Missing("max_position_embeddings"))?,
        },
        "llama3" => Scaling::Llama3 {
            factor: table.factor()?,
            low: table.number("low_freq_factor")?.unwrap_or(1.0),
            high: table.number("high_freq_factor")?.unwrap_or(4.0),
            original: table
                .number("original_max_position_embeddings")?
                .unwrap_or(8192.0),
        },
        "proportional" => Scaling::Proportional {
            factor: table.number("factor")?.unwrap_or(1.0),
            share: table.number(PARTIAL)?.unwrap_or(1.0),
        },
        // Of text, all three of its sections hold the same position.
        "mrope" => {
            let sections = table.entries.get("mrope_section").and_then(Value::as_array);
            if sections.is_none_or(|sections| sections.len() != 3) {
                return Err(table.missing("mrope_section", "a list of three numbers"));
            }
            Scaling::None
        }
        "yarn" | "deepseek_yarn" | "telechat3-yarn" => Scaling::Yarn(Yarn {
            factor: table.factor()?,
            original: table
                .number("original_max_position_embeddings")?
                .unwrap_or(4096.0),
            beta_fast: table.number("beta_fast")?.unwrap_or(32.0),
            beta_slow: table.number("beta_slow")?.unwrap_or(1.0),
            mscale: table.number("mscale")?.unwrap_or(1.0),
            // Zero is this key's usual value, and means what its absence does.
            mscale_all_dim: match table.entries.get("mscale_all_dim") {
                Some(value) if whole(value) != Some(0) => {
                    positive(&format!("{}.mscale_all_dim", table.key), value)?
                }
                _ => 0.0,
            },
        }),
        "longrope" | "su" => Scaling::Long {
            factors: table.numbers("long_factor")?,
            gain: long_gain(table, config)?,
        },
        other => {
            return Err(unsupported(
                &format!("{}.rope_type", table.key),
                format!(
                    "RoPE scaling `{other}` (known: default, linear, dynamic, llama3, yarn, \
                     longrope, proportional, mrope)"
                ),
            ));
        }
    })
}

/// How many positions the configuration says the model can take: `max_position_embeddings`, or more
/// where its scaling stretches what the model was trained with.
pub fn positions_reached(config: &Config) -> Result<Option<u64>, ConfigError> {
    let told = config
        .size("max_position_embeddings")?
        .map(|told| told as u64);
    let scaling = RopeArgs::read_partial(config, Some(10_000.0))?.scaling;
    let stretched = match scaling {
        Scaling::Yarn(yarn) => (yarn.factor * yarn.original) as u64,
        Scaling::Dynamic {
            factor,
            max_positions,
        } => (factor * f64::from(max_positions)) as u64,
        // Their own limit is that of the stretched positions already.
        Scaling::None
        | Scaling::Linear { .. }
        | Scaling::Llama3 { .. }
        | Scaling::Long { .. }
        | Scaling::Proportional { .. } => 0,
    };
    Ok(told.map(|told| told.max(stretched)))
}

/// Up to how many positions all sequences rotate alike; None where they do at every length.
pub fn same_base_up_to(config: &Config) -> Result<Option<u64>, ConfigError> {
    let scaling = RopeArgs::read_partial(config, Some(10_000.0))?.scaling;
    Ok(match scaling {
        Scaling::Dynamic { max_positions, .. } => Some(max_positions as u64),
        _ => None,
    })
}

/// `√(1 + ln(growth) / ln(original))`, the growth being that of the positions trained for.
fn long_gain(table: Table<'_>, config: &Config) -> Result<f64, ConfigError> {
    const ORIGINAL: &str = "original_max_position_embeddings";
    let original = match config.size(ORIGINAL)? {
        Some(original) => f64::from(original),
        None => table.number(ORIGINAL)?.unwrap_or(4096.0),
    };
    let positions = config.size("max_position_embeddings")?.unwrap_or(131_072);
    let growth = f64::from(positions) / original;
    Ok(if growth <= 1.0 {
        1.0
    } else {
        (1.0 + growth.ln() / original.ln()).sqrt()
    })
}
