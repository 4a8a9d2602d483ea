//! A machine of the fleet: what it is, and whether a plan means it.

use std::collections::BTreeMap;

/// The label by which an installed agent says which release it is: that many digits of its archive's
/// SHA-256, as install-agent.sh puts them into the name of its folder.
pub const RELEASE_LABEL: &str = "release";
pub const RELEASE_DIGITS: usize = 12;

/// What an agent found out about its machine. None and empty: could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// Stable hash of the platform's own machine id and the fleet's CA; survives renames and updates.
    /// Empty: of no fleet.
    pub identity: String,
    pub hostname: String,
    /// `macos` or `linux`.
    pub os: String,
    pub os_version: String,
    pub os_build: String,
    pub arch: String,
    pub hardware_model: String,
    pub chip: String,
    pub gpu_cores: Option<u32>,
    /// The highest clock that the GPU has.
    pub gpu_max_mhz: Option<u32>,
    pub cpu_cores: u32,
    pub cpu_tiers: Vec<CpuTier>,
    pub memory_bytes: u64,
    /// What the GPU may keep resident, where the system says so.
    pub wired_limit_bytes: Option<u64>,
    pub boot_id: String,
    pub virtual_machine: bool,
    pub simulated: bool,
    pub agent_version: String,
    pub labels: BTreeMap<String, String>,
}

/// A kind of CPU core by the system's own label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuTier {
    pub label: String,
    pub cores: u32,
}

impl Inventory {
    /// The most bytes that a model with its cache may take here: nine tenths of what the GPU may
    /// keep resident, or of the memory where there is no such limit.
    pub fn model_limit_bytes(&self) -> u64 {
        let resident = self.wired_limit_bytes.unwrap_or(match self.os.as_str() {
            // The system's default policy when the limit cannot be read: two thirds of small
            // memories, three quarters of large ones.
            "macos" if self.memory_bytes <= 36_000_000_000 => self.memory_bytes / 3 * 2,
            "macos" => self.memory_bytes / 4 * 3,
            _ => self.memory_bytes,
        });
        resident / 10 * 9
    }
}

/// Which machines a plan means; every condition must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    pub names: Option<Vec<String>>,
    /// Chips, with `*` for any text: `"Apple M3*"`.
    pub chips: Option<Vec<String>>,
    pub labels: BTreeMap<String, String>,
    pub min_memory_bytes: Option<u64>,
    /// Load generators take part only where they are asked to.
    pub simulated: bool,
}

impl Selector {
    /// Why the machine is left out, or None when it takes part.
    pub fn refusal(&self, name: &str, machine: &Inventory) -> Option<String> {
        if machine.simulated != self.simulated {
            let is = if machine.simulated {
                "is simulated"
            } else {
                "is real"
            };
            return Some(format!(
                "the machine {is}, the plan asks for the other kind"
            ));
        }
        if let Some(names) = &self.names
            && !names.iter().any(|pattern| matches(pattern, name))
        {
            return Some(format!("name {name} is not among {}", names.join(", ")));
        }
        if let Some(chips) = &self.chips
            && !chips.iter().any(|pattern| matches(pattern, &machine.chip))
        {
            return Some(format!(
                "chip {} is not among {}",
                machine.chip,
                chips.join(", ")
            ));
        }
        for (key, wanted) in &self.labels {
            if machine.labels.get(key) != Some(wanted) {
                return Some(format!("label {key} is not {wanted}"));
            }
        }
        let memory_bytes = machine.memory_bytes;
        match self.min_memory_bytes {
            Some(least) if memory_bytes < least => Some(format!(
                "memory of {:.1} GB is below {:.1} GB",
                memory_bytes as f64 / 1e9,
                least as f64 / 1e9
            )),
            _ => None,
        }
    }
}

/// Whether the text fits a pattern in which `*` stands for any text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|mut tail| {
            let mut rest = rest;
            while let Some((middle, after)) = rest.split_once('*') {
                match tail.find(middle) {
                    Some(at) => tail = &tail[at + middle.len()..],
                    None => return false,
                }
                rest = after;
            }
            tail.ends_with(rest)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches("Apple M3*", "Apple M3 Max"));
        assert!(matches("*Max", "Apple M3 Max"));
        assert!(matches("Apple*3*", "Apple M3 Max"));
        assert!(matches("*", ""));
        assert!(!matches("Apple M3", "Apple M3 Max"));
        assert!(!matches("a*a", "a"));
    }

    #[test]
    fn a_machine_left_out_is_told_the_first_condition_it_misses() {
        let machine = Inventory {
            chip: "Apple M1".into(),
            memory_bytes: 8_000_000_000,
            ..Inventory::default()
        };
        let wants = Selector {
            min_memory_bytes: Some(16_000_000_000),
            ..Selector::default()
        };
        assert_eq!(
            wants.refusal("mini", &machine).unwrap(),
            "memory of 8.0 GB is below 16.0 GB"
        );
        assert_eq!(Selector::default().refusal("mini", &machine), None);
    }
}
