//! What packing costs: how both models predict the same text, teacher-forced, in f32.

use domain::metric::Metric;
use domain::worker::Sample;
use mlx_rs::error::{Exception, Result};
use mlx_rs::ops::indexing::{argmax_axis, take_along_axis};
use mlx_rs::{Array, Dtype};

use crate::device::ops;
use crate::generate::ids_array;
use crate::models::CausalLm;

/// Prose written for this suite, so that no model was trained on it before it was published.
pub const TEXT: &str = include_str!("text.txt");

/// No more of the text is read.
const MOST_TOKENS: usize = 1024;

/// Positions whose scores over the vocabulary are in memory at once.
const CHUNK: usize = 64;

/// Over all positions of the text but the last, whose successor is not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    pub perplexity: f64,
    pub baseline_perplexity: f64,
    /// Nats: KL(unquantised ‖ quantised).
    pub kl_mean: f64,
    pub top1_agree: f64,
}

impl Quality {
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        let Self {
            perplexity,
            baseline_perplexity,
            kl_mean,
            top1_agree,
        } = *self;
        let delta = (perplexity / baseline_perplexity - 1.0) * 100.0;
        [
            (Metric::QuantPpl, perplexity),
            (Metric::QuantBaselinePpl, baseline_perplexity),
            (Metric::QuantPplDelta, delta),
            (Metric::QuantKlMean, kl_mean),
            (Metric::QuantTop1Agree, top1_agree),
        ]
        .into_iter()
        .map(|(metric, value)| Sample { metric, value })
    }
}

/// Reads the ids, as many as the models have positions for; None of a text of one token.
pub fn compare(
    baseline: &dyn CausalLm,
    quantised: &dyn CausalLm,
    ids: &[u32],
) -> Result<Option<Quality>> {
    let positions = baseline.dims().max_positions.unwrap_or(i32::MAX) as usize;
    let ids = &ids[..ids.len().min(MOST_TOKENS).min(positions)];
    let count = ids.len().saturating_sub(1);
    if count == 0 {
        return Ok(None);
    }
    let states = [baseline, quantised].map(|model| {
        let hidden = model.hidden(&ids_array(&ids[..count]), &mut model.new_cache())?;
        hidden.eval()?;
        Ok::<_, Exception>((model, hidden))
    });
    let [base, packed] = states;
    let (base, packed) = (base?, packed?);
    // Losses of both, divergence, agreement.
    let mut sums = [0.0; 4];
    for start in (0..count).step_by(CHUNK) {
        let stop = (start + CHUNK).min(count);
        let targets = Array::from_slice(&ids[start + 1..=stop], &[(stop - start) as i32, 1]);
        let p = Scores::of(&base, start, stop)?;
        let q = Scores::of(&packed, start, stop)?;
        let divergence = p.log.exp()?.multiply(p.log.subtract(&q.log)?)?.sum(false)?;
        let agreement = p.best.eq(&q.best)?.as_dtype(Dtype::Float32)?.sum(false)?;
        let parts = [p.loss(&targets)?, q.loss(&targets)?, divergence, agreement];
        for (sum, part) in sums.iter_mut().zip(parts) {
            let part = part
                .try_item_exact::<f32>()
                .map_err(|error| Exception::custom(error.to_string()))?;
            *sum += f64::from(part);
        }
    }
    let [base_loss, loss, kl_mean, top1_agree] = sums.map(|sum| sum / count as f64);
    Ok(Some(Quality {
        perplexity: loss.exp(),
        baseline_perplexity: base_loss.exp(),
        kl_mean,
        top1_agree,
    }))
}

/// What one model says at some positions.
struct Scores {
    /// Logarithms of probabilities, `[positions, vocab]`.
    log: Array,
    best: Array,
}

impl Scores {
    fn of((model, hidden): &(&dyn CausalLm, Array), start: usize, stop: usize) -> Result<Self> {
        let width = hidden.dim(2);
        let part = ops::slice(hidden, &[0, start as i32, 0], &[1, stop as i32, width])?;
        let logits = ops::as_dtype(&model.logits(&part)?, Dtype::Float32)?;
        let logits = logits.squeeze_axes(&[0])?;
        let log = logits.subtract(logits.logsumexp_axis(-1, true)?)?;
        let best = argmax_axis(&log, -1, false)?;
        Ok(Self { log, best })
    }

    /// Sum of what the tokens that follow surprise it by, in nats.
    fn loss(&self, targets: &Array) -> Result<Array> {
        take_along_axis(&self.log, targets, -1)?
            .sum(false)?
            .negative()
    }
}
