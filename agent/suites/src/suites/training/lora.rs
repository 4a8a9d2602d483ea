//! Which projections get adapters, and what these start from.

use std::collections::HashMap;

use mlx_rs::Array;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::models::linear::Adapter;
use crate::models::weights::Projection;

/// mlx-lm's defaults.
pub const RANK: i32 = 8;
const SCALE: f32 = 20.0;

/// Queries and values of every layer, as in the paper and in mlx-lm's example of a configuration;
/// where one matrix makes queries, keys and values, that one.
const ADAPTED: [&str; 3] = [
    ".self_attn.q_proj",
    ".self_attn.v_proj",
    ".self_attn.qkv_proj",
];

/// The two matrices of an adapter, A and B, with the path of their projection.
pub type Pair = (String, [Array; 2]);

/// A uniform and B zero, in f32, as mlx-lm begins; the values are the same on every machine.
pub fn fresh(projections: &[Projection], seed: u64) -> Vec<Pair> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    projections
        .iter()
        .filter(|projection| ADAPTED.iter().any(|name| projection.path.ends_with(name)))
        .map(|projection| {
            let &Projection { width, height, .. } = projection;
            let bound = (width as f32).sqrt().recip();
            let values: Vec<f32> = (0..width * RANK)
                .map(|_| bound * (f32::from((rng.next_u32() >> 16) as u16) / 32_768.0 - 1.0))
                .collect();
            let a = Array::from_slice(&values, &[width, RANK]);
            let zeros = vec![0.0_f32; (RANK * height) as usize];
            let b = Array::from_slice(&zeros, &[RANK, height]);
            (projection.path.clone(), [a, b])
        })
        .collect()
}

/// From the matrices, A and B of each path in turn.
pub fn adapters(paths: &[String], matrices: &[Array]) -> HashMap<String, Adapter> {
    let (pairs, _) = matrices.as_chunks::<2>();
    let adapters = paths.iter().zip(pairs).map(|(path, [a, b])| {
        let adapter = Adapter {
            a: a.clone(),
            b: b.clone(),
            scale: Array::from_f32(SCALE),
        };
        (path.clone(), adapter)
    });
    adapters.collect()
}
