//! Attention alone: MLX's kernel against the formula written out.

use super::tables::{self, Plain};
use crate::render::document::{Block, Section};
use crate::report::Report;

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    let mut section = tables::plain(
        report,
        &Plain {
            id: "attention",
            title: "Attention",
            suite: "attention",
            chart: Some((
                "attn_speedup",
                "Time written out over time of MLX's fused kernel",
            )),
            tables: &[
                (
                    "One call, in turn with the other",
                    &[
                        ("attn_speedup", "Gain"),
                        ("attn_us_fused", "Fused"),
                        ("attn_us_fallback", "MLX, not fused"),
                        ("attn_us_standard", "Written out"),
                        ("attn_flops", "Rate"),
                        ("attn_gbps", "Bandwidth"),
                    ],
                ),
                (
                    "Memory of one call, and how far MLX's is from the formula in f32",
                    &[
                        ("attn_peak_bytes_fused", "Fused"),
                        ("attn_peak_bytes_standard", "Written out"),
                        ("attn_max_abs_err", "Largest error"),
                        ("attn_rel_err", "Relative"),
                    ],
                ),
            ],
            note: "One layer alone, with the heads of the model named and random inputs. A layer \
                   generates no tokens, so there are no tokens per second; what a kernel gains \
                   here, a whole model gains only as far as attention is a part of its time.",
        },
    )?;
    let unfused = report
        .of("attention", "attn_fused_available")
        .any(|m| m.estimate.value < 1.0);
    if unfused {
        section.blocks.push(Block::Note(
            "MLX has no fused kernel for some of these cases on their device (it has none for any \
             processor): there is no gain to state."
                .to_owned(),
        ));
    }
    Some(section)
}
