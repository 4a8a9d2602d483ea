//! Linux: `/proc`, `/sys`, `/etc`.

use std::fs;
use std::path::Path;

use domain::machine::CpuTier;
use sysinfo::System;

use super::Hardware;

pub const MACHINE_ID_SOURCE: &str = "/etc/machine-id is missing or empty";

pub fn hardware() -> Hardware {
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let cpu_cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    Hardware {
        machine_id: line("/etc/machine-id").or_else(|| line("/var/lib/dbus/machine-id")),
        os_version: distribution(),
        os_build: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        model: line("/sys/class/dmi/id/product_name")
            .or_else(|| line("/proc/device-tree/model"))
            .unwrap_or_default(),
        chip: chip(&cpuinfo).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        gpu_cores: None,
        gpu_max_mhz: None,
        cpu_cores,
        cpu_tiers: tiers(Path::new("/sys/devices"), cpu_cores),
        memory_bytes: memory_bytes(),
        wired_limit_bytes: wired_limit_bytes(),
        boot_id: line("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
        virtual_machine: is_virtual(&cpuinfo, &platform_names())
            || line("/sys/hypervisor/type").is_some(),
    }
}

/// Only macOS has one.
pub fn wired_limit_bytes() -> Option<u64> {
    None
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn line(path: &str) -> Option<String> {
    let text = read(path)?;
    let text = text.trim_matches(['\0', ' ', '\n', '\t']);
    (!text.is_empty()).then(|| text.to_owned())
}

fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn chip(cpuinfo: &str) -> Option<String> {
    let name = field(cpuinfo, "model name").or_else(|| field(cpuinfo, "Model"))?;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What this process may use: a container's limit where there is one.
fn memory_bytes() -> u64 {
    let Ok(mut system) = System::new() else {
        return 0;
    };
    system.refresh_memory();
    let whole = system.total_memory();
    let limit = system.cgroup_limits().map(|limits| limits.total_memory);
    limit
        .filter(|&limit| limit > 0)
        .map_or(whole, |limit| limit.min(whole))
}

/// Kinds of cores by the kernel's own names, where a processor has two; else one kind.
fn tiers(devices: &Path, cores: u32) -> Vec<CpuTier> {
    let tier = |label: &str| {
        let list = fs::read_to_string(devices.join(label).join("cpus")).ok()?;
        Some(CpuTier {
            label: label.to_owned(),
            cores: count(list.trim())?,
        })
    };
    let two: Vec<CpuTier> = ["cpu_core", "cpu_atom"]
        .into_iter()
        .filter_map(tier)
        .collect();
    if two.is_empty() {
        let label = "CPU".to_owned();
        return vec![CpuTier { label, cores }];
    }
    two
}

/// Of a list such as `0-7,16`.
fn count(list: &str) -> Option<u32> {
    list.split(',').try_fold(0_u32, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)?.checked_add(sum)
    })
}

/// What makers of virtual machines call them, where the processor's flags do not tell: those of ARM never do.
const VIRTUAL: [&str; 12] = [
    "Apple Virtualization",
    "Bochs",
    "dummy-virt",
    "Google Compute Engine",
    "HVM domU",
    "KVM",
    "OpenStack",
    "Parallels",
    "QEMU",
    "Virtual Machine",
    "VirtualBox",
    "VMware",
];

/// By the firmware and the device tree.
fn platform_names() -> String {
    let names = [
        "/sys/class/dmi/id/sys_vendor",
        "/sys/class/dmi/id/product_name",
        "/proc/device-tree/compatible",
    ];
    names
        .into_iter()
        .filter_map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_virtual(cpuinfo: &str, names: &str) -> bool {
    let flags = field(cpuinfo, "flags").unwrap_or_default();
    flags.split(' ').any(|flag| flag == "hypervisor")
        || VIRTUAL.iter().any(|name| names.contains(name))
        // Amazon sells whole machines too, whose names say so.
        || (names.contains("Amazon EC2") && !names.contains(".metal"))
}

/// Such as `Debian GNU/Linux 12`; what cannot be read is left out.
fn distribution() -> String {
    let parts = [System::name(), System::os_version()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str =
        "processor\t: 0\nmodel name\t: AMD EPYC  9R14\nflags\t\t: fpu hypervisor\n";

    #[test]
    fn the_chip_and_the_hypervisor_are_found_in_cpuinfo() {
        assert_eq!(chip(CPUINFO).unwrap(), "AMD EPYC 9R14");
        assert!(is_virtual(CPUINFO, ""));
        assert_eq!(chip(""), None);
    }

    #[test]
    fn machines_on_arm_are_virtual_by_their_names() {
        for (names, expected) in [
            ("Apple Inc.\nApple Virtualization Generic Platform", true),
            ("linux,dummy-virt", true),
            ("Amazon EC2\nm7g.large", true),
            ("Amazon EC2\nm7g.metal", false),
            ("Raspberry Pi 5 Model B", false),
            ("", false),
        ] {
            assert_eq!(is_virtual("", names), expected, "{names}");
        }
    }

    #[test]
    fn two_kinds_of_cores_have_the_kernels_names() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tiers(dir.path(), 8)[0].cores, 8);
        for (label, list) in [("cpu_core", "0-7,16\n"), ("cpu_atom", "8-15\n")] {
            fs::create_dir(dir.path().join(label)).unwrap();
            fs::write(dir.path().join(label).join("cpus"), list).unwrap();
        }
        let tiers = tiers(dir.path(), 17);
        let told: Vec<_> = tiers
            .iter()
            .map(|it| (it.label.as_str(), it.cores))
            .collect();
        assert_eq!(told, [("cpu_core", 9), ("cpu_atom", 8)]);
        assert_eq!(count("0-"), None);
    }
}
