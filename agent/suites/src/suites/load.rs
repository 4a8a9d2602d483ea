//! `load`: from opening the files to every parameter evaluated, their pages in memory or not.
//!
//! A load is an event and not a rate: nothing is warmed up, and each iteration loads again from
//! nothing, in a process whose device is open. The first forward pass after it is timed beside it.

use std::path::PathBuf;
use std::time::Duration;

use domain::metric::Metric;
use domain::reason::Reason;
use domain::suite::load::{Case, Regime};
use domain::worker::Finished;

use super::{Bench, Demand, Ready};
use crate::device;
use crate::generate;
use crate::harness::clock::{self, Region, Watch, ms};
use crate::harness::{Observation, Shape, Trial, TrialError};
use crate::load::ModelFolder;
use crate::load::Phases;
use crate::models::CausalLm;
use crate::residency::{self, Kernel, PageCache};

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
        share_before: None,
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
    share_before: Option<f64>,
    loaded: Option<crate::load::Loaded>,
    is_announced: bool,
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
        for file in &self.files {
            let done = match self.regime {
                Regime::Cold => self.cache.evict(file),
                Regime::Warm => self.cache.fill(file),
            };
            // A doubt and no failure: the share that is looked at next says what came of it.
            if let Err(error) = done {
                eprintln!("{}: its pages cannot be arranged: {error}", file.display());
            }
        }
        self.share_before = residency::share(&mut self.cache, &self.folder.weights);
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
            .extend(residency_doubt(self.regime, self.share_before));
        for (metric, share) in [
            (Metric::CacheResidencyBefore, self.share_before),
            (Metric::CacheResidencyAfter, share_after),
        ] {
            seen.samples
                .extend(share.map(|value| domain::worker::Sample { metric, value }));
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
    use super::*;

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
