//! What a rate makes a machine do: the bytes it reads and the operations it computes for one unit of a
//! metric. The one arithmetic behind the gates and behind the shares of a ceiling.
//!
//! Counted are weights, each once in a step, and keys and values; operations are two for each parameter
//! that a token is multiplied with. Attention's own operations and activations are not counted, so that
//! shares are a little low and the gates a little mild.

use crate::metric::Metric;
use crate::model::ModelIdentity;
use crate::suite::Case;
use crate::suite::sustained::STRETCH_TOKENS;

/// For each unit of the metric's value: of a rate of tokens, for each token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// None where most of the traffic is activations, which nobody counts.
    pub bytes: Option<f64>,
    pub flops: Option<f64>,
}

impl Work {
    /// None where the metric is no rate of such work, or the work is not known.
    pub fn of(case: &Case, model: &ModelIdentity, metric: Metric) -> Option<Self> {
        use Metric as M;
        // One step of so many sequences with so many positions in all, which gives a token of each.
        let step = |sequences: u64, positions: u64| {
            let cache = model.kv_bytes_per_token as f64 * positions as f64;
            Some(Self {
                bytes: Some(model.decode_bytes as f64 + cache),
                flops: Some(2.0 * read_parameters(model) * sequences as f64),
            })
        };
        match (metric, case) {
            // Half of the new tokens are in the cache on the average.
            (M::DecodeTps | M::DecodeTpsAtDepth | M::DecodeTpsSync, Case::Decode(case)) => {
                step(1, case.depth + case.new_tokens / 2)
            }
            (M::SustainedTps, Case::Sustained(case)) => step(1, case.depth + STRETCH_TOKENS / 2),
            (M::QuantBaselineDecodeTps, Case::Quantization(case)) => {
                step(1, case.prompt_tokens + case.new_tokens / 2)
            }
            (M::SpecBaselineDecodeTps, Case::Speculative(case)) => step(1, case.new_tokens / 2),
            (M::GenerateTps, Case::Generate(_)) => step(1, 0),
            (M::BatchStreamTps, Case::Batch(case)) => {
                let positions = case.prompts().map(|prompt| prompt + case.new_tokens / 2);
                step(case.batch_size, positions.sum())
            }
            (
                M::PrefillTps | M::PrefillTpsAtDepth | M::PrefillTpsFused | M::PrefillTpsStandard,
                Case::Prefill(_),
            )
            | (M::BatchPrefillTps, Case::Batch(_))
            | (M::QuantBaselinePrefillTps | M::QuantPrefillTps, Case::Quantization(_)) => {
                Some(Self {
                    bytes: None,
                    flops: Some(2.0 * prompt_parameters(model)),
                })
            }
            _ => None,
        }
    }

    /// All metrics of which something is known in this case, with it.
    pub fn all(case: &Case, model: &ModelIdentity) -> Vec<(Metric, Self)> {
        let known = Metric::ALL.iter();
        known
            .filter_map(|&metric| Some((metric, Self::of(case, model, metric)?)))
            .collect()
    }
}

/// Parameters that a decode step reads: all but a table that is only looked up.
fn read_parameters(model: &ModelIdentity) -> f64 {
    let read = model.decode_bytes as f64 / model.weight_bytes.max(1) as f64;
    model.parameters as f64 * read
}

/// Parameters that every prompt token is multiplied with: all that a decode step reads but for the
/// output projection, which the last token alone goes through.
fn prompt_parameters(model: &ModelIdentity) -> f64 {
    let config: serde_json::Value = serde_json::from_str(&model.config_json).unwrap_or_default();
    let size = |key: &str| config[key].as_f64().unwrap_or(0.0);
    read_parameters(model) - size("hidden_size") * size("vocab_size")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::model::Dtype;
    use crate::suite::{batch, decode, prefill};

    fn llama() -> ModelIdentity {
        let llama = catalogue::find("llama-3.1-8b").unwrap();
        ModelIdentity {
            digest: String::new(),
            model_type: llama.model_type.to_owned(),
            label: llama.name.to_owned(),
            source: String::new(),
            dtype: Dtype::Bf16,
            quantisation: "none".to_owned(),
            parameters: llama.parameters(),
            weight_bytes: llama.weight_bytes(2),
            decode_bytes: llama.decode_bytes(2),
            kv_bytes_per_token: llama.kv_bytes_per_token(2),
            synthetic: true,
            config_json: llama.config_json("bfloat16").to_string(),
        }
    }

    fn close(got: Option<f64>, want: f64) {
        let got = got.unwrap();
        assert!((got / want - 1.0).abs() < 1e-3, "{got} is not {want}");
    }

    /// The published model's figures: 15.010 GB and 131,072 bytes a position, 7.505 billion parameters read,
    /// of which 0.525 are the output projection.
    #[test]
    fn a_token_of_llama_costs_what_its_sizes_say() {
        let model = llama();
        let decode = Case::Decode(decode::Case {
            new_tokens: 128,
            depth: 8192,
        });
        let work = Work::of(&decode, &model, Metric::DecodeTpsAtDepth).unwrap();
        close(work.bytes, 15.010e9 + 131_072.0 * 8256.0);
        close(work.flops, 2.0 * 7.505e9);

        let prefill = Case::Prefill(prefill::Case {
            prompt_tokens: 512,
            depth: 0,
            chunk: 2048,
        });
        let work = Work::of(&prefill, &model, Metric::PrefillTps).unwrap();
        assert_eq!(work.bytes, None);
        close(work.flops, 2.0 * (7.505e9 - 0.525e9));
    }

    #[test]
    fn a_batch_reads_the_weights_once_and_each_cache_for_itself() {
        let model = llama();
        let batch = Case::Batch(batch::Case {
            batch_size: 8,
            prompt_tokens: 512,
            new_tokens: 64,
            lengths: batch::Lengths::Equal,
        });
        let work = Work::of(&batch, &model, Metric::BatchStreamTps).unwrap();
        close(work.bytes, 15.010e9 + 8.0 * 131_072.0 * 544.0);
        close(work.flops, 8.0 * 2.0 * 7.505e9);
        let known: Vec<Metric> = Work::all(&batch, &model).iter().map(|(m, _)| *m).collect();
        assert_eq!(known, [Metric::BatchStreamTps, Metric::BatchPrefillTps]);
    }
}
