//! The machine itself: what it is, and what it does beside measuring, by the gate's own rules.

use domain::machine::Inventory;

use super::Finding;
use crate::preflight::{
    CHORES_LIMIT, FOREIGN_CPU_LIMIT, FOREIGN_GPU_LIMIT, SWAP_LIMIT_BYTES, is_hot, mean, swap_growth,
};
use crate::sensors::{
    BACKUP_CPU_RATIO, Busy, CPU_TEMP_C, FOREIGN_CPU_RATIO, FOREIGN_GPU_RATIO, GPU_MHZ, GPU_POWER_W,
    GPU_TEMP_C, INDEXING_CPU_RATIO, MEM_PRESSURE_LEVEL, PowerSource, Readout, SWAP_USED_BYTES,
    THERMAL_LEVEL, THERMAL_STATE, Tick,
};

/// Programs that take less than this of a core are not named.
const BUSY_CORES: f64 = 0.05;
const NAMED: usize = 3;

/// So much in swap, and something did not fit not long ago.
const MUCH_SWAP_BYTES: f64 = 1e9;

/// `measuring`: an agent is at work on this host, and its worker's load is not held against anybody.
pub fn findings(
    inventory: &Inventory,
    ticks: &[Tick],
    busy: &[Busy],
    measuring: bool,
) -> Vec<Finding> {
    let last = ticks.last().map(|tick| tick.readout.clone());
    let last = last.unwrap_or_default();
    let mut findings = vec![hardware(inventory), size(inventory)];
    findings.extend(power_source(&last));
    findings.extend(low_power(&last, inventory));
    findings.extend(heat(&last));
    findings.extend(memory(&last, ticks));
    let load = [programs(ticks, busy, inventory), gpu(ticks)];
    let judged = |finding| {
        if measuring {
            unjudged(finding)
        } else {
            finding
        }
    };
    findings.extend(load.into_iter().flatten().map(judged));
    findings.extend(chores(ticks, inventory));
    findings.push(sensors(ticks, inventory));
    findings
}

fn hardware(inventory: &Inventory) -> Finding {
    let Inventory {
        chip,
        hardware_model,
        os_version,
        ..
    } = inventory;
    let told = [chip, hardware_model, os_version].map(String::as_str);
    let told: Vec<&str> = told.into_iter().filter(|it| !it.is_empty()).collect();
    let found = told.join(", ");
    if inventory.virtual_machine {
        Finding::spoils(
            "machine",
            format!("{found}: a virtual machine"),
            "neighbours on its host take cores, caches and memory when they like; every launch is marked \
             virtual_machine",
            "measure on the machine itself; where that cannot be, trust no small difference",
        )
    } else {
        Finding::ok("machine", found)
    }
}

fn size(inventory: &Inventory) -> Finding {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let memory = gigabytes(inventory.memory_bytes);
    let limit = gigabytes(inventory.model_limit_bytes());
    let found = format!("{memory:.1} GB of memory: models with their cache up to {limit:.1} GB");
    match (inventory.os.as_str(), inventory.wired_limit_bytes) {
        ("macos", Some(wired)) => Finding::ok(
            "model size",
            format!(
                "{found} (iogpu.wired_limit_mb is set to {:.1} GB until the next restart)",
                gigabytes(wired)
            ),
        ),
        ("macos", None) => Finding::ok(
            "model size",
            format!(
                "{found} (the system's own limit; `sudo sysctl iogpu.wired_limit_mb=N` raises it)"
            ),
        ),
        _ => Finding::ok("model size", found),
    }
}

fn power_source(last: &Readout) -> Option<Finding> {
    Some(match last.power_source? {
        PowerSource::Ac => Finding::ok("power", "mains"),
        PowerSource::Battery => Finding::spoils(
            "power",
            "battery",
            "the system may hold clocks down to save it; every launch is marked battery",
            "plug the machine in",
        ),
    })
}

fn low_power(last: &Readout, inventory: &Inventory) -> Option<Finding> {
    let mend = if inventory.os == "macos" {
        "System Settings, Battery: Low Power Mode off (or `sudo pmset -a lowpowermode 0`)"
    } else {
        "`powerprofilesctl set performance`, or the profile in the firmware's settings"
    };
    Some(if last.low_power_mode? {
        Finding::spoils(
            "low-power mode",
            "on",
            "the machine runs at about 60 % of its speed; every launch is marked low_power_mode",
            mend,
        )
    } else {
        Finding::ok("low-power mode", "off")
    })
}

fn heat(last: &Readout) -> Option<Finding> {
    let temperature = last.value(GPU_TEMP_C).or_else(|| last.value(CPU_TEMP_C));
    let told = last
        .value(THERMAL_LEVEL)
        .or_else(|| last.value(THERMAL_STATE));
    let found = match (told, temperature) {
        (None, None) => return None,
        (Some(level), None) => format!("thermal level {level}"),
        (None, Some(celsius)) => format!("{celsius:.0} °C"),
        (Some(level), Some(celsius)) => format!("thermal level {level}, {celsius:.0} °C"),
    };
    Some(if is_hot(last) {
        Finding::spoils(
            "heat",
            found,
            "the system slows the machine down; launches wait for it to cool and are then marked thermal",
            "let it rest, free its vents, open the lid, and look at what keeps it busy",
        )
    } else {
        Finding::ok("heat", found)
    })
}

fn memory(last: &Readout, ticks: &[Tick]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(level) = last.value(MEM_PRESSURE_LEVEL) {
        findings.push(if level > 1.0 {
            Finding::spoils(
                "memory",
                "the system is short of it",
                "weights may be compressed or swapped in the middle of a launch, which is marked \
                 memory_pressure",
                "end programs that hold much memory",
            )
        } else {
            Finding::ok("memory", "no shortage")
        });
    }
    if let Some(used) = last.value(SWAP_USED_BYTES) {
        let found = format!("{:.1} GB in use", used / 1e9);
        findings.push(if swap_growth(ticks) > SWAP_LIMIT_BYTES {
            Finding::spoils(
                "swap",
                format!("{found}, and growing"),
                "the disk's speed is measured in place of the memory's; launches are marked swap",
                "end programs that hold much memory",
            )
        } else if used > MUCH_SWAP_BYTES {
            Finding::warn(
                "swap",
                found,
                "something did not fit lately and may come back; launches in which swap grows are marked",
                "end programs that hold much memory, or restart the machine",
            )
        } else {
            Finding::ok("swap", found)
        });
    }
    findings
}

fn unjudged(finding: Finding) -> Finding {
    let Finding { check, found, .. } = finding;
    Finding::ok(
        check,
        format!("{found}; an agent's worker is among them, so this is not judged"),
    )
}

fn programs(ticks: &[Tick], busy: &[Busy], inventory: &Inventory) -> Option<Finding> {
    let ratio = mean(ticks, FOREIGN_CPU_RATIO)?;
    let ours = std::process::id();
    let named: Vec<String> = busy
        .iter()
        .filter(|it| it.pid != ours && it.cores >= BUSY_CORES)
        .take(NAMED)
        .map(|it| format!("{} (pid {}) {:.2} cores", it.name, it.pid, it.cores))
        .collect();
    let mut found = format!("take {:.0} % of all cores", ratio * 100.0);
    if !named.is_empty() {
        found = format!("{found}: {}", named.join(", "));
    }
    let seen: f64 = busy
        .iter()
        .filter(|it| it.pid != ours)
        .map(|it| it.cores)
        .sum();
    let taken = ratio * f64::from(inventory.cpu_cores);
    if taken > BUSY_CORES && seen < taken / 2.0 {
        found.push_str(", most of it by programs that came and went");
    }
    Some(if ratio >= FOREIGN_CPU_LIMIT {
        Finding::spoils(
            "other programs",
            found,
            "they take cores, caches and memory bandwidth; launches wait for them to end, and are then marked \
             foreign_cpu",
            "end them, or log out everybody else",
        )
    } else if busy.iter().any(|it| it.pid != ours && it.cores >= 0.5) {
        Finding::warn(
            "other programs",
            found,
            "too little to be marked, and enough to widen intervals",
            "end them if you can",
        )
    } else {
        Finding::ok("other programs", found)
    })
}

fn gpu(ticks: &[Tick]) -> Option<Finding> {
    let ratio = mean(ticks, FOREIGN_GPU_RATIO)?;
    let found = format!("take {:.1} % of the GPU's time", ratio * 100.0);
    Some(if ratio >= FOREIGN_GPU_LIMIT {
        Finding::spoils(
            "programs on the GPU",
            found,
            "they share its cores and its bandwidth with MLX; launches wait, and are then marked foreign_gpu",
            "close browsers, video and moving wallpapers, and let the display sleep",
        )
    } else {
        Finding::ok("programs on the GPU", found)
    })
}

fn chores(ticks: &[Tick], inventory: &Inventory) -> Vec<Finding> {
    let is_mac = inventory.os == "macos";
    let of = |check, sensor, mend| {
        let cores = mean(ticks, sensor)?;
        let found = format!("{:.0} % of a core", cores * 100.0);
        Some(if cores >= CHORES_LIMIT {
            Finding::spoils(
                check,
                found,
                "it takes the disk and memory bandwidth; launches wait for its end, and are then marked \
                 housekeeping",
                mend,
            )
        } else {
            Finding::ok(check, found)
        })
    };
    let (backup, indexing) = if is_mac {
        (
            "let it end, or `tmutil stopbackup`; `sudo tmutil disable` keeps it from coming back",
            "let it end; `sudo mdutil -i off /` turns Spotlight's indexing off",
        )
    } else {
        (
            "let it end, or stop its timer",
            "let it end, or stop its timer",
        )
    };
    let found = [
        of("backups", BACKUP_CPU_RATIO, backup),
        of("indexing of files", INDEXING_CPU_RATIO, indexing),
    ];
    found.into_iter().flatten().collect()
}

/// What reports will have no figures of.
fn sensors(ticks: &[Tick], inventory: &Inventory) -> Finding {
    let wanted = [
        (GPU_POWER_W, "GPU power"),
        (GPU_MHZ, "GPU clock"),
        (GPU_TEMP_C, "GPU temperature"),
        (CPU_TEMP_C, "CPU temperature"),
        (FOREIGN_GPU_RATIO, "others' GPU time"),
    ];
    let silent: Vec<&str> = wanted
        .into_iter()
        .filter(|&(sensor, _)| mean(ticks, sensor).is_none())
        .map(|(_, name)| name)
        .collect();
    if silent.is_empty() {
        return Finding::ok("sensors", "all speak");
    }
    let found = format!("silent: {}", silent.join(", "));
    if inventory.os == "macos" {
        Finding::warn(
            "sensors",
            found,
            "reports have no such figures (NULL, never 0), and throttling is told by the rest alone",
            "nothing, if this release of macOS hides them; else start the agent outside of a sandbox",
        )
    } else {
        Finding::ok("sensors", found)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::doctor::Verdict;
    use crate::sensors::INTERVAL;

    fn ticks(readouts: Vec<Readout>) -> Vec<Tick> {
        let start = Instant::now();
        let tick = |(second, readout): (u32, Readout)| Tick {
            at: start + INTERVAL * second,
            readout,
        };
        (0..).zip(readouts).map(tick).collect()
    }

    fn seen(values: &[(&'static str, f64)]) -> Vec<Tick> {
        let readout = Readout {
            values: values.to_vec(),
            ..Readout::default()
        };
        ticks(vec![readout; 2])
    }

    fn mac() -> Inventory {
        Inventory {
            os: "macos".to_owned(),
            chip: "Apple M3 Max".to_owned(),
            memory_bytes: 128_000_000_000,
            ..Inventory::default()
        }
    }

    /// All that is not in order.
    fn told(ticks: &[Tick], busy: &[Busy]) -> Vec<(&'static str, Verdict)> {
        let findings = findings(&mac(), ticks, busy, false);
        let bad = findings.iter().filter(|it| it.verdict > Verdict::Ok);
        let bad = bad.filter(|it| it.check != "sensors");
        bad.map(|it| (it.check, it.verdict)).collect()
    }

    #[test]
    fn a_quiet_mac_on_its_mains_is_in_order() {
        let calm = Readout {
            values: vec![
                (FOREIGN_CPU_RATIO, 0.02),
                (FOREIGN_GPU_RATIO, 0.01),
                (BACKUP_CPU_RATIO, 0.0),
                (INDEXING_CPU_RATIO, 0.01),
                (THERMAL_LEVEL, 0.0),
                (MEM_PRESSURE_LEVEL, 1.0),
                (SWAP_USED_BYTES, 0.0),
            ],
            power_source: Some(PowerSource::Ac),
            low_power_mode: Some(false),
        };
        let ticks = ticks(vec![calm; 3]);
        assert_eq!(told(&ticks, &[]), []);
        let checks: Vec<_> = findings(&mac(), &ticks, &[], false)
            .iter()
            .map(|it| it.check)
            .collect();
        let expected = [
            "machine",
            "model size",
            "power",
            "low-power mode",
            "heat",
            "memory",
            "swap",
            "other programs",
            "programs on the GPU",
            "backups",
            "indexing of files",
            "sensors",
        ];
        assert_eq!(checks, expected);
    }

    #[test]
    fn each_condition_that_the_gate_marks_spoils() {
        let spoils = |check| vec![(check, Verdict::Spoils)];
        for (sensor, value, check) in [
            (FOREIGN_CPU_RATIO, 0.2, "other programs"),
            (FOREIGN_GPU_RATIO, 0.05, "programs on the GPU"),
            (BACKUP_CPU_RATIO, 0.5, "backups"),
            (INDEXING_CPU_RATIO, 0.5, "indexing of files"),
            (THERMAL_STATE, 1.0, "heat"),
            (MEM_PRESSURE_LEVEL, 2.0, "memory"),
        ] {
            assert_eq!(told(&seen(&[(sensor, value)]), &[]), spoils(check));
        }
        let mut growing = seen(&[(SWAP_USED_BYTES, 0.0)]);
        growing[1].readout.values[0].1 = 3e6;
        assert_eq!(told(&growing, &[]), spoils("swap"));
        let much = seen(&[(SWAP_USED_BYTES, 2e9)]);
        assert_eq!(told(&much, &[]), [("swap", Verdict::Warn)]);
        let on_battery = Readout {
            power_source: Some(PowerSource::Battery),
            low_power_mode: Some(true),
            ..Readout::default()
        };
        assert_eq!(
            told(&ticks(vec![on_battery]), &[]),
            [
                ("power", Verdict::Spoils),
                ("low-power mode", Verdict::Spoils)
            ]
        );
    }

    #[test]
    fn a_program_is_named_before_it_takes_a_tenth_of_the_machine() {
        let busy = [Busy {
            pid: 7,
            name: "wallpaper".to_owned(),
            cores: 0.8,
        }];
        let ticks = seen(&[(FOREIGN_CPU_RATIO, 0.05)]);
        assert_eq!(told(&ticks, &busy), [("other programs", Verdict::Warn)]);
        let told = programs(&ticks, &busy, &mac()).unwrap();
        assert!(told.found.contains("wallpaper (pid 7)"), "{told:?}");
        assert!(!told.found.contains("came and went"), "{told:?}");
        let mac = Inventory {
            cpu_cores: 16,
            ..mac()
        };
        let short_lived = programs(&seen(&[(FOREIGN_CPU_RATIO, 0.5)]), &busy, &mac).unwrap();
        assert!(
            short_lived.found.contains("came and went"),
            "{short_lived:?}"
        );
    }

    #[test]
    fn the_load_of_an_agents_worker_is_not_held_against_the_machine() {
        let ticks = seen(&[(FOREIGN_CPU_RATIO, 0.9), (FOREIGN_GPU_RATIO, 0.9)]);
        let bad = |measuring| {
            let findings = findings(&mac(), &ticks, &[], measuring);
            findings
                .iter()
                .filter(|it| it.verdict == Verdict::Spoils)
                .count()
        };
        assert_eq!((bad(false), bad(true)), (2, 0));
    }

    #[test]
    fn a_virtual_machine_spoils() {
        let virtual_mac = Inventory {
            virtual_machine: true,
            ..mac()
        };
        assert_eq!(hardware(&virtual_mac).verdict, Verdict::Spoils);
    }
}
