//! macOS: sysctl for what has a number, macmon's view of the chip for the GPU.

use domain::machine::CpuTier;

use super::Hardware;

#[cfg(target_os = "macos")]
pub use system::{MACHINE_ID_SOURCE, hardware, wired_limit_bytes};

#[cfg(target_os = "macos")]
mod system {
    use sysctl::Sysctl;

    use super::{Gpu, Hardware, hardware_of, wired_limit_of};
    use crate::macos::{ask, output};

    pub const MACHINE_ID_SOURCE: &str = "the I/O registry has no IOPlatformUUID";

    pub fn hardware() -> Hardware {
        let uuid = ask("/usr/sbin/ioreg", &["-rd1", "-c", "IOPlatformExpertDevice"]);
        Hardware {
            machine_id: uuid.and_then(|said| output::platform_uuid(&said)),
            ..hardware_of(text, &gpu())
        }
    }

    pub fn wired_limit_bytes() -> Option<u64> {
        wired_limit_of(text)
    }

    /// macmon knows the chips of its time; the registry tells the cores of any.
    fn gpu() -> Gpu {
        let chip = macmon::SocInfo::new().ok();
        let cores = chip.as_ref().map(|chip| u32::from(chip.gpu_cores));
        let of_registry = || {
            const QUESTION: [&str; 7] = ["-r", "-d", "1", "-w", "0", "-c", "AGXAccelerator"];
            output::gpu_cores(&ask("/usr/sbin/ioreg", &QUESTION)?)
        };
        let clocks = chip.iter().flat_map(|chip| &chip.gpu_freqs);
        Gpu {
            cores: cores.filter(|&cores| cores > 0).or_else(of_registry),
            max_mhz: clocks.copied().max().filter(|&mhz| mhz > 0),
        }
    }

    fn text(name: &str) -> Option<String> {
        let text = sysctl::Ctl::new(name).ok()?.value_string().ok()?;
        Some(text.trim().to_owned())
    }
}

#[derive(Debug, Default)]
struct Gpu {
    cores: Option<u32>,
    max_mhz: Option<u32>,
}

/// By what sysctl tells for a name.
fn hardware_of(text: impl Fn(&str) -> Option<String>, gpu: &Gpu) -> Hardware {
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let told = |name: &str| text(name).unwrap_or_default();
    let model = told("hw.model");
    Hardware {
        machine_id: None,
        os_version: told("kern.osproductversion"),
        os_build: told("kern.osversion"),
        chip: told("machdep.cpu.brand_string"),
        gpu_cores: gpu.cores,
        gpu_max_mhz: gpu.max_mhz,
        cpu_cores: number("hw.physicalcpu").unwrap_or_default() as u32,
        cpu_tiers: tiers(&text),
        memory_bytes: number("hw.memsize").unwrap_or_default(),
        wired_limit_bytes: wired_limit_of(&text),
        boot_id: told("kern.bootsessionuuid"),
        virtual_machine: number("kern.hv_vmm_present") == Some(1)
            || model.starts_with("VirtualMac"),
        model,
    }
}

/// 0 stands for the system's own policy, which only Metal can tell.
fn wired_limit_of(text: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let megabytes: u64 = text("iogpu.wired_limit_mb")?.parse().ok()?;
    (megabytes > 0).then_some(megabytes * 1024 * 1024)
}

/// As many tiers as the system has, by its own names.
fn tiers(text: impl Fn(&str) -> Option<String>) -> Vec<CpuTier> {
    let number = |name: &str| text(name)?.parse::<u32>().ok();
    let levels = number("hw.nperflevels").unwrap_or_default();
    (0..levels)
        .filter_map(|level| {
            Some(CpuTier {
                label: text(&format!("hw.perflevel{level}.name"))?,
                cores: number(&format!("hw.perflevel{level}.physicalcpu"))?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A Mac mini with an M4, as sysctl tells of it.
    const MINI: [(&str, &str); 14] = [
        ("hw.model", "Mac16,10"),
        ("hw.memsize", "17179869184"),
        ("iogpu.wired_limit_mb", "0"),
        ("kern.hv_vmm_present", "0"),
        ("kern.osproductversion", "26.2"),
        ("kern.osversion", "25C56"),
        (
            "kern.bootsessionuuid",
            "4E0E9A58-33B1-4D57-B791-8F7FC635081A",
        ),
        ("machdep.cpu.brand_string", "Apple M4"),
        ("hw.physicalcpu", "10"),
        ("hw.nperflevels", "2"),
        ("hw.perflevel0.name", "Performance"),
        ("hw.perflevel0.physicalcpu", "4"),
        ("hw.perflevel1.name", "Efficiency"),
        ("hw.perflevel1.physicalcpu", "6"),
    ];

    /// The Mac mini, but for some of its values.
    fn of(other: &[(&str, &str)]) -> Hardware {
        let values: BTreeMap<&str, &str> = MINI.iter().chain(other).copied().collect();
        let text = |name: &str| values.get(name).map(|value| (*value).to_owned());
        let gpu = Gpu {
            cores: Some(10),
            max_mhz: None,
        };
        hardware_of(text, &gpu)
    }

    #[test]
    fn a_mac_is_what_sysctl_tells() {
        let mini = of(&[]);
        assert_eq!((&*mini.model, &*mini.chip), ("Mac16,10", "Apple M4"));
        assert_eq!((&*mini.os_version, &*mini.os_build), ("26.2", "25C56"));
        assert_eq!(mini.memory_bytes, 17_179_869_184);
        assert_eq!(mini.wired_limit_bytes, None, "0 is the system's own limit");
        assert_eq!((mini.cpu_cores, mini.gpu_cores), (10, Some(10)));
        let tiers = mini
            .cpu_tiers
            .iter()
            .map(|it| (it.label.as_str(), it.cores));
        assert!(tiers.eq([("Performance", 4), ("Efficiency", 6)]));
        assert!(!mini.virtual_machine && mini.machine_id.is_none());
        assert!(mini.boot_id.starts_with("4E0E9A58"));
    }

    #[test]
    fn a_limit_that_was_set_and_a_virtual_machine_are_seen() {
        let limit = of(&[("iogpu.wired_limit_mb", "14336")]).wired_limit_bytes;
        assert_eq!(limit, Some(14_336 * 1024 * 1024));
        assert!(of(&[("kern.hv_vmm_present", "1")]).virtual_machine);
        assert!(of(&[("hw.model", "VirtualMac2,1")]).virtual_machine);
    }

    #[test]
    fn what_sysctl_does_not_tell_is_empty() {
        let nothing = hardware_of(|_| None, &Gpu::default());
        assert_eq!((nothing.memory_bytes, nothing.cpu_cores), (0, 0));
        assert!(nothing.chip.is_empty() && nothing.cpu_tiers.is_empty());
        assert_eq!(nothing.wired_limit_bytes, None);
    }
}
