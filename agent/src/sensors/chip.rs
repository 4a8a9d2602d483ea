//! What macmon knows of a Mac's chip, as readings; None where it does not.

use super::{
    ANE_POWER_W, CPU_POWER_W, CPU_TEMP_C, FAN_RPM, GPU_ACTIVE_RATIO, GPU_MHZ, GPU_POWER_W,
    GPU_TEMP_C, RAM_POWER_W, Readout, SYS_POWER_W,
};

/// Kinds of cores by macmon's labels (efficiency, performance, super), and their sensors. A chip has two or
/// three; `_` is the one kind of a virtual machine.
const TIERS: [(&str, &str, &str); 4] = [
    ("E", "cpu_e_mhz", "cpu_e_active_ratio"),
    ("P", "cpu_p_mhz", "cpu_p_active_ratio"),
    ("S", "cpu_s_mhz", "cpu_s_active_ratio"),
    ("_", "cpu_mhz", "cpu_active_ratio"),
];

#[derive(Clone, Debug, Default)]
pub struct Chip {
    pub cpu_power_w: Option<f64>,
    pub gpu_power_w: Option<f64>,
    pub ane_power_w: Option<f64>,
    pub ram_power_w: Option<f64>,
    pub sys_power_w: Option<f64>,
    pub gpu: Option<Cores>,
    pub cpu_tiers: Vec<(String, Cores)>,
    pub gpu_temp_c: Option<f64>,
    pub cpu_temp_c: Option<f64>,
    pub fan_rpm: Option<f64>,
}

/// Cores of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cores {
    mhz: f64,
    active_ratio: f64,
}

impl Cores {
    /// A kind without a clock is none that works here.
    pub fn known(mhz: u32, active_ratio: f32) -> Option<Self> {
        (mhz > 0).then(|| Self {
            mhz: f64::from(mhz),
            active_ratio: f64::from(active_ratio),
        })
    }
}

/// Counters that a release of the system hides read 0: unknown, not free of charge.
pub fn known_watts(watts: f32) -> Option<f64> {
    (watts > 0.0).then(|| f64::from(watts))
}

impl Chip {
    pub fn tell(&self, readout: &mut Readout) {
        let Self {
            cpu_power_w,
            gpu_power_w,
            ane_power_w,
            ram_power_w,
            sys_power_w,
            gpu,
            cpu_tiers,
            gpu_temp_c,
            cpu_temp_c,
            fan_rpm,
        } = self;
        readout.push(CPU_POWER_W, *cpu_power_w);
        readout.push(GPU_POWER_W, *gpu_power_w);
        readout.push(ANE_POWER_W, *ane_power_w);
        readout.push(RAM_POWER_W, *ram_power_w);
        readout.push(SYS_POWER_W, *sys_power_w);
        readout.push(GPU_MHZ, gpu.map(|it| it.mhz));
        readout.push(GPU_ACTIVE_RATIO, gpu.map(|it| it.active_ratio));
        for (label, mhz, active_ratio) in TIERS {
            let tier = cpu_tiers.iter().find(|(known, _)| known == label);
            readout.push(mhz, tier.map(|(_, it)| it.mhz));
            readout.push(active_ratio, tier.map(|(_, it)| it.active_ratio));
        }
        readout.push(GPU_TEMP_C, *gpu_temp_c);
        readout.push(CPU_TEMP_C, *cpu_temp_c);
        readout.push(FAN_RPM, *fan_rpm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_watts_and_a_clock_that_stands_are_unknown() {
        assert_eq!(known_watts(0.0), None);
        assert_eq!(known_watts(f32::NAN), None);
        assert_eq!(known_watts(0.5), Some(0.5));
        assert_eq!(Cores::known(0, 0.5), None);
        assert!(Cores::known(1, 0.0).is_some());
    }

    #[test]
    fn each_kind_of_cores_has_sensors_of_its_own_and_silence_has_none() {
        let tier = |label: &str, mhz| Some((label.to_owned(), Cores::known(mhz, 0.25)?));
        let chip = Chip {
            ane_power_w: known_watts(0.0),
            ram_power_w: known_watts(1.5),
            gpu: Cores::known(1380, 1.0),
            cpu_tiers: [tier("P", 4056), tier("E", 2748), tier("S", 0)]
                .into_iter()
                .flatten()
                .collect(),
            ..Chip::default()
        };
        let mut readout = Readout::default();
        chip.tell(&mut readout);
        let expected = [
            ("ram_power_w", 1.5),
            ("gpu_mhz", 1380.0),
            ("gpu_active_ratio", 1.0),
            ("cpu_e_mhz", 2748.0),
            ("cpu_e_active_ratio", 0.25),
            ("cpu_p_mhz", 4056.0),
            ("cpu_p_active_ratio", 0.25),
        ];
        assert_eq!(readout.values, expected);
    }
}
