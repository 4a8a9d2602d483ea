//! A line through points, by least squares.

/// `y = intercept + slope · x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub slope: f64,
    pub intercept: f64,
    /// Share of the values' variance that the line explains; 1 where all lie on it.
    pub r_squared: f64,
    /// Standard error of the slope, of points that err independently of each other.
    pub slope_error: f64,
}

impl Line {
    /// None with fewer than three different x: two points make a line whatever they are.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let mut places: Vec<f64> = points.iter().map(|(x, _)| *x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        if places.len() < 3 {
            return None;
        }
        let n = points.len() as f64;
        let x_mean = points.iter().map(|(x, _)| x).sum::<f64>() / n;
        let y_mean = points.iter().map(|(_, y)| y).sum::<f64>() / n;
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (x, y) in points {
            xx += (x - x_mean).powi(2);
            xy += (x - x_mean) * (y - y_mean);
            yy += (y - y_mean).powi(2);
        }
        let slope = xy / xx;
        let left = (yy - slope * xy).max(0.0);
        Some(Self {
            slope,
            intercept: y_mean - slope * x_mean,
            r_squared: if yy > 0.0 { slope * xy / yy } else { 1.0 },
            slope_error: (left / (n - 2.0) / xx).sqrt(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.polyfit` and `numpy.corrcoef` of the same points, and the textbook's error of the slope.
    #[test]
    fn the_line_is_that_of_numpy() {
        let points = [
            (32.0, 2.2),
            (64.0, 2.25),
            (128.0, 2.3),
            (256.0, 2.45),
            (512.0, 2.6),
        ];
        let line = Line::through(&points).unwrap();
        assert!(
            (line.slope - 8.274_529_569_892_437e-4).abs() < 1e-12,
            "{line:?}"
        );
        assert!(
            (line.intercept - 2.195_833_333_333_335).abs() < 1e-12,
            "{line:?}"
        );
        assert!(
            (line.r_squared - 0.975_002_512_310_320_2).abs() < 1e-12,
            "{line:?}"
        );
        assert!(
            (line.slope_error - 7.649_411_054_910_251e-5).abs() < 1e-12,
            "{line:?}"
        );
    }

    #[test]
    fn two_places_make_no_line() {
        assert_eq!(Line::through(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(Line::through(&[(1.0, 1.0), (1.0, 3.0), (2.0, 2.0)]), None);
    }
}
