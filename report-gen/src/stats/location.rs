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

/// From so many launches on, one may be called an outlier: of three values that are drawn alike, a third
/// of the time one lies beyond the limit by chance.
pub const OUTLIER_LAUNCHES: usize = 8;

/// Which values lie more than 3.5 modified z-scores from the median (P28). They are shown, never
/// dropped. None of a few values, nor where more than half are equal: there is no scale to judge by.
pub fn mad_outliers(values: &[f64]) -> Vec<bool> {
    if values.len() < OUTLIER_LAUNCHES {
        return vec![false; values.len()];
    }
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
    fn outliers_are_flagged_against_the_median_distance() {
        let values = [10.0, 10.1, 9.9, 10.05, 14.0, 9.95, 10.02, 9.98];
        let flags = mad_outliers(&values);
        assert_eq!(flags.iter().position(|flag| *flag), Some(4));
        assert_eq!(flags.iter().filter(|flag| **flag).count(), 1);
        assert_eq!(mad_outliers(&values[..7]), [false; 7], "too few to tell");
        let mostly_equal = [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 9.0];
        assert_eq!(mad_outliers(&mostly_equal), [false; 8]);
    }
}
