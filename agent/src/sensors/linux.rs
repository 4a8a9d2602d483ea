//! Linux's sensors: what `/proc` and `/sys` tell without any right.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::foreign::{ChoreWatch, ForeignLoad};
use super::{
    CPU_POWER_W, CPU_RATIO, CPU_TEMP_C, FAN_RPM, FOREIGN_CPU_RATIO, MEM_PRESSURE_LEVEL,
    MEMORY_USED_BYTES, PowerSource, Process, Readout, SLOW_LOOKS, SWAP_USED_BYTES, Sensors,
    THERMAL_LEVEL,
};
use crate::sys;

/// Resident memory; `statm` would count in pages, whose size differs between machines.
const RESIDENT: &str = "VmRSS:";

/// What a process takes from the machine's memory.
pub fn process_memory_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kilobytes(&status, RESIDENT)
}

/// Every process with its CPU time.
pub fn processes() -> Option<Vec<Process>> {
    let all = fs::read_dir("/proc").ok()?.flatten();
    let of = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        process(pid, &fs::read_to_string(entry.path().join("stat")).ok()?)
    };
    Some(all.filter_map(of).collect())
}

#[derive(Debug)]
pub struct Machine {
    busy: Option<CpuTimes>,
    foreign: ForeignLoad,
    chores: ChoreWatch,
    looks: u32,
    cores: usize,
    cpu_zone: Option<PathBuf>,
    fan: Option<PathBuf>,
    energy: Energy,
    throttled: Option<f64>,
}

/// Of the first package, where this user may read it.
const ENERGY: &str = "/sys/class/powercap/intel-rapl:0";

/// How often the first package was slowed because of its heat, since the start.
const THROTTLED: &str = "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count";

/// A counter of microjoules, as it was when it was read last.
#[derive(Debug, Default)]
struct Energy {
    before: Option<(Instant, f64)>,
}

impl Energy {
    /// Mean power since the look before, in watts. The counter begins again after `range`.
    fn watts(&mut self, microjoules: f64, range: Option<f64>, now: Instant) -> Option<f64> {
        let (then, before) = self.before.replace((now, microjoules))?;
        let mut used = microjoules - before;
        if used < 0.0 {
            used += range?;
        }
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        // Nothing at all means that nobody counts.
        (seconds > 0.0 && used > 0.0).then(|| used / 1e6 / seconds)
    }
}

/// Jiffies since boot, summed over all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

impl Machine {
    pub fn new() -> Self {
        Self {
            busy: None,
            foreign: ForeignLoad::default(),
            chores: ChoreWatch::default(),
            looks: 0,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_zone: cpu_zone(),
            fan: first_input("/sys/class/hwmon", "fan1_input"),
            energy: Energy::default(),
            throttled: None,
        }
    }

    fn load(&mut self, worker: Option<u32>, readout: &mut Readout) {
        let Some(now) = read("/proc/stat").as_deref().and_then(cpu_times) else {
            return;
        };
        let own = sys::own_cpu_time() + worker.and_then(process_cpu_time).unwrap_or_default();
        let ratio = self.busy.replace(now).and_then(|before| {
            let total = now
                .total
                .checked_sub(before.total)
                .filter(|&total| total > 0)?;
            Some(now.busy.saturating_sub(before.busy) as f64 / total as f64)
        });
        let foreign = self
            .foreign
            .ratio(ratio.unwrap_or_default(), own, self.cores);
        readout.push(CPU_RATIO, ratio);
        readout.push(FOREIGN_CPU_RATIO, ratio.and(foreign));
    }
}

impl Sensors for Machine {
    fn look(&mut self, worker: Option<u32>) -> Readout {
        let mut readout = Readout::default();
        self.load(worker, &mut readout);
        if let Some(meminfo) = read("/proc/meminfo") {
            let used = |all, free| Some(kilobytes(&meminfo, all)? - kilobytes(&meminfo, free)?);
            let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
            readout.push(MEMORY_USED_BYTES, bytes(used("MemTotal:", "MemAvailable:")));
            readout.push(SWAP_USED_BYTES, bytes(used("SwapTotal:", "SwapFree:")));
        }
        let pressure = read("/proc/pressure/memory")
            .as_deref()
            .and_then(pressure_level);
        readout.push(MEM_PRESSURE_LEVEL, pressure);
        let temperature = self.cpu_zone.as_deref().and_then(number);
        readout.push(
            CPU_TEMP_C,
            temperature
                .map(|millis| millis / 1000.0)
                .filter(|&c| c > 0.0),
        );
        readout.push(FAN_RPM, self.fan.as_deref().and_then(number));
        let energy = |name| number(&Path::new(ENERGY).join(name));
        let watts = energy("energy_uj").and_then(|microjoules| {
            let range = energy("max_energy_range_uj");
            self.energy.watts(microjoules, range, Instant::now())
        });
        readout.push(CPU_POWER_W, watts);
        let throttled = number(Path::new(THROTTLED));
        let before = std::mem::replace(&mut self.throttled, throttled);
        let rose = throttled.zip(before).map(|(now, before)| now > before);
        readout.push(THERMAL_LEVEL, rose.map(f64::from));
        readout.power_source = power_source(Path::new("/sys/class/power_supply"));
        readout.low_power_mode = read("/sys/firmware/acpi/platform_profile").map(|profile| {
            // Laptops whose firmware has profiles; balanced and performance are the others.
            profile.trim() == "low-power"
        });
        if self.looks.is_multiple_of(SLOW_LOOKS) {
            let chores = processes().and_then(|all| self.chores.look(all, Instant::now()));
            readout.push_chores(chores);
        }
        self.looks += 1;
        readout
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number(path: &Path) -> Option<f64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A line such as `MemTotal:  16384 kB`, in bytes.
pub fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guest time is inside user already.
    let times: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map(|time| time.parse().ok())
        .collect::<Option<_>>()?;
    let total = times.iter().sum();
    let idle: u64 = times.get(3..5)?.iter().sum();
    Some(CpuTimes {
        busy: total - idle,
        total,
    })
}

/// User and system time of a process with all its threads.
fn process_cpu_time(pid: u32) -> Option<Duration> {
    Some(process(pid, &read(&format!("/proc/{pid}/stat"))?)?.cpu_time)
}

fn process(pid: u32, stat: &str) -> Option<Process> {
    // The name stands in brackets and may hold anything; utime and stime are fields 14 and 15.
    let (name, rest) = stat.rsplit_once(')')?;
    let (_, name) = name.split_once('(')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let seconds = (user + system) as f64 / sys::clock_ticks() as f64;
    Some(Process {
        pid,
        name: name.to_owned(),
        cpu_time: Duration::from_secs_f64(seconds),
    })
}

/// Stalls in the last ten seconds, in the levels that macOS has: some tasks waited a tenth of the
/// time for memory, or all of them did.
fn pressure_level(text: &str) -> Option<f64> {
    let share = |kind: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        line.trim()
            .strip_prefix("avg10=")?
            .split(' ')
            .next()?
            .parse()
            .ok()
    };
    let (some, full) = (share("some")?, share("full").unwrap_or_default());
    Some(match (some, full) {
        (_, 10.0..) => 4.0,
        (10.0.., _) => 2.0,
        _ => 1.0,
    })
}

/// The zone that names the CPU, else none: another zone's heat would mislead.
fn cpu_zone() -> Option<PathBuf> {
    const CPU_ZONES: [&str; 4] = ["x86_pkg_temp", "cpu-thermal", "cpu_thermal", "TCPU"];
    let zones = fs::read_dir("/sys/class/thermal").ok()?;
    zones.flatten().map(|zone| zone.path()).find_map(|zone| {
        let kind = fs::read_to_string(zone.join("type")).ok()?;
        CPU_ZONES.contains(&kind.trim()).then(|| zone.join("temp"))
    })
}

fn first_input(dir: &str, name: &str) -> Option<PathBuf> {
    let chips = fs::read_dir(dir).ok()?;
    chips
        .flatten()
        .map(|chip| chip.path().join(name))
        .find(|path| path.exists())
}

/// Battery only where a battery discharges and no mains is on-line; None where the system does not say.
fn power_source(dir: &Path) -> Option<PowerSource> {
    let mut battery = None;
    for supply in fs::read_dir(dir).ok()?.flatten() {
        let field = |name: &str| fs::read_to_string(supply.path().join(name)).ok();
        match field("type")?.trim() {
            "Mains" if field("online").is_some_and(|online| online.trim() == "1") => {
                return Some(PowerSource::Ac);
            }
            // A mouse has a battery too; only the system's own counts.
            "Battery" if field("scope").is_none_or(|scope| scope.trim() != "Device") => {
                let discharging = field("status").is_some_and(|s| s.trim() == "Discharging");
                battery = if discharging {
                    Some(PowerSource::Battery)
                } else {
                    battery.or(Some(PowerSource::Ac))
                };
            }
            _ => {}
        }
    }
    battery
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_stat_is_split_into_busy_and_total() {
        let stat = "cpu  100 5 45 800 40 3 7 0 9 9\ncpu0 1 2 3\n";
        assert_eq!(
            cpu_times(stat),
            Some(CpuTimes {
                busy: 160,
                total: 1000
            })
        );
        assert_eq!(cpu_times("intr 5\n"), None);
    }

    #[test]
    fn memory_pressure_takes_the_worse_of_both() {
        let text = |some: &str, full: &str| {
            format!("some avg10={some} avg60=0.00 total=0\nfull avg10={full} avg60=0.00 total=0\n")
        };
        assert_eq!(pressure_level(&text("0.00", "0.00")), Some(1.0));
        assert_eq!(pressure_level(&text("12.50", "1.00")), Some(2.0));
        assert_eq!(pressure_level(&text("80.00", "30.00")), Some(4.0));
        assert_eq!(pressure_level(""), None);
    }

    #[test]
    fn power_is_the_growth_of_a_counter_that_begins_again() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut energy = Energy::default();
        assert_eq!(energy.watts(1e6, Some(10e6), at(0)), None);
        assert_eq!(energy.watts(9e6, Some(10e6), at(2)), Some(4.0));
        assert_eq!(energy.watts(1e6, Some(10e6), at(3)), Some(2.0));
        assert_eq!(energy.watts(0.0, None, at(4)), None);
        assert_eq!(energy.watts(0.0, None, at(5)), None, "0 W is unknown");
    }

    #[test]
    fn a_laptop_on_its_battery_is_told_from_one_on_the_mains_and_a_mouse() {
        let dir = tempfile::tempdir().unwrap();
        let supply = |name: &str, fields: &[(&str, &str)]| {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).unwrap();
            for (field, value) in fields {
                fs::write(path.join(field), format!("{value}\n")).unwrap();
            }
        };
        assert_eq!(power_source(dir.path()), None);
        supply(
            "mouse",
            &[
                ("type", "Battery"),
                ("scope", "Device"),
                ("status", "Discharging"),
            ],
        );
        assert_eq!(power_source(dir.path()), None);
        supply("BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        assert_eq!(power_source(dir.path()), Some(PowerSource::Battery));
        supply("AC", &[("type", "Mains"), ("online", "1")]);
        assert_eq!(power_source(dir.path()), Some(PowerSource::Ac));
    }

    #[test]
    fn a_process_is_read_whatever_its_name_holds() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 1 0 33 0 0";
        let process = process(7, stat).unwrap();
        assert_eq!(process.name, "a) b (c");
        let ticks = process.cpu_time.as_secs_f64() * sys::clock_ticks() as f64;
        assert!((ticks - 200.0).abs() < 1e-6, "{process:?}");
        assert!(
            processes()
                .unwrap()
                .iter()
                .any(|it| it.pid == std::process::id())
        );
    }

    #[test]
    fn our_own_process_has_memory_and_time() {
        let pid = std::process::id();
        assert!(process_memory_bytes(pid).unwrap() > 100_000);
        assert!(process_cpu_time(pid).is_some());
        assert_eq!(process_memory_bytes(u32::MAX), None);
    }

    #[test]
    fn the_second_look_knows_the_load() {
        let mut machine = Machine::new();
        assert_eq!(machine.look(None).value(CPU_RATIO), None);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let ratio = loop {
            if let Some(ratio) = machine.look(None).value(CPU_RATIO) {
                break ratio;
            }
            assert!(std::time::Instant::now() < deadline);
        };
        assert!((0.0..=1.0).contains(&ratio));
    }
}
