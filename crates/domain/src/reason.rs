//! Why a number may not be what it seems: typed doubts, kept with the number and never a filter.
//!
//! A doubt either makes a sample invalid (it does not mean what its name says) or taints it (the
//! conditions were not those of a sound measurement). Written to the table `fleet.reason`.

use std::fmt;
use std::str::FromStr;

/// The worse before the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Invalid,
    Tainted,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Tainted => "tainted",
        }
    }
}

/// A code on the wire that is no reason.
#[derive(Debug, thiserror::Error)]
#[error("unknown reason code `{0}`")]
pub struct UnknownReason(pub String);

macro_rules! reasons {
    ($($variant:ident $code:literal $severity:ident $doc:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $doc] $variant,)*
        }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;

            fn from_str(code: &str) -> Result<Self, UnknownReason> {
                match code {
                    $($code => Ok(Self::$variant),)*
                    other => Err(UnknownReason(other.to_owned())),
                }
            }
        }
    };
}

reasons! {
    NotSteady "not_steady" Tainted "warm-up ended before three iterations agreed within 2 %";
    RegionShort "region_short" Tainted "the timed region was shorter than the plan asks for";
    ThermalPressure "thermal" Tainted "the system reported thermal pressure";
    ThrottledCanary "throttled_canary" Tainted "a fixed piece of work beside the launch ran at less than 97 % of the best that the machine did under these conditions";
    ThrottledClock "throttled_clock" Tainted "the GPU's clock was below 95 % of its highest while it was busy";
    ThrottledPower "throttled_power" Tainted "the GPU took less than 85 % of the power at the launch's end that it took at its beginning";
    ThrottledTrend "throttled_trend" Tainted "the rate fell by more than 2 % over the launch, and more than its noise explains";
    OnBattery "battery" Tainted "the machine ran on its battery";
    LowPowerMode "low_power_mode" Tainted "low-power mode was on";
    ForeignCpu "foreign_cpu" Tainted "other processes kept the CPU busy";
    ForeignGpu "foreign_gpu" Tainted "other processes kept the GPU busy";
    Housekeeping "housekeeping" Tainted "a backup or the indexing of files took more than a twentieth of a core";
    MemoryPressure "memory_pressure" Tainted "the system was short of memory";
    Swap "swap" Tainted "the system swapped during the launch";
    GateTimeout "gate_timeout" Tainted "the machine did not become quiet within the plan's wait";
    TelemetryGap "telemetry_gap" Tainted "sensors were silent for more than two intervals";
    VirtualMachine "virtual_machine" Tainted "the machine is virtual";
    DebugBuild "debug_build" Invalid "the worker was built without optimisation";
    NotCold "not_cold" Invalid "a cold load found pages of its files in memory: keep them on a disk, and run `sudo purge` before the agent measures";
    NotWarm "not_warm" Invalid "a warm load found pages of its files missing from memory";
    ResidencyUnknown "residency_unknown" Invalid "the system could not say which pages were in memory, so that the load was neither cold nor warm: keep the files on a local disk, and run `sudo purge` before the agent measures";
    BandwidthImpossible "g1" Invalid "decode read more bytes than the memory's bandwidth allows";
    FlopsImpossible "g2" Invalid "more floating-point operations than the machine can do";
    TokensMissing "g3" Invalid "fewer or more tokens than the case asks for";
    MemoryImpossible "g4" Invalid "less memory than the weights take, or a cache that arithmetic does not explain";
    LoadImpossible "g5" Invalid "the load was faster than the disk";
    Incorrect "g6" Invalid "the output differs from the reference";
    OutputParted "output_parted" Tainted "speculative output parted from plain decoding's, as rounding in types shorter than f32 may make it: the two ways wrote different texts";
    NotMonotone "g7" Invalid "more work took less time";
    NotLazySafe "g8" Invalid "doubled work did not take twice the time";
    Imported "imported" Tainted "somebody else's number: under which conditions it was measured is not known here";
    MeanOnly "mean_only" Tainted "a mean whose single values are not known: there is no median and no interval";
    Rebooted "rebooted" Invalid "the machine was restarted in the middle of the launch, which may have brought it down";
    KernelPanic "kernel_panic" Invalid "the kernel panicked in the middle of the launch: the launch's message has its words";
    MemoryKill "memory_kill" Invalid "the system killed the worker to get memory: the launch's message says how";
    ClockJump "g9" Invalid "clocks disagree: the machine slept or the parts do not add up";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_code() {
        for &reason in Reason::ALL {
            assert_eq!(reason.code().parse::<Reason>().unwrap(), reason);
        }
    }
}
