//! macOS's sensors, all without root: macmon on a thread of its own (it blocks for its interval, and
//! a surprise inside it must cost its readings only), NSProcessInfo, sysctl and sysinfo.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use objc2_foundation::NSProcessInfo;
use sysctl::Sysctl;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::chip::{Chip, Cores, known_watts};
use super::foreign::{ChoreWatch, ForeignLoad};
use super::gpu::{ForeignGpu, GpuClient};
use super::{
    CPU_RATIO, FOREIGN_CPU_RATIO, FOREIGN_GPU_RATIO, MEM_PRESSURE_LEVEL, MEMORY_USED_BYTES,
    PowerSource, Process, Readout, SLOW_LOOKS, SWAP_USED_BYTES, Sensors, THERMAL_LEVEL,
    THERMAL_STATE,
};
use crate::macos::{ask, output};
use crate::sys::{self, ThermalPressure};

/// A little less than the tick, so that each tick finds a fresh value.
const MACMON_MS: u32 = 900;

/// What a process takes from the machine's memory, GPU memory included.
pub fn process_memory_bytes(pid: u32) -> Option<u64> {
    sys::footprint_bytes(pid)
}

/// Every process with its CPU time. By `ps`, which may see other users' processes, as we may not.
pub fn processes() -> Option<Vec<Process>> {
    // A heading, even an empty one, ends its option.
    let said = ask(
        "/bin/ps",
        &["-ax", "-o", "pid=", "-o", "time=", "-o", "ucomm="],
    )?;
    Some(output::processes(&said))
}

#[derive(Debug)]
pub struct Machine {
    /// None: sysinfo does not work here.
    system: Option<System>,
    foreign: ForeignLoad,
    foreign_gpu: ForeignGpu,
    chores: ChoreWatch,
    thermal: Option<ThermalPressure>,
    /// Overwritten by macmon's thread, which ends when this is gone.
    chip: Arc<Mutex<Option<Chip>>>,
    /// Kept between the looks in which it is asked.
    power_source: Option<PowerSource>,
    looks: u32,
}

impl From<macmon::Metrics> for Chip {
    fn from(metrics: macmon::Metrics) -> Self {
        let tiers = metrics.cpu_tiers.into_iter();
        let fans = metrics.fans.iter();
        Self {
            cpu_power_w: known_watts(metrics.cpu_power),
            gpu_power_w: known_watts(metrics.gpu_power),
            ane_power_w: known_watts(metrics.ane_power),
            ram_power_w: known_watts(metrics.ram_power),
            sys_power_w: known_watts(metrics.sys_power),
            gpu: Cores::known(metrics.gpu_freq_mhz, metrics.gpu_active_ratio),
            cpu_tiers: tiers
                .filter_map(|tier| {
                    let cores = Cores::known(tier.freq_mhz, tier.active_ratio)?;
                    Some((tier.label, cores))
                })
                .collect(),
            gpu_temp_c: metrics.temp.gpu_temp_avg.map(f64::from),
            cpu_temp_c: metrics.temp.cpu_temp_avg.map(f64::from),
            fan_rpm: fans.map(|fan| f64::from(fan.rpm)).reduce(f64::max),
        }
    }
}

impl Machine {
    pub fn new() -> Self {
        let chip = Arc::new(Mutex::new(None));
        watch_chip(Arc::downgrade(&chip));
        Self {
            system: System::new().ok(),
            foreign: ForeignLoad::default(),
            foreign_gpu: ForeignGpu::default(),
            chores: ChoreWatch::default(),
            thermal: ThermalPressure::open(),
            chip,
            power_source: None,
            looks: 0,
        }
    }

    fn load(&mut self, worker: Option<u32>, readout: &mut Readout) {
        let Some(system) = &mut self.system else {
            return;
        };
        system.refresh_cpu_usage();
        let busy = f64::from(system.global_cpu_usage()) / 100.0;
        let time = worker.map(Pid::from_u32).and_then(|pid| {
            system.refresh_processes_specifics(
                ProcessesToUpdate::Some(&[pid]),
                true,
                ProcessRefreshKind::nothing().with_cpu(),
            );
            let time = system.process(pid)?.accumulated_cpu_time();
            Some(Duration::from_millis(time))
        });
        let own = sys::own_cpu_time() + time.unwrap_or_default();
        let cores = system.cpus().len();
        // The first look has nothing to compare with.
        if let Some(foreign) = self.foreign.ratio(busy, own, cores) {
            readout.push(CPU_RATIO, Some(busy));
            readout.push(FOREIGN_CPU_RATIO, Some(foreign));
        }
        system.refresh_memory();
        readout.push(MEMORY_USED_BYTES, Some(system.used_memory() as f64));
        readout.push(SWAP_USED_BYTES, Some(system.used_swap() as f64));
    }

    fn look_at_others(&mut self, worker: Option<u32>, readout: &mut Readout) {
        if let Some(clients) = gpu_clients() {
            let own = [std::process::id(), worker.unwrap_or_default()];
            let foreign = self.foreign_gpu.ratio(&clients, &own, Instant::now());
            readout.push(FOREIGN_GPU_RATIO, foreign);
        }
        let chores = processes().and_then(|all| self.chores.look(all, Instant::now()));
        readout.push_chores(chores);
    }
}

impl Sensors for Machine {
    fn look(&mut self, worker: Option<u32>) -> Readout {
        let mut readout = Readout::default();
        self.load(worker, &mut readout);
        let pressure = number("kern.memorystatus_vm_pressure_level");
        readout.push(MEM_PRESSURE_LEVEL, pressure.filter(|&level| level > 0.0));
        let level = self.thermal.as_ref().and_then(ThermalPressure::level);
        readout.push(THERMAL_LEVEL, level.map(|level| level as f64));
        let process = NSProcessInfo::processInfo();
        readout.push(THERMAL_STATE, Some(process.thermalState().0 as f64));
        readout.low_power_mode = Some(process.isLowPowerModeEnabled());
        // Taken, so that a hanging macmon leaves a gap instead of repeating itself.
        let chip = self
            .chip
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        chip.unwrap_or_default().tell(&mut readout);
        if self.looks.is_multiple_of(SLOW_LOOKS) {
            self.power_source = ask_power_source();
            self.look_at_others(worker, &mut readout);
        }
        self.looks += 1;
        readout.power_source = self.power_source;
        readout
    }
}

fn watch_chip(chip: Weak<Mutex<Option<Chip>>>) {
    let body = move || {
        let mut sampler = match macmon::Sampler::new() {
            Ok(sampler) => sampler,
            Err(error) => {
                tracing::warn!(%error, "no power, clocks or temperatures");
                return;
            }
        };
        while chip.strong_count() > 0 {
            match sampler.get_metrics(MACMON_MS) {
                Ok(metrics) => {
                    let Some(chip) = chip.upgrade() else { return };
                    *chip.lock().unwrap_or_else(PoisonError::into_inner) = Some(metrics.into());
                }
                Err(error) => {
                    tracing::warn!(%error, "power, clocks and temperatures end here");
                    return;
                }
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("macmon".to_owned()).spawn(body) {
        tracing::warn!(%error, "no thread for macmon");
    }
}

fn number(name: &str) -> Option<f64> {
    sysctl::Ctl::new(name)
        .ok()?
        .value_string()
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn ask_power_source() -> Option<PowerSource> {
    output::power_source(&ask("/usr/bin/pmset", &["-g", "batt"])?)
}

fn gpu_clients() -> Option<Vec<GpuClient>> {
    const QUESTION: [&str; 7] = ["-r", "-d", "1", "-w", "0", "-c", "AGXDeviceUserClient"];
    let said = ask("/usr/sbin/ioreg", &QUESTION)?;
    Some(output::gpu_clients(&said))
}
