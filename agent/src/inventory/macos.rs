//! macOS: sysctl for what has a number, macmon's view of the chip for core tiers and GPU cores.

use domain::machine::CpuTier;
use sysctl::Sysctl;

use super::Hardware;
use crate::macos::{ask, output};

pub const MACHINE_ID_SOURCE: &str = "the I/O registry has no IOPlatformUUID";

pub fn hardware() -> Hardware {
    let chip = macmon::SocInfo::new().ok();
    let megabytes = number("iogpu.wired_limit_mb").filter(|&limit| limit > 0);
    let model = text("hw.model").unwrap_or_default();
    Hardware {
        machine_id: platform_uuid(),
        os_version: text("kern.osproductversion").unwrap_or_default(),
        os_build: text("kern.osversion").unwrap_or_default(),
        chip: text("machdep.cpu.brand_string").unwrap_or_default(),
        gpu_cores: chip
            .as_ref()
            .map(|chip| u32::from(chip.gpu_cores))
            .filter(|&n| n > 0),
        gpu_max_mhz: chip
            .as_ref()
            .and_then(|chip| chip.gpu_freqs.iter().copied().max())
            .filter(|&mhz| mhz > 0),
        cpu_cores: number("hw.physicalcpu").unwrap_or_default() as u32,
        cpu_tiers: tiers(),
        memory_bytes: number("hw.memsize").unwrap_or_default(),
        // 0 stands for the system's own policy, which only Metal can tell.
        wired_limit_bytes: megabytes.map(|megabytes| megabytes * 1024 * 1024),
        boot_id: text("kern.bootsessionuuid").unwrap_or_default(),
        virtual_machine: number("kern.hv_vmm_present") == Some(1)
            || model.starts_with("VirtualMac"),
        model,
    }
}

fn text(name: &str) -> Option<String> {
    let text = sysctl::Ctl::new(name).ok()?.value_string().ok()?;
    Some(text.trim().to_owned())
}

fn number(name: &str) -> Option<u64> {
    text(name)?.parse().ok()
}

/// As many tiers as the system has, by its own names.
fn tiers() -> Vec<CpuTier> {
    let levels = number("hw.nperflevels").unwrap_or_default();
    (0..levels)
        .filter_map(|level| {
            Some(CpuTier {
                label: text(&format!("hw.perflevel{level}.name"))?,
                cores: number(&format!("hw.perflevel{level}.physicalcpu"))? as u32,
            })
        })
        .collect()
}

fn platform_uuid() -> Option<String> {
    let said = ask("/usr/sbin/ioreg", &["-rd1", "-c", "IOPlatformExpertDevice"])?;
    output::platform_uuid(&said)
}
