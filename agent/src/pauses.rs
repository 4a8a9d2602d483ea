//! Pauses between tries that are never given up: longer from one to the next, never quite the same.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

#[derive(Debug)]
pub struct Pauses {
    builder: ExponentialBuilder,
    left: ExponentialBackoff,
    longest: Duration,
}

impl Pauses {
    /// `longest` is half of what a pause may be: jitter adds up to as much again.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(shortest)
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times();
        Self {
            builder,
            left: builder.build(),
            longest,
        }
    }

    pub fn next(&mut self) -> Duration {
        self.left.next().unwrap_or(self.longest)
    }

    /// After a try that did something: the next failure is a new one.
    pub fn restart(&mut self) {
        self.left = self.builder.build();
    }
}
