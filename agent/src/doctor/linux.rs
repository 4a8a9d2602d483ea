//! What only Linux has: governors, turbo, and a kernel that says whether its clock is set by others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Finding;
use crate::sys;

const CPUS: &str = "/sys/devices/system/cpu";

pub fn findings() -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(governor(&governors(Path::new(CPUS))));
    findings.extend(turbo(Path::new(CPUS)).map(turbo_finding));
    findings.push(clock(sys::clock_is_set_by_others()));
    findings
}

/// Of every core that has one; a virtual machine's have none.
fn governors(cpus: &Path) -> BTreeSet<String> {
    let cores = fs::read_dir(cpus).into_iter().flatten().flatten();
    cores
        .filter_map(|core| fs::read_to_string(core.path().join("cpufreq/scaling_governor")).ok())
        .map(|governor| governor.trim().to_owned())
        .collect()
}

fn governor(governors: &BTreeSet<String>) -> Option<Finding> {
    let names = governors.iter().cloned().collect::<Vec<_>>().join(", ");
    match names.as_str() {
        "" => None,
        "performance" => Some(Finding::ok("CPU governor", names)),
        _ => Some(Finding::warn(
            "CPU governor",
            names,
            "clocks follow the load with some delay, so short regions are slower and vary more",
            "`sudo cpupower frequency-set -g performance`",
        )),
    }
}

/// Whether cores may run above their nominal clock; None where the system does not say.
fn turbo(cpus: &Path) -> Option<bool> {
    let flag = |name: &str| Some(fs::read_to_string(cpus.join(name)).ok()?.trim() == "1");
    flag("intel_pstate/no_turbo")
        .map(|off| !off)
        .or_else(|| flag("cpufreq/boost"))
}

fn turbo_finding(on: bool) -> Finding {
    if on {
        Finding::warn(
            "CPU turbo",
            "on",
            "clocks depend on heat and on how many cores work, so launches differ more",
            "for small differences turn it off in the firmware's settings, or write 0 to \
             /sys/devices/system/cpu/cpufreq/boost (Intel: 1 to intel_pstate/no_turbo); leave it on to know the \
             highest speed",
        )
    } else {
        Finding::ok("CPU turbo", "off")
    }
}

fn clock(is_set: Option<bool>) -> Finding {
    const CHECK: &str = "time service";
    match is_set {
        Some(true) => Finding::ok(CHECK, "sets the clock"),
        Some(false) => Finding::warn(
            CHECK,
            "none sets the clock",
            "durations are right, but times will drift from other machines'",
            "`timedatectl set-ntp true`, or install chrony; a virtual machine's host may do it unseen",
        ),
        None => Finding::ok(CHECK, "the kernel does not tell"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn governors_and_turbo_are_read_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let cpus = dir.path();
        assert_eq!(governor(&governors(cpus)), None);
        assert_eq!(turbo(cpus), None);
        for (core, name) in [("cpu0", "performance\n"), ("cpu1", "performance\n")] {
            fs::create_dir_all(cpus.join(core).join("cpufreq")).unwrap();
            fs::write(cpus.join(core).join("cpufreq/scaling_governor"), name).unwrap();
        }
        assert_eq!(governor(&governors(cpus)).unwrap().verdict, Verdict::Ok);
        fs::write(cpus.join("cpu1/cpufreq/scaling_governor"), "powersave\n").unwrap();
        let mixed = governor(&governors(cpus)).unwrap();
        assert_eq!(mixed.verdict, Verdict::Warn);
        assert_eq!(mixed.found, "performance, powersave");

        fs::create_dir(cpus.join("cpufreq")).unwrap();
        fs::write(cpus.join("cpufreq/boost"), "0\n").unwrap();
        assert_eq!(turbo(cpus), Some(false));
        fs::create_dir(cpus.join("intel_pstate")).unwrap();
        fs::write(cpus.join("intel_pstate/no_turbo"), "0\n").unwrap();
        assert_eq!(turbo(cpus), Some(true));
        assert_eq!(turbo_finding(true).verdict, Verdict::Warn);
    }

    #[test]
    fn a_clock_that_nobody_sets_is_told() {
        assert_eq!(clock(Some(false)).verdict, Verdict::Warn);
        assert_eq!(clock(Some(true)).verdict, Verdict::Ok);
    }
}
