//! The suites' measuring side, one file each; `domain::suite` has their parameters and cases.
//!
//! To add one: a file here with its [`Trial`]s, its lines in this registry, a case in a plan.

pub mod attention;
pub mod batch;
pub mod decode;
pub mod generate;
pub mod load;
pub mod memory;
pub mod prefill;
pub mod quantization;
pub mod roofline;
pub mod speculative;
pub mod sustained;
pub mod tokens;
pub mod training;
mod turns;

use std::io;

use domain::model::{Dtype, ModelIdentity, ModelRef};
use domain::suite::Case;
use domain::worker::{Finished, Frame, Request};
use mlx_rs::Array;

use crate::device::{self, ops};
use crate::harness::clock::{self, WorkerClock};
use crate::harness::{Harness, Trial, TrialError};
use crate::load::parts::Parts;
use crate::load::source::Places;
use crate::load::{Facts, LoadError, Loaded, ModelFolder, Options, mlx_dtype};

/// Of arrays whose values matter to nobody.
const RANDOM_SEED: u64 = 42;

/// What a case asks of the model, for the prediction whether it fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Most positions that go through the model, which is what `max_position_embeddings` limits. The
    /// last token that is generated never goes in.
    pub positions: u64,
    /// Most tokens in one step.
    pub step_tokens: u64,
    /// What the suite keeps that grows with the weights, in hundredths of their bytes.
    pub extra_weights_percent: u64,
    /// What it keeps besides, whatever the model.
    pub bytes: u64,
    /// Examples and their positions, where every layer keeps what its gradients need.
    pub trained: Option<[u64; 2]>,
}

macro_rules! suites {
    ($($variant:ident $module:ident;)*) => {
        /// Measures the case that the request asks for.
        pub fn measure(bench: &Bench<'_>) -> Result<Finished, TrialError> {
            match &bench.request.case {
                $(Case::$variant(case) => $module::measure(bench, case),)*
            }
        }

        pub fn demand(case: &Case) -> Demand {
            match case {
                $(Case::$variant(case) => $module::demand(case),)*
            }
        }
    };
}

suites! {
    Roofline roofline;
    Load load;
    Prefill prefill;
    Decode decode;
    Generate generate;
    Memory memory;
    Attention attention;
    Batch batch;
    Quantization quantization;
    Speculative speculative;
    Sustained sustained;
    Training training;
}

/// What a suite has to work with.
pub struct Bench<'a> {
    pub request: &'a Request,
    /// None for a suite about the machine itself.
    pub files: Option<Files<'a>>,
    pub places: &'a Places,
    pub clock: WorkerClock,
    pub send: &'a dyn Fn(Frame) -> io::Result<()>,
}

/// A model on disk.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    pub model: &'a ModelRef,
    pub folder: &'a ModelFolder,
    /// SHA-256 over the model's files.
    pub digest: &'a str,
}

/// A model in memory, all of it evaluated and nothing else.
pub struct Ready {
    pub loaded: Loaded,
    /// MLX's active memory with its cache cleared.
    pub active_bytes: u64,
    /// How much the system was asked to keep resident; None where it takes no such wish.
    pub wired_limit_bytes: Option<u64>,
}

impl Bench<'_> {
    /// Loads the model, tells what it is, and asks the system to keep it resident, as mlx-lm does
    /// while it generates.
    pub fn load(&self) -> Result<Ready, TrialError> {
        self.settle(self.load_files()?)
    }

    /// The same for what is loaded already.
    pub fn settle(&self, loaded: Loaded) -> Result<Ready, TrialError> {
        let mut ready = Ready::settle(loaded)?;
        self.announce(&ready.loaded.facts)?;
        ready.wired_limit_bytes = keep_resident()?;
        Ok(ready)
    }

    /// The model that the case is measured with.
    pub fn files(&self) -> Result<Files<'_>, TrialError> {
        self.files.ok_or(TrialError::NoModel)
    }

    /// Loads and does nothing else.
    pub fn load_files(&self) -> Result<Loaded, TrialError> {
        self.load_by(crate::load::load)
    }

    /// The same, and what the model was built of.
    pub fn load_parts(&self) -> Result<(Loaded, Parts), TrialError> {
        self.load_by(crate::load::load_parts)
    }

    fn load_by<T>(
        &self,
        load: impl FnOnce(&ModelFolder, &Options<'_>) -> Result<T, LoadError>,
    ) -> Result<T, TrialError> {
        let Files { model, folder, .. } = self.files()?;
        let clock = clock::nanoseconds();
        let options = Options {
            dtype: model.dtype,
            clock: &clock,
        };
        Ok(load(folder, &options)?)
    }

    /// Tells what was loaded.
    pub fn announce(&self, facts: &Facts) -> Result<(), TrialError> {
        self.announce_as(facts, |_| ())
    }

    /// The same of a model that is not measured alone: `change` says with what.
    fn announce_as(
        &self,
        facts: &Facts,
        change: impl FnOnce(&mut ModelIdentity),
    ) -> Result<(), TrialError> {
        let Facts {
            model_type,
            parameters,
            file_bytes: _,
            weight_bytes,
            decode_bytes,
            kv_bytes_per_token,
            dtype,
            quantisation,
            config_json,
        } = facts.clone();
        let Files {
            model,
            folder,
            digest,
        } = self.files()?;
        let mut identity = ModelIdentity {
            digest: digest.to_owned(),
            model_type,
            label: model.label(),
            source: model.source.to_string(),
            dtype,
            quantisation,
            parameters,
            weight_bytes,
            decode_bytes,
            kv_bytes_per_token,
            synthetic: folder.synthetic,
            config_json,
        };
        change(&mut identity);
        (self.send)(Frame::Model(identity)).map_err(TrialError::Emit)
    }

    /// Hands the trials to the harness.
    pub fn measure<T: Trial>(&self, trials: &mut [T]) -> Result<Finished, TrialError> {
        let mut emit = |iteration| (self.send)(Frame::Iteration(iteration));
        let Request {
            protocol,
            launch_seed,
            ..
        } = self.request;
        Harness::new(*protocol, *launch_seed, self.clock, &mut emit).measure(trials)
    }
}

/// Seeded values of this deviation, evaluated.
fn random_array(shape: &[i32], dtype: Dtype, deviation: f32) -> Result<Array, TrialError> {
    let key = mlx_rs::random::key(RANDOM_SEED)?;
    let values = mlx_rs::random::normal::<f32>(shape, None, deviation, &key)?;
    let array = ops::as_dtype(&values, mlx_dtype(dtype))?;
    array.eval()?;
    Ok(array)
}

fn keep_resident() -> Result<Option<u64>, TrialError> {
    let info = device::device_info()?;
    Ok(device::wire_memory(&info).unwrap_or_else(|error| {
        eprintln!("the model's memory cannot be kept resident: {error}");
        None
    }))
}

impl Ready {
    /// Gives back what only the loading needed.
    fn settle(loaded: Loaded) -> Result<Self, TrialError> {
        device::clear_cache()?;
        Ok(Self {
            loaded,
            active_bytes: device::memory()?.active_bytes,
            wired_limit_bytes: None,
        })
    }
}
