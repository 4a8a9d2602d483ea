//! Several sequences in one step, of different lengths: each as if it were alone, and as mlx-lm's.

use std::collections::BTreeMap;
use std::fs;

use mlx_rs::Array;
use serde::Deserialize;
use suites::generate::{self, batch};
use suites::models::CausalLm;

use crate::checkpoints;

/// What mlx-lm's `BatchGenerator` wrote.
#[derive(Deserialize)]
struct Written {
    prompts: Vec<Vec<u32>>,
    ids: Vec<Vec<u32>>,
}

fn references() -> BTreeMap<String, Written> {
    let file = checkpoints::written_by("batch", &["parity"]).join("batch.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Greedy ids of each sequence, all of them in one batch.
fn together(model: &dyn CausalLm, prompts: &[&[u32]], tokens: usize) -> Vec<Vec<u32>> {
    let mut decoding = batch::Batch::fill(model, prompts).unwrap();
    let steps: Vec<Vec<u32>> = (0..tokens)
        .map(|_| batch::read(&decoding.submit().unwrap()).unwrap())
        .collect();
    let of = |row: usize| steps.iter().map(|step| step[row]).collect();
    (0..prompts.len()).map(of).collect()
}

#[test]
fn sequences_of_a_ragged_batch_get_what_they_get_alone_and_from_mlx_lm() {
    let references = references();
    assert!(references.len() > 10);
    for (name, Written { prompts, ids }) in references {
        let loaded = checkpoints::load(&checkpoints::case(&name).folder).unwrap();
        let model = loaded.model.as_ref();
        let rows: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let ours = together(model, &rows, ids[0].len());
        for ((prompt, ours), theirs) in prompts.iter().zip(&ours).zip(&ids) {
            let (alone, _) = generate::greedy(model, prompt, theirs.len()).unwrap();
            let length = prompt.len();
            assert_eq!(
                ours, &alone,
                "{name}: {length} tokens, beside the one alone"
            );
            assert_eq!(ours, theirs, "{name}: {length} tokens, beside mlx-lm's");
        }
    }
}

#[test]
fn what_fills_a_sequence_up_is_not_seen() {
    let loaded = checkpoints::load(&checkpoints::case("llama-untied-f32").folder).unwrap();
    let model = loaded.model.as_ref();
    let (short, long) = ([7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    // The same ids with padding that is taken for tokens are another text.
    let filled = [0, 0, 0, 0, 0, 0, 7, 8, 9];
    let scores = |ids: &[u32]| generate::greedy(model, ids, 12).unwrap().0;
    assert_ne!(scores(&short), scores(&filled));
    assert_eq!(together(model, &[&long, &short], 12)[1], scores(&short));
    assert!(batch::Batch::fill(model, &[&long, &[]]).is_err());
}

#[test]
fn a_sequence_of_a_batch_that_starts_with_nothing_seen_has_numbers_for_scores() {
    // A prompt so much shorter than the window that whole steps of the filling see no token.
    let loaded = checkpoints::load(&checkpoints::case("llama-sliding-100-f32").folder).unwrap();
    let model = loaded.model.as_ref();
    let long: Vec<u32> = (1..=120).collect();
    let mut cache: Vec<_> = (0..model.dims().layers)
        .map(|_| suites::models::KvCache::padded(&Array::from_slice(&[0, 118], &[2])))
        .collect();
    let ids = [long.clone(), long].concat();
    let hidden = model
        .hidden(&Array::from_slice(&ids, &[2, 120]), &mut cache)
        .unwrap();
    let values = hidden.to_vec_exact::<f32>().unwrap();
    assert!(values.iter().all(|value| value.is_finite()));
}
