//! The statistics of `docs/measurement.md` 8 C, as plain functions over plain numbers.
//!
//! The unit of every interval is the launch (one fresh process), never the iteration: iterations of
//! one process share its accidents, and pooling them makes an interval of 95 % cover half the time.
//! `tests/report/references.rs` holds every function against numpy, scipy and statsmodels.

mod interval;
mod line;
mod location;

mod blocks;
mod bootstrap;
mod rank;
mod step;
mod verdict;

pub use blocks::{Case, blocks, mean_of_cases};
pub use bootstrap::{RESAMPLES, SEED, bootstrap_location, bootstrap_ratio};
pub use interval::{
    Estimate, Interval, Method, Ratio, estimate, paired_ratio, quotient, t_quantile_975,
    welch_ratio,
};
pub use line::{Known, LEAST_PLACES, Line, Power};
pub use location::{OUTLIER_LAUNCHES, geometric_mean, mad_outliers, mean, median, sd};
pub use rank::{holm, mann_whitney};
pub use step::{STEP_SIDE, Split, best_split};
pub use verdict::{MARGIN, Verdict, p_against_margin, verdict};

/// From so many launches on, the bootstrap takes the t interval's place (P26).
pub const BOOTSTRAP_LAUNCHES: usize = 10;
