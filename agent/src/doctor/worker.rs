//! The worker and the MLX that it runs on.

use domain::machine::{Inventory, RELEASE_LABEL};
use domain::worker::Started;

use super::Finding;
use crate::software;

/// MLX's own rule: macOS from here on, and a GPU of this generation, of a phone's (`p`) the next.
const MATRIX_MACOS: (u32, u32) = (26, 2);
const MATRIX_GENERATION: u32 = 17;

const WORKER: &str = "worker";

const KERNELS: &str = "Metal kernels";

/// Whoever was installed from an archive has nothing to build; another archive mends it.
const MEND_INSTALLED: &str = "install this machine again with the line of `mlx-fleet machine add`, or \
                              `mlx-fleet machine upgrade` at the coordinator with a sound archive";

/// Of an agent that was built here, unless it lies in an installation.
fn mend<'a>(inventory: &Inventory, built: &'a str) -> &'a str {
    let is_installed = inventory.labels.contains_key(RELEASE_LABEL);
    if is_installed { MEND_INSTALLED } else { built }
}

/// There is no worker to ask.
pub fn missing(why: &str, inventory: &Inventory) -> Finding {
    Finding::spoils(
        WORKER,
        why,
        "nothing can be measured: the agent would not start",
        mend(
            inventory,
            "build both with `cargo build --release --workspace --bins`, or unpack the whole archive",
        ),
    )
}

pub fn findings(asked: Result<Started, software::Error>, inventory: &Inventory) -> Vec<Finding> {
    let started = match asked {
        Ok(started) => started,
        Err(error) => {
            return vec![Finding::spoils(
                WORKER,
                error.to_string(),
                "every launch would crash as this one did",
                mend(
                    inventory,
                    "if a library is missing, run `deploy/setup`, which fetches MLX and checks it, and build \
                     again; in an archive `lib` belongs beside `bin`",
                ),
            )];
        }
    };
    let mut findings = vec![build(&started, inventory), mlx(&started)];
    findings.extend(kernels(&started, inventory));
    findings.extend(blas(&started, inventory));
    findings.extend(variables(&started));
    findings
}

fn build(started: &Started, inventory: &Inventory) -> Finding {
    let found = format!(
        "version {} of {}",
        started.suite_version, started.suite_commit
    );
    if started.debug_build {
        Finding::spoils(
            WORKER,
            format!("{found}, built without optimisation"),
            "every sample is invalid (debug_build)",
            mend(
                inventory,
                "build it with `cargo build --release --workspace --bins`",
            ),
        )
    } else {
        Finding::ok(WORKER, format!("{found}, starts"))
    }
}

fn mlx(started: &Started) -> Finding {
    let Started {
        mlx_version,
        mlx_device,
        mlx_sha256,
        ..
    } = started;
    let sha256 = mlx_sha256.get(..12).unwrap_or("unknown");
    Finding::ok(
        "MLX",
        format!("{mlx_version} on {mlx_device}, library {sha256}…"),
    )
}

/// Only Metal has them in a file. Those for matrices are of the M5 and later; other GPUs have no units for them.
fn kernels(started: &Started, inventory: &Inventory) -> Option<Finding> {
    if inventory.os == "macos" && started.nax_built.is_none() {
        return Some(Finding::spoils(
            KERNELS,
            "no mlx.metallib beside MLX's library",
            "nothing runs on the GPU: every launch would fail, or measure another device",
            mend(
                inventory,
                "run `deploy/setup`, which fetches MLX with its kernels, and build again; in an archive \
                 `lib/mlx.metallib` belongs beside `lib/libmlx.dylib`",
            ),
        ));
    }
    let nax_built = started.nax_built?;
    let sha256 = started.metallib_sha256.get(..12).unwrap_or("unknown");
    let has = if nax_built { "with" } else { "without" };
    let found = format!("{sha256}…, {has} those for matrix units");
    let wanted = has_matrix_units(&started.mlx_architecture) && is_recent(&inventory.os_version);
    Some(if wanted && !nax_built {
        Finding::warn(
            KERNELS,
            found,
            "this GPU has units for matrices that MLX does not use: prompts are read three to four times \
             slower than they could be, and results compare only with machines that do without too",
            mend(
                inventory,
                "on this system run `deploy/fetch-mlx` again, which takes the library with them, and build \
                 again",
            ),
        )
    } else {
        Finding::ok(KERNELS, found)
    })
}

/// `applegpu_g17s`, say.
fn has_matrix_units(architecture: &str) -> bool {
    let generation = architecture.strip_prefix("applegpu_g").unwrap_or_default();
    let digits = generation.trim_end_matches(|c: char| !c.is_ascii_digit());
    let least = MATRIX_GENERATION + u32::from(generation.ends_with('p'));
    digits
        .parse()
        .is_ok_and(|generation: u32| generation >= least)
}

fn is_recent(os_version: &str) -> bool {
    let mut parts = os_version.split('.').map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    version >= MATRIX_MACOS
}

fn blas(started: &Started, inventory: &Inventory) -> Option<Finding> {
    if inventory.os != "linux" {
        return None;
    }
    let blas = &started.blas;
    Some(if blas.starts_with("libblas") || blas == "none" {
        Finding::warn(
            "BLAS",
            format!("{blas}, the reference one"),
            "MLX on the CPU reads prompts some twenty times slower, and decodes two to three times slower",
            if inventory.labels.contains_key(RELEASE_LABEL) {
                "install OpenBLAS (Debian: libopenblas0-pthread)"
            } else {
                "install OpenBLAS (Debian: libopenblas0-pthread; `deploy/setup` does it)"
            },
        )
    } else {
        Finding::ok("BLAS", blas.clone())
    })
}

fn variables(started: &Started) -> Option<Finding> {
    let set: Vec<String> = started
        .mlx_env
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    (!set.is_empty()).then(|| {
        Finding::warn(
            "MLX_* variables",
            set.join(" "),
            "they change what MLX does: results compare only with those made under the same",
            "start the agent without them, unless you mean them",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::doctor::Verdict;

    fn started() -> Started {
        Started {
            suite_version: "0.1.0".to_owned(),
            mlx_version: "0.32.2".to_owned(),
            mlx_device: "Apple M5 Max".to_owned(),
            mlx_architecture: "applegpu_g17s".to_owned(),
            mlx_sha256: "0123456789abcdef".to_owned(),
            blas: "Accelerate".to_owned(),
            nax_built: Some(true),
            ..Started::default()
        }
    }

    fn mac(os_version: &str) -> Inventory {
        Inventory {
            os: "macos".to_owned(),
            os_version: os_version.to_owned(),
            ..Inventory::default()
        }
    }

    fn worst(started: Started, inventory: &Inventory) -> (Verdict, &'static str) {
        let findings = findings(Ok(started), inventory);
        let worst = findings.iter().max_by_key(|it| it.verdict).unwrap();
        (worst.verdict, worst.check)
    }

    #[test]
    fn a_sound_worker_is_in_order() {
        assert_eq!(worst(started(), &mac("26.2")).0, Verdict::Ok);
    }

    #[test]
    fn kernels_without_matrix_units_matter_where_mlx_would_use_them() {
        let without = Started {
            nax_built: Some(false),
            ..started()
        };
        let kernels = (Verdict::Warn, "Metal kernels");
        assert_eq!(worst(without.clone(), &mac("26.2")), kernels);
        assert_eq!(worst(without.clone(), &mac("27.0")), kernels);
        assert_eq!(worst(without.clone(), &mac("26.1")).0, Verdict::Ok);
        for architecture in ["applegpu_g16s", "applegpu_g17p", ""] {
            let older = Started {
                mlx_architecture: architecture.to_owned(),
                ..without.clone()
            };
            assert_eq!(worst(older, &mac("26.2")).0, Verdict::Ok, "{architecture}");
        }
    }

    #[test]
    fn a_mac_without_kernels_measures_nothing() {
        let without = Started {
            nax_built: None,
            ..started()
        };
        let kernels = (Verdict::Spoils, "Metal kernels");
        assert_eq!(worst(without.clone(), &mac("15.0")), kernels);
        let linux = Inventory {
            os: "linux".to_owned(),
            ..Inventory::default()
        };
        assert_eq!(worst(without, &linux).0, Verdict::Ok);
    }

    #[test]
    fn an_installed_agent_is_not_told_to_build() {
        let bad = Started {
            debug_build: true,
            nax_built: None,
            ..started()
        };
        let built = mac("26.2");
        let installed = Inventory {
            labels: [(RELEASE_LABEL.to_owned(), "0123456789ab".to_owned())].into(),
            ..built.clone()
        };
        let failed = || software::Error::Silent {
            program: PathBuf::from("mlx-fleet-suite"),
        };
        let all = |inventory| {
            let mut all = findings(Ok(bad.clone()), inventory);
            all.extend(findings(Err(failed()), inventory));
            all.push(missing("none", inventory));
            all.retain(|it| it.verdict > Verdict::Ok);
            assert_eq!(all.len(), 4, "{all:?}");
            all
        };
        assert!(all(&built).iter().all(|it| it.mend.contains("build")));
        let machine = |it: &Finding| it.mend.contains("`mlx-fleet machine add`");
        assert!(all(&installed).iter().all(machine));
    }

    #[test]
    fn a_debug_build_a_slow_blas_and_a_worker_that_does_not_run_are_told() {
        let debug = Started {
            debug_build: true,
            ..started()
        };
        assert_eq!(worst(debug, &mac("15.0")), (Verdict::Spoils, "worker"));
        let linux = Inventory {
            os: "linux".to_owned(),
            ..Inventory::default()
        };
        let slow = Started {
            blas: "libblas.so.3".to_owned(),
            ..started()
        };
        assert_eq!(worst(slow, &linux), (Verdict::Warn, "BLAS"));
        let failed = software::Error::Failed {
            program: PathBuf::from("mlx-fleet-suite"),
            said: "libmlx.so: cannot open shared object file".to_owned(),
        };
        let told = findings(Err(failed), &linux);
        assert_eq!(told[0].verdict, Verdict::Spoils);
        assert!(told[0].found.contains("libmlx.so"), "{told:?}");
    }
}
