//! The same steps here and by mlx-lm's loss with MLX's own AdamW.

use std::collections::HashMap;
use std::fs;

use mlx_rs::Array;
// Compiling takes a second for each kernel on a processor, and each checkpoint has its own.
use mlx_rs::transforms::compile::disable_compile;
use serde::Deserialize;
use suites::device;
use suites::suites::training::learner::Learner;
use suites::suites::training::{Descent, lora};

use crate::checkpoints::{self, load_parts};

/// What `training.py` writes of a case.
#[derive(Deserialize)]
struct Reference {
    batch: Vec<Vec<u32>>,
    losses: Vec<f32>,
}

impl Reference {
    fn batch(&self) -> Array {
        let shape = [self.batch.len() as i32, self.batch[0].len() as i32];
        Array::from_slice(&self.batch.concat(), &shape)
    }
}

/// The cases of a mode, each with the checkpoint's name.
fn references(mode: &str) -> Vec<(String, Reference)> {
    let prefix = format!("{mode}-");
    let mut found = Vec::new();
    for entry in fs::read_dir(checkpoints::trained()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if let (Some(name), Some("json")) = (
            name.strip_prefix(&prefix),
            path.extension().and_then(|extension| extension.to_str()),
        ) {
            let reference = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            found.push((name.to_owned(), reference));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(found.len() >= 6, "training.py wrote too little of {mode}");
    found
}

fn full(name: &str, batch: Array) -> Learner {
    let (_, parts) = load_parts(&checkpoints::case(name).folder).unwrap();
    Learner::full(parts, batch).unwrap()
}

/// With the adapters that the other side began with.
fn adapted(name: &str, batch: Array) -> Learner {
    let (_, parts) = load_parts(&checkpoints::case(name).folder).unwrap();
    let file = checkpoints::trained().join(format!("lora-{name}.safetensors"));
    let mut matrices: HashMap<String, Array> = Array::load_safetensors(&file).unwrap();
    let pairs = lora::fresh(&parts.projections().unwrap(), 1)
        .into_iter()
        .map(|(path, ours)| {
            let mut theirs = |which: &str| matrices.remove(&format!("{path}.{which}")).unwrap();
            let theirs = [theirs("lora_a"), theirs("lora_b")];
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours.shape(), theirs.shape(), "{name}: {path}");
                assert_eq!(ours.dtype(), theirs.dtype(), "{name}: {path}");
            }
            (path, theirs)
        })
        .collect();
    assert!(
        matrices.is_empty(),
        "{name}: adapted there only: {matrices:?}"
    );
    Learner::lora(parts, pairs, batch).unwrap()
}

fn losses(learner: &mut Learner, steps: usize) -> Vec<f32> {
    (0..steps)
        .map(|_| learner.step().unwrap().item_cast::<f32>())
        .collect()
}

fn equals_mlx(mode: &str, prefix: &str, learner: fn(&str, Array) -> Learner) {
    let mut failures = Vec::new();
    let mut references = references(mode);
    references.retain(|(name, _)| name.starts_with(prefix));
    for (name, reference) in references {
        let ours = losses(
            &mut learner(&name, reference.batch()),
            reference.losses.len(),
        );
        // Shorter types round what is summed in another order, mlx-lm's loss itself among it.
        let allowed = if name.ends_with("f32") { 1e-4 } else { 2e-2 };
        let apart = ours
            .iter()
            .zip(&reference.losses)
            .fold(0.0_f32, |most, (a, b)| most.max((a - b).abs() / b));
        if !apart.is_finite() || apart > allowed {
            failures.push(format!("{name}: {ours:?}, {:?}", reference.losses));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn training_all_parameters_loses_what_mlx_does_step_by_step() {
    disable_compile();
    equals_mlx("full", "", full);
}

#[test]
fn training_adapters_loses_what_mlx_lm_does_step_by_step() {
    disable_compile();
    equals_mlx("lora", "", adapted);
}

#[test]
fn compiled_steps_compute_what_plain_ones_do() {
    equals_mlx("full", "llama-untied-", full);
    equals_mlx("lora", "llama-untied-", adapted);
}

/// A batch of ids that every vocabulary of the checkpoints has.
fn some_batch() -> Array {
    let ids: Vec<u32> = (0..4 * 17).map(|place| place * 37 % 600).collect();
    Array::from_slice(&ids, &[4, 17])
}

#[test]
fn twenty_steps_bring_the_loss_down_and_reach_every_variable() {
    disable_compile();
    let mut learners = vec![];
    for name in [
        "llama-biases-f32",
        "qwen2-tied-bf16",
        "qwen3_moe-untied-f32",
    ] {
        learners.push((name, full(name, some_batch())));
    }
    for name in ["llama-f16", "phi3-untied-q4", "qwen3_moe-tied-q4"] {
        let (_, parts) = load_parts(&checkpoints::case(name).folder).unwrap();
        let fresh = lora::fresh(&parts.projections().unwrap(), 42);
        learners.push((name, Learner::lora(parts, fresh, some_batch()).unwrap()));
    }
    for (name, mut learner) in learners {
        let descent = Descent::of(&mut learner).unwrap();
        assert!(descent.is_training(), "{name}: {descent:?}");
    }
}

#[test]
fn a_loop_that_only_looks_like_training_is_told_apart() {
    let descent = |first_loss, last_loss, lacks_gradients| Descent {
        first_loss,
        last_loss,
        lacks_gradients,
    };
    assert!(descent(8.3, 7.9, false).is_training());
    for fake in [
        descent(8.3, 8.3, false),
        descent(8.3, 8.4, false),
        descent(8.3, f32::NAN, false),
        descent(f32::INFINITY, 8.0, false),
        descent(8.3, 7.9, true),
    ] {
        assert!(!fake.is_training(), "{fake:?}");
    }
}

#[test]
fn steps_leave_nothing_behind_in_memory() {
    let mut learner = full("llama-untied-f32", some_batch());
    let mut work = || {
        learner.step().unwrap();
        learner.gradients().unwrap();
        learner.loss().unwrap();
    };
    work();
    let before = device::memory().unwrap().active_bytes;
    (0..50).for_each(|_| work());
    assert_eq!(device::memory().unwrap().active_bytes, before);
}

#[test]
fn a_function_that_cannot_be_traced_says_why() {
    let (_, parts) = load_parts(&checkpoints::case("llama-untied-f32").folder).unwrap();
    let mut adapters = lora::fresh(&parts.projections().unwrap(), 42);
    adapters[0].1[1] = Array::from_slice(&[0.0_f32; 3], &[3, 1]);
    let mut learner = Learner::lora(parts, adapters, some_batch()).unwrap();
    let refusal = learner.step().unwrap_err().to_string();
    assert!(refusal.contains("[matmul]"), "{refusal}");
}
