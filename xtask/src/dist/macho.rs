//! What a Mac's loader will read in a program or library: for which system it is, which libraries it wants,
//! where it looks for them, and whether it is signed, without which Apple Silicon starts nothing.

use anyhow::{Context, Result};
use object::Endianness;
use object::macho::{self, MachHeader64};
use object::read::macho::{LoadCommandVariant, MachHeader};

use super::signature;

const PROGRAM_FOLDER: &str = "@executable_path";
const LIBRARY_FOLDER: &str = "@rpath";
/// Where macOS has what is its own.
const SYSTEM: &[&str] = &["/usr/lib/", "/System/Library/"];

pub fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&macho::MH_MAGIC_64.to_le_bytes())
}

/// What is wrong with the file that will be at `path` in an archive of `files` for macOS from `oldest` on.
pub fn check(path: &str, bytes: &[u8], oldest: (u32, u32), files: &[&str]) -> Result<Vec<String>> {
    let header = MachHeader64::<Endianness>::parse(bytes, 0)?;
    let endian = header.endian()?;
    let mut problems = Vec::new();
    if header.cputype(endian) != macho::CPU_TYPE_ARM64 {
        problems.push("is not for arm64".to_owned());
    }
    let (mut system, mut signed) = (None, None);
    let mut commands = header.load_commands(endian, bytes, 0)?;
    while let Some(command) = commands.next()? {
        let text = |string: macho::LcStr<Endianness>| -> Result<String> {
            Ok(String::from_utf8_lossy(command.string(endian, string)?).into_owned())
        };
        match command.variant()? {
            LoadCommandVariant::Dylib(dylib) => {
                problems.extend(stray(&text(dylib.dylib.name)?, files));
            }
            LoadCommandVariant::Rpath(rpath) => {
                problems.extend(astray(path, &text(rpath.path)?, PROGRAM_FOLDER, files));
            }
            LoadCommandVariant::BuildVersion(version, _) => {
                let minimum = version.minos.get(endian).0;
                system = Some((
                    version.platform.get(endian),
                    (minimum >> 16, (minimum >> 8) & 0xff),
                ));
            }
            LoadCommandVariant::LinkeditData(data) if command.cmd() == macho::LC_CODE_SIGNATURE => {
                let (at, size) = (data.dataoff.get(endian), data.datasize.get(endian));
                let end = at as usize + size as usize;
                let blob = bytes
                    .get(at as usize..end)
                    .context("the signature is cut off")?;
                signed = Some(signature::check(bytes, blob)?);
            }
            _ => {}
        }
    }
    match system {
        Some((macho::PLATFORM_MACOS, minimum)) if minimum <= oldest => {}
        Some((macho::PLATFORM_MACOS, (major, minor))) => problems.push(format!(
            "needs macOS {major}.{minor}, and the archive is for {}.{} and later",
            oldest.0, oldest.1
        )),
        _ => problems.push("does not say that it is for macOS".to_owned()),
    }
    match signed {
        Some(found) => problems.extend(found),
        None => problems.push("is not signed: Apple Silicon does not start it".to_owned()),
    }
    Ok(problems)
}

/// A library that a Mac does not have and the archive does not bring.
fn stray(library: &str, files: &[&str]) -> Option<String> {
    if SYSTEM.iter().any(|folder| library.starts_with(folder)) {
        return None;
    }
    let brought = library.strip_prefix(LIBRARY_FOLDER).is_some_and(|name| {
        let mut files = files.iter();
        files.any(|file| file.starts_with("lib/") && file.ends_with(name))
    });
    (!brought).then(|| format!("wants {library}, which neither macOS nor the archive has"))
}

/// A folder to look for libraries in that is not one of the archive, such as the builder's own.
pub fn astray(path: &str, folder: &str, here: &str, files: &[&str]) -> Option<String> {
    let inside = folder.strip_prefix(here).is_some_and(|relative| {
        let (mut at, _) = path.rsplit_once('/').unwrap_or_default();
        let mut down = String::new();
        for part in relative.split('/').filter(|part| !part.is_empty()) {
            match part {
                ".." if !down.is_empty() || at.is_empty() => return false,
                ".." => at = at.rsplit_once('/').map_or("", |(up, _)| up),
                part => down = format!("{down}{part}/"),
            }
        }
        let separator = if at.is_empty() { "" } else { "/" };
        let wanted = format!("{at}{separator}{down}");
        files.iter().any(|file| file.starts_with(&wanted))
    });
    (!inside).then(|| format!("looks for libraries in {folder}, which is no folder of the archive"))
}

#[cfg(test)]
mod tests {
    use super::super::signature::tests::sign;
    use super::*;

    const FILES: &[&str] = &["bin/x", "lib/mlx/lib/libmlx.dylib"];

    /// A program without code, of the load commands that count here.
    struct Program {
        cpu: u32,
        oldest: u32,
        libraries: &'static [&'static str],
        rpaths: &'static [&'static str],
    }

    const GOOD: Program = Program {
        cpu: macho::CPU_TYPE_ARM64.0,
        oldest: 14 << 16,
        libraries: &["/usr/lib/libSystem.B.dylib", "@rpath/libmlx.dylib"],
        rpaths: &["@executable_path/../lib/mlx/lib"],
    };

    impl Program {
        fn unsigned(&self) -> Vec<u8> {
            let words = |words: &[u32]| -> Vec<u8> {
                words.iter().flat_map(|word| word.to_le_bytes()).collect()
            };
            let with_text = |kind: u32, before: &[u32], text: &str| {
                let mut padded = text.as_bytes().to_vec();
                padded.resize(text.len() / 8 * 8 + 8, 0);
                let head = 8 + 4 * before.len();
                [
                    words(&[kind, (head + padded.len()) as u32]),
                    words(before),
                    padded,
                ]
                .concat()
            };
            let platform = macho::PLATFORM_MACOS.0;
            let mut commands = vec![words(&[
                macho::LC_BUILD_VERSION.0,
                24,
                platform,
                self.oldest,
                self.oldest,
                0,
            ])];
            for library in self.libraries {
                commands.push(with_text(macho::LC_LOAD_DYLIB.0, &[24, 0, 0, 0], library));
            }
            for rpath in self.rpaths {
                commands.push(with_text(macho::LC_RPATH.0, &[12], rpath));
            }
            let size = commands.iter().map(Vec::len).sum::<usize>() as u32;
            let count = commands.len() as u32;
            let header = [
                macho::MH_MAGIC_64,
                self.cpu,
                0,
                macho::MH_EXECUTE.0,
                count,
                size,
                0,
                0,
            ];
            [words(&header), commands.concat()].concat()
        }
    }

    fn problems(bytes: &[u8]) -> Vec<String> {
        check("bin/x", bytes, (14, 0), FILES).unwrap()
    }

    #[test]
    fn a_signed_program_that_finds_all_in_its_archive_passes() {
        let bytes = sign(GOOD.unsigned());
        assert!(is_one(&bytes) && !is_one(b"#!/bin/sh"));
        assert_eq!(problems(&bytes), [""; 0]);
    }

    #[test]
    fn each_thing_that_a_mac_would_stumble_over_is_told() {
        let told = |program: &Program| problems(&sign(program.unsigned())).join("; ");
        let intel = Program {
            cpu: 0x0100_0007,
            ..GOOD
        };
        assert_eq!(told(&intel), "is not for arm64");
        let newer = Program {
            oldest: (26 << 16) | (2 << 8),
            ..GOOD
        };
        assert_eq!(
            told(&newer),
            "needs macOS 26.2, and the archive is for 14.0 and later"
        );
        let homebrew = Program {
            libraries: &["/opt/homebrew/lib/libssl.3.dylib"],
            ..GOOD
        };
        assert!(told(&homebrew).starts_with("wants /opt/homebrew/lib/libssl.3.dylib"));
        let missing = Program {
            libraries: &["@rpath/libjaccl.dylib"],
            ..GOOD
        };
        assert!(told(&missing).starts_with("wants @rpath/libjaccl.dylib"));
        let builders = Program {
            rpaths: &["/home/me/mlx/lib"],
            ..GOOD
        };
        assert!(told(&builders).starts_with("looks for libraries in /home/me/mlx/lib"));
        let outside = Program {
            rpaths: &["@executable_path/../../lib"],
            ..GOOD
        };
        assert!(told(&outside).starts_with("looks for libraries in @executable_path/../../lib"));
        let unsigned = problems(&GOOD.unsigned()).join("; ");
        assert_eq!(unsigned, "is not signed: Apple Silicon does not start it");
    }

    #[test]
    fn what_is_cut_off_is_an_error_and_no_panic() {
        let bytes = sign(GOOD.unsigned());
        for end in 32..bytes.len() {
            let cut = &bytes[..end];
            let told = check("bin/x", cut, (14, 0), FILES);
            assert!(told.is_err() || !told.unwrap().is_empty(), "{end}");
        }
    }
}
