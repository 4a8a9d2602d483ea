//! A model as others name it, and what its architecture makes known of it.

use crate::catalogue::Architecture;
use crate::model::{Dtype, ModelIdentity};

#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub label: String,
    /// None where nobody says it.
    pub dtype: Option<Dtype>,
    pub quantisation: Option<String>,
    /// By the architecture's arithmetic; None where that or the bits of a weight are not known. The
    /// weights themselves nobody here has seen, and the digest says so.
    pub identity: Option<ModelIdentity>,
}

impl Model {
    /// What stands for its weights: the architecture where it is known, else the name.
    pub fn source(&self) -> &str {
        let identity = self.identity.as_ref();
        identity.map_or(&self.label, |identity| &identity.source)
    }

    /// `bits` of a weight, where the file says them; else by the type or the quantisation.
    pub(super) fn new(
        label: &str,
        architecture: Option<&Architecture>,
        dtype: Option<Dtype>,
        quantisation: Option<String>,
        bits: Option<f64>,
    ) -> Self {
        let bits = bits.or_else(|| bits_per_weight(quantisation.as_deref(), dtype));
        let quantisation_text = quantisation.clone().unwrap_or_else(|| "none".to_owned());
        let identity = architecture.zip(bits).map(|(architecture, bits)| {
            let packed = |bytes_in_16_bits: u64| (bytes_in_16_bits as f64 * bits / 16.0) as u64;
            ModelIdentity {
                digest: format!("imported {} {quantisation_text}", architecture.name),
                model_type: architecture.model_type.to_owned(),
                label: label.to_owned(),
                source: architecture.name.to_owned(),
                dtype: dtype.unwrap_or(Dtype::F16),
                quantisation: quantisation_text,
                parameters: architecture.parameters(),
                weight_bytes: packed(architecture.weight_bytes(2)),
                decode_bytes: packed(architecture.decode_bytes(2)),
                kv_bytes_per_token: architecture.kv_bytes_per_token(2),
                synthetic: false,
                config_json: architecture.config_json("").to_string(),
            }
        });
        Self {
            label: label.to_owned(),
            dtype,
            quantisation,
            identity,
        }
    }
}

/// Of MLX's affine quantisation: each group adds a scale and a bias of 16 bits.
fn bits_per_weight(quantisation: Option<&str>, dtype: Option<Dtype>) -> Option<f64> {
    match quantisation {
        None | Some("none") => Some(8.0 * dtype?.bytes() as f64),
        Some(quantisation) => {
            let (bits, group) = quantisation.strip_prefix("affine ")?.split_once("-bit g")?;
            let (bits, group): (f64, f64) = (bits.parse().ok()?, group.parse().ok()?);
            (group > 0.0).then_some(bits + 32.0 / group)
        }
    }
}
