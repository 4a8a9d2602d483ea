//! From values to places along one direction, and the values that are worth a tick.

/// Ticks that a reader can take in.
const MOST_TICKS: f64 = 8.0;

pub struct Axis {
    low: f64,
    high: f64,
    /// Between ticks: a difference, or the logarithm to base 2 of a factor.
    step: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// Of the values, widened to whole ticks. A log axis takes positive values only.
    pub fn of(values: impl IntoIterator<Item = f64>, log: bool, (from, to): (f64, f64)) -> Self {
        let scaled = |value: f64| if log { value.log2() } else { value };
        let (low, high) = values
            .into_iter()
            .map(scaled)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = match high - low {
            // One value, or none at all.
            width if !width.is_finite() => (0.0, 1.0),
            0.0 => (low - 0.5, high + 0.5),
            _ => (low, high),
        };
        let step = if log {
            ((high - low) / MOST_TICKS).ceil().max(1.0)
        } else {
            round_step((high - low) / (MOST_TICKS - 2.0))
        };
        Self {
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
            step,
            log,
            from,
            to,
        }
    }

    pub fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.log2() } else { value };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    pub fn ticks(&self) -> Vec<f64> {
        let steps = ((self.high - self.low) / self.step).round() as i32;
        let first = (self.low / self.step).round();
        let tick = |at: i32| (first + f64::from(at)) * self.step;
        (0..=steps)
            .map(tick)
            .map(|value| if self.log { value.exp2() } else { value })
            .collect()
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let enough = steps.into_iter().find(|step| *step >= least * 0.999);
    enough.unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        let axis = Axis::of([0.0, 313.2], false, (100.0, 900.0));
        assert_eq!(axis.ticks(), [0.0, 100.0, 200.0, 300.0, 400.0]);
        assert!((axis.at(200.0) - 500.0).abs() < 1e-9);
        let axis = Axis::of([0.913, 1.09], false, (0.0, 1.0));
        assert!(axis.at(0.913) >= 0.0 && axis.at(1.09) <= 1.0);
        assert!(axis.ticks().len() <= 9, "{:?}", axis.ticks());
    }

    #[test]
    fn far_apart_lengths_are_powers_of_two() {
        let axis = Axis::of([128.0, 2000.0], true, (0.0, 4.0));
        assert_eq!(axis.ticks(), [128.0, 256.0, 512.0, 1024.0, 2048.0]);
        assert!((axis.at(512.0) - 2.0).abs() < 1e-9);
        let axis = Axis::of([1.0, 1e6], true, (0.0, 1.0));
        assert!(axis.ticks().len() <= 9, "{:?}", axis.ticks());
    }

    #[test]
    fn one_value_has_a_place_too() {
        for values in [&[7.0][..], &[]] {
            let axis = Axis::of(values.iter().copied(), false, (0.0, 10.0));
            assert!(axis.at(7.0).is_finite() && axis.ticks().len() > 1);
        }
    }
}
