//! What does not depend on a distribution's shape: Mann-Whitney's test, and Holm's correction.

use statrs::distribution::{ContinuousCDF, Normal};

/// Largest arm for which the exact distribution of U is counted; beyond it the normal one serves.
const EXACT_TO: usize = 20;

/// Two-sided p of both arms being drawn alike: exact without ties and up to 20 values an arm, else
/// normal with correction for ties and continuity. None of an empty arm.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let mut u = 0.0;
    let mut tied = false;
    for x in a {
        for y in b {
            if x > y {
                u += 1.0;
            } else if (x - y).abs() <= f64::EPSILON * x.abs() {
                u += 0.5;
                tied = true;
            }
        }
    }
    let u = f64::max(u, (a.len() * b.len()) as f64 - u);
    let p = if !tied && a.len() <= EXACT_TO && b.len() <= EXACT_TO {
        2.0 * exact_tail(a.len(), b.len(), u as usize)
    } else {
        normal_tail(a, b, u)
    };
    Some(p.min(1.0))
}

/// P(U >= u): the number of ways to choose `m` of `m + n` ranks by their sum, counted once.
fn exact_tail(m: usize, n: usize, u: usize) -> f64 {
    // ways[k][s]: choices of k ranks with rank sum s above the smallest possible.
    let mut ways = vec![vec![0.0_f64; m * n + 1]; m + 1];
    ways[0][0] = 1.0;
    for rank in 0..m + n {
        for k in (1..=m.min(rank + 1)).rev() {
            // The k-th chosen rank (from 0) adds its distance above the smallest place it can have.
            let Some(shift) = rank.checked_sub(k - 1).filter(|shift| *shift <= n) else {
                continue;
            };
            for s in (shift..=m * n).rev() {
                let more = ways[k - 1][s - shift];
                ways[k][s] += more;
            }
        }
    }
    let total: f64 = ways[m].iter().sum();
    ways[m][u..].iter().sum::<f64>() / total
}

fn normal_tail(one: &[f64], other: &[f64], u: f64) -> f64 {
    let product = (one.len() * other.len()) as f64;
    let mut all: Vec<f64> = one.iter().chain(other).copied().collect();
    all.sort_by(f64::total_cmp);
    let ties: f64 = all
        .chunk_by(|x, y| (x - y).abs() <= f64::EPSILON * x.abs())
        .map(|tie| (tie.len() as f64).powi(3) - tie.len() as f64)
        .sum();
    let total = all.len() as f64;
    let variance = product / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (u - product / 2.0 - 0.5) / variance.sqrt();
    2.0 * Normal::standard().sf(z)
}

/// Holm's step-down correction over a family: adjusted p-values in the order they came.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    let mut adjusted = vec![0.0; p.len()];
    let mut floor = 0.0_f64;
    for (place, &i) in order.iter().enumerate() {
        floor = floor.max((p[i] * (p.len() - place) as f64).min(1.0));
        adjusted[i] = floor;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "{got} is not {want}");
    }

    /// scipy.stats.mannwhitneyu(method="exact")
    #[test]
    fn an_exact_p_equals_scipys() {
        let a = [101.2, 99.8, 100.4, 102.1, 100.9];
        close(
            mann_whitney(&a, &[96.1, 97.3, 95.2, 99.0]).unwrap(),
            0.015_873_015_9,
        );
        close(
            mann_whitney(&a, &[100.0, 101.5, 98.0, 103.0, 100.5, 99.0]).unwrap(),
            0.662_337_662_3,
        );
    }

    /// scipy.stats.mannwhitneyu(method="asymptotic")
    #[test]
    fn a_p_with_ties_equals_scipys() {
        close(
            mann_whitney(&[1.0, 2.0, 2.0, 3.0, 5.0], &[2.0, 3.0, 4.0, 6.0]).unwrap(),
            0.316_890_054_8,
        );
    }

    #[test]
    fn equal_arms_are_not_told_apart() {
        close(mann_whitney(&[1.0, 1.0], &[1.0, 1.0]).unwrap(), 1.0);
        assert_eq!(mann_whitney(&[], &[1.0]), None);
    }

    #[test]
    fn holm_multiplies_by_what_is_left_and_never_falls() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, want) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            close(*got, want);
        }
    }
}
