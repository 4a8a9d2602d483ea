//! A model that is trained: its variables, and the three functions of them that are timed.
//!
//! The model is built anew, of tracers, when MLX traces a function; each function is traced and
//! compiled once. Everything that a step changes goes in as arguments and comes out as results, and
//! nothing else holds the old values, so that their memory is used for the new ones.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlx_rs::error::Exception;
use mlx_rs::transforms::compile::compile;
use mlx_rs::transforms::{eval, value_and_grad_with_argnums};
use mlx_rs::{Array, Dtype};

use super::adamw::AdamW;
use super::lora::{self, Pair};
use crate::device::{self, experts, ops};
use crate::load::parts::Parts;
use crate::models::{BuildError, KvCache};

/// What a step changes.
enum Variables {
    /// The model's own tensors, by these names.
    Tensors(Vec<String>),
    /// The matrices of adapters, two for each of these paths.
    Adapters(Vec<String>),
}

/// The loss as a function of the variables.
struct Objective {
    parts: Parts,
    variables: Variables,
}

impl Objective {
    /// Mean cross-entropy of each token of `batch` (`[examples, positions + 1]`) but the first, in f32.
    fn loss(&self, variables: &[Array], batch: &Array) -> Result<Array, Exception> {
        let model = match &self.variables {
            Variables::Tensors(names) => {
                let named = names.iter().cloned().zip(variables.iter().cloned());
                self.parts.model_with(named, HashMap::new())
            }
            Variables::Adapters(paths) => {
                self.parts.model_with([], lora::adapters(paths, variables))
            }
        };
        let model = model.map_err(|error| Exception::custom(error.to_string()))?;
        let [examples, tokens] = [batch.dim(0), batch.dim(1)];
        let inputs = ops::slice(batch, &[0, 0], &[examples, tokens - 1])?;
        let targets = ops::slice(batch, &[0, 1], &[examples, tokens])?;
        let layers = model.dims().layers;
        let mut cache: Vec<KvCache> = (0..layers).map(|_| KvCache::passing()).collect();
        let logits = model.logits(&model.hidden(&inputs, &mut cache)?)?;
        let logits = ops::as_dtype(&logits, Dtype::Float32)?;
        let chosen = experts::take_along_last(&logits, &targets.expand_dims(-1)?)?;
        let surprise = logits.logsumexp_axis(-1, true)?.subtract(&chosen)?;
        surprise.mean(None)
    }

    fn loss_and_gradients(
        &self,
        variables: &[Array],
        batch: &Array,
    ) -> Result<(Array, Vec<Array>), Exception> {
        let all: Vec<i32> = (0..variables.len() as i32).collect();
        let loss = |variables: &[Array]| Ok(vec![self.loss(variables, batch)?]);
        let (mut values, gradients) =
            value_and_grad_with_argnums::<_, Exception>(loss, all.as_slice())(variables)?;
        Ok((values.remove(0), gradients))
    }
}

type Body = Box<dyn FnMut(&[Array]) -> Result<Vec<Array>, Exception>>;

/// A function of arrays, compiled by MLX where it can: on a processor its kernels need a C++ compiler
/// at hand.
struct Function {
    call: Body,
    /// Why the body failed, of which MLX tells only that it did.
    failure: Rc<RefCell<Option<Exception>>>,
}

impl Function {
    fn new(mut body: impl FnMut(&[Array]) -> Result<Vec<Array>, Exception> + 'static) -> Self {
        let failure = Rc::new(RefCell::new(None));
        let told = failure.clone();
        let body = move |inputs: &[Array]| {
            body(inputs).map_err(|error| {
                let words = error.to_string();
                told.replace(Some(error));
                Exception::custom(words)
            })
        };
        let call: Body = if device::compiles() {
            Box::new(compile(body, false))
        } else {
            Box::new(body)
        };
        Self { call, failure }
    }

    fn call(&mut self, inputs: &[Array]) -> Result<Vec<Array>, Exception> {
        (self.call)(inputs).map_err(|error| self.failure.take().unwrap_or(error))
    }
}

pub struct Learner {
    objective: Rc<Objective>,
    variables: Vec<Array>,
    /// Running means of the gradients and of their squares.
    moments: [Vec<Array>; 2],
    batch: Array,
    step: Function,
    gradients: Function,
    loss: Function,
}

impl Learner {
    /// Trains every tensor of the model, which must be nowhere else.
    pub fn full(mut parts: Parts, batch: Array) -> Result<Self, BuildError> {
        let (names, tensors) = parts.take()?.into_iter().unzip();
        let variables = Variables::Tensors(names);
        Ok(Self::new(Objective { parts, variables }, tensors, batch)?)
    }

    /// Trains adapters beside the frozen model.
    pub fn lora(parts: Parts, adapters: Vec<Pair>, batch: Array) -> Result<Self, BuildError> {
        let (paths, matrices): (_, Vec<[Array; 2]>) = adapters.into_iter().unzip();
        let variables = Variables::Adapters(paths);
        let matrices = matrices.into_iter().flatten().collect();
        Ok(Self::new(Objective { parts, variables }, matrices, batch)?)
    }

    fn new(objective: Objective, variables: Vec<Array>, batch: Array) -> Result<Self, Exception> {
        let zeros = || {
            let zeros = variables.iter();
            zeros
                .map(|variable| ops::zeros(variable.shape(), variable.dtype()))
                .collect::<Result<Vec<_>, _>>()
        };
        let moments = [zeros()?, zeros()?];
        eval(variables.iter().chain(moments.iter().flatten()))?;
        let optimizers = variables
            .iter()
            .map(|variable| AdamW::new(variable.dtype()))
            .collect::<Result<Vec<_>, _>>()?;
        let objective = Rc::new(objective);
        let [for_step, for_gradients, for_loss] = [(); 3].map(|()| objective.clone());
        Ok(Self {
            objective,
            variables,
            moments,
            batch,
            step: Function::new(move |inputs| step(&for_step, &optimizers, inputs)),
            gradients: Function::new(move |inputs| {
                let (batch, variables) = last_of(inputs)?;
                let (loss, mut gradients) = for_gradients.loss_and_gradients(variables, batch)?;
                gradients.push(loss);
                Ok(gradients)
            }),
            loss: Function::new(move |inputs| {
                let (batch, variables) = last_of(inputs)?;
                Ok(vec![for_loss.loss(variables, batch)?])
            }),
        })
    }

    /// Values that are trained.
    pub fn variable_count(&self) -> u64 {
        let sizes = self.variables.iter().map(|variable| variable.size() as u64);
        sizes.sum()
    }

    /// One optimizer step; the loss before it. Everything is evaluated.
    pub fn step(&mut self) -> Result<Array, Exception> {
        let count = self.variables.len();
        let mut inputs = std::mem::take(&mut self.variables);
        for moments in &mut self.moments {
            inputs.append(moments);
        }
        inputs.push(self.batch.clone());
        let mut outputs = self.step.call(&inputs)?;
        // Now only the graph holds the old values.
        drop(inputs);
        eval(&outputs)?;
        let loss = outputs.pop().ok_or_else(incomplete)?;
        let second = outputs.split_off(2 * count);
        let first = outputs.split_off(count);
        (self.variables, self.moments) = (outputs, [first, second]);
        Ok(loss)
    }

    /// The loss and its gradients, evaluated; nothing changes.
    pub fn gradients(&mut self) -> Result<(Array, Vec<Array>), Exception> {
        let arguments = self.arguments();
        let mut outputs = self.gradients.call(&arguments)?;
        eval(&outputs)?;
        let loss = outputs.pop().ok_or_else(incomplete)?;
        Ok((loss, outputs))
    }

    /// Whether a variable's gradient may be zero throughout: files may hold the experts of a mixture one
    /// by one, and no token may have chosen this one.
    pub fn may_rest(&self, index: usize) -> bool {
        match &self.objective.variables {
            Variables::Tensors(names) => names[index].contains(".experts."),
            Variables::Adapters(_) => false,
        }
    }

    /// The loss alone, evaluated.
    pub fn loss(&mut self) -> Result<Array, Exception> {
        let arguments = self.arguments();
        let mut outputs = self.loss.call(&arguments)?;
        eval(&outputs)?;
        outputs.pop().ok_or_else(incomplete)
    }

    fn arguments(&self) -> Vec<Array> {
        let variables = self.variables.iter();
        variables.chain([&self.batch]).cloned().collect()
    }
}

/// Variables, both moments and the batch; back come the first three changed, and the loss.
fn step(
    objective: &Objective,
    optimizers: &[AdamW],
    inputs: &[Array],
) -> Result<Vec<Array>, Exception> {
    let (batch, state) = last_of(inputs)?;
    let count = optimizers.len();
    let (variables, moments) = state.split_at(count);
    let (first, second) = moments.split_at(count);
    let (loss, gradients) = objective.loss_and_gradients(variables, batch)?;
    let [mut variables_out, mut first_out, mut second_out] = [const { Vec::new() }; 3];
    for (index, optimizer) in optimizers.iter().enumerate() {
        let updated = optimizer.update(
            &variables[index],
            &first[index],
            &second[index],
            &gradients[index],
        )?;
        variables_out.push(updated.parameter);
        first_out.push(updated.first_moment);
        second_out.push(updated.second_moment);
    }
    variables_out.append(&mut first_out);
    variables_out.append(&mut second_out);
    variables_out.push(loss);
    Ok(variables_out)
}

fn last_of(inputs: &[Array]) -> Result<(&Array, &[Array]), Exception> {
    inputs.split_last().ok_or_else(incomplete)
}

fn incomplete() -> Exception {
    Exception::custom("MLX gave fewer arrays than the function has")
}
