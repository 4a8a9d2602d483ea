//! Memory round a timed region, as MLX and as the system see it.

use domain::metric::Metric;
use domain::reason::Reason;
use domain::worker::Sample;
use mlx_rs::error::Result;

use crate::device;
use crate::system::{self, Footprint};

/// Follows MLX's allocator through a launch: its peak is reset for every region, and the largest of
/// all is kept for the process.
#[derive(Debug, Default)]
pub struct MemoryWatch {
    process_peak_bytes: u64,
    /// Of the machine, when the region began.
    swap_before: Option<u64>,
}

impl MemoryWatch {
    /// An empty cache, and a peak that starts from what is active now.
    pub(super) fn begin_region(&mut self) -> Result<()> {
        device::clear_cache()?;
        self.process_peak_bytes = self.process_peak_bytes.max(device::memory()?.peak_bytes);
        self.swap_before = system::swap_used_bytes();
        device::reset_peak_memory()
    }

    pub(super) fn end_region(&mut self) -> Result<RegionMemory> {
        let mlx = device::memory()?;
        self.process_peak_bytes = self.process_peak_bytes.max(mlx.peak_bytes);
        Ok(RegionMemory {
            mlx,
            process_peak_bytes: self.process_peak_bytes,
            swap_delta: self
                .swap_before
                .zip(system::swap_used_bytes())
                .map(|(before, after)| after as f64 - before as f64),
            system: system::footprint(),
        })
    }
}

/// What was seen at the end of a region.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegionMemory {
    mlx: device::Memory,
    process_peak_bytes: u64,
    swap_delta: Option<f64>,
    system: Footprint,
}

impl RegionMemory {
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        let Self {
            mlx,
            process_peak_bytes,
            swap_delta,
            system,
        } = *self;
        [
            (Metric::MemPeakBytes, Some(mlx.peak_bytes)),
            (Metric::MemPeakProcessBytes, Some(process_peak_bytes)),
            (Metric::MemActiveBytes, Some(mlx.active_bytes)),
            (Metric::MemCacheBytes, Some(mlx.cache_bytes)),
            (Metric::MemFootprintBytes, system.now_bytes),
            (Metric::MemFootprintMaxBytes, system.max_bytes),
            (Metric::MemRssBytes, system.resident_bytes),
        ]
        .into_iter()
        .map(|(metric, bytes)| (metric, bytes.map(|bytes| bytes as f64)))
        .chain([(Metric::SwapDeltaBytes, swap_delta)])
        .filter_map(|(metric, value)| value.map(|value| Sample { metric, value }))
    }

    /// Gate G4: a peak below the weights means that something was never evaluated.
    pub(super) fn doubt(&self, weight_bytes: u64) -> Option<Reason> {
        (self.mlx.peak_bytes < weight_bytes).then_some(Reason::MemoryImpossible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_below_the_weights_is_impossible() {
        let memory = RegionMemory {
            mlx: device::Memory {
                peak_bytes: 13_348,
                ..device::Memory::default()
            },
            process_peak_bytes: 13_348,
            swap_delta: None,
            system: Footprint::default(),
        };
        assert_eq!(memory.doubt(16_061), Some(Reason::MemoryImpossible));
        assert_eq!(memory.doubt(13_348), None);
        assert_eq!(
            memory.samples().count(),
            4,
            "what the system does not tell is left out"
        );
    }
}
