//! Inputs that were sound once: cut, joined, repeated, with bytes and numbers changed. The same in every run.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Enough to see each kind of change at each place of a small input; a second or so in a debug build.
const ROUNDS: usize = 1500;
const MAX_CHANGES: usize = 6;
/// Larger ones find nothing that smaller ones do not, and take longer.
const MAX_BYTES: usize = 64 * 1024;
const MAX_REPEATS: usize = 200;

/// Bytes and words that readers of numbers, texts and nested things stumble over.
const HOSTILE: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x9a\x80",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1e999",
    b"NaN",
    b"inf",
    b"\"",
    b"\\u0000",
    b"[",
    b"{",
    b"]",
    b",",
    b"=",
    b"\n",
    b"null",
];

pub fn run(name: &str, inputs: &[Vec<u8>], decode: fn(&[u8])) {
    for input in inputs {
        bear(name, input, decode);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(name.bytes().map(u64::from).sum());
    for _ in 0..ROUNDS {
        bear(name, &changed(inputs, &mut rng), decode);
    }
}

fn bear(name: &str, input: &[u8], decode: fn(&[u8])) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| decode(input))) else {
        return;
    };
    let mut hash = DefaultHasher::new();
    input.hash(&mut hash);
    let path = super::folder(name).join(format!("found-{:016x}", hash.finish()));
    fs::create_dir_all(super::folder(name)).unwrap();
    fs::write(&path, input).unwrap();
    eprintln!("{name} could not bear {}", path.display());
    resume_unwind(panic);
}

fn changed(inputs: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = inputs.choose(rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(1..=MAX_CHANGES) {
        change(&mut bytes, inputs, rng);
        bytes.truncate(MAX_BYTES);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..=bytes.len());
    let piece = range(bytes.len(), rng);
    match rng.random_range(0..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 => drop(bytes.drain(piece)),
        3 => {
            let times = rng.random_range(1..=MAX_REPEATS);
            let repeated = bytes[piece].repeat(times);
            bytes.splice(at..at, repeated.into_iter().take(MAX_BYTES));
        }
        4 => {
            let other = inputs.choose(rng).map_or(&[][..], Vec::as_slice);
            let other = &other[range(other.len(), rng)];
            bytes.splice(piece, other.iter().copied());
        }
        5 => {
            let word = HOSTILE.choose(rng).copied().unwrap_or_default();
            let number = digits(bytes, at);
            bytes.splice(number, word.iter().copied());
        }
        _ => bytes.truncate(at),
    }
}

/// A short piece, more often than a long one.
fn range(length: usize, rng: &mut ChaCha8Rng) -> Range<usize> {
    let from = rng.random_range(0..=length);
    let longest = (length - from).min(1 << rng.random_range(0..10));
    from..from + rng.random_range(0..=longest)
}

/// The digits that stand here, if any do.
fn digits(bytes: &[u8], at: usize) -> Range<usize> {
    let count = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit());
    at..at + count.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_many_differ_and_are_the_same_in_every_run() {
        let inputs = [b"{\"a\": [1, 22, 333]}".to_vec(), b"x = 7\n".to_vec()];
        let made = || -> Vec<Vec<u8>> {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            (0..200).map(|_| changed(&inputs, &mut rng)).collect()
        };
        let mut all = made();
        assert_eq!(all, made());
        all.sort();
        all.dedup();
        assert!(all.len() > 150, "{}", all.len());
    }
}
