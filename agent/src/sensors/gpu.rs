//! What others do on the GPU meanwhile. macOS alone counts it for each process.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One user of the GPU, and how long it has kept it busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuClient {
    pub id: u64,
    pub pid: u32,
    pub busy: Duration,
}

/// The share of the time that the GPU worked for others.
#[derive(Debug, Default)]
pub struct ForeignGpu {
    before: Option<(Instant, BTreeMap<u64, Duration>)>,
}

impl ForeignGpu {
    pub fn ratio(&mut self, clients: &[GpuClient], own: &[u32], now: Instant) -> Option<f64> {
        let all = clients.iter().map(|client| (client.id, client.busy));
        let (then, before) = self.before.replace((now, all.collect()))?;
        // One that came since has done all its work since.
        let since = |client: &GpuClient| {
            let before = before.get(&client.id).copied().unwrap_or_default();
            client.busy.saturating_sub(before)
        };
        let foreign = clients.iter().filter(|client| !own.contains(&client.pid));
        let foreign: Duration = foreign.map(since).sum();
        let wall = now.saturating_duration_since(then).as_secs_f64();
        (wall > 0.0).then(|| (foreign.as_secs_f64() / wall).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn client(id: u64, pid: u32, busy_ms: u64) -> GpuClient {
        GpuClient {
            id,
            pid,
            busy: Duration::from_millis(busy_ms),
        }
    }

    #[test]
    fn gpu_time_of_others_is_told_from_our_own() {
        let start = Instant::now();
        let mut gpu = ForeignGpu::default();
        let first = [client(1, 397, 1000), client(2, 50, 9000)];
        assert_eq!(gpu.ratio(&first, &[50], start), None);
        // A client that is new has done all its work since; one that is gone has taken its time along.
        let second = [client(1, 397, 1100), client(2, 50, 9900), client(3, 60, 50)];
        let ratio = gpu.ratio(&second, &[50], start + SECOND).unwrap();
        assert!((ratio - 0.15).abs() < 1e-9, "{ratio}");
        let third = [client(2, 50, 9900)];
        assert_eq!(gpu.ratio(&third, &[50], start + SECOND * 2), Some(0.0));
    }
}
