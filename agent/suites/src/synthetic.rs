//! Models that exist as architectures only: their weights are drawn here, once, and then loaded
//! from disk like any other. Speed does not depend on the values, so that a gated or absent model
//! can be measured; they are the same on every machine, so that its outputs can be compared.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use domain::catalogue::Architecture;
use domain::model::Dtype;
use half::{bf16, f16};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::tensor::{Dtype as FileDtype, View};
use sha2::{Digest, Sha256};

use crate::load::{LoadError, ModelFolder};

const PARENT: &str = "synthetic";

/// Changes when the same architecture gets other values.
const RECIPE: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    #[error("cannot write synthetic weights to {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// The folder of an architecture's weights under `cache_dir`, written first where it is not there.
///
/// The folder appears whole or not at all, and of two processes one writes and the other waits.
/// Its name has a digest of what decides the values, so that an older recipe's are never taken for
/// these.
pub fn ensure(
    architecture: &Architecture,
    dtype: Dtype,
    cache_dir: &Path,
) -> Result<ModelFolder, SyntheticError> {
    let parent = cache_dir.join(PARENT);
    let name = folder_name(architecture, dtype);
    let folder = parent.join(&name);
    if !folder.is_dir() {
        let write = |source| SyntheticError::Write {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&parent).map_err(write)?;
        // Held while anything is written here, so what is unfinished was left by a process that was
        // killed.
        let lock = File::open(&parent).map_err(write)?;
        lock.lock().map_err(write)?;
        if folder.is_dir() {
            return Ok(opened(&folder)?);
        }
        remove_unfinished(&parent).map_err(write)?;
        let unfinished = Unfinished(parent.join(format!("{UNFINISHED}{name}")));
        write_model(architecture, dtype, &unfinished.0).map_err(write)?;
        fs::rename(&unfinished.0, &folder).map_err(write)?;
    }
    Ok(opened(&folder)?)
}

/// Where [`ensure`] keeps an architecture's weights.
pub fn folder(architecture: &Architecture, dtype: Dtype, cache_dir: &Path) -> PathBuf {
    cache_dir
        .join(PARENT)
        .join(folder_name(architecture, dtype))
}

fn folder_name(architecture: &Architecture, dtype: Dtype) -> String {
    let recipe = Sha256::digest(format!("{RECIPE} {architecture:?} {dtype}"));
    format!(
        "{}-{dtype}-{}",
        architecture.name,
        hex::encode(&recipe[..4])
    )
}

fn opened(folder: &Path) -> Result<ModelFolder, LoadError> {
    Ok(ModelFolder {
        synthetic: true,
        ..ModelFolder::open(folder)?
    })
}

const UNFINISHED: &str = ".unfinished-";

fn remove_unfinished(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A folder that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write_model(architecture: &Architecture, dtype: Dtype, folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    let torch_name = match dtype {
        Dtype::Bf16 => "bfloat16",
        Dtype::F16 => "float16",
        Dtype::F32 => "float32",
    };
    let config = serde_json::to_vec_pretty(&architecture.config_json(torch_name))?;
    fs::write(folder.join("config.json"), config)?;

    let tensors = tensors(architecture, dtype);
    let metadata = [("format".to_owned(), "mlx".to_owned())].into();
    let file = folder.join("model.safetensors");
    safetensors::serialize_to_file(
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)),
        Some(metadata),
        &file,
    )
    .map_err(io::Error::other)?;
    File::open(&file)?.sync_all()
}

/// A tensor whose values are drawn when they are asked for, so that only one is in memory.
struct Drawn {
    name: String,
    seed: [u8; 32],
    shape: Vec<usize>,
    dtype: Dtype,
    values: Values,
}

#[derive(Clone, Copy)]
enum Values {
    Ones,
    /// Uniform with this standard deviation.
    Uniform {
        deviation: f32,
    },
}

impl View for &Drawn {
    fn dtype(&self) -> FileDtype {
        match self.dtype {
            Dtype::Bf16 => FileDtype::BF16,
            Dtype::F16 => FileDtype::F16,
            Dtype::F32 => FileDtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.draw())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bytes() as usize
    }
}

impl Drawn {
    /// Sixteen random bits choose each value from a table, which is as fast as writing them.
    fn draw(&self) -> Vec<u8> {
        let value = |step: u16| match self.values {
            Values::Ones => 1.0,
            // A uniform of this half-width has the deviation asked for.
            Values::Uniform { deviation } => {
                deviation * 3_f32.sqrt() * (f32::from(step) / 32_768.0 - 1.0)
            }
        };
        let steps = 0..=u16::MAX;
        match self.dtype {
            Dtype::Bf16 => {
                let table: Vec<_> = steps
                    .map(|s| bf16::from_f32(value(s)).to_le_bytes())
                    .collect();
                self.fill(&table)
            }
            Dtype::F16 => {
                let table: Vec<_> = steps
                    .map(|s| f16::from_f32(value(s)).to_le_bytes())
                    .collect();
                self.fill(&table)
            }
            Dtype::F32 => {
                let table: Vec<_> = steps.map(|s| value(s).to_le_bytes()).collect();
                self.fill(&table)
            }
        }
    }

    fn fill<const BYTES: usize>(&self, table: &[[u8; BYTES]]) -> Vec<u8> {
        let mut rng = ChaCha8Rng::from_seed(self.seed);
        let mut bits = [0; 4096];
        let mut data = Vec::with_capacity(self.shape.iter().product::<usize>() * BYTES);
        let mut left = self.shape.iter().product::<usize>();
        while left > 0 {
            rng.fill_bytes(&mut bits);
            let (pairs, _) = bits.as_chunks::<2>();
            for pair in pairs.iter().take(left) {
                data.extend_from_slice(&table[usize::from(u16::from_le_bytes(*pair))]);
            }
            left -= left.min(pairs.len());
        }
        data
    }
}

/// Every tensor of the architecture, by the names that its publishers use. Deviations keep the
/// activations near one, so that no type overflows: the root of the inverse of what is summed over.
fn tensors(architecture: &Architecture, dtype: Dtype) -> Vec<Drawn> {
    let a = architecture;
    let size = |value: u64| value as usize;
    let (hidden, inner, vocab) = (
        size(a.hidden_size),
        size(a.intermediate_size),
        size(a.vocab_size),
    );
    let (queries, keys) = (size(a.heads * a.head_dim), size(a.kv_heads * a.head_dim));
    let (qkv_bias, qk_norm) = (a.model_type == "qwen2", a.model_type == "qwen3");
    let mut tensors = Vec::new();
    let mut push = |name: String, shape: &[usize], values: Values| {
        let seed = Sha256::digest(format!("{} {name}", a.name)).into();
        tensors.push(Drawn {
            name,
            seed,
            shape: shape.to_vec(),
            dtype,
            values,
        });
    };
    let from = |inputs: usize| Values::Uniform {
        deviation: (inputs as f32).sqrt().recip(),
    };

    push(
        "model.embed_tokens.weight".to_owned(),
        &[vocab, hidden],
        from(hidden),
    );
    for layer in 0..a.layers {
        let path = format!("model.layers.{layer}");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            push(format!("{path}.{norm}.weight"), &[hidden], Values::Ones);
        }
        let joined = a.model_type == "phi3";
        let projections: &[(&str, usize)] = if joined {
            &[("qkv", queries + 2 * keys)]
        } else {
            &[("q", queries), ("k", keys), ("v", keys)]
        };
        for &(name, height) in projections {
            push(
                format!("{path}.self_attn.{name}_proj.weight"),
                &[height, hidden],
                from(hidden),
            );
            if qkv_bias {
                let small = Values::Uniform { deviation: 0.1 };
                push(
                    format!("{path}.self_attn.{name}_proj.bias"),
                    &[height],
                    small,
                );
            }
        }
        push(
            format!("{path}.self_attn.o_proj.weight"),
            &[hidden, queries],
            from(queries),
        );
        if qk_norm {
            for name in ["q", "k"] {
                let shape = [size(a.head_dim)];
                push(
                    format!("{path}.self_attn.{name}_norm.weight"),
                    &shape,
                    Values::Ones,
                );
            }
        }
        let gated: &[(&str, usize)] = if joined {
            &[("gate_up", 2 * inner)]
        } else {
            &[("gate", inner), ("up", inner)]
        };
        for &(name, height) in gated {
            push(
                format!("{path}.mlp.{name}_proj.weight"),
                &[height, hidden],
                from(hidden),
            );
        }
        push(
            format!("{path}.mlp.down_proj.weight"),
            &[hidden, inner],
            from(inner),
        );
    }
    push("model.norm.weight".to_owned(), &[hidden], Values::Ones);
    if !a.tied {
        push("lm_head.weight".to_owned(), &[vocab, hidden], from(hidden));
    }
    tensors
}
