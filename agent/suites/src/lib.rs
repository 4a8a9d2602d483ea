//! The worker's library: loads a model and runs it on MLX. One thread, no network, no database.
//!
//! Where a sample's work goes: a model's name becomes a folder ([`load::source`]), its files become
//! a model ([`load::load`]: configuration, tokenizer, headers checked before MLX reads a byte, weights
//! taken strictly, everything evaluated), the model is prefilled and stepped ([`generate`]), and a
//! suite times the steps between fences ([`device::synchronize`]).
//!
//! ```text
//! let folder = load::source::resolve(name, dtype, &load::source::Places::from_env())?;
//! let loaded = load::load(&folder, &load::Options { dtype, clock: &clock })?;
//! let model = loaded.model.as_ref();
//! let mut cache = model.new_cache();
//! let (last, before) = ids.split_last().unwrap();
//! generate::prefill(model, &mut cache, before, generate::PREFILL_CHUNK)?;
//! device::synchronize()?;
//! let mut decoder = generate::Decoder::start(model, &mut cache, *last)?;   // step 0 submitted
//! for n in 0..tokens {
//!     if n + 1 < tokens { decoder.submit()?; }                            // pipelined: before reading
//!     let id = decoder.read()?;                                           // waits for step n
//! }
//! ```
//!
//! Per-token decoding reads, then submits. MLX belongs to the thread that first used it: call all of
//! this on one.

pub mod device;
pub mod models;

pub mod chat;
pub mod generate;
pub mod load;
pub mod synthetic;
pub mod tokenizer;

pub mod check;
pub mod worker;

pub mod environment;
pub mod fit;
pub mod frames;
pub mod harness;
pub mod residency;
pub mod suites;
pub mod system;

#[cfg(test)]
mod fuzzed;
