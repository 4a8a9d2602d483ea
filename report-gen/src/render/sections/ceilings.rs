//! What each machine can do at the most, measured.

use super::tables::{self, Plain};
use crate::render::document::Section;
use crate::report::Report;

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    tables::plain(
        report,
        &Plain {
            id: "ceilings",
            title: "Measured ceilings",
            suite: "roofline",
            chart: None,
            tables: &[
                (
                    "Memory bandwidth and dispatch",
                    &[
                        ("stream_gbps", "Scale"),
                        ("stream_add_gbps", "Add"),
                        ("dispatch_us", "One dispatch"),
                    ],
                ),
                (
                    "Products of square matrices",
                    &[
                        ("gemm_tflops_bf16", "bf16"),
                        ("gemm_tflops_fp16", "f16"),
                        ("gemm_tflops_fp32", "f32"),
                    ],
                ),
            ],
            note: "What MLX reaches on this machine with nothing else to do: decoding cannot read \
                   weights faster than the first, prefill cannot compute faster than the second.",
        },
    )
}
