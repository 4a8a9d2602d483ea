//! What others do to the machine meanwhile: their share of the processor, and what backups and the
//! indexing of files take. Differences between two looks; the platforms bring the counters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The share of all cores that was busy with what is not ours, from the busy share of all and the
/// CPU time of the agent and its worker.
#[derive(Debug, Default)]
pub(super) struct ForeignLoad {
    before: Option<(Instant, Duration)>,
}

impl ForeignLoad {
    pub fn ratio(&mut self, busy: f64, own: Duration, cores: usize) -> Option<f64> {
        let now = Instant::now();
        let (then, before) = self.before.replace((now, own))?;
        let wall = (now - then).as_secs_f64() * cores as f64;
        // Own time falls when a worker's last moments are not accounted yet: the next look has them.
        let own = own.checked_sub(before)?.as_secs_f64();
        (wall > 0.0).then(|| (busy - own / wall).clamp(0.0, 1.0))
    }
}

/// A process and the CPU time that it has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub cpu_time: Duration,
}

/// How many cores a process kept busy between two looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Busy {
    pub pid: u32,
    pub name: String,
    pub cores: f64,
}

/// The busiest first.
pub fn busiest(before: &[Process], after: &[Process], wall: Duration) -> Vec<Busy> {
    let times: BTreeMap<u32, Duration> = before.iter().map(|it| (it.pid, it.cpu_time)).collect();
    let busy = |process: &Process| {
        let before = times.get(&process.pid).copied().unwrap_or_default();
        Busy {
            pid: process.pid,
            name: process.name.clone(),
            cores: process.cpu_time.saturating_sub(before).as_secs_f64() / wall.as_secs_f64(),
        }
    };
    let mut all: Vec<Busy> = after.iter().map(busy).filter(|it| it.cores > 0.0).collect();
    all.sort_by(|a, b| b.cores.total_cmp(&a.cores));
    all
}

/// By the names that the systems keep: Linux cuts them at 15 characters, macOS at 16.
const BACKUPS: [&str; 9] = [
    "backupd",
    "backupd-helper",
    "borg",
    "deja-dup-monito",
    "duplicity",
    "restic",
    "rsync",
    "snapper",
    "timeshift",
];
const INDEXERS: [&str; 13] = [
    "baloo_file",
    "baloo_file_extr",
    "corespotlightd",
    "localsearch-3",
    "mandb",
    "mds",
    "mds_stores",
    "mdworker",
    "mdworker_shared",
    "tracker-extract",
    "tracker-miner-f",
    "updatedb",
    "updatedb.plocat",
];

/// Cores that backups and the indexing of files kept busy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Chores {
    pub backup: f64,
    pub indexing: f64,
}

#[derive(Debug, Default)]
pub(super) struct ChoreWatch {
    before: Option<(Instant, Vec<Process>)>,
}

impl ChoreWatch {
    pub fn look(&mut self, processes: Vec<Process>, now: Instant) -> Option<Chores> {
        let chores = processes.into_iter().filter(|process| {
            let name = process.name.as_str();
            BACKUPS.contains(&name) || INDEXERS.contains(&name)
        });
        let after: Vec<Process> = chores.collect();
        let before = self.before.replace((now, after.clone()));
        let (then, before) = before?;
        let wall = now.saturating_duration_since(then);
        if wall.is_zero() {
            return None;
        }
        let busy = busiest(&before, &after, wall);
        let sum = |names: &[&str]| -> f64 {
            let of = busy.iter().filter(|it| names.contains(&it.name.as_str()));
            of.map(|it| it.cores).sum()
        };
        Some(Chores {
            backup: sum(&BACKUPS),
            indexing: sum(&INDEXERS),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn process(pid: u32, name: &str, cpu_ms: u64) -> Process {
        Process {
            pid,
            name: name.to_owned(),
            cpu_time: Duration::from_millis(cpu_ms),
        }
    }

    #[test]
    fn the_busiest_processes_come_first_and_idle_ones_not_at_all() {
        let before = [process(1, "idle", 500), process(2, "busy", 100)];
        let after = [
            process(1, "idle", 500),
            process(2, "busy", 1100),
            process(3, "new", 4000),
        ];
        let told: Vec<_> = busiest(&before, &after, SECOND * 2)
            .into_iter()
            .map(|it| (it.pid, it.cores))
            .collect();
        assert_eq!(told, [(3, 2.0), (2, 0.5)]);
    }

    #[test]
    fn backups_and_indexing_are_found_by_name_on_both_systems() {
        let start = Instant::now();
        let mut watch = ChoreWatch::default();
        let at = |ms| {
            vec![
                process(1, "backupd", ms),
                process(2, "mds_stores", ms / 4),
                process(3, "tracker-miner-f", ms / 4),
                process(4, "mlx-fleet-suite", ms * 9),
            ]
        };
        assert_eq!(watch.look(at(0), start), None);
        let chores = watch.look(at(1000), start + SECOND * 5).unwrap();
        assert!((chores.backup - 0.2).abs() < 1e-9, "{chores:?}");
        assert!((chores.indexing - 0.1).abs() < 1e-9, "{chores:?}");
    }
}
