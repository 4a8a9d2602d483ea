//! Where the level of a series changed: the place that splits it best into two, by least squares, and
//! how likely such a split is without any change (Worsley 1979, JASA 74: the largest of the two-sample t
//! statistics over all places, with Bonferroni's bound over them). Several steps are found by splitting
//! again what lies before and after, which is binary segmentation.

use statrs::distribution::ContinuousCDF;

use super::interval::student;
use super::location::mean;

/// Values on either side of a step: one alone would be an outlier as well as a level.
pub const STEP_SIDE: usize = 2;

/// The best split of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Place of the first value of the new level.
    pub at: usize,
    /// That some place of a series without a step is as good; 1 at the most.
    pub p: f64,
}

/// None of fewer values than two sides need, and where all are equal.
pub fn best_split(values: &[f64]) -> Option<Split> {
    let n = values.len();
    let places = n.checked_sub(2 * STEP_SIDE - 1).filter(|&n| n > 0)?;
    let squares = |side: &[f64]| {
        let centre = mean(side).unwrap_or(0.0);
        side.iter()
            .map(|value| (value - centre).powi(2))
            .sum::<f64>()
    };
    let all = squares(values);
    let scored = (STEP_SIDE..=n - STEP_SIDE).map(|at| {
        let (before, after) = values.split_at(at);
        (at, squares(before) + squares(after))
    });
    let (at, within) = scored.min_by(|a, b| a.1.total_cmp(&b.1))?;
    if all <= 0.0 {
        return None;
    }
    let df = (n - 2) as f64;
    // With two means, t² = (all − within) / (within / df).
    let p = if within > 0.0 {
        let t = ((all - within).max(0.0) * df / within).sqrt();
        2.0 * student(df).sf(t)
    } else {
        0.0
    };
    Some(Split {
        at,
        p: (p * places as f64).min(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_where_it_is() {
        let split = best_split(&[1.0, 1.1, 0.9, 1.0, 2.0, 2.1, 1.9]).unwrap();
        assert_eq!(split.at, 4);
        assert!(split.p < 0.001, "{split:?}");
    }

    #[test]
    fn one_odd_value_at_the_end_is_no_level() {
        let split = best_split(&[1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 9.0]).unwrap();
        assert!(split.p > 0.05, "{split:?}");
    }

    #[test]
    fn too_few_values_and_equal_ones_have_no_step() {
        assert_eq!(best_split(&[1.0, 1.0, 2.0]), None);
        assert_eq!(best_split(&[1.0; 12]), None);
        assert!(best_split(&[1.0, 1.0, 2.0, 2.0]).unwrap().p < 1e-12);
    }
}
