//! Every statistic against numpy, scipy, statsmodels and ruptures, on the cases of
//! `fixtures/references.py`.

use report_gen::stats::{self, Interval, RESAMPLES, Ratio, SEED, Verdict};
use serde::Deserialize;
use serde_json::Value;

use crate::database;
use crate::fleet;
use crate::postgres::{Database, read, repository};

#[derive(Deserialize)]
struct References {
    locations: Vec<Location>,
    t: Vec<(f64, f64)>,
    welch: Vec<Arms>,
    paired: Vec<Arms>,
    blocks: Vec<Blocks>,
    bootstrap: Vec<Bootstrap>,
    mann_whitney: Vec<Ranks>,
    holm: Vec<Holm>,
    outliers: Vec<Outliers>,
    splits: Vec<Places>,
    levels: Vec<Levels>,
}

#[derive(Deserialize)]
struct Places {
    values: Vec<f64>,
    at: usize,
    p: f64,
}

#[derive(Deserialize)]
struct Levels {
    values: Vec<f64>,
    begin: Vec<usize>,
}

#[derive(Deserialize)]
struct Location {
    values: Vec<f64>,
    median: f64,
    mean: f64,
    sd: Option<f64>,
    geometric_mean: f64,
    low: Option<f64>,
    high: Option<f64>,
}

#[derive(Deserialize)]
struct Arms {
    arm: Vec<f64>,
    baseline: Vec<f64>,
    value: f64,
    low: f64,
    high: f64,
    df: f64,
    p: f64,
    verdict: String,
}

#[derive(Deserialize)]
struct Blocks {
    cases: Vec<Vec<f64>>,
    value: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Bootstrap {
    launches: Vec<Vec<f64>>,
    baseline: Option<Vec<Vec<f64>>>,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Ranks {
    a: Vec<f64>,
    b: Vec<f64>,
    p: f64,
}

#[derive(Deserialize)]
struct Holm {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct Outliers {
    values: Vec<f64>,
    outliers: Vec<bool>,
}

fn references() -> References {
    let path = repository("report-gen/tests/fixtures/references.json");
    serde_json::from_str(&read(&path)).unwrap()
}

fn close(got: f64, want: f64, what: &str) {
    let tolerance = 1e-8 * want.abs().max(1e-6);
    assert!(
        (got - want).abs() <= tolerance,
        "{what}: {got} is not {want}"
    );
}

fn ends(got: Option<Interval>, low: f64, high: f64, what: &str) {
    let got = got.expect("an interval");
    close(got.low, low, what);
    close(got.high, high, what);
}

#[test]
fn locations_and_their_intervals() {
    let references = references();
    for case in &references.locations {
        let values = &case.values;
        close(stats::median(values).unwrap(), case.median, "median");
        close(stats::mean(values).unwrap(), case.mean, "mean");
        close(
            stats::geometric_mean(values).unwrap(),
            case.geometric_mean,
            "geometric mean",
        );
        assert_eq!(stats::sd(values).is_some(), case.sd.is_some());
        if let Some((sd, want)) = stats::sd(values).zip(case.sd) {
            close(sd, want, "standard deviation");
        }
        let estimate = stats::estimate(values).unwrap();
        close(estimate.value, case.geometric_mean, "estimate");
        match case.low.zip(case.high) {
            Some((low, high)) => ends(estimate.interval, low, high, "estimate"),
            None => assert_eq!(estimate.interval, None, "one launch"),
        }
    }
    for (df, t) in references.t {
        close(stats::t_quantile_975(df), t, "quantile of t");
    }
}

#[test]
fn ratios_with_their_intervals_verdicts_and_p() {
    let references = references();
    for case in &references.welch {
        compared(
            &stats::welch_ratio(&case.arm, &case.baseline).unwrap(),
            case,
        );
    }
    for case in &references.paired {
        compared(
            &stats::paired_ratio(&case.arm, &case.baseline).unwrap(),
            case,
        );
    }
}

fn compared(ratio: &Ratio, want: &Arms) {
    close(ratio.value, want.value, "ratio");
    close(ratio.df.unwrap(), want.df, "degrees of freedom");
    ends(ratio.interval, want.low, want.high, "ratio");
    close(
        stats::p_against_margin(ratio).unwrap(),
        want.p,
        "p against the margin",
    );
    let expected = match want.verdict.as_str() {
        "beyond" if want.value > 1.0 => Verdict::Faster,
        "beyond" => Verdict::Slower,
        "within" => Verdict::Equivalent,
        _ => Verdict::Inconclusive,
    };
    assert_eq!(stats::verdict(ratio.interval, true, "tok/s"), expected);
}

#[test]
fn a_mean_of_cases_over_blocks() {
    for case in references().blocks {
        let cases: Vec<stats::Case> = case
            .cases
            .into_iter()
            .map(|values| (0..).zip(values).collect())
            .collect();
        let mean = stats::mean_of_cases(&cases).unwrap();
        close(mean.value, case.value, "mean of cases");
        ends(mean.interval, case.low, case.high, "mean of cases");
    }
}

/// By other random numbers, so within the error of ten thousand draws: a quantile at 2.5 % of a normal
/// lies within three standard errors, 3 · √(0.025 · 0.975 / 10,000) / 0.058 = 0.08 of its deviation.
#[test]
fn bootstraps_within_the_error_of_their_draws() {
    for case in references().bootstrap {
        let got = match &case.baseline {
            Some(baseline) => stats::bootstrap_ratio(&case.launches, baseline, RESAMPLES, SEED),
            None => stats::bootstrap_location(&case.launches, RESAMPLES, SEED),
        };
        let got = got.unwrap();
        let deviation = (case.high / case.low).ln() / (2.0 * 1.96);
        for (got, want) in [(got.low, case.low), (got.high, case.high)] {
            let off = (got / want).ln().abs() / deviation;
            assert!(off < 0.08, "{got} is {off} deviations from {want}");
        }
    }
}

#[test]
fn tests_of_ranks_and_their_correction() {
    let references = references();
    for case in &references.mann_whitney {
        close(
            stats::mann_whitney(&case.a, &case.b).unwrap(),
            case.p,
            "Mann-Whitney's p",
        );
    }
    for case in &references.holm {
        let adjusted = stats::holm(&case.p);
        assert_eq!(adjusted.len(), case.adjusted.len());
        for (got, want) in adjusted.iter().zip(&case.adjusted) {
            close(*got, *want, "Holm's p");
        }
    }
}

#[test]
fn outliers_by_the_median_distance() {
    for case in references().outliers {
        assert_eq!(stats::mad_outliers(&case.values), case.outliers);
    }
}

#[test]
fn the_best_split_is_that_of_ruptures_with_scipys_p() {
    for case in references().splits {
        let logs: Vec<f64> = case.values.iter().map(|value| value.ln()).collect();
        let split = stats::best_split(&logs).unwrap();
        assert_eq!(split.at, case.at, "{:?}", case.values);
        close(split.p, case.p, "p of a split");
    }
}

/// Splitting again and again finds what ruptures' exact search (PELT) finds at once.
#[test]
fn the_steps_of_a_history_are_those_of_an_exact_search() {
    for case in references().levels {
        let steps = fleet::steps_of(&case.values);
        assert_eq!(steps, case.begin, "{:?}", case.values);
    }
}

/// The rule that `report.latency` takes its percentiles by, on the cases of `references.py`.
#[tokio::test]
async fn percentiles_equal_numpys_and_need_enough_values() {
    let references: Value = serde_json::from_str(&read(&repository(
        "report-gen/tests/fixtures/references.json",
    )))
    .unwrap();
    let database = Database::start();
    let _owner = database.with_schema("fleet").await;
    let pool = database.reader("fleet").await;
    for want in references["percentiles"].as_array().unwrap() {
        let query = format!(
            "select found.* from report.order_statistic(
                (select array_agg(v::double precision order by v::double precision)
                 from jsonb_array_elements_text('{}') as v), {}) as found",
            want["values"], want["p"]
        );
        let got = &database::rows(&pool, &query).await[0];
        if want["value"].is_null() {
            assert!(got["value"].is_null(), "{got} of too few");
        } else {
            for column in ["value", "low", "high"] {
                database::close(&got[column], &want[column], column);
            }
        }
    }
    pool.close().await;
}
