//! What a launch will need of the machine's memory, told before the first byte of weights is read: a
//! machine that runs out of it swaps, or stops, and measures neither.

use std::fs;

use domain::expand::would_not_fit;
use domain::model::{Dtype, ModelRef, ModelSource};
use domain::suite::Case;
use serde_json::Value;

use crate::load::header::{Content, Header};
use crate::load::source::{self, Places};
use crate::load::{LoadError, ModelFolder};
use crate::models::config::{Config, ConfigError};
use crate::models::{cache, rope};
use crate::suites::speculative::pair::DraftError;
use crate::suites::{self, Demand};

/// Why a case is not measured with a model.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    #[error("{}", would_not_fit(*needs_bytes, *has_bytes))]
    Memory { needs_bytes: u64, has_bytes: u64 },
    #[error(
        "the case puts {positions} positions through the {which}, whose max_position_embeddings is \
         {max_positions}: shorten the prompt, the depth or the new tokens"
    )]
    Context {
        which: &'static str,
        positions: u64,
        max_positions: u64,
    },
}

/// The same for a suite about the machine itself. A limit of 0 is none.
pub fn check_machine(case: &Case, limit_bytes: u64) -> Result<(), Misfit> {
    let needs_bytes = suites::demand(case).bytes;
    if limit_bytes > 0 && needs_bytes > limit_bytes {
        return Err(Misfit::Memory {
            needs_bytes,
            has_bytes: limit_bytes,
        });
    }
    Ok(())
}

/// What a prediction is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    weight_bytes: u64,
    bytes_per_value: u64,
    hidden: u64,
    layers: u64,
    intermediate: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    vocab: u64,
    max_positions: Option<u64>,
}

impl Outline {
    /// Of a synthetic model, whose weights may not be written yet; None for others.
    pub fn of_catalogue(model: &ModelRef) -> Option<Self> {
        let ModelSource::Synthetic(architecture) = &model.source else {
            return None;
        };
        let dtype = model.dtype.unwrap_or(Dtype::Bf16);
        let Value::Object(keys) = architecture.config_json(dtype.as_str()) else {
            return None;
        };
        let weight_bytes = architecture.weight_bytes(dtype.bytes());
        Self::read(&Config::from_map(keys), weight_bytes, dtype.bytes()).ok()
    }

    /// The positions that the configuration allows; None where it does not say.
    pub fn max_positions(&self) -> Option<u64> {
        self.max_positions
    }

    /// Of a model's files, by their headers: a configuration may tell another type than they have.
    pub fn of_files(folder: &ModelFolder, dtype: Option<Dtype>) -> Result<Self, LoadError> {
        let text = fs::read_to_string(&folder.config).map_err(LoadError::io(&folder.config))?;
        let mut stored = Content::default();
        for file in &folder.weights {
            let content = Header::read(file)?.content;
            stored.bytes += content.bytes;
            stored.float_values += content.float_values;
            stored.word_bytes += content.word_bytes;
            stored.widest_float = stored.widest_float.max(content.widest_float);
        }
        let (weight_bytes, bytes_per_value) = match dtype.map(Dtype::bytes) {
            None => (stored.bytes, stored.widest_float),
            // Packed weights stay packed whatever the rest is cast to.
            Some(width) => (stored.word_bytes + stored.float_values * width, width),
        };
        Config::parse(&text)
            .and_then(|config| Self::read(&config, weight_bytes, bytes_per_value))
            .map_err(|source| LoadError::Config {
                folder: folder.path.clone(),
                source,
            })
    }

    fn read(config: &Config, weight_bytes: u64, bytes_per_value: u64) -> Result<Self, ConfigError> {
        let required = |key| config.required_size(key).map(|size| size as u64);
        let optional = |key| config.size(key).map(|size| size.map(|size| size as u64));
        let (hidden, heads) = (required("hidden_size")?, required("num_attention_heads")?);
        Ok(Self {
            weight_bytes,
            bytes_per_value,
            hidden,
            layers: required("num_hidden_layers")?,
            intermediate: required("intermediate_size")?,
            heads,
            kv_heads: optional("num_key_value_heads")?.unwrap_or(heads),
            head_dim: optional("head_dim")?.unwrap_or(hidden / heads),
            vocab: required("vocab_size")?,
            max_positions: rope::positions_reached(config)?,
        })
    }

    /// Of the draft that a case loads beside this model; None where the case has none, and None for
    /// one in files while `places` are not given, which is before anything is looked up.
    pub fn of_draft(
        &self,
        case: &Case,
        places: Option<&Places>,
    ) -> Result<Option<Self>, DraftError> {
        // A type of the same width needs the same room.
        let dtype = match self.bytes_per_value {
            4 => Dtype::F32,
            _ => Dtype::Bf16,
        };
        let Some(draft) = case.draft_beside(dtype) else {
            return Ok(None);
        };
        let of_catalogue = Self::of_catalogue(&draft);
        let (None, Some(places)) = (of_catalogue, places) else {
            return Ok(of_catalogue);
        };
        let folder = source::resolve(&draft.source, draft.dtype, places);
        let outline = folder.and_then(|folder| Ok(Self::of_files(&folder, draft.dtype)?));
        outline.map(Some).map_err(|source| DraftError::Source {
            draft: draft.source,
            source: Box::new(source),
        })
    }

    /// Refuses a case that the positions of the model, or of the draft beside it, or the machine's
    /// memory cannot hold. A limit of 0 is none.
    pub fn check(
        &self,
        draft: Option<&Self>,
        case: &Case,
        fused_attention: bool,
        limit_bytes: u64,
    ) -> Result<(), Misfit> {
        let positions = suites::demand(case).positions;
        let models = [("model", Some(self)), ("draft", draft)];
        let mut needs_bytes = 0;
        for (which, outline) in models {
            let Some(outline) = outline else { continue };
            if let Some(max_positions) = outline.max_positions.filter(|max| positions > *max) {
                return Err(Misfit::Context {
                    which,
                    positions,
                    max_positions,
                });
            }
            needs_bytes += outline.needs_bytes(case, fused_attention);
        }
        if limit_bytes > 0 && needs_bytes > limit_bytes {
            return Err(Misfit::Memory {
                needs_bytes,
                has_bytes: limit_bytes,
            });
        }
        Ok(())
    }

    /// What a case should take at its peak.
    pub fn needs_bytes(&self, case: &Case, fused_attention: bool) -> u64 {
        let context = case.context_tokens();
        let Demand {
            step_tokens,
            extra_weights_percent,
            bytes,
            trained,
            positions: _,
        } = suites::demand(case);
        let trained = trained.map_or(0, |of| self.trained_bytes(of));
        bytes
            + self.weight_bytes
            + self.weight_bytes * extra_weights_percent / 100
            + self.kv_bytes(context)
            + self.activation_bytes(step_tokens, context, fused_attention)
            + trained
    }

    /// What all layers keep at once for their gradients, with the scores, since attention is not
    /// fused there; then the scores over the vocabulary, in their own type and three times in f32.
    fn trained_bytes(&self, [examples, positions]: [u64; 2]) -> u64 {
        let projections = (self.heads * 2 + self.kv_heads * 2) * self.head_dim;
        let per_token = 4 * self.hidden + 2 * projections + 4 * self.intermediate;
        let scores = self.heads * positions;
        let kept = self.layers * (per_token + scores) * self.bytes_per_value;
        let vocab = self.vocab * (self.bytes_per_value + 12);
        examples * positions * (kept + vocab)
    }

    /// Allocated in steps.
    fn kv_bytes(&self, context: u64) -> u64 {
        let allocated = context.next_multiple_of(cache::STEP as u64);
        2 * self.layers * self.kv_heads * self.head_dim * self.bytes_per_value * allocated
    }

    /// What one layer keeps at once for a step's tokens: MLX frees as it goes, so that layers do
    /// not add up. The residual stream and its norm, the projections, the two halves of the gated
    /// product and their product; the scores too where attention is not fused; then the scores over
    /// the vocabulary for one position.
    fn activation_bytes(&self, step_tokens: u64, context: u64, fused_attention: bool) -> u64 {
        let projections = (self.heads * 2 + self.kv_heads * 2) * self.head_dim;
        let per_token = 3 * self.hidden + projections + 3 * self.intermediate;
        let scores = if fused_attention {
            0
        } else {
            2 * self.heads * step_tokens * context
        };
        (step_tokens * per_token + scores + 2 * self.vocab) * self.bytes_per_value
    }
}

#[cfg(test)]
mod tests {
    use domain::suite::{decode, load, prefill, speculative};

    use super::*;

    fn outline(name: &str) -> Outline {
        let source = format!("synthetic:{name}").parse().unwrap();
        Outline::of_catalogue(&ModelRef {
            source,
            dtype: Some(Dtype::Bf16),
        })
        .unwrap()
    }

    fn decode(depth: u64, new_tokens: u64) -> Case {
        Case::Decode(decode::Case { new_tokens, depth })
    }

    #[test]
    fn a_model_that_is_too_large_is_told_with_both_figures() {
        let llama = outline("llama-3.1-8b");
        let refused = llama
            .check(None, &decode(0, 128), true, 8_000_000_000)
            .unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("would not fit, needs 16.1 GB, has 8.0 GB"),
            "{refused}"
        );
        assert!(
            llama
                .check(None, &decode(0, 128), true, 17_000_000_000)
                .is_ok()
        );
        assert!(
            llama.check(None, &decode(0, 128), true, 0).is_ok(),
            "no limit is known"
        );
    }

    #[test]
    fn context_and_unfused_scores_need_room_too() {
        let llama = outline("llama-3.1-8b");
        let weights = Case::Load(load::Case {
            regime: load::Regime::Warm,
        });
        let deep = decode(32_768, 128);
        let kv_bytes = llama.needs_bytes(&deep, true) - llama.needs_bytes(&weights, true);
        assert!(kv_bytes > 131_072 * 32_768, "{kv_bytes}");
        assert!(llama.needs_bytes(&deep, false) > llama.needs_bytes(&deep, true) + (1 << 30));
    }

    #[test]
    fn a_case_may_use_the_last_position_and_none_beyond() {
        let tiny = outline("tinyllama-1.1b");
        let prefill = |prompt_tokens| {
            Case::Prefill(prefill::Case {
                prompt_tokens,
                depth: 0,
                chunk: 2048,
            })
        };
        assert!(tiny.check(None, &prefill(2048), true, 0).is_ok());
        assert!(matches!(
            tiny.check(None, &prefill(2049), true, 0),
            Err(Misfit::Context {
                which: "model",
                positions: 2049,
                max_positions: 2048
            })
        ));
        assert!(tiny.check(None, &decode(2000, 48), true, 0).is_ok());
        assert!(tiny.check(None, &decode(2000, 49), true, 0).is_err());
    }

    #[test]
    fn a_draft_needs_room_beside_the_model_and_has_positions_of_its_own() {
        let speculative = |draft: &str, new_tokens| {
            Case::Speculative(speculative::Case {
                draft_tokens: 2,
                prompt: speculative::Prompt::Code,
                new_tokens,
                draft: format!("synthetic:{draft}").parse().unwrap(),
            })
        };
        let llama = outline("llama-3.1-8b");
        let case = speculative("llama-3.2-1b", 128);
        let draft = llama.of_draft(&case, None).unwrap().unwrap();
        assert_eq!(draft, outline("llama-3.2-1b"));
        assert!(llama.check(None, &case, true, 17_000_000_000).is_ok());
        let refused = llama
            .check(Some(&draft), &case, true, 17_000_000_000)
            .unwrap_err();
        assert!(refused.to_string().contains("needs 18."), "{refused}");
        assert!(llama.of_draft(&decode(0, 8), None).unwrap().is_none());

        let case = speculative("tinyllama-1.1b", 2048 - 256);
        let draft = llama.of_draft(&case, None).unwrap();
        assert!(llama.check(draft.as_ref(), &case, true, 0).is_ok());
        let case = speculative("tinyllama-1.1b", 2049 - 256);
        let refused = llama.check(draft.as_ref(), &case, true, 0).unwrap_err();
        assert!(
            refused.to_string().contains("through the draft"),
            "{refused}"
        );
    }

    #[test]
    fn files_are_outlined_by_their_headers_and_the_type_they_are_cast_to() {
        let folder = tempfile::tempdir().unwrap();
        // 500 values of 16 bits and ten packed words, whatever config.json says of the type.
        let header = serde_json::json!({
            "plain": {"dtype": "F16", "shape": [500], "data_offsets": [0, 1000]},
            "packed": {"dtype": "U32", "shape": [10], "data_offsets": [1000, 1040]},
        })
        .to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0; 1040]);
        fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        let config = folder.path().join("config.json");
        let keys = domain::catalogue::find("nano-llama")
            .unwrap()
            .config_json("float32");
        fs::write(&config, keys.to_string()).unwrap();
        let files = ModelFolder::open(folder.path()).unwrap();
        let outline = |dtype| Outline::of_files(&files, dtype).unwrap();
        let sizes = |outline: Outline| (outline.weight_bytes, outline.bytes_per_value);
        assert_eq!(sizes(outline(None)), (1040, 2));
        assert_eq!(sizes(outline(Some(Dtype::F32))), (2040, 4));
        fs::write(&config, "{}").unwrap();
        assert!(
            Outline::of_files(&files, None)
                .unwrap_err()
                .to_string()
                .contains("hidden_size")
        );
    }
}
