//! What is published of Apple's chips with another engine: llama.cpp's discussion 4167, kept in
//! `data/llamacpp-4167.csv`. A reference to stand beside our figures; nothing is judged by it.
//!
//! LLaMA 2 7B at three precisions, a prompt of 512 tokens and 128 new ones, each in tokens per second, by
//! build 8e672ef of 2023 and as its users reported them. Later builds are faster (on an M2 Ultra, Q4_0
//! went from 94 to 109 tokens per second within a year), so the figures compare chips, not engines.

use std::sync::LazyLock;

use crate::chip;
use crate::metric::Metric;
use crate::suite::Suite;

pub const SOURCE: &str = "discussion 4167, build 8e672ef";
pub const MODEL: &str = "LLaMA 2 7B";
pub const PARAMETERS: f64 = 6.74e9;
pub const PROMPT_TOKENS: u32 = 512;
pub const NEW_TOKENS: u32 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F16,
    Q8_0,
    Q4_0,
}

impl Precision {
    pub const ALL: [Self; 3] = [Self::F16, Self::Q8_0, Self::Q4_0];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
        }
    }

    /// Of the model's file, by llama-bench's own tables in GiB: what each new token reads.
    pub fn bytes(self) -> f64 {
        let gib = match self {
            Self::F16 => 12.55,
            Self::Q8_0 => 6.67,
            Self::Q4_0 => 3.56,
        };
        gib * f64::from(1 << 30)
    }
}

/// Tokens per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub prefill_tps: f64,
    pub decode_tps: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Without the maker: `M3 Max`.
    pub chip: &'static str,
    pub gpu_cores: u32,
    rates: [Option<Rates>; 3],
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let rows = include_str!("../data/llamacpp-4167.csv").lines().skip(1);
    rows.map(|row| Row::read(row).unwrap_or_else(|| unreachable!("llamacpp-4167.csv: {row}")))
        .collect()
});

impl Row {
    fn read(row: &'static str) -> Option<Self> {
        let [chip, cores, _bandwidth, rates @ ..] =
            <[&str; 9]>::try_from(row.split(',').collect::<Vec<_>>()).ok()?;
        let of = |place: usize| match (rates[2 * place], rates[2 * place + 1]) {
            ("", "") => Some(None),
            (prefill, decode) => Some(Some(Rates {
                prefill_tps: prefill.parse().ok()?,
                decode_tps: decode.parse().ok()?,
            })),
        };
        Some(Self {
            chip,
            gpu_cores: cores.parse().ok()?,
            rates: [of(0)?, of(1)?, of(2)?],
        })
    }

    /// None where nobody has reported it.
    pub fn rates(&self, precision: Precision) -> Option<Rates> {
        self.rates[precision as usize]
    }
}

pub fn all() -> &'static [Row] {
    &ROWS
}

/// The row of a chip as the system names it (`Apple M3 Max`); without the number of its cores, only where
/// one row can be meant.
pub fn find(name: &str, gpu_cores: Option<u32>) -> Option<&'static Row> {
    let name = chip::without_maker(name);
    let mut meant = all()
        .iter()
        .filter(|row| row.chip == name && gpu_cores.is_none_or(|cores| cores == row.gpu_cores));
    meant.next().filter(|_| meant.next().is_none())
}

/// One of the figures, under the metric and case by which an import of llama-bench's own output has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// As the system names it.
    pub chip: String,
    pub gpu_cores: u32,
    pub precision: Precision,
    pub suite: Suite,
    pub case_key: String,
    pub metric: Metric,
    pub value: f64,
}

/// All figures. For whoever cannot call [`find`], as the database's views.
pub fn published() -> Vec<Published> {
    let mut all = Vec::new();
    for row in self::all() {
        for precision in Precision::ALL {
            let Some(rates) = row.rates(precision) else {
                continue;
            };
            let of = |suite, case_key, metric, value| Published {
                chip: format!("Apple {}", row.chip),
                gpu_cores: row.gpu_cores,
                precision,
                suite,
                case_key,
                metric,
                value,
            };
            // How much of the prompt at once is not told.
            let prompt = format!("prompt={PROMPT_TOKENS},depth=0,chunk=?");
            let new = format!("new={NEW_TOKENS},depth=0");
            all.extend([
                of(
                    Suite::Prefill,
                    prompt,
                    Metric::PrefillTps,
                    rates.prefill_tps,
                ),
                of(Suite::Decode, new, Metric::DecodeTpsSync, rates.decode_tps),
            ]);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_and_is_of_a_chip_that_is_known() {
        assert_eq!(all().len(), 28);
        for row in all() {
            let spec = chip::find(row.chip, Some(row.gpu_cores));
            let bandwidth = spec.unwrap_or_else(|| panic!("{row:?}")).bandwidth_gbps;
            for precision in Precision::ALL {
                // Nobody reads faster than the memory gives, by more than the table's rounding.
                if let Some(rates) = row.rates(precision) {
                    let gbps = rates.decode_tps * precision.bytes() / 1e9;
                    assert!(gbps < bandwidth, "{row:?} {precision:?}: {gbps}");
                }
            }
        }
        let m1 = find("Apple M1", Some(8)).unwrap();
        assert_eq!(m1.rates(Precision::F16), None);
        let max = find("Apple M4 Max", Some(40)).unwrap();
        let want = Rates {
            prefill_tps: 922.83,
            decode_tps: 31.64,
        };
        assert_eq!(max.rates(Precision::F16), Some(want));
    }

    #[test]
    fn a_chip_of_unknown_cores_is_found_only_where_it_is_one() {
        assert_eq!(find("Apple M4", None).unwrap().gpu_cores, 10);
        assert_eq!(find("Apple M3 Max", None), None);
        assert_eq!(find("Apple M5", Some(10)), None);
    }
}
