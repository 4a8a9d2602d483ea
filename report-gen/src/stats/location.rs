//! Where a set of numbers lies and how it spreads.

/// The middle value, or the mean of the two middle ones; None of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Of equal values exactly their value, so that their spread is exactly nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    if values.iter().all(|v| v.total_cmp(&first).is_eq()) {
        return Some(first);
    }
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation; None of fewer than two values.
pub fn sd(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// None of nothing, and where a value is not positive.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let logs: Option<Vec<f64>> = values.iter().map(|&v| (v > 0.0).then(|| v.ln())).collect();
    mean(&logs?).map(f64::exp)
}

/// A percentile with the order statistics that bound it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub n: usize,
}

/// The `p`-quantile (0 < p < 1) by nearest rank with its 95 % order-statistic interval, but only of
/// at least 20 / (1 - p) values: a 99th percentile of 200 is its maximum by another name (P24).
pub fn percentile(values: &[f64], p: f64) -> Option<Percentile> {
    let n = values.len();
    // The product, not the quotient: 20 / (1 - 0.9) is a hair above 200 in binary.
    if (n as f64) * (1.0 - p) < 20.0 - 1e-9 {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = n as f64 * p;
    let spread = 1.96 * (rank * (1.0 - p)).sqrt();
    // Ranks count from one.
    let at = |rank: f64| sorted[(rank.max(1.0) as usize).min(n) - 1];
    Some(Percentile {
        value: at((rank - 1e-9).ceil()),
        low: at((rank - spread).floor()),
        high: at((rank + spread).ceil() + 1.0),
        n,
    })
}

/// Which values lie more than 3.5 modified z-scores from the median (P28). They are shown, never
/// dropped. Where more than half the values are equal there is no scale to judge by, and none is.
pub fn mad_outliers(values: &[f64]) -> Vec<bool> {
    let Some(centre) = median(values) else {
        return Vec::new();
    };
    let distances: Vec<f64> = values.iter().map(|v| (v - centre).abs()).collect();
    let mad = median(&distances).unwrap_or(0.0);
    distances
        .iter()
        .map(|d| mad > 0.0 && 0.674_49 * d / mad > 3.5)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_geometric_mean_needs_positive_values() {
        assert!((geometric_mean(&[1.0, 4.0, 16.0]).unwrap() - 4.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
    }

    #[test]
    fn percentiles_wait_for_enough_values() {
        let values: Vec<f64> = (1..=2000).map(f64::from).collect();
        assert_eq!(percentile(&values[..39], 0.5), None);
        assert_eq!(percentile(&values[..40], 0.5).map(|p| p.value), Some(20.0));
        assert_eq!(percentile(&values[..199], 0.9), None);
        assert_eq!(
            percentile(&values[..200], 0.9).map(|p| p.value),
            Some(180.0)
        );
        assert_eq!(percentile(&values[..399], 0.95), None);
        assert!(percentile(&values[..400], 0.95).is_some());
        assert_eq!(percentile(&values[..1999], 0.99), None);
        let p99 = percentile(&values, 0.99).unwrap();
        assert_eq!(
            (p99.low, p99.value, p99.high, p99.n),
            (1971.0, 1980.0, 1990.0, 2000)
        );
    }

    #[test]
    fn outliers_are_flagged_against_the_median_distance() {
        assert_eq!(
            mad_outliers(&[10.0, 10.1, 9.9, 10.05, 14.0]),
            [false, false, false, false, true]
        );
        assert_eq!(mad_outliers(&[5.0, 5.0, 5.0, 9.0]), [false; 4]);
    }
}
