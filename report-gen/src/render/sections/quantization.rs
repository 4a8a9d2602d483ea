//! Quantisation: what packed weights gain in speed and memory, and what they lose of the model.

use super::tables;
use crate::render::document::{Block, Section};
use crate::report::{Measurement, Report};

const GAIN: [(&str, &str); 7] = [
    ("quant_speedup_decode", "Decode gain"),
    ("quant_speedup_prefill", "Prefill gain"),
    ("quant_mem_ratio", "Size"),
    ("quant_decode_tps", "Decode"),
    ("quant_prefill_tps", "Prefill"),
    ("quant_weights_bytes", "Weights"),
    ("quant_bpw", "Per value"),
];
const COST: [(&str, &str); 6] = [
    ("quant_ppl", "Perplexity"),
    ("quant_baseline_ppl", "Unquantised"),
    ("quant_ppl_delta", "Difference"),
    ("quant_kl_mean", "Mean KL"),
    ("quant_top1_agree", "Same first choice"),
    ("quant_time_ms", "Time to quantise"),
];

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    let of_suite = report.measurements.iter();
    let measured: Vec<&Measurement> = of_suite.filter(|m| m.suite == "quantization").collect();
    if measured.is_empty() {
        return None;
    }
    let speedups: Vec<&Measurement> = measured
        .iter()
        .filter(|m| m.metric == "quant_speedup_decode")
        .copied()
        .collect();
    let mut blocks = Vec::new();
    if !speedups.is_empty() {
        let title = "Decode rate of the quantised model over the unquantised one's";
        blocks.push(Block::Chart(tables::bars(report, &speedups, title)));
    }
    blocks.push(Block::Table(tables::measured(
        report,
        &measured,
        "Quantised over unquantised, both in one process and in turn; the precision is the \
         unquantised model's",
        &GAIN,
    )));
    blocks.push(Block::Table(tables::measured(
        report,
        &measured,
        "What quantising costs: the same text predicted by both models",
        &COST,
    )));
    if !measured.iter().any(|m| m.metric == "quant_ppl") {
        blocks.push(Block::Note(
            "No perplexity, divergence or agreement: these say something of trained weights read \
             with their tokenizer, and these models have random weights or no tokenizer."
                .to_owned(),
        ));
    }
    Some(Section {
        id: "quantization",
        title: "Quantisation",
        blocks,
    })
}
