//! What reading the sensors costs the work beside it: P5 of the protocol.
//!
//! The canary's work is done with the sensors read and not read, A B B A and again, each time in a
//! process of its own. A machine that warms steadily meanwhile slows both alike.

use domain::record::SensorsCost;

use crate::precision::mean_interval;

/// One block: whether the sensors are read.
pub const BLOCK: [bool; 4] = [true, false, false, true];

pub const BLOCKS: usize = 5;

/// From the seconds that the work took, in the order of [`BLOCK`]: mean and 95 % interval by
/// Student's t of the blocks' differences of logs, as percent more. None of fewer than two blocks.
pub fn of(blocks: &[[f64; 4]]) -> Option<SensorsCost> {
    let differences: Vec<f64> = blocks.iter().map(difference).collect();
    let (mean, half) = mean_interval(&differences)?;
    let percent = |log: f64| log.exp_m1() * 100.0;
    Some(SensorsCost {
        percent: percent(mean),
        low: percent(mean - half),
        high: percent(mean + half),
    })
}

fn difference(block: &[f64; 4]) -> f64 {
    let mean_log = |read: bool| {
        let seconds = BLOCK
            .iter()
            .zip(block)
            .filter(|(is_read, _)| **is_read == read);
        seconds.map(|(_, seconds)| seconds.ln()).sum::<f64>() / 2.0
    };
    mean_log(true) - mean_log(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks whose ratios are 1.01, 1.02 and 1.03; mean and interval by scipy 1.17: `stats.t.interval(0.95,
    /// 2, mean(log), sem(log))`.
    #[test]
    fn the_cost_is_the_mean_of_the_blocks_with_students_interval() {
        let block = |ratio: f64| [2.0 * ratio, 2.0, 2.0, 2.0 * ratio];
        let cost = of(&[block(1.01), block(1.02), block(1.03)]).unwrap();
        let near = |seen: f64, expected: f64| assert!((seen - expected).abs() < 1e-6, "{seen}");
        near(cost.percent, 1.996_731_92);
        near(cost.low, -0.457_408_92);
        near(cost.high, 4.511_377_59);
    }

    #[test]
    fn a_machine_that_slows_steadily_shows_no_cost() {
        let block = |start: f64| [0, 1, 2, 3].map(|step| (start + 0.01 * f64::from(step)).exp());
        let cost = of(&[block(0.0), block(0.04), block(0.08)]).unwrap();
        assert!(cost.percent.abs() < 1e-9, "{cost:?}");
        assert_eq!(of(&[block(0.0)]), None);
    }
}
