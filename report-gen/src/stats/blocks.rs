//! Several cases of one machine in one number. Launches of one ordinal are a block: they run after each
//! other and share the machine's heat and clocks, so the cases are not independent and the block is
//! what counts as one.

use std::collections::BTreeSet;

use super::interval::{Ratio, ratio};
use super::location::{mean, sd};

/// A case's launches: each one's ordinal and value.
pub type Case = Vec<(i32, f64)>;

/// Geometric mean over cases of each case's geometric mean over launches. Its interval is by t over
/// blocks: per ordinal that all cases have, the mean log over the cases. Where too few ordinals are
/// common to the cases, it is as wide as if all cases moved together. None of no case, of a case
/// without launches, and where a value has no log.
pub fn mean_of_cases(cases: &[Case]) -> Option<Ratio> {
    let cases: Vec<Case> = cases.iter().map(logs).collect::<Option<_>>()?;
    let means: Option<Vec<f64>> = cases.iter().map(|case| mean(&values(case))).collect();
    let spread = over_blocks(&cases).or_else(|| together(&cases));
    Some(ratio(mean(&means?)?, spread))
}

fn logs(case: &Case) -> Option<Case> {
    let log = |(launch, value): &(i32, f64)| (*value > 0.0).then(|| (*launch, value.ln()));
    case.iter().map(log).collect()
}

fn values(case: &Case) -> Vec<f64> {
    case.iter().map(|(_, value)| *value).collect()
}

/// Per ordinal that all cases have, their geometric mean in that block: several cases as one. None without
/// such an ordinal, and where a value has no log.
pub fn blocks(cases: &[Case]) -> Option<Case> {
    let cases: Vec<Case> = cases.iter().map(logs).collect::<Option<_>>()?;
    let blocks = mean_logs(&cases);
    (!blocks.is_empty()).then(|| blocks.iter().map(|(n, log)| (*n, log.exp())).collect())
}

fn mean_logs(cases: &[Case]) -> Case {
    let ordinals =
        |case: &Case| -> BTreeSet<i32> { case.iter().map(|(launch, _)| *launch).collect() };
    let common = cases
        .iter()
        .map(ordinals)
        .reduce(|all, here| &all & &here)
        .unwrap_or_default();
    let block = |ordinal: i32| {
        let of_block = cases
            .iter()
            .filter_map(|case| case.iter().find(|(launch, _)| *launch == ordinal))
            .map(|(_, value)| *value);
        Some((ordinal, mean(&of_block.collect::<Vec<f64>>())?))
    };
    common.into_iter().filter_map(block).collect()
}

/// Variance of the mean and its degrees of freedom; None unless the common ordinals are at least half
/// of what the case with most launches has.
fn over_blocks(cases: &[Case]) -> Option<(f64, f64)> {
    let most = cases.iter().map(Vec::len).max()?;
    let blocks = values(&mean_logs(cases));
    if blocks.len() * 2 < most {
        return None;
    }
    let n = blocks.len() as f64;
    sd(&blocks).map(|sd| (sd.powi(2) / n, n - 1.0))
}

/// No correlation between cases can make their mean vary more than their mean standard error.
fn together(cases: &[Case]) -> Option<(f64, f64)> {
    let errors: Option<Vec<f64>> = cases
        .iter()
        .map(|case| sd(&values(case)).map(|sd| sd / (case.len() as f64).sqrt()))
        .collect();
    let fewest = cases.iter().map(Vec::len).min()?;
    Some((mean(&errors?)?.powi(2), fewest as f64 - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::estimate;

    fn case(values: &[f64]) -> Case {
        (0..).zip(values.iter().copied()).collect()
    }

    #[test]
    fn one_case_is_its_own_mean() {
        let values = [101.2, 99.8, 100.4, 102.1];
        let mean = mean_of_cases(&[case(&values)]).unwrap();
        let alone = estimate(&values).unwrap();
        assert!((mean.value - alone.value).abs() < 1e-9);
        let (mean, alone) = (mean.interval.unwrap(), alone.interval.unwrap());
        assert!((mean.low - alone.low).abs() < 1e-9 && (mean.high - alone.high).abs() < 1e-9);
    }

    #[test]
    fn cases_that_move_together_do_not_narrow_the_interval() {
        let one = case(&[101.2, 99.8, 100.4, 102.1]);
        let twice: Case = one.iter().map(|(n, v)| (*n, 2.0 * v)).collect();
        let alone = mean_of_cases(std::slice::from_ref(&one)).unwrap();
        let both = mean_of_cases(&[one, twice]).unwrap();
        let (a, b) = (alone.log_variance.unwrap(), both.log_variance.unwrap());
        assert!((a / b - 1.0).abs() < 1e-9, "{a} {b}");
        assert_eq!(alone.df, both.df);
    }

    #[test]
    fn several_cases_are_one_by_their_blocks() {
        let (one, other) = (case(&[1.0, 4.0, 9.0]), case(&[4.0, 1.0]));
        let both = blocks(&[one.clone(), other]).unwrap();
        assert_eq!(both.len(), 2, "the third launch is of one case only");
        assert!(both.iter().all(|(_, value)| (value - 2.0).abs() < 1e-12));
        assert_eq!(blocks(&[one, vec![(7, 1.0)]]), None);
        assert_eq!(blocks(&[]), None);
    }

    #[test]
    fn a_case_with_few_launches_widens_the_interval_and_keeps_it() {
        let long = case(&[101.2, 99.8, 100.4, 102.1, 100.0, 101.0, 99.0, 100.7]);
        let short = case(&[50.1, 50.9]);
        let mean = mean_of_cases(&[long, short]).unwrap();
        assert_eq!(mean.df, Some(1.0));
        assert!(mean.interval.is_some());
    }

    #[test]
    fn a_launch_that_one_case_lacks_leaves_the_other_blocks() {
        let whole = case(&[101.2, 99.8, 100.4, 102.1]);
        let gap: Case = whole.iter().copied().filter(|(n, _)| *n != 2).collect();
        assert_eq!(mean_of_cases(&[whole, gap]).unwrap().df, Some(2.0));
        assert_eq!(mean_of_cases(&[]), None);
        assert_eq!(mean_of_cases(&[case(&[1.0, 0.0])]), None);
    }
}
