//! `training`: what a training step costs. The step itself is the headline; its forward pass, and that
//! with the gradients, are timed as trials of their own, for a difference of two times is no time.
//!
//! Before anything is timed the launch takes twenty steps on its batch, which all others repeat: a
//! loss that does not fall there is no training, however fast.

pub mod adamw;
pub mod learner;
pub mod lora;

use std::cell::RefCell;

use domain::metric::Metric;
use domain::model::Dtype;
use domain::reason::Reason;
use domain::suite::training::{Case, Mode};
use domain::worker::{Finished, Sample};
use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::{Bench, Demand, Ready, tokens};
use crate::device;
use crate::harness::clock::{Region, Watch, ms, rate};
use crate::harness::{Observation, Shape, Trial, TrialError};
use crate::load::parts::Parts;
use crate::load::{Facts, LoadError, Loaded};
use crate::models::BuildError;
use learner::Learner;

/// So many steps on the batch must bring the loss down.
const FIRST_STEPS: usize = 20;

/// Why a model is not trained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrainable {
    #[error(
        "all parameters of a quantised model ({0}) cannot be trained, packed words have no gradient: \
         use `modes = [\"lora\"]`, or keep this model to other suites with `suites`"
    )]
    Quantised(String),
    #[error(
        "AdamW's smallest constant, 1e-8, is zero in f16: train all parameters in bf16 or f32, or use \
         `modes = [\"lora\"]`"
    )]
    HalfPrecision,
}

pub fn demand(case: &Case) -> Demand {
    Demand {
        positions: case.sequence_tokens,
        trained: Some([case.batch_size, case.sequence_tokens]),
        // Gradients, two moments, and new parameters while the old ones are there; those of adapters are
        // nothing beside the model.
        extra_weights_percent: match case.mode {
            Mode::Full => 400,
            Mode::Lora => 0,
        },
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let (loaded, parts) = bench.load_parts()?;
    check(case.mode, &loaded.facts)?;
    let Ready {
        loaded,
        active_bytes,
        wired_limit_bytes: _,
    } = bench.settle(loaded)?;
    let Loaded { model, facts, .. } = loaded;
    let dims = model.dims().clone();
    // It shares the arrays that are to be trained.
    drop(model);

    let count = case.batch_size * (case.sequence_tokens + 1);
    let seed = bench.request.protocol.seed;
    let ids = tokens::random(seed, count as usize, dims.vocab as u32);
    let shape = [case.batch_size as i32, case.sequence_tokens as i32 + 1];
    let batch = Array::from_slice(&ids, &shape);
    let folder = &bench.files()?.folder.path;
    let mut learner =
        learner(case.mode, parts, seed, batch).map_err(|error| LoadError::build(folder, error))?;
    // Nothing is multiplied by a table that is only looked up.
    let looked_up = if dims.tied {
        0
    } else {
        dims.vocab as u64 * dims.hidden as u64
    };
    let flops_per_token = flops_per_token(
        case.mode,
        facts.parameters - looked_up,
        learner.variable_count(),
    );
    let descent = Descent::of(&mut learner)?;
    let stage = Stage {
        case,
        facts,
        active_bytes,
        flops_per_token,
        token_ids_sha256: tokens::sha256(&ids, &[]),
        descent,
        learner: RefCell::new(learner),
    };
    let mut trials = [Work::Step, Work::ForwardBackward, Work::Forward].map(|work| Training {
        stage: &stage,
        work,
        loss: None,
        is_first: true,
    });
    bench.measure(&mut trials)
}

fn check(mode: Mode, facts: &Facts) -> Result<(), Untrainable> {
    match mode {
        Mode::Full if facts.quantisation != "none" => {
            Err(Untrainable::Quantised(facts.quantisation.clone()))
        }
        Mode::Full if facts.dtype == Dtype::F16 => Err(Untrainable::HalfPrecision),
        Mode::Full | Mode::Lora => Ok(()),
    }
}

fn learner(mode: Mode, parts: Parts, seed: u64, batch: Array) -> Result<Learner, BuildError> {
    match mode {
        Mode::Full => Learner::full(parts, batch),
        Mode::Lora => {
            let adapters = lora::fresh(&parts.projections()?, seed);
            Learner::lora(parts, adapters, batch)
        }
    }
}

/// Two operations for each multiplication: one in the forward pass, one in the gradients of what goes
/// in, and one in those of the parameter itself where it is trained.
fn flops_per_token(mode: Mode, multiplied: u64, trained: u64) -> f64 {
    match mode {
        Mode::Full => 6.0 * multiplied as f64,
        Mode::Lora => 4.0 * multiplied as f64 + 6.0 * trained as f64,
    }
}

/// What the first steps did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    pub first_loss: f32,
    pub last_loss: f32,
    /// Whether some variable has a gradient that is zero throughout, or no number.
    pub lacks_gradients: bool,
}

impl Descent {
    pub fn of(learner: &mut Learner) -> Result<Self, Exception> {
        let mut losses = [0.0; FIRST_STEPS];
        for loss in &mut losses {
            *loss = number(&learner.step()?)?;
        }
        let (_, gradients) = learner.gradients()?;
        let mut lacks_gradients = false;
        for (index, gradient) in gradients.iter().enumerate() {
            let size = number(&gradient.abs()?.max(None)?)?;
            let is_there = size > 0.0 || learner.may_rest(index);
            lacks_gradients |= !size.is_finite() || !is_there;
        }
        Ok(Self {
            first_loss: losses[0],
            last_loss: losses[FIRST_STEPS - 1],
            lacks_gradients,
        })
    }

    /// Gate G6: a loss that is a number and falls, and gradients that reach every variable.
    pub fn is_training(&self) -> bool {
        self.first_loss.is_finite() && self.last_loss < self.first_loss && !self.lacks_gradients
    }
}

fn number(array: &Array) -> Result<f32, Exception> {
    array
        .try_item_cast::<f32>()
        .map_err(|error| Exception::custom(error.to_string()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Step,
    ForwardBackward,
    Forward,
}

/// What all trials share: one model with its state, and one batch.
struct Stage<'a> {
    case: &'a Case,
    facts: Facts,
    active_bytes: u64,
    flops_per_token: f64,
    token_ids_sha256: String,
    descent: Descent,
    learner: RefCell<Learner>,
}

struct Training<'a> {
    stage: &'a Stage<'a>,
    work: Work,
    /// Of the last pass.
    loss: Option<Array>,
    is_first: bool,
}

impl Trial for Training<'_> {
    fn mode(&self) -> &'static str {
        match self.work {
            Work::Step => "step",
            Work::ForwardBackward => "forward_backward",
            Work::Forward => "forward",
        }
    }

    fn shape(&self) -> Shape {
        Shape::Repeatable
    }

    fn marks_per_pass(&self) -> usize {
        0
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        self.loss = None;
        Ok(())
    }

    fn run(&mut self, _watch: &mut Watch) -> Result<(), TrialError> {
        let mut learner = self.stage.learner.borrow_mut();
        self.loss = Some(match self.work {
            Work::Step => learner.step()?,
            Work::ForwardBackward => learner.gradients()?.0,
            Work::Forward => learner.loss()?,
        });
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let Stage {
            case,
            facts,
            active_bytes,
            flops_per_token,
            token_ids_sha256,
            descent,
            learner: _,
        } = self.stage;
        let pass = region.per_pass();
        let tokens = case.batch_size * case.sequence_tokens;
        let examples_per_s = rate(case.batch_size, pass);
        let mut seen = Observation {
            work: tokens * u64::from(region.passes),
            token_ids_sha256: token_ids_sha256.clone(),
            weight_bytes: facts.weight_bytes,
            ..Observation::default()
        };
        match self.work {
            Work::Step => {
                let tps = rate(tokens, pass);
                seen.sample(Metric::TrainStepMs, ms(pass));
                seen.sample(Metric::TrainTps, tps);
                seen.sample(Metric::TrainExamplesPerS, examples_per_s);
                seen.sample(Metric::TrainFlops, tps * flops_per_token);
                let peak_bytes = device::memory()?.peak_bytes;
                seen.sample(Metric::TrainPeakBytes, peak_bytes as f64);
                if std::mem::take(&mut self.is_first) {
                    seen.of_launch = [
                        (Metric::TrainLossFirst, descent.first_loss),
                        (Metric::TrainLossLast, descent.last_loss),
                    ]
                    .map(|(metric, loss)| Sample {
                        metric,
                        value: f64::from(loss),
                    })
                    .to_vec();
                }
            }
            Work::ForwardBackward => seen.sample(Metric::TrainFwdBwdMs, ms(pass)),
            Work::Forward => {
                seen.sample(Metric::TrainForwardMs, ms(pass));
                seen.sample(Metric::TrainForwardEps, examples_per_s);
            }
        }
        seen.sample(Metric::MemWeightsBytes, *active_bytes as f64);
        let loss = self.loss.as_ref().map(number).transpose()?;
        if !descent.is_training() || !loss.is_some_and(f32::is_finite) {
            seen.reasons.push(Reason::Incorrect);
        }
        Ok(seen)
    }
}
