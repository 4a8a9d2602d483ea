//! A line through points, by least squares, and a power law, which is a line through their logs.

use std::fmt;

use serde::Serialize;

use super::interval::{Interval, t_quantile_975};

/// So many different places at the least: two points make a line whatever they are.
pub const LEAST_PLACES: usize = 3;

/// `y = intercept + slope · x`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Line {
    pub slope: f64,
    /// 95 %, by t with two degrees of freedom fewer than points.
    pub slope_interval: Interval,
    pub intercept: f64,
    pub intercept_interval: Interval,
    /// Share of the values' variance that the line explains; 1 where all lie on it.
    pub r_squared: f64,
    pub slope_known: Known,
}

/// `y = at_centre · (x / centre)^exponent`. The centre is the geometric mean of the x: there the law is
/// known best, and a constant at x = 1 may lie far outside of what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Power {
    pub exponent: f64,
    pub exponent_interval: Interval,
    pub centre: f64,
    pub at_centre: f64,
    pub at_centre_interval: Interval,
    /// Of the logs.
    pub r_squared: f64,
    pub exponent_known: Known,
}

/// How well a slope or an exponent is known. R² does not say it: three points have a high one by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// The ends of its interval lie within a factor of two.
    Established,
    /// They have one sign, and lie farther apart.
    SignOnly,
    /// The interval holds zero: there may be no relation.
    NotEstablished,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Established => "established",
            Self::SignOnly => "only its direction",
            Self::NotEstablished => "not established",
        })
    }
}

impl Known {
    fn by(Interval { low, high }: Interval) -> Self {
        let (near, far) = if low > 0.0 { (low, high) } else { (high, low) };
        if low <= 0.0 && high >= 0.0 {
            Self::NotEstablished
        } else if far / near <= 2.0 {
            Self::Established
        } else {
            Self::SignOnly
        }
    }
}

impl Line {
    /// None with fewer than three different x.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let mut places: Vec<f64> = points.iter().map(|(x, _)| *x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        if places.len() < LEAST_PLACES {
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
        let intercept = y_mean - slope * x_mean;
        // What the arithmetic itself loses is no spread, and no constant.
        let noise = 1e-9 * points.iter().map(|(_, y)| y.abs()).fold(0.0, f64::max);
        let beyond_noise = |value: f64| if value.abs() > noise { value } else { 0.0 };
        let unexplained: f64 = points
            .iter()
            .map(|(x, y)| beyond_noise(y - intercept - slope * x).powi(2))
            .sum();
        let variance = unexplained / (n - 2.0);
        let intercept = beyond_noise(intercept);
        let t = t_quantile_975(n - 2.0);
        let around = |value: f64, error: f64| Interval {
            low: value - t * error,
            high: value + t * error,
        };
        let slope_interval = around(slope, (variance / xx).sqrt());
        let error = (variance * (1.0 / n + x_mean.powi(2) / xx)).sqrt();
        Some(Self {
            slope,
            slope_interval,
            intercept,
            intercept_interval: around(intercept, error),
            r_squared: if yy > 0.0 { slope * xy / yy } else { 1.0 },
            slope_known: Known::by(slope_interval),
        })
    }

    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

impl Power {
    /// None with fewer than three different x, and where an x or a y has no log.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let log = |(x, y): &(f64, f64)| (*x > 0.0 && *y > 0.0).then(|| (x.ln(), y.ln()));
        let logs: Vec<(f64, f64)> = points.iter().map(log).collect::<Option<_>>()?;
        let centre = logs.iter().map(|(x, _)| x).sum::<f64>() / logs.len() as f64;
        let around_centre: Vec<(f64, f64)> = logs.iter().map(|(x, y)| (x - centre, *y)).collect();
        let line = Line::through(&around_centre)?;
        Some(Self {
            exponent: line.slope,
            exponent_interval: line.slope_interval,
            centre: centre.exp(),
            at_centre: line.intercept.exp(),
            at_centre_interval: Interval {
                low: line.intercept_interval.low.exp(),
                high: line.intercept_interval.high.exp(),
            },
            r_squared: line.r_squared,
            exponent_known: line.slope_known,
        })
    }

    pub fn at(&self, x: f64) -> f64 {
        self.at_centre * (x / self.centre).powf(self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [(f64, f64); 5] = [
        (32.0, 2.2),
        (64.0, 2.25),
        (128.0, 2.3),
        (256.0, 2.45),
        (512.0, 2.6),
    ];

    fn close(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 1e-9, "{got} is not {want}");
    }

    fn ends(Interval { low, high }: Interval, want: [f64; 2]) {
        close(low, want[0]);
        close(high, want[1]);
    }

    /// `scipy.stats.linregress` of the points, its standard errors times `t.ppf(0.975, 3)`.
    #[test]
    fn the_line_is_that_of_scipy() {
        let line = Line::through(&POINTS).unwrap();
        close(line.slope, 8.274_529_569_892e-4);
        ends(
            line.slope_interval,
            [5.840_145_574_963e-4, 0.001_070_891_356],
        );
        close(line.intercept, 2.195_833_333_333);
        ends(
            line.intercept_interval,
            [2.131_500_711_714, 2.260_165_954_953],
        );
        close(line.r_squared, 0.975_002_512_310);
        assert_eq!(line.slope_known, Known::Established);
    }

    /// The same of the logs, from whose mean x is counted.
    #[test]
    fn the_power_law_is_that_of_scipy() {
        let power = Power::through(&POINTS).unwrap();
        close(power.exponent, 0.060_487_294_679);
        ends(
            power.exponent_interval,
            [0.033_265_011_077, 0.087_709_578_282],
        );
        close(power.centre, 128.0);
        close(power.at_centre, 2.355_561_749_446);
        ends(
            power.at_centre_interval,
            [2.293_535_167_835, 2.419_265_783_786],
        );
        close(power.r_squared, 0.943_400_084_577);
        assert_eq!(power.exponent_known, Known::SignOnly);
        close(power.at(power.centre), power.at_centre);
        close(
            power.at(512.0) / power.at(256.0),
            2.0_f64.powf(power.exponent),
        );
    }

    #[test]
    fn points_on_a_line_through_zero_leave_no_noise() {
        let on_line = [0.618_834_944, 2.200_096_768, 16.06].map(|x| (x, 2.0 / 0.3 * x));
        let line = Line::through(&on_line).unwrap();
        let nothing = Interval {
            low: 0.0,
            high: 0.0,
        };
        assert_eq!((line.intercept, line.intercept_interval), (0.0, nothing));
        assert_eq!(line.slope_known, Known::Established);
    }

    #[test]
    fn two_places_make_no_line() {
        assert_eq!(Line::through(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(Line::through(&[(1.0, 1.0), (1.0, 3.0), (2.0, 2.0)]), None);
        assert_eq!(Power::through(&[(0.0, 1.0), (1.0, 3.0), (2.0, 2.0)]), None);
    }

    /// Three points with an R² above 0.9 whose slope may still be of either sign.
    #[test]
    fn a_high_r_squared_does_not_establish_a_law() {
        let line = Line::through(&[(1.0, 1.0), (2.0, 3.0), (3.0, 3.6)]).unwrap();
        assert!(line.r_squared > 0.9, "{line:?}");
        assert_eq!(line.slope_known, Known::NotEstablished);
        let rough = Line::through(&[(1.0, 1.0), (2.0, 2.1), (3.0, 3.0)]).unwrap();
        assert_eq!(rough.slope_known, Known::SignOnly);
    }
}
