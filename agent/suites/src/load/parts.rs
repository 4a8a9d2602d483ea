//! What a loaded model was built of, for suites that build another one of the same arrays: packed, or
//! to be trained.

use std::collections::HashMap;

use mlx_rs::Array;

use crate::device;
use crate::models::weights::{Packing, Quantization, Tally};
use crate::models::{self, BuildError, CausalLm, Config, Weights};

/// A model's configuration and its tensors by name. It shares their memory with the model.
pub struct Parts {
    config: Config,
    quantization: Quantization,
    tensors: HashMap<String, Array>,
}

impl Parts {
    pub(super) fn new(
        config: &Config,
        quantization: &Quantization,
        tensors: &HashMap<String, Array>,
    ) -> Self {
        Self {
            config: config.clone(),
            quantization: quantization.clone(),
            tensors: tensors.clone(),
        }
    }

    /// The same model with its matrices packed, evaluated.
    pub fn packed(&self, packing: Packing) -> Result<PackedModel, BuildError> {
        let weights = Weights::new(self.tensors.clone(), self.quantization.clone());
        let mut weights = weights.packing(packing);
        let model = models::build(&self.config, &mut weights)?;
        mlx_rs::transforms::eval(weights.taken())?;
        device::synchronize()?;
        Ok(PackedModel {
            model,
            tally: weights.tally(),
        })
    }
}

/// A model that was quantised in memory.
pub struct PackedModel {
    pub model: Box<dyn CausalLm>,
    pub tally: Tally,
}
