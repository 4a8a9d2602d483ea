//! Training: what an optimizer step takes.

use super::tables::{self, Plain};
use crate::render::document::Section;
use crate::report::Report;

/// None where the run has no such suite.
pub fn section(report: &Report) -> Option<Section> {
    tables::plain(
        report,
        &Plain {
            id: "training",
            title: "Training",
            suite: "training",
            chart: Some(("train_tps", "Tokens trained per second")),
            tables: &[
                (
                    "One optimizer step: forward, backward and update",
                    &[
                        ("train_step_ms", "Step"),
                        ("train_tps", "Tokens"),
                        ("train_examples_per_s", "Examples"),
                        ("train_flops", "Operations"),
                        ("train_peak_bytes", "MLX peak"),
                        ("train_loss_first", "First loss"),
                        ("train_loss_last", "Loss after 20 steps"),
                    ],
                ),
                (
                    "Its parts, each timed by itself; forward only is no training",
                    &[
                        ("train_fwd_bwd_ms", "Forward and backward"),
                        ("train_forward_ms", "Forward only"),
                        ("train_forward_eps", "Examples, forward only"),
                    ],
                ),
            ],
            note: "A step counts only where the loss of a fixed batch falls and every trained \
                   tensor has a gradient. MLX computes attention unfused where gradients are \
                   wanted.",
        },
    )
}
