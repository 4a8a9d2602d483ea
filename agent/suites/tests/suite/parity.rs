//! The same checkpoints through mlx-lm and through this engine.

use mlx_rs::Dtype;
use suites::device::ops;
use suites::generate::{self, PREFILL_CHUNK};
use suites::models::CausalLm;

use crate::checkpoints::{Case, cases, load};

/// Largest difference, relative to the largest score.
pub fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    assert!(
        ours.iter().all(|score| score.is_finite()),
        "scores are not finite"
    );
    let scale = theirs
        .iter()
        .fold(0.0_f32, |scale, score| scale.max(score.abs()));
    let largest = ours
        .iter()
        .zip(theirs)
        .fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    largest / scale
}

/// What rounding may do: for f32 a fixed bound; for shorter types, where sums taken in another order
/// round otherwise, as much as mlx-lm's own scores differ when it reads the prompt in other chunks,
/// and at the least one step of the type.
pub fn tolerance(case: &Case) -> f32 {
    let reference = &case.reference;
    let step = match reference.precision.as_str() {
        "f32" => return 1e-4,
        "f16" => 2_f32.powi(-10),
        _ => 2_f32.powi(-7),
    };
    let one = &reference.logits["2048"];
    let others = reference.logits.values().chain([&reference.full]);
    others
        .map(|other| difference(other, one))
        .fold(step, f32::max)
}

fn equals_mlx_lm(prefix: &str) {
    let mut failures = Vec::new();
    for case in cases(prefix) {
        let reference = &case.reference;
        let loaded = load(&case.folder).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let tokens = reference.greedy_ids.len();
        let (ids, logits) =
            generate::greedy(loaded.model.as_ref(), &reference.prompt_ids, tokens).unwrap();
        let apart = difference(&logits, &reference.logits["2048"]);
        let allowed = tolerance(&case);
        if apart > allowed {
            failures.push(format!(
                "{}: scores differ by {apart}, allowed {allowed}",
                case.name
            ));
        }
        if reference.precision == "f32" && ids != reference.greedy_ids {
            let first = ids
                .iter()
                .zip(&reference.greedy_ids)
                .position(|(a, b)| a != b);
            failures.push(format!(
                "{}: greedy ids differ from token {first:?}",
                case.name
            ));
        }
        let facts = loaded.facts;
        if (facts.parameters, facts.weight_bytes) != (reference.parameters, reference.weight_bytes)
        {
            failures.push(format!("{}: {facts:?}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn gemma3_text_computes_what_mlx_lm_does() {
    equals_mlx_lm("gemma3_text-");
}

#[test]
fn llama_computes_what_mlx_lm_does() {
    equals_mlx_lm("llama-");
}

#[test]
fn mistral_is_a_llama() {
    equals_mlx_lm("mistral-");
}

#[test]
fn phi3_computes_what_mlx_lm_does() {
    equals_mlx_lm("phi3-");
}

#[test]
fn qwen2_computes_what_mlx_lm_does() {
    equals_mlx_lm("qwen2-");
}

#[test]
fn qwen3_computes_what_mlx_lm_does() {
    equals_mlx_lm("qwen3-");
}

#[test]
fn qwen3_moe_computes_what_mlx_lm_does() {
    equals_mlx_lm("qwen3_moe-");
}

/// Scores at every position of one pass over the prompt.
fn full_forward(model: &dyn CausalLm, ids: &[u32]) -> Vec<f32> {
    let hidden = model
        .hidden(&generate::ids_array(ids), &mut model.new_cache())
        .unwrap();
    to_f32(&model.logits(&hidden).unwrap())
}

/// The same, position by position on a cache.
fn cached_forward(model: &dyn CausalLm, ids: &[u32]) -> Vec<f32> {
    let mut cache = model.new_cache();
    let mut scores = Vec::new();
    for &id in ids {
        let hidden = model
            .hidden(&generate::ids_array(&[id]), &mut cache)
            .unwrap();
        scores.extend(to_f32(&model.logits(&hidden).unwrap()));
    }
    scores
}

fn to_f32(array: &mlx_rs::Array) -> Vec<f32> {
    ops::as_dtype(array, Dtype::Float32)
        .unwrap()
        .to_vec_exact()
        .unwrap()
}

#[test]
fn cached_decode_equals_a_full_forward() {
    // Odd sizes, scaled positions, windows, packed weights; each outgrows its first buffers.
    let names = [
        "gemma3_text-scaled",
        "llama-llama3-untied",
        "llama-sliding-100",
        "phi3-longrope-part",
        "phi3-tied",
        "qwen2-odd",
        "qwen2-untied",
        "qwen3-untied",
        "qwen3_moe-untied",
    ];
    for case in names.into_iter().flat_map(cases) {
        let loaded = load(&case.folder).unwrap();
        // Longer than a cache's first allocation.
        let ids: Vec<u32> = case
            .reference
            .prompt_ids
            .iter()
            .copied()
            .cycle()
            .take(270)
            .collect();
        let full = full_forward(loaded.model.as_ref(), &ids);
        let cached = cached_forward(loaded.model.as_ref(), &ids);
        let apart = difference(&cached, &full);
        let allowed = tolerance(&case);
        assert!(
            apart <= allowed,
            "{}: {apart}, allowed {allowed}",
            case.name
        );
    }
}

#[test]
fn prefill_in_chunks_equals_prefill_at_once() {
    for case in cases("llama-odd-f32") {
        let loaded = load(&case.folder).unwrap();
        let model = loaded.model.as_ref();
        let (last, before) = case.reference.prompt_ids.split_last().unwrap();
        let scores = [PREFILL_CHUNK, 100, 7].map(|chunk| {
            let mut cache = model.new_cache();
            generate::prefill(model, &mut cache, before, chunk).unwrap();
            assert_eq!(cache[0].len() as usize, before.len());
            let hidden = model
                .hidden(&generate::ids_array(&[*last]), &mut cache)
                .unwrap();
            to_f32(&model.logits(&hidden).unwrap())
        });
        for other in &scores[1..] {
            let apart = difference(other, &scores[0]);
            assert!(apart < 1e-4, "{apart}");
        }
    }
}

#[test]
fn a_trimmed_cache_continues_as_if_the_rest_had_never_been() {
    for case in cases("qwen2-tied-f32") {
        let loaded = load(&case.folder).unwrap();
        let model = loaded.model.as_ref();
        let ids = &case.reference.prompt_ids;
        let mut cache = model.new_cache();
        generate::prefill(model, &mut cache, ids, PREFILL_CHUNK).unwrap();
        generate::prefill(model, &mut cache, &[1, 2, 3], PREFILL_CHUNK).unwrap();
        for layer in &mut cache {
            layer.trim(4);
        }
        let last = *ids.last().unwrap();
        let hidden = model
            .hidden(&generate::ids_array(&[last]), &mut cache)
            .unwrap();
        let scores = to_f32(&model.logits(&hidden).unwrap());
        let apart = difference(&scores, &case.reference.logits["2048"]);
        assert!(apart < 1e-4, "{apart}");
    }
}
