//! `load`: from opening the files to every parameter evaluated, their pages in memory or not.
//!
//! A load is an event and not a rate: nothing is warmed up, and each iteration loads again from
//! nothing, in a process whose device is open. The first forward pass after it is timed beside it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use domain::metric::Metric;
use domain::reason::Reason;
use domain::suite::load::{Case, Regime};
use domain::worker::Finished;

use super::{Bench, Demand, Ready};
use crate::device;
use crate::generate;
use crate::harness::clock::{self, Region, Watch, ms, rate};
use crate::harness::{Observation, Shape, Trial, TrialError};
use crate::load::ModelFolder;
use crate::load::Phases;
use crate::models::CausalLm;
use crate::residency::{self, Kernel, PageCache, RawRead};

/// One token goes through after the load.
pub fn demand(_case: &Case) -> Demand {
    Demand {
        positions: 1,
        step_tokens: 1,
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    // The weights' pages decide the regime; the small files follow them.
    let folder = bench.files()?.folder;
    let files = [&folder.config]
        .into_iter()
        .chain(&folder.tokenizer)
        .chain(&folder.weights);
    let trial = Load {
        bench,
        regime: case.regime,
        folder,
        files: files.cloned().collect(),
        cache: Kernel,
        arranged: Arranged::default(),
        loaded: None,
        is_announced: false,
    };
    bench.measure(&mut [trial])
}

struct Load<'a, C> {
    bench: &'a Bench<'a>,
    regime: Regime,
    folder: &'a ModelFolder,
    files: Vec<PathBuf>,
    cache: C,
    arranged: Arranged,
    loaded: Option<crate::load::Loaded>,
    is_announced: bool,
}

/// What came of bringing the files' pages to where the regime wants them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Arranged {
    /// Of the weights' pages, how many are in memory; None: the system does not say.
    share: Option<f64>,
    /// How fast the disk gives the weights to anyone; cold only, and only where it really gave them.
    disk_gbps: Option<f64>,
}

/// Evicts or reads the files. Before a cold load the disk is read for its own speed, which brings the
/// pages back, so that they are evicted again and looked at after it.
fn arrange<C: PageCache>(
    cache: &mut C,
    regime: Regime,
    files: &[PathBuf],
    weights: &[PathBuf],
    read_disk: impl FnOnce(&[PathBuf]) -> io::Result<Option<f64>>,
) -> Arranged {
    let mut disk_gbps = None;
    ask(cache, regime, files);
    let mut share = residency::share(cache, weights);
    if regime == Regime::Cold && share.is_some_and(|share| share < residency::COLD) {
        disk_gbps = read_disk(weights).unwrap_or_else(|error| {
            eprintln!("the disk cannot be read for its own speed: {error}");
            None
        });
        ask(cache, regime, files);
        share = residency::share(cache, weights);
    }
    Arranged { share, disk_gbps }
}

fn ask<C: PageCache>(cache: &mut C, regime: Regime, files: &[PathBuf]) {
    for file in files {
        let done = match regime {
            Regime::Cold => cache.evict(file),
            Regime::Warm => cache.fill(file),
        };
        // A doubt and no failure: the share that is looked at next says what came of it.
        if let Err(error) = done {
            eprintln!("{}: its pages cannot be arranged: {error}", file.display());
        }
    }
}

/// None where the files are too small for it.
fn disk_gbps(weights: &[PathBuf]) -> io::Result<Option<f64>> {
    let Some(raw) = RawRead::open(weights)? else {
        return Ok(None);
    };
    let mut buffers = RawRead::buffers();
    let ((), duration) = clock::time(|| raw.run(&mut buffers))?;
    Ok(Some(rate(raw.bytes(), duration) / 1e9))
}

impl<C: PageCache> Trial for Load<'_, C> {
    fn mode(&self) -> &'static str {
        match self.regime {
            Regime::Cold => "cold",
            Regime::Warm => "warm",
        }
    }

    fn shape(&self) -> Shape {
        Shape::Event
    }

    fn marks_per_pass(&self) -> usize {
        0
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        self.loaded = None;
        device::clear_cache()?;
        self.arranged = arrange(
            &mut self.cache,
            self.regime,
            &self.files,
            &self.folder.weights,
            disk_gbps,
        );
        Ok(())
    }

    fn run(&mut self, _watch: &mut Watch) -> Result<(), TrialError> {
        self.loaded = Some(self.bench.load_files()?);
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let Some(loaded) = self.loaded.take() else {
            unreachable!("`run` leaves a model or an error");
        };
        let share_after = residency::share(&mut self.cache, &self.folder.weights);
        let facts = &loaded.facts;
        let is_first = !std::mem::replace(&mut self.is_announced, true);
        if is_first {
            self.bench.announce(facts)?;
        }
        let mut seen = Observation {
            work: facts.file_bytes,
            weight_bytes: facts.weight_bytes,
            ..Observation::default()
        };
        seen.sample(
            match self.regime {
                Regime::Cold => Metric::LoadColdMs,
                Regime::Warm => Metric::LoadWarmMs,
            },
            ms(region.duration),
        );
        seen.parts = Some(Duration::from_nanos(loaded.phases.total_ns()));
        sample_phases(&mut seen, loaded.phases, loaded.tokenizer.is_some());
        // Bytes per nanosecond are gigabytes per second.
        let gbps = facts.file_bytes as f64 / loaded.phases.weights_ns.max(1) as f64;
        seen.sample(Metric::LoadGbps, gbps);
        seen.reasons
            .extend(residency_doubt(self.regime, self.arranged.share));
        for (metric, value) in [
            (Metric::SsdReadGbps, self.arranged.disk_gbps),
            (Metric::CacheResidencyBefore, self.arranged.share),
            (Metric::CacheResidencyAfter, share_after),
        ] {
            seen.samples
                .extend(value.map(|value| domain::worker::Sample { metric, value }));
        }
        let ready = Ready::settle(loaded)?;
        seen.sample(Metric::MemWeightsBytes, ready.active_bytes as f64);
        // Later ones find their kernels compiled.
        if is_first {
            let ((), first_eval) = clock::time(|| first_eval(ready.loaded.model.as_ref()))?;
            seen.sample(Metric::FirstEvalMs, ms(first_eval));
        }
        Ok(seen)
    }
}

fn sample_phases(seen: &mut Observation, phases: Phases, has_tokenizer: bool) {
    let Phases {
        config_ns,
        tokenizer_ns,
        header_ns,
        build_ns,
        weights_ns,
    } = phases;
    for (metric, ns) in [
        (Metric::LoadConfigMs, config_ns),
        (Metric::LoadHeaderMs, header_ns),
        (Metric::LoadBuildMs, build_ns),
        (Metric::LoadWeightsMs, weights_ns),
    ] {
        seen.sample(metric, ns as f64 / 1e6);
    }
    // What is not there takes no time, which is another thing than taking none.
    if has_tokenizer {
        seen.sample(Metric::LoadTokenizerMs, tokenizer_ns as f64 / 1e6);
    }
}

/// Whether the pages were where the regime wants them.
fn residency_doubt(regime: Regime, share: Option<f64>) -> Option<Reason> {
    let Some(share) = share else {
        return Some(Reason::ResidencyUnknown);
    };
    match regime {
        Regime::Cold => (share >= residency::COLD).then_some(Reason::NotCold),
        Regime::Warm => (share <= residency::WARM).then_some(Reason::NotWarm),
    }
}

/// One token through all of the model, to the scores.
fn first_eval(model: &dyn CausalLm) -> Result<(), TrialError> {
    let mut cache = model.new_cache();
    let hidden = model.hidden(&generate::ids_array(&[0]), &mut cache)?;
    mlx_rs::transforms::eval([&model.logits(&hidden)?])?;
    Ok(device::synchronize()?)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;

    use super::*;
    use crate::system::Pages;

    /// A kernel that does as it is told, or keeps what was read once.
    struct Told<'a> {
        keeps: bool,
        is_resident: &'a RefCell<bool>,
        log: &'a RefCell<Vec<&'static str>>,
    }

    impl PageCache for Told<'_> {
        fn evict(&mut self, _: &Path) -> io::Result<()> {
            self.log.borrow_mut().push("evict");
            let was_read = self.log.borrow().contains(&"read");
            self.is_resident.replace(self.keeps && was_read);
            Ok(())
        }

        fn fill(&mut self, _: &Path) -> io::Result<()> {
            self.log.borrow_mut().push("fill");
            self.is_resident.replace(true);
            Ok(())
        }

        fn resident(&mut self, _: &Path) -> io::Result<Pages> {
            self.log.borrow_mut().push("look");
            Ok(Pages {
                resident: u64::from(*self.is_resident.borrow()) * 100,
                total: 100,
            })
        }
    }

    fn arranged(regime: Regime, keeps: bool) -> (Arranged, Vec<&'static str>) {
        let (is_resident, log) = (RefCell::new(true), RefCell::new(Vec::new()));
        let mut cache = Told {
            keeps,
            is_resident: &is_resident,
            log: &log,
        };
        let files = [PathBuf::from("weights")];
        let arranged = arrange(&mut cache, regime, &files, &files, |_| {
            log.borrow_mut().push("read");
            is_resident.replace(true);
            Ok(Some(6.0))
        });
        (arranged, log.into_inner())
    }

    #[test]
    fn reading_the_disk_leaves_nothing_warm_for_the_load_that_follows() {
        let (cold, log) = arranged(Regime::Cold, false);
        assert_eq!(log, ["evict", "look", "read", "evict", "look"]);
        assert_eq!((cold.share, cold.disk_gbps), (Some(0.0), Some(6.0)));
        // Pages that stay after it are seen, and the load is not cold.
        let (stuck, _) = arranged(Regime::Cold, true);
        assert_eq!(
            residency_doubt(Regime::Cold, stuck.share),
            Some(Reason::NotCold)
        );
        let (warm, log) = arranged(Regime::Warm, false);
        assert_eq!(log, ["fill", "look"]);
        assert_eq!((warm.share, warm.disk_gbps), (Some(1.0), None));
    }

    #[test]
    fn pages_on_the_wrong_side_or_unknown_are_doubted() {
        for (regime, share, doubt) in [
            (Regime::Cold, Some(0.0), None),
            (Regime::Cold, Some(0.3), Some(Reason::NotCold)),
            (Regime::Warm, Some(1.0), None),
            (Regime::Warm, Some(0.3), Some(Reason::NotWarm)),
            (Regime::Cold, None, Some(Reason::ResidencyUnknown)),
        ] {
            assert_eq!(
                residency_doubt(regime, share),
                doubt,
                "{regime:?} {share:?}"
            );
        }
    }
}
