//! In which order a job's launches run: interleaved in seeded random blocks, so that no case has the
//! cool machine for itself and every grant of the job walks the same order.

use std::collections::HashSet;

use domain::lease::Grant;
use domain::suite::Case;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// One launch that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub case: Case,
    /// Which repetition of the case; also the block.
    pub ordinal: u32,
    /// Where it stands in the whole order, counting what earlier leases finished.
    pub position: u32,
    pub seed: u64,
}

/// The launches of a grant that are still to be made, first one first. Each block holds every case
/// once, in an order of its own.
pub fn order(grant: &Grant) -> Vec<Slot> {
    let Grant {
        cases,
        protocol,
        finished,
        ..
    } = grant;
    let finished: HashSet<(&str, u32)> = finished
        .iter()
        .map(|launch| (launch.case_key.as_str(), launch.ordinal))
        .collect();
    let mut slots = Vec::new();
    let mut position = 0;
    for ordinal in 0..protocol.launches {
        let mut block: Vec<&Case> = cases.iter().collect();
        block.shuffle(&mut ChaCha8Rng::seed_from_u64(mix(
            protocol.seed,
            "order",
            ordinal,
        )));
        for case in block {
            let case_key = case.key();
            if !finished.contains(&(case_key.as_str(), ordinal)) {
                slots.push(Slot {
                    case: case.clone(),
                    ordinal,
                    position,
                    seed: mix(protocol.seed, &case_key, ordinal),
                });
            }
            position += 1;
        }
    }
    slots
}

/// A number that depends on all three; within the 63 bits that a signed column holds.
fn mix(seed: u64, word: &str, ordinal: u32) -> u64 {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(ordinal.to_le_bytes())
        .chain_update(word)
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first) >> 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::grant;
    use domain::lease::FinishedLaunch;

    #[test]
    fn each_block_holds_every_case_once_and_blocks_differ() {
        let mut grant = grant("synthetic:nano-llama", 6, 8);
        let slots = order(&grant);
        assert_eq!(slots.len(), 48);
        let keys = |block: usize| -> Vec<String> {
            slots[block * 6..][..6]
                .iter()
                .map(|s| s.case.key())
                .collect()
        };
        let sorted = |mut keys: Vec<String>| {
            keys.sort();
            keys
        };
        assert!((1..8).all(|block| sorted(keys(block)) == sorted(keys(0))));
        assert!((1..8).any(|block| keys(block) != keys(0)));
        assert!(slots.iter().zip(0..).all(|(slot, at)| slot.position == at));
        grant.protocol.seed += 1;
        assert_ne!(order(&grant), slots);
    }

    #[test]
    fn a_second_grant_walks_the_same_order_without_what_is_finished() {
        let mut grant = grant("synthetic:nano-llama", 3, 4);
        let all = order(&grant);
        let (kept, rest) = all.split_at(5);
        grant.finished = kept
            .iter()
            .map(|slot| FinishedLaunch {
                case_key: slot.case.key(),
                ordinal: slot.ordinal,
                headline: None,
            })
            .collect();
        assert_eq!(order(&grant), rest);
    }

    #[test]
    fn no_two_launches_share_a_seed() {
        let slots = order(&grant("synthetic:nano-llama", 5, 10));
        let seeds: HashSet<u64> = slots.iter().map(|slot| slot.seed).collect();
        assert_eq!(seeds.len(), slots.len());
    }
}
