//! Estimates and ratios with 95 % t intervals on the logs of launch medians (P25 to P27).

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::location::{mean, sd};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// One launch: a value, no interval.
    OneLaunch,
    /// Somebody else's number, with the digits that it was given with.
    AsGiven,
    /// Geometric mean, t interval on logs.
    TOnLogs,
    /// Arithmetic mean and t interval, for values that have no log.
    Arithmetic,
    /// Geometric mean, hierarchical bootstrap.
    Bootstrap,
}

/// A location over launches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    /// 95 %; None with one launch.
    pub interval: Option<Interval>,
    pub launches: usize,
    pub method: Method,
}

/// One arm's location over the other's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    pub value: f64,
    /// 95 %; None where an arm has one launch.
    pub interval: Option<Interval>,
    /// Variance of the log ratio and its degrees of freedom.
    pub log_variance: Option<f64>,
    pub df: Option<f64>,
}

/// The 0.975 quantile of Student's t with `df` degrees of freedom (whole or not, from 1 up).
pub fn t_quantile_975(df: f64) -> f64 {
    const Z: f64 = 1.959_963_984_540_054;
    if df > 1000.0 {
        // Fisher's expansion around the normal quantile, better than 1e-10 here; inverting the
        // incomplete beta function loses digits when df is large.
        let first = (Z.powi(3) + Z) / 4.0;
        let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
        return Z + first / df + second / df.powi(2);
    }
    student(df).inverse_cdf(0.975)
}

pub(super) fn student(df: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, df).expect("degrees of freedom are at least one")
}

/// Geometric mean of launch medians with a t interval on their logs; arithmetic where a median is
/// not positive. None of no launches.
pub fn estimate(medians: &[f64]) -> Option<Estimate> {
    let on_logs = medians.iter().all(|&m| m > 0.0);
    let scaled: Vec<f64> = medians
        .iter()
        .map(|&m| if on_logs { m.ln() } else { m })
        .collect();
    let back = |v: f64| if on_logs { v.exp() } else { v };
    let centre = mean(&scaled)?;
    // Of one launch the value itself: through a log and back it would be a hair off.
    let value = if let [only] = medians {
        *only
    } else {
        back(centre)
    };
    let interval = sd(&scaled).map(|sd| {
        let n = scaled.len() as f64;
        let half_width = t_quantile_975(n - 1.0) * sd / n.sqrt();
        Interval {
            low: back(centre - half_width),
            high: back(centre + half_width),
        }
    });
    let method = match (interval, on_logs) {
        (None, _) => Method::OneLaunch,
        (Some(_), true) => Method::TOnLogs,
        (Some(_), false) => Method::Arithmetic,
    };
    Some(Estimate {
        value,
        interval,
        launches: medians.len(),
        method,
    })
}

/// `arm` over `baseline` by Welch's t on logs of launch medians. None where a value has no log.
pub fn welch_ratio(arm: &[f64], baseline: &[f64]) -> Option<Ratio> {
    let (arm, baseline) = (logs(arm)?, logs(baseline)?);
    Some(quotient(&location(&arm)?, &location(&baseline)?))
}

/// A set of logs as a ratio to one unit: their mean, and how well it is known.
fn location(logs: &[f64]) -> Option<Ratio> {
    let n = logs.len() as f64;
    let spread = sd(logs).map(|sd| (sd.powi(2) / n, n - 1.0));
    Some(ratio(mean(logs)?, spread))
}

/// The ratio of two independent locations or ratios: variances add, degrees of freedom by Welch and
/// Satterthwaite. No interval where one of them has none.
pub fn quotient(arm: &Ratio, baseline: &Ratio) -> Ratio {
    let known = |r: &Ratio| r.log_variance.zip(r.df);
    let spread = known(arm)
        .zip(known(baseline))
        .map(|((a, df_a), (b, df_b))| {
            let df = if a + b > 0.0 {
                (a + b).powi(2) / (a.powi(2) / df_a + b.powi(2) / df_b)
            } else {
                df_a + df_b
            };
            (a + b, df)
        });
    ratio(arm.value.ln() - baseline.value.ln(), spread)
}

/// `arm` over `baseline` of launches run in pairs, one block after another: t on the blocks'
/// differences, which what they share does not widen. None of different lengths, or without logs.
pub fn paired_ratio(arm: &[f64], baseline: &[f64]) -> Option<Ratio> {
    if arm.len() != baseline.len() {
        return None;
    }
    let (arm, baseline) = (logs(arm)?, logs(baseline)?);
    let differences: Vec<f64> = arm.iter().zip(&baseline).map(|(a, b)| a - b).collect();
    location(&differences)
}

pub(super) fn ratio(log_ratio: f64, spread: Option<(f64, f64)>) -> Ratio {
    let interval = spread.map(|(variance, df)| {
        let half_width = t_quantile_975(df) * variance.sqrt();
        Interval {
            low: (log_ratio - half_width).exp(),
            high: (log_ratio + half_width).exp(),
        }
    });
    Ratio {
        value: log_ratio.exp(),
        interval,
        log_variance: spread.map(|(variance, _)| variance),
        df: spread.map(|(_, df)| df),
    }
}

fn logs(values: &[f64]) -> Option<Vec<f64>> {
    values.iter().map(|&v| (v > 0.0).then(|| v.ln())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 5] = [101.2, 99.8, 100.4, 102.1, 100.9];
    const B: [f64; 4] = [96.1, 97.3, 95.2, 99.0];

    fn close(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 1e-7, "{got} is not {want}");
    }

    fn ends(interval: Option<Interval>, low: f64, high: f64) {
        let interval = interval.expect("an interval");
        close(interval.low, low);
        close(interval.high, high);
    }

    /// scipy.stats.t.ppf(0.975, df)
    #[test]
    fn t_quantiles_equal_scipys() {
        for (df, t) in [
            (1.0, 12.706_204_736_2),
            (1.5, 6.016_663_104_4),
            (2.0, 4.302_652_729_7),
            (3.0, 3.182_446_305_3),
            (4.7, 2.620_726_075_4),
            (9.0, 2.262_157_162_8),
            (30.0, 2.042_272_456_3),
            (100.5, 1.983_850_655_3),
        ] {
            close(t_quantile_975(df), t);
        }
    }

    #[test]
    fn an_estimate_equals_scipys() {
        let estimate = estimate(&A).unwrap();
        close(estimate.value, 100.877_041_065_0);
        ends(estimate.interval, 99.810_392_963_4, 101.955_088_161_7);
        assert_eq!((estimate.launches, estimate.method), (5, Method::TOnLogs));
    }

    #[test]
    fn values_without_logs_are_averaged_plainly() {
        let estimate = estimate(&[0.0, 1.0, 2.5, -0.5]).unwrap();
        close(estimate.value, 0.75);
        ends(estimate.interval, -1.354_990_371_1, 2.854_990_371_1);
        assert_eq!(estimate.method, Method::Arithmetic);
    }

    #[test]
    fn one_launch_has_no_interval() {
        let one = estimate(&[7.0]).unwrap();
        assert_eq!(
            (one.value.round(), one.interval, one.method),
            (7.0, None, Method::OneLaunch)
        );
        assert_eq!(welch_ratio(&A, &[97.0]).unwrap().interval, None);
        assert_eq!(estimate(&[]), None);
    }

    #[test]
    fn equal_launches_have_an_interval_of_no_width() {
        ends(estimate(&[8.0, 8.0, 8.0]).unwrap().interval, 8.0, 8.0);
        let ratio = welch_ratio(&[8.0, 8.0], &[4.0, 4.0]).unwrap();
        ends(ratio.interval, 2.0, 2.0);
    }

    #[test]
    fn welchs_ratio_equals_scipys() {
        let ratio = welch_ratio(&A, &B).unwrap();
        close(ratio.value, 1.041_154_648_0);
        ends(ratio.interval, 1.015_191_865_7, 1.067_781_409_2);
        close(ratio.df.unwrap(), 4.222_215_993_0);
    }

    #[test]
    fn a_paired_ratio_equals_scipys() {
        let ratio = paired_ratio(&A[..4], &B).unwrap();
        close(ratio.value, 1.041_095_416_4);
        ends(ratio.interval, 1.017_763_881_6, 1.064_961_810_6);
        assert_eq!(paired_ratio(&A, &B), None);
    }
}
