//! What Linux's loader will read in a program or library: which libraries it wants, and where it looks for
//! them.

use anyhow::Result;
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::FileHeader;

/// Of every Linux with glibc. Nothing else may be wanted that the archive does not bring.
const SYSTEM: &[&str] = &[
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
];

pub fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&elf::ELFMAG)
}

/// What is wrong with the file that will be at `path` in an archive of `files`.
pub fn check(path: &str, bytes: &[u8], files: &[&str]) -> Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let dynamic = header
        .sections(endian, bytes)?
        .dynamic_table(endian, bytes)?;
    let mut problems = Vec::new();
    for entry in &dynamic {
        let text = || -> Result<String> {
            Ok(String::from_utf8_lossy(dynamic.string(entry)?).into_owned())
        };
        match entry.tag {
            elf::DT_NEEDED => {
                let name = text()?;
                let brought = files.iter().any(|file| file.ends_with(&format!("/{name}")));
                if !SYSTEM.contains(&name.as_str()) && !brought {
                    problems.push(format!(
                        "wants {name}, which neither Linux nor the archive has"
                    ));
                }
            }
            elf::DT_RPATH | elf::DT_RUNPATH => {
                for folder in text()?.split(':') {
                    problems.extend(super::macho::astray(path, folder, "$ORIGIN", files));
                }
            }
            _ => {}
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_test() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_program_that_wants_only_the_systems_libraries_passes() {
        let bytes = this_test();
        assert!(is_one(&bytes) && !is_one(b"#!/bin/sh"));
        assert_eq!(check("bin/x", &bytes, &[]).unwrap(), [""; 0]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_that_nobody_brings_is_told() {
        let mut bytes = this_test();
        // The same length, so that the file stays whole.
        let name = b"\0libc.so.6\0";
        let places: Vec<usize> = (0..bytes.len() - name.len())
            .filter(|&at| bytes[at..].starts_with(name))
            .collect();
        for at in places {
            bytes[at + 1..at + 5].copy_from_slice(b"libx");
        }
        let problems = check("bin/x", &bytes, &[]).unwrap();
        assert_eq!(
            problems,
            ["wants libx.so.6, which neither Linux nor the archive has"]
        );
        let brought = ["lib/libx.so.6"];
        assert_eq!(check("bin/x", &bytes, &brought).unwrap(), [""; 0]);
    }
}
