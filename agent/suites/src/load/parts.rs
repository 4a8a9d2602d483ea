//! What a loaded model was built of, for suites that build another one of the same arrays: packed, or
//! to be trained.

use std::collections::HashMap;

use mlx_rs::Array;

use crate::device;
use crate::models::linear::Adapter;
use crate::models::weights::{Packing, Projection, Quantization, Tally};
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

    /// The tensors that the model takes, in the order it does so, moved out of here: who trains them
    /// needs them to be nowhere else.
    pub fn take(&mut self) -> Result<Vec<(String, Array)>, BuildError> {
        let mut weights = Weights::new(self.tensors.clone(), self.quantization.clone());
        models::build(&self.config, &mut weights)?;
        let mut tensors = std::mem::take(&mut self.tensors);
        let taken = weights.names().iter().filter_map(|name| {
            let tensor = tensors.remove(name)?;
            Some((name.clone(), tensor))
        });
        Ok(taken.collect())
    }

    pub fn projections(&self) -> Result<Vec<Projection>, BuildError> {
        let mut weights = Weights::new(self.tensors.clone(), self.quantization.clone());
        models::build(&self.config, &mut weights)?;
        Ok(weights.projections().to_vec())
    }

    /// The same model, of `tensors` where they have a name of its own, and with adapters beside the
    /// projections at their paths. Nothing is evaluated, so that the arrays may be tracers.
    pub fn model_with(
        &self,
        tensors: impl IntoIterator<Item = (String, Array)>,
        adapters: HashMap<String, Adapter>,
    ) -> Result<Box<dyn CausalLm>, BuildError> {
        let mut all = self.tensors.clone();
        all.extend(tensors);
        let mut weights = Weights::new(all, self.quantization.clone()).adapting(adapters);
        models::build(&self.config, &mut weights)
    }
}

/// A model that was quantised in memory.
pub struct PackedModel {
    pub model: Box<dyn CausalLm>,
    pub tally: Tally,
}
