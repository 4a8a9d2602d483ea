//! The one place that reads a clock while the device works.
//!
//! ```text
//!            ┌──────────── until the last three agree, or a limit ───────────┐
//!   trial ──▶│ prepare ─▶ fence ─▶ run × passes ─▶ fence ─▶ observe ─▶ emit  │──▶ measured: the same,
//!            └──────────────────────── warm-up ───────────────────────────────┘    passes fixed
//! ```
//!
//! A [`Trial`] knows what to do and what its marks mean; the harness knows when. Between the two
//! fences nothing is allocated by us, logged or sent; every iteration, warm-up too, goes out as soon
//! as it is observed. A doubt about a number goes with it as a [`Reason`]; nothing is left out.

pub mod clock;
pub mod memory;
pub mod steady;

use std::ops::RangeInclusive;
use std::time::Duration;

use domain::metric::Metric;
use domain::plan::Protocol;
use domain::reason::Reason;
use domain::worker::{Finished, Iteration, Phase, Sample};
use mlx_rs::error::Exception;

use crate::device;
use clock::{Region, Watch, WorkerClock};
use memory::MemoryWatch;
use steady::Recent;

/// No region repeats its work more often: the marks are kept in memory.
const MAX_PASSES: u32 = 10_000;

/// Gate G8: how much longer twice the work may take.
const DOUBLED: RangeInclusive<f64> = 1.8..=2.2;
const DOUBLING_TRIES: u32 = 3;

/// What a trial's timed region is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Passes that are alike: repeated inside the region until it is long enough.
    Repeatable,
    /// One pass that is its own region, marked when it is shorter than the protocol asks for.
    Whole,
    /// Something that happens once, of whatever length, and must not be warmed up.
    Event,
    /// One pass of minutes, that warms itself up and is measured once in a launch.
    Long,
}

impl Shape {
    /// Whether warm-up passes come before the measured ones.
    fn warms_up(self) -> bool {
        matches!(self, Self::Repeatable | Self::Whole)
    }
}

/// One way of working that a case measures: its untimed preparation, its timed pass, its meaning.
pub trait Trial {
    /// The label of its iterations.
    fn mode(&self) -> &'static str;

    fn shape(&self) -> Shape;

    /// How often one pass marks the watch.
    fn marks_per_pass(&self) -> usize;

    /// Untimed: brings everything that the region needs into being, evaluated, and reserves room for
    /// what `passes` passes will note.
    fn prepare(&mut self, passes: u32) -> Result<(), TrialError>;

    /// Timed: one pass. Returns when the device has finished; neither allocates on its own account
    /// nor prints.
    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError>;

    /// Makes each pass twice the work, or the usual again; false where a pass cannot be doubled.
    fn double(&mut self, _is_double: bool) -> Result<bool, TrialError> {
        Ok(false)
    }

    /// Untimed: what the region has shown.
    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError>;
}

/// What a trial says of one region. The harness adds memory, clock and protocol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Tokens, or bytes for `load`, in all passes together.
    pub work: u64,
    pub token_times: Vec<Duration>,
    pub samples: Vec<Sample>,
    /// What happens once in a process, such as a first prompt: told with the first measured
    /// iteration, whichever iteration saw it.
    pub of_launch: Vec<Sample>,
    pub reasons: Vec<Reason>,
    /// Of the tokens that went in and came out; the same in every iteration of a launch.
    pub token_ids_sha256: String,
    /// What the region's parts add up to, where they were timed apart.
    pub parts: Option<Duration>,
    /// Of the weights in the type they are computed in: the region's peak cannot be less.
    pub weight_bytes: u64,
}

impl Observation {
    pub fn sample(&mut self, metric: Metric, value: f64) {
        self.samples.push(Sample { metric, value });
    }

    /// Gate G3: the case's tokens were made, all of them and no more.
    pub fn expect_tokens(&mut self, asked: u64, made: usize) {
        if made as u64 != asked && !self.reasons.contains(&Reason::TokensMissing) {
            self.reasons.push(Reason::TokensMissing);
        }
    }
}

/// Why a trial could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error(transparent)]
    Load(#[from] crate::load::LoadError),
    #[error(transparent)]
    Draft(#[from] crate::suites::speculative::pair::DraftError),
    #[error("the suite needs a model, and the request names none")]
    NoModel,
    #[error(
        "the model is already quantised ({0}), and this suite quantises plain weights itself: name a \
         bf16, f16 or f32 checkpoint, or keep this model to other suites with `suites`"
    )]
    AlreadyQuantised(String),
    #[error(transparent)]
    Untrainable(#[from] crate::suites::training::Untrainable),
    #[error(transparent)]
    Search(#[from] crate::suites::memory::SearchError),
    #[error("MLX failed: {0}")]
    Mlx(#[from] Exception),
    /// The worker's reader is gone, so nobody wants the rest.
    #[error("writing a frame: {0}")]
    Emit(std::io::Error),
}

/// Where iterations go, each as soon as it is made.
pub type Emit<'a> = dyn FnMut(Iteration) -> std::io::Result<()> + 'a;

pub struct Harness<'a> {
    protocol: Protocol,
    clock: WorkerClock,
    memory: MemoryWatch,
    emit: &'a mut Emit<'a>,
    ordinal: u32,
    /// The first iteration's tokens: greedy decoding cannot give others later.
    token_ids_sha256: Option<String>,
    /// Which mode goes first in the first round.
    turn: u64,
}

/// Ready to be measured: how often its pass is repeated, and whether it came to rest.
struct Warm {
    passes: u32,
    steady: bool,
    iterations: u32,
    /// How much longer doubled work took, where the trial can double it.
    doubled: Option<f64>,
    /// Told once, waiting for the first measured iteration.
    of_launch: Vec<Sample>,
}

impl<'a> Harness<'a> {
    /// `launch_seed` decides which mode leads, so that over launches none is always second.
    pub fn new(
        protocol: Protocol,
        launch_seed: u64,
        clock: WorkerClock,
        emit: &'a mut Emit<'a>,
    ) -> Self {
        Self {
            protocol,
            clock,
            memory: MemoryWatch::default(),
            emit,
            ordinal: 0,
            token_ids_sha256: None,
            turn: launch_seed,
        }
    }

    /// Warms every mode up, then measures them in turn, the leader changing each round.
    pub fn measure<T: Trial>(mut self, trials: &mut [T]) -> Result<Finished, TrialError> {
        let mut warm = Vec::with_capacity(trials.len());
        for trial in trials.iter_mut() {
            let mut ready = self.warm_up(trial)?;
            self.check_doubling(trial, &mut ready)?;
            warm.push(ready);
        }
        let is_long = trials.iter().any(|trial| trial.shape() == Shape::Long);
        let rounds = if is_long { 1 } else { self.protocol.iterations };
        for round in 0..u64::from(rounds) {
            for position in 0..trials.len() as u64 {
                let index =
                    ((self.turn ^ round).wrapping_add(position) % trials.len() as u64) as usize;
                self.iterate(&mut trials[index], Phase::Measured, &mut warm[index])?;
            }
        }
        Ok(Finished {
            steady: warm.iter().all(|warm| warm.steady),
            warmup_iterations: warm.iter().map(|warm| warm.iterations).sum(),
        })
    }

    fn warm_up<T: Trial>(&mut self, trial: &mut T) -> Result<Warm, TrialError> {
        let mut warm = Warm {
            passes: 1,
            steady: true,
            iterations: 0,
            doubled: None,
            of_launch: Vec::new(),
        };
        if !trial.shape().warms_up() {
            return Ok(warm);
        }
        let Protocol {
            min_region,
            warmup_max_iterations,
            warmup_max,
            ..
        } = self.protocol;
        let began = self.clock.elapsed();
        let mut recent = Recent::default();
        loop {
            let region = self.iterate(trial, Phase::Warmup, &mut warm)?;
            warm.iterations += 1;
            recent.push(region.per_pass());
            let short = trial.shape() == Shape::Repeatable && region.duration < min_region;
            if short {
                warm.passes = passes_for(min_region, region.per_pass()).max(warm.passes);
            }
            if recent.agree() && !short {
                return Ok(warm);
            }
            let spent = self.clock.elapsed().saturating_sub(began);
            if warm.iterations >= warmup_max_iterations || spent >= warmup_max {
                warm.steady = false;
                return Ok(warm);
            }
        }
    }

    /// Gate G8: twice the work takes twice the time, or something was not computed at all. A machine
    /// that does other work may miss it by accident, so the nearest of some tries counts.
    fn check_doubling<T: Trial>(
        &mut self,
        trial: &mut T,
        warm: &mut Warm,
    ) -> Result<(), TrialError> {
        for _ in 0..DOUBLING_TRIES {
            if !trial.double(true)? {
                return Ok(());
            }
            let double = self.iterate(trial, Phase::Warmup, warm)?.per_pass();
            trial.double(false)?;
            let single = self.iterate(trial, Phase::Warmup, warm)?.per_pass();
            warm.iterations += 2;
            let ratio = double.as_secs_f64() / single.as_secs_f64().max(1e-9);
            let is_nearer = |seen: f64| (ratio - 2.0).abs() < (seen - 2.0).abs();
            if warm.doubled.is_none_or(is_nearer) {
                warm.doubled = Some(ratio);
            }
            if warm.doubled.is_some_and(|ratio| DOUBLED.contains(&ratio)) {
                break;
            }
        }
        warm.of_launch.extend(warm.doubled.map(|value| Sample {
            metric: Metric::DoubledRatio,
            value,
        }));
        Ok(())
    }

    /// One pass of the whole circle: prepare, time, observe, send.
    fn iterate<T: Trial>(
        &mut self,
        trial: &mut T,
        phase: Phase,
        warm: &mut Warm,
    ) -> Result<Region, TrialError> {
        trial.prepare(warm.passes)?;
        let capacity = trial.marks_per_pass() * warm.passes as usize;
        self.memory.begin_region()?;
        let started = self.clock.elapsed();
        let mut watch = Watch::start(capacity, device::synchronize)?;
        for _ in 0..warm.passes {
            trial.run(&mut watch)?;
        }
        let region = watch.stop(warm.passes, device::synchronize)?;
        let memory = self.memory.end_region()?;

        let Observation {
            work,
            token_times,
            mut samples,
            of_launch,
            mut reasons,
            token_ids_sha256,
            parts,
            weight_bytes,
        } = trial.observe(&region)?;
        samples.extend(memory.samples());
        warm.of_launch.extend(of_launch);
        if phase == Phase::Measured {
            samples.append(&mut warm.of_launch);
        }
        reasons.extend(memory.doubt(weight_bytes));
        reasons.extend(self.protocol_doubts(trial.shape(), phase, warm, &region));
        if !region.adds_up(parts) {
            reasons.push(Reason::ClockJump);
        }
        if *self
            .token_ids_sha256
            .get_or_insert_with(|| token_ids_sha256.clone())
            != token_ids_sha256
        {
            reasons.push(Reason::Incorrect);
        }
        (self.emit)(Iteration {
            ordinal: self.ordinal,
            phase,
            mode: trial.mode().to_owned(),
            started,
            duration: region.duration,
            work,
            token_times,
            samples,
            reasons,
            token_ids_sha256,
        })
        .map_err(TrialError::Emit)?;
        self.ordinal += 1;
        Ok(region)
    }

    fn protocol_doubts(
        &self,
        shape: Shape,
        phase: Phase,
        warm: &Warm,
        region: &Region,
    ) -> Vec<Reason> {
        let mut doubts = Vec::new();
        if cfg!(debug_assertions) {
            doubts.push(Reason::DebugBuild);
        }
        if phase == Phase::Measured && !warm.steady {
            doubts.push(Reason::NotSteady);
        }
        if warm.doubled.is_some_and(|ratio| !DOUBLED.contains(&ratio)) {
            doubts.push(Reason::NotLazySafe);
        }
        if phase == Phase::Measured
            && shape.warms_up()
            && region.duration < self.protocol.min_region
        {
            doubts.push(Reason::RegionShort);
        }
        doubts
    }
}

/// How many passes fill the region, with a tenth more so that a faster pass still does.
fn passes_for(min_region: Duration, pass: Duration) -> u32 {
    let passes = min_region.as_secs_f64() * 1.1 / pass.as_secs_f64().max(1e-9);
    (passes.ceil() as u32).clamp(1, MAX_PASSES)
}

#[cfg(test)]
mod tests;
