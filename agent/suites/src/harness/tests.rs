//! The harness with trials that take as long as a test wants.

use std::time::Instant;

use domain::suite::Suite;

use super::clock::Mark;
use super::*;

/// Keeps the processor busy for so long; its tokens are what the test says.
struct Spin {
    shape: Shape,
    mode: &'static str,
    pass: Duration,
    ids: Vec<&'static str>,
    prepared: Vec<u32>,
    /// How many times as long doubled work takes; None: it cannot be doubled.
    doubling: Option<u32>,
    factor: u32,
    /// Which share of the region the parts make up; None: there are no parts.
    parts: Option<f64>,
}

impl Spin {
    fn new(shape: Shape, pass_us: u64) -> Self {
        let (mode, pass) = ("spin", Duration::from_micros(pass_us));
        Self {
            shape,
            mode,
            pass,
            ids: vec!["same"],
            prepared: Vec::new(),
            doubling: None,
            factor: 1,
            parts: None,
        }
    }
}

impl Trial for Spin {
    fn mode(&self) -> &'static str {
        self.mode
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn marks_per_pass(&self) -> usize {
        1
    }

    fn prepare(&mut self, passes: u32) -> Result<(), TrialError> {
        self.prepared.push(passes);
        Ok(())
    }

    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        let began = Instant::now();
        while began.elapsed() < self.pass * self.factor {
            std::hint::spin_loop();
        }
        watch.mark(Mark::Token);
        Ok(())
    }

    fn double(&mut self, is_double: bool) -> Result<bool, TrialError> {
        self.factor = self.doubling.filter(|_| is_double).unwrap_or(1);
        Ok(self.doubling.is_some())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let ids = self.ids[self.prepared.len() % self.ids.len()];
        Ok(Observation {
            work: u64::from(region.passes),
            token_times: region.times(Mark::Token).collect(),
            token_ids_sha256: ids.to_owned(),
            parts: self.parts.map(|share| region.duration.mul_f64(share)),
            ..Observation::default()
        })
    }
}

fn protocol() -> Protocol {
    Protocol {
        iterations: 3,
        min_region: Duration::from_millis(4),
        warmup_max_iterations: 6,
        warmup_max: Duration::from_secs(20),
        ..Protocol::default()
    }
}

fn measure(protocol: Protocol, trials: &mut [Spin]) -> (Finished, Vec<Iteration>) {
    let mut sent = Vec::new();
    let mut emit = |iteration| {
        sent.push(iteration);
        Ok(())
    };
    let finished = Harness::new(protocol, 0, WorkerClock::start(), &mut emit)
        .measure(trials)
        .unwrap();
    (finished, sent)
}

fn measured(sent: &[Iteration]) -> impl Iterator<Item = &Iteration> {
    sent.iter()
        .filter(|iteration| iteration.phase == Phase::Measured)
}

#[test]
fn short_work_is_repeated_until_the_region_is_long_enough() {
    let (finished, sent) = measure(protocol(), &mut [Spin::new(Shape::Repeatable, 300)]);
    assert_eq!(sent[0].work, 1, "the first pass is one of the exact shape");
    assert_eq!(measured(&sent).count(), 3);
    for iteration in measured(&sent) {
        assert!(iteration.work > 1, "{}", iteration.work);
        assert_eq!(iteration.token_times.len() as u64, iteration.work);
        // A busy machine may have made the warm-up slow and this pass fast: then it says so.
        let short = iteration.duration < protocol().min_region;
        assert_eq!(iteration.reasons.contains(&Reason::RegionShort), short);
    }
    let ordinals: Vec<u32> = sent.iter().map(|iteration| iteration.ordinal).collect();
    assert_eq!(ordinals, (0..sent.len() as u32).collect::<Vec<_>>());
    assert_eq!(finished.warmup_iterations as usize, sent.len() - 3);
}

#[test]
fn whole_work_is_not_repeated_and_says_that_it_was_short() {
    let mut trials = [Spin::new(Shape::Whole, 100)];
    let (_, sent) = measure(protocol(), &mut trials);
    assert!(trials[0].prepared.iter().all(|passes| *passes == 1));
    assert!(measured(&sent).all(|iteration| iteration.reasons.contains(&Reason::RegionShort)));
    let warmup = sent
        .iter()
        .filter(|iteration| iteration.phase == Phase::Warmup);
    assert!(
        warmup
            .into_iter()
            .all(|it| !it.reasons.contains(&Reason::RegionShort))
    );
}

#[test]
fn an_event_is_measured_from_its_first_time_on() {
    let (finished, sent) = measure(protocol(), &mut [Spin::new(Shape::Event, 10)]);
    assert_eq!(
        finished,
        Finished {
            steady: true,
            warmup_iterations: 0
        }
    );
    assert_eq!(measured(&sent).count(), sent.len());
    assert!(
        sent.iter()
            .all(|it| !it.reasons.contains(&Reason::RegionShort))
    );
}

#[test]
fn warm_up_without_rest_ends_at_its_limit_and_leaves_a_doubt() {
    struct Slower(Spin);
    impl Trial for Slower {
        fn mode(&self) -> &'static str {
            self.0.mode()
        }
        fn shape(&self) -> Shape {
            self.0.shape()
        }
        fn marks_per_pass(&self) -> usize {
            self.0.marks_per_pass()
        }
        fn prepare(&mut self, passes: u32) -> Result<(), TrialError> {
            self.0.pass *= 2;
            self.0.prepare(passes)
        }
        fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
            self.0.run(watch)
        }
        fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
            self.0.observe(region)
        }
    }
    let mut sent = Vec::new();
    let mut emit = |iteration| {
        sent.push(iteration);
        Ok(())
    };
    let mut trials = [Slower(Spin::new(Shape::Whole, 50))];
    let finished = Harness::new(protocol(), 0, WorkerClock::start(), &mut emit)
        .measure(&mut trials)
        .unwrap();
    assert_eq!(
        finished,
        Finished {
            steady: false,
            warmup_iterations: 6
        }
    );
    assert!(measured(&sent).all(|iteration| iteration.reasons.contains(&Reason::NotSteady)));
}

#[test]
fn modes_are_warmed_up_apart_and_measured_in_turn() {
    let named = |mode| Spin {
        mode,
        ..Spin::new(Shape::Whole, 5)
    };
    let (_, sent) = measure(protocol(), &mut [named("a"), named("b")]);
    let order: Vec<&str> = measured(&sent)
        .map(|iteration| iteration.mode.as_str())
        .collect();
    assert_eq!(order, ["a", "b", "b", "a", "a", "b"]);
    let warmup: Vec<_> = sent
        .iter()
        .take_while(|it| it.phase == Phase::Warmup)
        .collect();
    assert_eq!(
        warmup.len() + order.len(),
        sent.len(),
        "no warm-up after the first measured one"
    );
}

#[test]
fn output_that_changes_between_iterations_is_doubted() {
    let mut spin = Spin::new(Shape::Event, 5);
    spin.ids = vec!["one", "other"];
    let (_, sent) = measure(protocol(), &mut [spin]);
    let doubted: Vec<bool> = sent
        .iter()
        .map(|iteration| iteration.reasons.contains(&Reason::Incorrect))
        .collect();
    assert_eq!(doubted, [false, true, false]);
}

#[test]
fn a_reader_that_is_gone_ends_the_measurement() {
    let mut emit = |_| Err(std::io::ErrorKind::BrokenPipe.into());
    let ended = Harness::new(protocol(), 0, WorkerClock::start(), &mut emit)
        .measure(&mut [Spin::new(Shape::Event, 5)]);
    assert!(matches!(ended, Err(TrialError::Emit(_))));
}

#[test]
fn every_suite_has_a_measuring_side() {
    for suite in Suite::ALL {
        let file = format!("{}/src/suites/{suite}.rs", env!("CARGO_MANIFEST_DIR"));
        assert!(std::path::Path::new(&file).is_file(), "{file}");
    }
}

/// Long enough that what a busy machine takes away is little of it.
const LONG_PASS_US: u64 = 40_000;

#[test]
fn doubled_work_that_takes_no_longer_was_not_computed() {
    for (doubling, is_lazy) in [(2, false), (1, true)] {
        let mut trial = Spin::new(Shape::Repeatable, LONG_PASS_US);
        trial.doubling = Some(doubling);
        let (_, sent) = measure(protocol(), &mut [trial]);
        for iteration in measured(&sent) {
            let says_so = iteration.reasons.contains(&Reason::NotLazySafe);
            assert_eq!(says_so, is_lazy, "{doubling}: {iteration:?}");
        }
        let first = measured(&sent).next().unwrap();
        let told = |it: &&Sample| it.metric == Metric::DoubledRatio;
        let ratio = first.samples.iter().find(told).unwrap().value;
        assert!((ratio / f64::from(doubling) - 1.0).abs() < 0.3, "{ratio}");
    }
}

#[test]
fn parts_that_do_not_make_up_the_region_are_told() {
    for (share, is_jump) in [(0.995, false), (0.5, true)] {
        let mut trial = Spin::new(Shape::Whole, LONG_PASS_US);
        trial.parts = Some(share);
        let (_, sent) = measure(protocol(), &mut [trial]);
        for iteration in measured(&sent) {
            let says_so = iteration.reasons.contains(&Reason::ClockJump);
            assert_eq!(says_so, is_jump, "{share}: {iteration:?}");
        }
    }
}

#[test]
fn tokens_that_nobody_asked_for_are_told_like_those_that_are_missing() {
    for (made, is_wrong) in [(31, true), (32, false), (33, true), (0, true)] {
        let mut seen = Observation::default();
        seen.expect_tokens(32, made);
        assert_eq!(
            seen.reasons.contains(&Reason::TokensMissing),
            is_wrong,
            "{made}"
        );
    }
}
