//! Token ids that no tokenizer made: the same on every machine, for speed does not depend on them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// Uniform ids below `vocab`; a longer list from the same seed begins with the shorter one.
pub fn random(seed: u64, count: usize, vocab: u32) -> Vec<u32> {
    // Spelt out, here and below, since a library's own choice may change with its version.
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    let below = |random: u32| ((u64::from(random) * u64::from(vocab)) >> 32) as u32;
    (0..count).map(|_| below(rng.next_u32())).collect()
}

/// SHA-256 of the ids that went in and those that came out, as little-endian words.
pub fn sha256(prompt: &[u32], generated: &[u32]) -> String {
    let mut hash = Sha256::new();
    for id in prompt.iter().chain(generated) {
        hash.update(id.to_le_bytes());
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_everywhere_and_below_the_vocabulary() {
        assert_eq!(
            random(42, 6, 32_000),
            [3195, 11_144, 2827, 9142, 12_623, 15_791]
        );
        assert_eq!(random(42, 3, 32_000), random(42, 6, 32_000)[..3]);
        assert_ne!(random(43, 6, 32_000), random(42, 6, 32_000));
        let many = random(7, 10_000, 10);
        assert!((0..10).all(|id| many.contains(&id)) && many.iter().all(|&id| id < 10));
    }

    #[test]
    fn the_hash_is_that_of_the_words() {
        let bytes = hex::encode(Sha256::digest([1, 0, 0, 0, 0, 1, 0, 0]));
        assert_eq!(sha256(&[1], &[256]), bytes);
    }
}
