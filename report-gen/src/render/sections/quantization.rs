//! Quantisation: what packed weights gain in speed and memory, and what they lose of the model.

use super::tables::{self, Plain};
use crate::render::document::{Block, Section};
use crate::report::Report;

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    let mut section = tables::plain(
        report,
        &Plain {
            id: "quantization",
            title: "Quantisation",
            suite: "quantization",
            chart: Some((
                "quant_speedup_decode",
                "Decode rate of the quantised model over the unquantised one's",
            )),
            tables: &[
                (
                    "Quantised over unquantised, both in one process and in turn; the precision \
                     is the unquantised model's",
                    &[
                        ("quant_speedup_decode", "Decode gain"),
                        ("quant_speedup_prefill", "Prefill gain"),
                        ("quant_mem_ratio", "Size"),
                        ("quant_decode_tps", "Decode"),
                        ("quant_prefill_tps", "Prefill"),
                        ("quant_weights_bytes", "Weights"),
                        ("quant_bpw", "Per value"),
                    ],
                ),
                (
                    "What quantising costs: the same text predicted by both models",
                    &[
                        ("quant_ppl", "Perplexity"),
                        ("quant_baseline_ppl", "Unquantised"),
                        ("quant_ppl_delta", "Difference"),
                        ("quant_kl_mean", "Mean KL"),
                        ("quant_top1_agree", "Same first choice"),
                        ("quant_time_ms", "Time to quantise"),
                    ],
                ),
            ],
            note: "",
        },
    )?;
    if report.of("quantization", "quant_ppl").next().is_none() {
        section.blocks.push(Block::Note(
            "No perplexity, divergence or agreement: these say something of trained weights read \
             with their tokenizer, and these models have random weights or no tokenizer."
                .to_owned(),
        ));
    }
    Some(section)
}
