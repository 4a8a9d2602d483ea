//! What is published of Apple's chips: `data/chips.csv`, each row with where its figures are from. Used
//! to refuse impossible numbers and to show a share of the ceiling beside a figure, never instead of it.

use std::sync::LazyLock;

/// One chip with so many GPU cores. Apple has published no floating-point rates since the M2: later
/// ones are cores × 256 operations × clock, and `fp32_kind` says so.
#[derive(Clone, Debug, PartialEq)]
pub struct ChipSpec {
    /// As the system calls it, without the maker: `M3 Max`.
    pub chip: &'static str,
    pub gpu_cores: u32,
    pub bandwidth_gbps: f64,
    /// Of the processors of general use; None where no clock is known.
    pub fp32_tflops: Option<f64>,
    /// `apple` or `derived`.
    pub fp32_kind: &'static str,
    pub bandwidth_source: &'static str,
}

static CHIPS: LazyLock<Vec<ChipSpec>> = LazyLock::new(|| {
    let rows = include_str!("../data/chips.csv").lines().skip(1);
    rows.map(|row| ChipSpec::read(row).unwrap_or_else(|| unreachable!("data/chips.csv: {row}")))
        .collect()
});

impl ChipSpec {
    fn read(row: &'static str) -> Option<Self> {
        let [chip, cores, bandwidth, _clock, tflops, kind, source] =
            row.split(',').collect::<Vec<_>>().try_into().ok()?;
        Some(Self {
            chip,
            gpu_cores: cores.parse().ok()?,
            bandwidth_gbps: bandwidth.parse().ok()?,
            fp32_tflops: match tflops {
                "" => None,
                // A range where the clock is one.
                tflops => Some(tflops.rsplit('-').next()?.parse().ok()?),
            },
            fp32_kind: kind,
            bandwidth_source: source,
        })
    }

    /// The most of any operations that the GPU can do in a second, in 10¹²: from the M5 on its cores
    /// have units for matrices, four times as fast (some 1024 operations per core and cycle).
    pub fn peak_tflops(&self) -> Option<f64> {
        let generation = self.chip.strip_prefix('M')?.split(' ').next()?;
        let has_matrix_units = generation.parse::<u32>().ok()? >= 5;
        Some(self.fp32_tflops? * if has_matrix_units { 4.0 } else { 1.0 })
    }
}

/// `M3 Max` of `Apple M3 Max`, as the tables of chips have it.
pub(crate) fn without_maker(name: &str) -> &str {
    name.trim().trim_start_matches("Apple ")
}

pub fn all() -> &'static [ChipSpec] {
    &CHIPS
}

/// The row of a chip as the system names it (`Apple M3 Max`). Of several that could be meant, the one
/// with the most bandwidth, since the figures refuse what is above them.
pub fn find(name: &str, gpu_cores: Option<u32>) -> Option<&'static ChipSpec> {
    let name = without_maker(name);
    all()
        .iter()
        .filter(|spec| spec.chip == name)
        .filter(|spec| gpu_cores.is_none_or(|cores| cores == spec.gpu_cores))
        .max_by(|a, b| a.bandwidth_gbps.total_cmp(&b.bandwidth_gbps))
}

/// Every question that [`find`] answers, with its answer: a chip as the system names it, and its cores
/// where they are known. For whoever cannot call it, as the database's views.
pub fn answers() -> Vec<(String, Option<u32>, &'static ChipSpec)> {
    let mut asked: Vec<(String, Option<u32>)> = all()
        .iter()
        .flat_map(|spec| [Some(spec.gpu_cores), None].map(|cores| (spec.chip, cores)))
        .map(|(chip, cores)| (format!("Apple {chip}"), cores))
        .collect();
    asked.sort();
    asked.dedup();
    asked
        .into_iter()
        .filter_map(|(chip, cores)| find(&chip, cores).map(|spec| (chip, cores, spec)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_read() {
        assert_eq!(all().len(), 40);
        let m3_max = find("Apple M3 Max", Some(40)).unwrap();
        assert_eq!(format!("{}", m3_max.bandwidth_gbps), "400");
        assert_eq!(m3_max.peak_tflops(), Some(14.1));
        assert_eq!(find("Apple M4", Some(10)).unwrap().fp32_tflops, Some(4.0));
        assert_eq!(find("Apple M5", None).unwrap().peak_tflops(), None);
        let m6 = find("Apple M6", Some(12)).unwrap();
        assert_eq!(format!("{}", m6.bandwidth_gbps), "170");
        assert_eq!(find("AMD EPYC", None), None);
    }

    #[test]
    fn an_answer_is_given_once_and_is_that_of_find() {
        let answers = answers();
        let of = |chip: &str, cores| {
            let mut found = answers.iter().filter(|(c, n, _)| c == chip && *n == cores);
            let (_, _, spec) = found.next().unwrap();
            assert_eq!(found.count(), 0, "{chip} {cores:?}");
            *spec
        };
        assert_eq!(
            of("Apple M6", Some(12)),
            find("Apple M6", Some(12)).unwrap()
        );
        assert_eq!(
            of("Apple M3 Max", None),
            find("Apple M3 Max", None).unwrap()
        );
    }
}
