//! A checkpoint's tensors, taken one by one: what a model asks for must be there in the right shape,
//! and what it does not ask for is left over, to be refused by name.

mod packing;

use std::collections::HashMap;

use mlx_rs::{Array, Dtype};

use super::BuildError;
use super::linear::{Adapter, Embedding, Experts, Linear};
use crate::device::ops::Packed;
use crate::device::{self, experts};

pub use packing::{Packing, Quantization};

#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    #[error("tensor `{0}` is missing from the weight files")]
    Missing(String),
    #[error("tensor `{name}` has shape {found:?}, config.json asks for {expected:?}")]
    Shape {
        name: String,
        expected: Vec<i32>,
        found: Vec<i32>,
    },
    #[error("tensor `{name}` holds {found:?}, expected {expected}")]
    Dtype {
        name: String,
        expected: &'static str,
        found: Dtype,
    },
    #[error("tensor `{name}` is quantised, but config.json has no `quantization` that covers it")]
    NoQuantization { name: String },
    #[error(
        "`{path}`: {words} words and {groups} scales per row of {width} values are no packing \
         that MLX has"
    )]
    Packing {
        path: String,
        words: i32,
        groups: i32,
        width: i32,
    },
    #[error("{count} tensors in the weight files are not used by this model: {names}")]
    Unused { count: usize, names: String },
}

/// How mlx-lm packs what chooses a token's experts, however it packs the rest.
const ROUTER: Packing = Packing {
    group_size: 64,
    bits: 8,
};

const HEAD: &str = "lm_head.weight";

/// How many leftover tensors a message lists.
const NAMES_SHOWN: usize = 5;

/// What the taken tensors amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Values of the model, however they are packed.
    pub parameters: u64,
    pub bytes: u64,
    /// Of these, the embedding table's.
    pub embedding_bytes: u64,
    /// Of the parameters, those in matrices that were packed here.
    pub packed_parameters: u64,
    /// What these take, scales and biases included.
    pub packed_bytes: u64,
    /// Of these, what one token leaves unread: the experts that it does not choose.
    pub idle_bytes: u64,
}

enum Matrix {
    Plain(Array),
    Packed(Packed),
}

/// A projection that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    pub path: String,
    pub width: i32,
    pub height: i32,
}

/// The tensors that nothing has taken yet, and a tally of those that were.
#[derive(Debug)]
pub struct Weights {
    tensors: HashMap<String, Array>,
    quantization: Quantization,
    /// How plain matrices are packed as they are taken; None: they stay plain.
    pack: Option<Packing>,
    /// By the path of the projection that each goes beside.
    adapters: HashMap<String, Adapter>,
    tally: Tally,
    /// As the model holds them.
    taken: Vec<Array>,
    /// Of those taken, in that order.
    names: Vec<String>,
    projections: Vec<Projection>,
    /// Those met so far, each once.
    packings: Vec<Packing>,
}

impl Weights {
    pub fn new(tensors: HashMap<String, Array>, quantization: Quantization) -> Self {
        Self {
            tensors,
            quantization,
            pack: None,
            adapters: HashMap::new(),
            tally: Tally::default(),
            taken: Vec::new(),
            names: Vec::new(),
            projections: Vec::new(),
            packings: Vec::new(),
        }
    }

    /// Packs every plain matrix as it is taken, projections and embedding table alike, unless its
    /// rows are no multiple of the group: the layers that mlx-lm's `quantize_model` packs.
    #[must_use]
    pub fn packing(mut self, packing: Packing) -> Self {
        self.pack = Some(packing);
        self
    }

    /// Puts adapters beside the projections at their paths as these are taken.
    #[must_use]
    pub fn adapting(mut self, adapters: HashMap<String, Adapter>) -> Self {
        self.adapters = adapters;
        self
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What the model holds, to be evaluated: nothing is read from the files before.
    pub fn taken(&self) -> &[Array] {
        &self.taken
    }

    /// The names of the tensors taken, as they are in the files.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn projections(&self) -> &[Projection] {
        &self.projections
    }

    /// A floating-point tensor of exactly this shape.
    pub fn tensor(&mut self, name: &str, shape: &[i32]) -> Result<Array, WeightError> {
        let array = self.take(name, shape)?;
        match array.dtype() {
            Dtype::Bfloat16 | Dtype::Float16 | Dtype::Float32 => {
                self.tally.parameters += array.size() as u64;
                Ok(array)
            }
            found => Err(WeightError::Dtype {
                name: name.to_owned(),
                expected: "bf16, f16 or f32",
                found,
            }),
        }
    }

    fn take(&mut self, name: &str, shape: &[i32]) -> Result<Array, WeightError> {
        let array = self
            .tensors
            .remove(name)
            .ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        if array.shape() == shape {
            self.tally.bytes += array.nbytes() as u64;
            self.taken.push(array.clone());
            self.names.push(name.to_owned());
            return Ok(array);
        }
        Err(WeightError::Shape {
            name: name.to_owned(),
            expected: shape.to_vec(),
            found: array.shape().to_vec(),
        })
    }

    /// The projection at `path` from `width` to `height` values.
    pub fn linear(
        &mut self,
        path: &str,
        width: i32,
        height: i32,
        bias: bool,
    ) -> Result<Linear, BuildError> {
        let matrix = self.matrix(path, height, width)?;
        let bias = bias
            .then(|| self.tensor(&format!("{path}.bias"), &[height]))
            .transpose()?;
        self.projections.push(Projection {
            path: path.to_owned(),
            width,
            height,
        });
        let base = match matrix {
            Matrix::Plain(weight) => Linear::plain(&weight, bias)?,
            Matrix::Packed(weight) => Linear::Quantized { weight, bias },
        };
        Ok(match self.adapters.remove(path) {
            None => base,
            Some(adapter) => Linear::Adapted {
                base: Box::new(base),
                adapter,
            },
        })
    }

    /// Whether the files have an output projection beside the embedding table.
    pub fn has_head(&self) -> bool {
        self.tensors.contains_key(HEAD)
    }

    /// The output projection: `lm_head`, or None of a tied model, whose files may hold it a second
    /// time.
    pub fn head(
        &mut self,
        tied: bool,
        hidden: i32,
        vocab: i32,
    ) -> Result<Option<Linear>, BuildError> {
        if tied {
            self.tensors.remove(HEAD);
            return Ok(None);
        }
        self.linear("lm_head", hidden, vocab, false).map(Some)
    }

    /// One projection from `width` to `height` values of each of the experts below `path`, of which
    /// a token takes some (`(experts, active)`). MLX's writers store them as one tensor, others one
    /// by one.
    pub fn experts(
        &mut self,
        path: &str,
        name: &str,
        (count, active): (i32, i32),
        width: i32,
        height: i32,
    ) -> Result<Experts, BuildError> {
        let before = self.tally.bytes;
        let joined = format!("{path}.switch_mlp.{name}");
        let experts = if self
            .tensors
            .contains_key(&format!("{path}.experts.0.{name}.weight"))
        {
            let at = self.taken.len();
            let parts = (0..count)
                .map(|expert| {
                    let name = format!("{path}.experts.{expert}.{name}.weight");
                    self.tensor(&name, &[height, width])
                })
                .collect::<Result<Vec<_>, _>>()?;
            let weight = experts::stack(&parts)?;
            self.taken.truncate(at);
            self.taken.push(weight.clone());
            self.plain_experts(&joined, &weight, width)?
        } else if let Some(packed) = self.packed(&joined, &[count, height], width)? {
            Experts::Quantized(packed)
        } else {
            let name = format!("{joined}.weight");
            let weight = self.tensor(&name, &[count, height, width])?;
            self.plain_experts(&joined, &weight, width)?
        };
        let bytes = self.tally.bytes - before;
        self.tally.idle_bytes += bytes / count as u64 * (count - active) as u64;
        Ok(experts)
    }

    fn plain_experts(
        &mut self,
        path: &str,
        weight: &Array,
        width: i32,
    ) -> Result<Experts, BuildError> {
        if let Some(packing) = self.packing_of(path, width) {
            return self.pack(weight, packing).map(Experts::Quantized);
        }
        if weight.dtype() != Dtype::Float32 && !device::device_info()?.is_gpu {
            return Err(WeightError::Dtype {
                name: format!("{path}.weight"),
                expected: "f32: MLX multiplies plain experts in no other type on a CPU",
                found: weight.dtype(),
            }
            .into());
        }
        Ok(Experts::plain(weight)?)
    }

    pub fn embedding(
        &mut self,
        path: &str,
        rows: i32,
        width: i32,
    ) -> Result<Embedding, BuildError> {
        let before = self.tally.bytes;
        let table = match self.matrix(path, rows, width)? {
            Matrix::Plain(weight) => Embedding::plain(weight)?,
            Matrix::Packed(table) => Embedding::Quantized(table),
        };
        self.tally.embedding_bytes += self.tally.bytes - before;
        Ok(table)
    }

    fn matrix(&mut self, path: &str, rows: i32, width: i32) -> Result<Matrix, BuildError> {
        if let Some(packed) = self.packed(path, &[rows], width)? {
            return Ok(Matrix::Packed(packed));
        }
        let plain = self.tensor(&format!("{path}.weight"), &[rows, width])?;
        match self.packing_of(path, width) {
            Some(packing) => self.pack(&plain, packing).map(Matrix::Packed),
            None => Ok(Matrix::Plain(plain)),
        }
    }

    /// How a plain matrix is packed now: what chooses experts finely, as in mlx-lm, and what no group
    /// fits not at all.
    fn packing_of(&self, path: &str, width: i32) -> Option<Packing> {
        let chosen = self.pack.map(|packing| {
            if path.ends_with("mlp.gate") {
                ROUTER
            } else {
                packing
            }
        });
        chosen.filter(|packing| width % packing.group_size == 0)
    }

    /// Packs the matrix that was taken last.
    fn pack(&mut self, plain: &Array, packing: Packing) -> Result<Packed, BuildError> {
        let Packing { group_size, bits } = packing;
        let (weight, scales, biases) = mlx_rs::ops::quantize(plain, group_size, bits)?;
        let bytes = [&weight, &scales, &biases].map(|part| part.nbytes() as u64);
        self.tally.packed_parameters += plain.size() as u64;
        self.tally.packed_bytes += bytes.iter().sum::<u64>();
        self.tally.bytes -= plain.nbytes() as u64;
        self.tally.bytes += bytes.iter().sum::<u64>();
        self.note(packing);
        self.taken.pop();
        self.taken
            .extend([&weight, &scales, &biases].map(Array::clone));
        Ok(Packed {
            weight,
            scales,
            biases,
            group_size,
            bits,
        })
    }

    fn note(&mut self, packing: Packing) {
        if !self.packings.contains(&packing) {
            self.packings.push(packing);
        }
    }

    /// A layer is quantised exactly when its scales are there, as in mlx-lm; and unless the
    /// configuration names it, its shapes tell how, since they are right where a default may not be.
    /// The matrix has `rows` before its width: one number, or experts and rows.
    fn packed(
        &mut self,
        path: &str,
        rows: &[i32],
        width: i32,
    ) -> Result<Option<Packed>, WeightError> {
        let scales = format!("{path}.scales");
        let Some(groups) = self.tensors.get(&scales).map(columns) else {
            return Ok(None);
        };
        let name = format!("{path}.weight");
        let Some(weight) = self.tensors.get(&name) else {
            return Err(WeightError::Missing(name));
        };
        if weight.dtype() != Dtype::Uint32 {
            let found = weight.dtype();
            return Err(WeightError::Dtype {
                name,
                expected: "packed u32 words",
                found,
            });
        }
        let words = columns(weight);
        let named = self.quantization.layers.get(path).copied();
        let packing = match named.unwrap_or(self.quantization.default) {
            None => return Err(WeightError::NoQuantization { name: scales }),
            Some(packing) if named.is_some() => packing,
            Some(_) => {
                Packing::from_shapes(words, groups, width).ok_or_else(|| WeightError::Packing {
                    path: path.to_owned(),
                    words,
                    groups,
                    width,
                })?
            }
        };
        let Packing { group_size, bits } = packing;
        let shape = |columns: i32| [rows, &[columns]].concat();
        let weight = self.take(&name, &shape(width * bits / 32))?;
        let shape = shape(width / group_size);
        let before = self.tally.parameters;
        let packed = Packed {
            weight,
            scales: self.tensor(&scales, &shape)?,
            biases: self.tensor(&format!("{path}.biases"), &shape)?,
            group_size,
            bits,
        };
        // The scales and biases are part of the packing, not of the model.
        let rows: u64 = rows.iter().map(|rows| *rows as u64).product();
        self.tally.parameters = before + rows * width as u64;
        self.note(packing);
        Ok(Some(packed))
    }

    /// How the taken tensors are quantised, for tables: `none`, such as `affine 4-bit g64`, or
    /// several with a plus between.
    pub fn quantisation_label(&self) -> String {
        if self.packings.is_empty() {
            return "none".to_owned();
        }
        let mut packings = self.packings.clone();
        packings.sort_by_key(|packing| (packing.bits, packing.group_size));
        let names: Vec<String> = packings
            .iter()
            .map(|Packing { group_size, bits }| format!("{bits}-bit g{group_size}"))
            .collect();
        format!("affine {}", names.join(" + "))
    }

    /// Every tensor must have been taken.
    pub fn finish(self) -> Result<(), WeightError> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        let mut names: Vec<String> = self.tensors.into_keys().collect();
        names.sort();
        let count = names.len();
        let mut text = names[..count.min(NAMES_SHOWN)].join(", ");
        if count > NAMES_SHOWN {
            text.push_str(", …");
        }
        Err(WeightError::Unused { count, names: text })
    }
}

/// The length of a matrix's rows, or of a stack of matrices; 0 for what is neither.
fn columns(array: &Array) -> i32 {
    match array.shape() {
        [_, columns] | [_, _, columns] => *columns,
        _ => 0,
    }
}
