//! Linux: `/proc`, `/sys`, `/etc`.

use std::fs;

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
        cpu_tiers: vec![CpuTier {
            label: "CPU".to_owned(),
            cores: cpu_cores,
        }],
        memory_bytes: memory_bytes(),
        wired_limit_bytes: None,
        boot_id: line("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
        virtual_machine: is_virtual(&cpuinfo),
    }
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

fn is_virtual(cpuinfo: &str) -> bool {
    let flags = field(cpuinfo, "flags").unwrap_or_default();
    flags.split(' ').any(|flag| flag == "hypervisor")
        || line("/sys/hypervisor/type").is_some()
        || line("/sys/class/dmi/id/sys_vendor")
            .is_some_and(|vendor| ["QEMU", "Amazon EC2", "VMware, Inc."].contains(&vendor.as_str()))
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
        assert!(is_virtual(CPUINFO));
        assert_eq!(chip(""), None);
    }
}
