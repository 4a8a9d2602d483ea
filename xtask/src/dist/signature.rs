//! A Mach-O file's ad-hoc signature: hashes of its pages, without anybody's name. A linker makes it; whatever
//! changes the file afterwards (stripping, setting a path) breaks it, and the kernel kills the program.
//!
//! ```text
//!   super blob: magic, length, count, (slot, offset)…          all big-endian
//!   code directory: magic, length, version, flags, hash offset, identifier offset, special slots,
//!                   code slots, code limit, hash size, hash type, platform, log2 of the page size, …
//! ```

use anyhow::{Context, Result, ensure};
use object::macho::{CSMAGIC_CODEDIRECTORY, CSMAGIC_EMBEDDED_SIGNATURE, CSSLOT_CODEDIRECTORY};
use sha2::{Digest, Sha256};

const AD_HOC: u32 = 2;
const SHA256: u8 = 2;
const SHA256_BYTES: u8 = 32;

/// What is wrong with the signature `blob` of the whole file.
pub fn check(file: &[u8], blob: &[u8]) -> Result<Vec<String>> {
    ensure!(
        word(blob, 0)? == CSMAGIC_EMBEDDED_SIGNATURE,
        "no signature where one should be"
    );
    let mut directory = None;
    for index in 0..word(blob, 8)? as usize {
        if word(blob, 12 + 8 * index)? == CSSLOT_CODEDIRECTORY.0 {
            let at = word(blob, 16 + 8 * index)? as usize;
            directory = Some(blob.get(at..).context("the code directory is cut off")?);
        }
    }
    let directory = directory.context("the signature has no code directory")?;
    ensure!(
        word(directory, 0)? == CSMAGIC_CODEDIRECTORY,
        "no code directory where one should be"
    );
    let [hash_bytes, hash_kind, _, page] = *directory
        .get(36..40)
        .and_then(|bytes| <&[u8; 4]>::try_from(bytes).ok())
        .context("the code directory is cut off")?;
    let mut problems = Vec::new();
    if word(directory, 12)? & AD_HOC == 0 {
        problems.push("is signed with somebody's certificate, and should be ad hoc".to_owned());
    }
    ensure!(
        (hash_bytes, hash_kind) == (SHA256_BYTES, SHA256) && page < 32,
        "the signature is not of SHA-256 hashes"
    );
    let (hashes, pages) = (word(directory, 16)? as usize, word(directory, 28)? as usize);
    let limit = word(directory, 32)? as usize;
    let code = file
        .get(..limit)
        .context("the signature is of a longer file")?;
    let mut signed = code.chunks(1 << page);
    if signed.len() != pages {
        problems.push(format!(
            "has {} pages, and {pages} are signed",
            signed.len()
        ));
    }
    let broken = (0..pages).filter(|index| {
        let at = hashes + index * usize::from(SHA256_BYTES);
        let hash = directory.get(at..at + usize::from(SHA256_BYTES));
        let page = signed.next().unwrap_or_default();
        hash != Some(Sha256::digest(page).as_slice())
    });
    match broken.count() {
        0 => {}
        count => problems.push(format!(
            "was changed after it was signed, in {count} pages: a Mac kills it at its start"
        )),
    }
    Ok(problems)
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).context("the signature is cut off")?;
    Ok(u32::from_be_bytes(bytes.try_into()?))
}

#[cfg(test)]
pub mod tests {
    use object::macho::LC_CODE_SIGNATURE;

    use super::*;

    /// Appends a command for the signature and the signature itself, as a linker does.
    pub fn sign(mut file: Vec<u8>) -> Vec<u8> {
        const DIRECTORY: usize = 20;
        let little =
            |at: usize, file: &[u8]| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        for (at, more) in [(16, 1), (20, 16)] {
            let value = little(at, &file) + more;
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let limit = file.len() + 16;
        let pages = limit.div_ceil(4096);
        let size = DIRECTORY + 44 + 32 * pages;
        for word in [LC_CODE_SIGNATURE.0, 16, limit as u32, size as u32] {
            file.extend(word.to_le_bytes());
        }
        let mut blob = Vec::new();
        let mut words = |words: &[u32]| {
            for word in words {
                blob.extend(word.to_be_bytes());
            }
        };
        words(&[
            CSMAGIC_EMBEDDED_SIGNATURE,
            size as u32,
            1,
            0,
            DIRECTORY as u32,
        ]);
        let length = (44 + 32 * pages) as u32;
        words(&[
            CSMAGIC_CODEDIRECTORY,
            length,
            0x20400,
            AD_HOC,
            44,
            40,
            0,
            pages as u32,
        ]);
        words(&[limit as u32, u32::from_be_bytes([32, SHA256, 0, 12]), 0]);
        for page in file.chunks(4096) {
            blob.extend(Sha256::digest(page).as_slice());
        }
        file.extend(blob);
        file
    }

    #[test]
    fn a_file_that_was_changed_after_its_signing_is_told() {
        // More than a page, and without load commands of its own.
        let mut header = vec![0; 32 + 5000];
        header[..4].copy_from_slice(&object::macho::MH_MAGIC_64.to_le_bytes());
        let file = sign(header);
        let blob = file.len() - (20 + 44 + 64);
        let told = |file: &[u8]| check(file, &file[blob..]).unwrap();
        assert_eq!(told(&file), [""; 0]);
        let mut changed = file.clone();
        changed[4999] ^= 1;
        assert_eq!(
            told(&changed),
            ["was changed after it was signed, in 1 pages: a Mac kills it at its start"]
        );
        let mut named = file.clone();
        named[blob + 20 + 15] = 0;
        assert_eq!(
            told(&named),
            ["is signed with somebody's certificate, and should be ad hoc"]
        );
        assert!(check(&file, &file[blob + 1..]).is_err());
    }
}
