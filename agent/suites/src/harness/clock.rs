//! The clocks: one for the life of the worker, one for a timed region.

use std::time::{Duration, Instant};

use mlx_rs::error::Result as MlxResult;

use crate::system;

/// Parts and whole, and two clocks, agree within this share…
const AGREE: f64 = 0.01;
/// …or within this time: between two readings the scheduler may give the core away for a quantum.
const AGREE_AT_LEAST: Duration = Duration::from_millis(5);

/// Time since the worker started.
#[derive(Clone, Copy, Debug)]
pub struct WorkerClock {
    origin: Instant,
}

impl WorkerClock {
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// What has just happened when a watch is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A prompt is in the cache.
    Filled,
    /// A step's graph is built.
    Built,
    /// It is handed to the device.
    Submitted,
    /// The device has computed it.
    Done,
    /// A token's id is known to the host.
    Token,
}

/// Runs inside one timed region. Marks are moments since its start, in room reserved before.
#[derive(Debug)]
pub struct Watch {
    marks: Vec<(Mark, Duration)>,
    continuous: Duration,
    origin: Instant,
}

impl Watch {
    /// Reserves the room, lets the device finish and starts.
    pub(super) fn start(marks: usize, fence: fn() -> MlxResult<()>) -> MlxResult<Self> {
        let marks = Vec::with_capacity(marks);
        fence()?;
        let continuous = system::continuous_now();
        Ok(Self {
            marks,
            continuous,
            origin: Instant::now(),
        })
    }

    /// Notes the moment.
    pub fn mark(&mut self, what: Mark) {
        debug_assert!(
            self.marks.len() < self.marks.capacity(),
            "more marks than announced"
        );
        self.marks.push((what, self.origin.elapsed()));
    }

    /// Since the region began.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Lets the device finish and stops.
    pub(super) fn stop(self, passes: u32, fence: fn() -> MlxResult<()>) -> MlxResult<Region> {
        fence()?;
        let duration = self.origin.elapsed();
        let continuous = system::continuous_now().saturating_sub(self.continuous);
        Ok(Region {
            duration,
            continuous,
            passes,
            marks: self.marks,
        })
    }
}

/// A finished region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub duration: Duration,
    /// The same by a clock that runs on while the machine sleeps.
    pub(super) continuous: Duration,
    pub passes: u32,
    /// In the order of time, since the region began.
    pub marks: Vec<(Mark, Duration)>,
}

impl Region {
    pub fn per_pass(&self) -> Duration {
        self.duration / self.passes
    }

    /// When each mark of this kind was made.
    pub fn times(&self, of: Mark) -> impl Iterator<Item = Duration> {
        self.marks
            .iter()
            .filter(move |(what, _)| *what == of)
            .map(|(_, at)| *at)
    }

    /// How long each mark of this kind came after the one before it, whatever that was.
    pub fn steps(&self, of: Mark) -> impl Iterator<Item = Duration> {
        let before = [Duration::ZERO]
            .into_iter()
            .chain(self.marks.iter().map(|(_, at)| *at));
        let steps = self.marks.iter().zip(before);
        steps
            .filter(move |((what, _), _)| *what == of)
            .map(|((_, at), before)| at.saturating_sub(before))
    }

    /// Gate G9: neither did the machine sleep, nor does time go missing between the parts.
    pub(super) fn adds_up(&self, parts: Option<Duration>) -> bool {
        let tolerance = self.duration.mul_f64(AGREE).max(AGREE_AT_LEAST);
        self.continuous.abs_diff(self.duration) <= tolerance
            && parts.is_none_or(|parts| parts.abs_diff(self.duration) <= tolerance)
    }
}

/// The loader's clock: nanoseconds from now on.
pub fn nanoseconds() -> impl Fn() -> u64 {
    let origin = Instant::now();
    move || origin.elapsed().as_nanos() as u64
}

/// Times one thing that is no region of its own, such as the first forward pass after a load; the
/// work must end with a fence.
pub fn time<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let origin = Instant::now();
    let value = work()?;
    Ok((value, origin.elapsed()))
}

/// Milliseconds, as metrics carry them.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Tokens, or other work, per second. A duration of nothing counts as the clock's finest step, so
/// that the rate stays a number.
pub fn rate(work: u64, duration: Duration) -> f64 {
    work as f64 / duration.max(Duration::from_nanos(1)).as_secs_f64()
}

/// The middle value, or the mean of the two in the middle; None of nothing.
pub fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    let middle = times.len() / 2;
    match times.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(times[middle]),
        _ => Some((times[middle - 1] + times[middle]) / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(ms: u64, continuous_ms: u64) -> Region {
        Region {
            duration: Duration::from_millis(ms),
            continuous: Duration::from_millis(continuous_ms),
            passes: 4,
            marks: Vec::new(),
        }
    }

    #[test]
    fn a_nap_or_missing_time_inside_the_region_shows() {
        assert!(region(1000, 1009).adds_up(None));
        assert!(!region(1000, 1011).adds_up(None), "the machine slept");
        assert!(region(1000, 1000).adds_up(Some(Duration::from_millis(991))));
        assert!(!region(1000, 1000).adds_up(Some(Duration::from_millis(980))));
        assert!(
            region(3, 4).adds_up(Some(Duration::from_millis(2))),
            "a few milliseconds are noise"
        );
    }

    #[test]
    fn a_pass_is_its_share_of_the_region_and_a_rate_is_always_a_number() {
        assert_eq!(region(1000, 1000).per_pass(), Duration::from_millis(250));
        assert!((rate(10, Duration::from_secs(2)) - 5.0).abs() < 1e-9);
        assert!(rate(10, Duration::ZERO).is_finite());
    }

    #[test]
    fn marks_are_kept_in_order_and_lie_within_the_region() {
        let mut watch = Watch::start(2, || Ok(())).unwrap();
        watch.mark(Mark::Submitted);
        watch.mark(Mark::Token);
        let region = watch.stop(1, || Ok(())).unwrap();
        let token = region.times(Mark::Token).next().unwrap();
        assert!(region.times(Mark::Submitted).next().unwrap() <= token);
        assert!(token <= region.duration);
    }

    #[test]
    fn a_step_is_the_time_since_whatever_was_marked_before() {
        let ms = Duration::from_millis;
        let marks = vec![
            (Mark::Submitted, ms(1)),
            (Mark::Submitted, ms(3)),
            (Mark::Token, ms(7)),
            (Mark::Submitted, ms(8)),
        ];
        let region = Region {
            marks,
            ..region(10, 10)
        };
        assert_eq!(
            region.steps(Mark::Submitted).collect::<Vec<_>>(),
            [ms(1), ms(2), ms(1)]
        );
        assert_eq!(region.times(Mark::Token).collect::<Vec<_>>(), [ms(7)]);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let ms = Duration::from_millis;
        assert_eq!(median(vec![ms(9), ms(1), ms(2)]), Some(ms(2)));
        assert_eq!(median(vec![ms(4), ms(1), ms(2), ms(9)]), Some(ms(3)));
        assert_eq!(median(Vec::new()), None);
    }
}
