//! What the machine is: read once at the start and told with every Hello. One number changes while an agent
//! runs, and jobs read it again: [`wired_limit_bytes`].

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::machine::{Inventory, RELEASE_DIGITS, RELEASE_LABEL};
use service::folders::{self, DataFolder};
use service::tls::Fingerprint;
use sha2::{Digest, Sha256};
use sysinfo::System;
use uuid::Uuid;

/// Mixed into the platform's machine id, which should not leave the machine as it is. So is the fleet's
/// CA: what one fleet knows a machine by means nothing to another.
const IDENTITY_SALT: &str = "mlx-fleet machine identity";

/// The parts that each platform finds out in its own way; None and empty: could not be read.
#[derive(Debug, Default)]
struct Hardware {
    /// The platform's own stable id.
    machine_id: Option<String>,
    os_version: String,
    os_build: String,
    model: String,
    chip: String,
    gpu_cores: Option<u32>,
    gpu_max_mhz: Option<u32>,
    cpu_cores: u32,
    cpu_tiers: Vec<domain::machine::CpuTier>,
    memory_bytes: u64,
    wired_limit_bytes: Option<u64>,
    boot_id: String,
    virtual_machine: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this machine has no id of its own ({why}), and none can be kept")]
    NoIdentity {
        why: &'static str,
        source: folders::Error,
    },
    #[error("the id that was given to this machine cannot be read")]
    KeptIdentity(#[source] folders::Error),
    #[error("the size of this machine's memory could not be read")]
    NoMemory,
}

/// Looks at this machine. An id in the folder stands before the platform's own, which clones share; where
/// there is neither, one is made up and kept. A machine of no fleet has no identity.
pub fn read(
    mut labels: BTreeMap<String, String>,
    folder: &DataFolder,
    fleet: Option<Fingerprint>,
) -> Result<Inventory, Error> {
    let Hardware {
        machine_id,
        os_version,
        os_build,
        model,
        chip,
        gpu_cores,
        gpu_max_mhz,
        cpu_cores,
        cpu_tiers,
        memory_bytes,
        wired_limit_bytes,
        boot_id,
        virtual_machine,
    } = platform::hardware();
    let identity = match fleet {
        None => String::new(),
        Some(fleet) => match kept_id(folder)?.or(machine_id) {
            Some(id) => identity(&id, fleet),
            None => identity(&made_up_id(folder)?, fleet),
        },
    };
    if memory_bytes == 0 {
        return Err(Error::NoMemory);
    }
    let program = std::env::current_exe().and_then(std::fs::canonicalize);
    if let Some(release) = program.ok().as_deref().and_then(release_of) {
        labels.entry(RELEASE_LABEL.to_owned()).or_insert(release);
    }
    Ok(Inventory {
        identity,
        hostname: hostname(),
        os: std::env::consts::OS.to_owned(),
        os_version,
        os_build,
        arch: std::env::consts::ARCH.to_owned(),
        hardware_model: model,
        chip,
        gpu_cores,
        gpu_max_mhz,
        cpu_cores,
        cpu_tiers,
        memory_bytes,
        wired_limit_bytes,
        boot_id,
        virtual_machine,
        simulated: false,
        agent_version: crate::VERSION.to_owned(),
        labels,
    })
}

/// The release that install-agent.sh put this program in, by the beginning of its archive's SHA-256:
/// `releases/mlx-fleet-0.1.0-macos14-arm64-0123456789ab/bin/mlx-fleet-agent`.
fn release_of(program: &Path) -> Option<String> {
    let release = program.parent()?.parent()?;
    if release.parent()?.file_name()? != "releases" {
        return None;
    }
    let (_, digest) = release.file_name()?.to_str()?.rsplit_once('-')?;
    let is_digest =
        digest.len() == RELEASE_DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| digest.to_owned())
}

/// What people let the GPU keep in memory; None where they left it to the system.
pub fn wired_limit_bytes() -> Option<u64> {
    platform::wired_limit_bytes()
}

/// The kernel's version, for environments.
pub fn kernel() -> String {
    System::kernel_version().unwrap_or_default()
}

/// The machine as JSON, for people and scripts.
pub fn to_json(inventory: &Inventory) -> serde_json::Value {
    let Inventory {
        identity,
        hostname,
        os,
        os_version,
        os_build,
        arch,
        hardware_model,
        chip,
        gpu_cores,
        gpu_max_mhz,
        cpu_cores,
        cpu_tiers,
        memory_bytes,
        wired_limit_bytes,
        boot_id,
        virtual_machine,
        simulated,
        agent_version,
        labels,
    } = inventory;
    let tiers: BTreeMap<&str, u32> = cpu_tiers
        .iter()
        .map(|tier| (tier.label.as_str(), tier.cores))
        .collect();
    let identity = (!identity.is_empty()).then_some(identity);
    serde_json::json!({
        "identity": identity, "hostname": hostname, "os": os, "os_version": os_version,
        "os_build": os_build, "arch": arch, "hardware_model": hardware_model, "chip": chip,
        "gpu_cores": gpu_cores, "gpu_max_mhz": gpu_max_mhz, "cpu_cores": cpu_cores, "cpu_tiers": tiers,
        "memory_bytes": memory_bytes, "wired_limit_bytes": wired_limit_bytes,
        "model_limit_bytes": inventory.model_limit_bytes(), "boot_id": boot_id,
        "virtual_machine": virtual_machine, "simulated": simulated,
        "agent_version": agent_version, "labels": labels,
    })
}

fn id_file(folder: &DataFolder) -> PathBuf {
    folder.root().join("machine-id")
}

/// Put there by a person, or made up at an earlier start.
fn kept_id(folder: &DataFolder) -> Result<Option<String>, Error> {
    match folders::read_public(&id_file(folder)) {
        Ok(id) if id.trim().is_empty() => Ok(None),
        Ok(id) => Ok(Some(id)),
        Err(error) if error.is_missing() => Ok(None),
        Err(source) => Err(Error::KeptIdentity(source)),
    }
}

/// What the fleet knows a machine by that has no id: random, and the same as long as the folder lives.
fn made_up_id(folder: &DataFolder) -> Result<String, Error> {
    let path = id_file(folder);
    let why = platform::MACHINE_ID_SOURCE;
    tracing::warn!(why, path = %path.display(), "this machine goes by a random id");
    let id = Uuid::new_v4().simple().to_string();
    let written = folder.create();
    written
        .and_then(|()| folders::write_public(&path, &id))
        .map_err(|source| Error::NoIdentity { why, source })?;
    Ok(id)
}

fn identity(machine_id: &str, fleet: Fingerprint) -> String {
    let digest = Sha256::new()
        .chain_update(IDENTITY_SALT)
        .chain_update(fleet.as_bytes())
        .chain_update(machine_id.trim())
        .finalize();
    hex::encode(&digest[..16])
}

/// Without the domain, which changes with the network.
fn hostname() -> String {
    let full = System::host_name().unwrap_or_default();
    let short = full.split('.').next().unwrap_or_default();
    match short {
        "" => "unnamed".to_owned(),
        short => short.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(ca: &str) -> Fingerprint {
        Fingerprint::of(ca.as_bytes())
    }

    #[test]
    fn this_machine_is_known_and_stays_the_same() {
        let labels = BTreeMap::from([("room".to_owned(), "lab".to_owned())]);
        let folder = DataFolder::at("/nonexistent");
        let one = read(labels.clone(), &folder, Some(fleet("a"))).unwrap();
        assert_eq!(
            one,
            read(labels.clone(), &folder, Some(fleet("a"))).unwrap()
        );
        assert_eq!(one.identity.len(), 32);
        assert!(one.cpu_cores > 0 && one.memory_bytes > 100_000_000);
        assert!(!one.chip.is_empty() && !one.boot_id.is_empty() && !one.os_version.is_empty());
        assert_eq!(to_json(&one)["labels"]["room"], "lab");
        let alone = read(labels, &folder, None).unwrap();
        assert!(to_json(&alone)["identity"].is_null());
    }

    #[test]
    fn an_installed_agent_knows_its_release_by_its_folder() {
        let of = |path: &str| release_of(Path::new(path));
        let installed = "/opt/mlx-fleet/releases/mlx-fleet-0.1.0-macos14-arm64-0123456789ab";
        let program = format!("{installed}/bin/mlx-fleet-agent");
        assert_eq!(of(&program), Some("0123456789ab".to_owned()));
        for other in [
            "/repo/target/debug/mlx-fleet-agent",
            "/releases/old-release/bin/x",
            "x",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_machine_without_an_id_keeps_the_one_that_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["a", "b"].map(|name| DataFolder::at(dir.path().join(name)));
        let id = made_up_id(&one).unwrap();
        assert_eq!(kept_id(&one).unwrap(), Some(id.clone()));
        assert_ne!(made_up_id(&other).unwrap(), id);
    }

    #[test]
    fn clones_that_were_given_ids_are_different_machines() {
        let dir = tempfile::tempdir().unwrap();
        let [plain, one, other] = ["a", "b", "c"].map(|name| DataFolder::at(dir.path().join(name)));
        for (folder, id) in [(&one, "lab 1\n"), (&other, "lab 2\n")] {
            folder.create().unwrap();
            folders::write_public(&id_file(folder), id).unwrap();
        }
        let identity = |folder| {
            let inventory = read(BTreeMap::new(), folder, Some(fleet("a")));
            inventory.unwrap().identity
        };
        let all = [&plain, &one, &other].map(identity);
        assert!(
            all[0] != all[1] && all[1] != all[2] && all[0] != all[2],
            "{all:?}"
        );
        assert_eq!(identity(&one), all[1]);
    }

    #[test]
    fn the_platforms_id_does_not_show_in_the_identity_which_is_another_in_each_fleet() {
        let in_a = |id| identity(id, fleet("a"));
        assert_eq!(in_a("abc"), in_a("abc\n"));
        assert_ne!(in_a("abc"), in_a("abd"));
        assert_ne!(in_a("abc"), identity("abc", fleet("b")));
        assert!(!in_a("abc").contains("abc"));
    }
}
