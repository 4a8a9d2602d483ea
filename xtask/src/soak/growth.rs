//! What processes hold, launch after launch, and whether it grows.

use anyhow::{Context, Result, ensure};
use report_gen::stats::Line;

use crate::process::{children, usage};

/// Until then caches fill, pools open and threads start.
const WARMUP_LAUNCHES: u32 = 20;
/// Looks that follow each other resemble each other; the means of so many launches do so less.
const BLOCK_LAUNCHES: u32 = 10;

pub struct Processes {
    pub coordinator: u32,
    pub agent: u32,
    pub postmaster: u32,
}

/// How much may be gained over the whole soak.
#[derive(Clone, Copy)]
enum Bound {
    /// Of the level after warm-up, or so much: of few megabytes a share is less than an allocator's noise.
    Share(f64, f64),
    Count(f64),
    /// Each backend keeps the catalogue's entries and open files of what it touched, up to limits of
    /// Postgres's own: shown and not judged.
    Cache,
}

struct Series {
    name: &'static str,
    bound: Bound,
    /// By launches done.
    values: Vec<(f64, f64)>,
}

#[derive(Default)]
pub struct Watch {
    series: Vec<Series>,
    launches: u32,
}

impl Watch {
    pub fn launches(&self) -> u32 {
        self.launches
    }

    pub fn look(&mut self, processes: &Processes, launches: u32) -> Result<()> {
        self.launches = launches;
        let Processes {
            coordinator,
            agent,
            postmaster,
        } = *processes;
        let memory = Bound::Share(0.05, 1024.0);
        let one = Bound::Count(1.0);
        let (coordinator, agent) = (usage(coordinator)?, usage(agent)?);
        let mut postgres = usage(postmaster)?;
        let backends = children(postmaster)?;
        for backend in &backends {
            // A backend may end between the two looks.
            let of_one = usage(*backend).unwrap_or_default();
            postgres.anonymous_kb += of_one.anonymous_kb;
            postgres.descriptors += of_one.descriptors;
        }
        let seen = [
            ("coordinator, memory kB", coordinator.anonymous_kb, memory),
            ("coordinator, descriptors", coordinator.descriptors, one),
            ("coordinator, threads", coordinator.threads, one),
            ("coordinator, children", coordinator.children, one),
            ("agent, memory kB", agent.anonymous_kb, memory),
            ("agent, descriptors", agent.descriptors, one),
            ("agent, threads", agent.threads, one),
            ("agent, children", agent.children, one),
            ("Postgres, memory kB", postgres.anonymous_kb, Bound::Cache),
            ("Postgres, descriptors", postgres.descriptors, Bound::Cache),
            ("Postgres, processes", backends.len() as f64 + 1.0, one),
        ];
        if self.series.is_empty() {
            self.series = seen
                .iter()
                .map(|&(name, _, bound)| Series {
                    name,
                    bound,
                    values: Vec::new(),
                })
                .collect();
        }
        if launches > WARMUP_LAUNCHES {
            for (series, (_, value, _)) in self.series.iter_mut().zip(seen) {
                series.values.push((f64::from(launches), value));
            }
        }
        Ok(())
    }

    /// Prints the table; the names of what grows.
    pub fn tell(&self) -> Result<Vec<&'static str>> {
        println!(
            "after {WARMUP_LAUNCHES} launches of warm-up, over means of {BLOCK_LAUNCHES}; slope per 100 \
             launches with its 95 % interval"
        );
        println!(
            "{:26} {:>10} {:>10} {:>10} {:>21}  allowed",
            "", "start", "end", "slope", ""
        );
        let mut growing = Vec::new();
        for series in &self.series {
            let growth = Growth::of(&series.values).context("too few launches for a slope")?;
            let allowed = match series.bound {
                Bound::Share(share, least) => (share * growth.start).max(least),
                Bound::Count(count) => count,
                Bound::Cache => f64::INFINITY,
            };
            let grows = growth.grows_beyond(allowed);
            println!(
                "{:26} {:10.1} {:10.1} {:10.2} {:10.2}{:>11.2}  {:.1}{}",
                series.name,
                growth.start,
                growth.end,
                100.0 * growth.slope,
                100.0 * growth.low,
                100.0 * growth.high,
                allowed,
                if grows { "  GROWS" } else { "" }
            );
            if grows {
                growing.push(series.name);
            }
        }
        ensure!(!self.series.is_empty(), "nothing was seen");
        Ok(growing)
    }
}

#[derive(Debug)]
struct Growth {
    start: f64,
    end: f64,
    /// Per launch, with its 95 % interval.
    slope: f64,
    low: f64,
    high: f64,
    span: f64,
}

impl Growth {
    /// None of fewer than three blocks.
    fn of(values: &[(f64, f64)]) -> Option<Self> {
        let blocks: Vec<(f64, f64)> = values
            .chunk_by(|a, b| block(a.0) == block(b.0))
            .map(|block| {
                let n = block.len() as f64;
                let sum = |of: fn(&(f64, f64)) -> f64| block.iter().map(of).sum::<f64>();
                (sum(|at| at.0) / n, sum(|at| at.1) / n)
            })
            .collect();
        let line = Line::through(&blocks)?;
        let (first, last) = (blocks.first()?, blocks.last()?);
        Some(Self {
            start: first.1,
            end: last.1,
            slope: line.slope,
            low: line.slope_interval.low,
            high: line.slope_interval.high,
            span: last.0 - first.0,
        })
    }

    /// Surely upwards, and by more than that over the soak; not one step, of which a line makes more.
    fn grows_beyond(&self, allowed: f64) -> bool {
        let gained = (self.slope * self.span).min(self.end - self.start);
        self.low > 0.0 && gained > allowed
    }
}

fn block(launches: f64) -> u32 {
    (launches as u32 - 1) / BLOCK_LAUNCHES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 180 launches that gain `each`, and swing by one up and down.
    fn soak(each: f64) -> Growth {
        let at = |launch: i32| {
            let swing = f64::from(launch % 2) * 2.0 - 1.0;
            (f64::from(launch), 100.0 + each * f64::from(launch) + swing)
        };
        Growth::of(&(21..=200).map(at).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_gains_a_little_each_launch_grows_and_what_swings_does_not() {
        assert!(soak(0.05).grows_beyond(5.0), "{:?}", soak(0.05));
        assert!(!soak(0.0).grows_beyond(0.1), "{:?}", soak(0.0));
        assert!(!soak(0.05).grows_beyond(10.0), "less than is allowed");
    }

    #[test]
    fn one_connection_more_is_one_and_one_in_thirty_launches_is_a_leak() {
        let of = |held: fn(i32) -> i32| {
            let at = |launch: i32| (f64::from(launch), f64::from(held(launch)));
            Growth::of(&(21..=200).map(at).collect::<Vec<_>>()).unwrap()
        };
        assert!(!of(|launch| 20 + i32::from(launch > 110)).grows_beyond(1.0));
        assert!(of(|launch| 20 + launch / 30).grows_beyond(1.0));
    }
}
