//! Weights packed in memory, here and by mlx-lm.

use suites::generate;
use suites::models::weights::Packing;
use suites::suites::quantization;

use crate::checkpoints::{cases, load_parts};
use crate::parity::{difference, tolerance};

#[test]
fn packing_in_memory_equals_what_mlx_lm_converts() {
    let mut compared = 0;
    for case in cases("") {
        for packed in &case.reference.packed {
            let name = format!("{} at {} bits", case.name, packed.bits);
            let (_, parts) = load_parts(&case.folder).unwrap();
            let ours = parts
                .packed(Packing {
                    group_size: packed.group_size,
                    bits: packed.bits,
                })
                .unwrap();
            assert_eq!(ours.tally.bytes, packed.weight_bytes, "{name}");
            assert_eq!(
                ours.tally.parameters, case.reference.parameters,
                "{name}: packed values still count as what they stand for"
            );
            let prompt = &case.reference.prompt_ids;
            let (_, logits) = generate::greedy(ours.model.as_ref(), prompt, 1).unwrap();
            let apart = difference(&logits, &packed.logits);
            let allowed = tolerance(&case);
            assert!(apart <= allowed, "{name}: {apart}, allowed {allowed}");
            compared += 1;
        }
    }
    assert!(compared >= 8);
}

/// Relative, so that a mean of small divergences is held as closely as a perplexity.
fn close(ours: f64, theirs: f64, within: f64) -> bool {
    (ours - theirs).abs() <= within * theirs.abs()
}

#[test]
fn what_packing_costs_is_what_numpy_makes_of_mlx_lm_s_scores() {
    for case in cases("") {
        let exact = case.reference.precision == "f32";
        for packed in &case.reference.packed {
            let (loaded, parts) = load_parts(&case.folder).unwrap();
            let ours = parts
                .packed(Packing {
                    group_size: packed.group_size,
                    bits: packed.bits,
                })
                .unwrap();
            let prompt = &case.reference.prompt_ids;
            let quality = quantization::compare(loaded.model.as_ref(), ours.model.as_ref(), prompt);
            let quality = quality.unwrap().expect("the prompt has tokens to predict");
            let told = format!("{} at {} bits: {quality:?}", case.name, packed.bits);
            // Shorter types round sums that are taken in another order; a divergence is a small
            // difference of large numbers, and feels it most.
            let (of_loss, of_divergence) = if exact { (1e-4, 1e-2) } else { (0.02, 0.3) };
            assert!(
                close(quality.perplexity, packed.perplexity, of_loss),
                "{told}"
            );
            let baseline = packed.baseline_perplexity;
            assert!(
                close(quality.baseline_perplexity, baseline, of_loss),
                "{told}"
            );
            if packed.kl_mean > 1e-9 {
                assert!(
                    close(quality.kl_mean, packed.kl_mean, of_divergence),
                    "{told}"
                );
                assert!(packed.kl_mean < 1.0 && quality.top1_agree > 0.5, "{told}");
            }
            let apart = (quality.top1_agree - packed.top1_agree).abs();
            assert!(apart <= if exact { 1e-6 } else { 0.1 }, "{told}");
        }
    }
}

#[test]
fn a_text_of_one_token_says_nothing_of_quality() {
    let (loaded, _) = load_parts(&cases("llama-tied-f32")[0].folder).unwrap();
    let model = loaded.model.as_ref();
    assert_eq!(quantization::compare(model, model, &[1]).unwrap(), None);
}
