//! Which machine for which model: what fits where, and how fast it is where somebody measured.

use std::collections::BTreeMap;

use crate::number::{self, Scale};
use crate::render::document::{Block, Cell, Column, Doubt, Section, Table};
use crate::report::{CHOICE_TOKENS, CaseKey, Fit, Measurement, Model, Pair, Report};

/// None where the run decoded nothing, or is of machines that are nobody's to choose.
pub fn section(report: &Report) -> Option<Section> {
    let valid = report.of("decode", "decode_tps").filter(|m| m.valid);
    let case = CaseKey::most_common(valid.map(|m| &m.case_key)).filter(|_| !report.fits.is_empty());
    let case = case.filter(|_| report.run.label == "measured")?;
    let models: Vec<Shortlist<'_>> = report
        .models
        .iter()
        .map(|model| Shortlist::of(report, model, case))
        .filter(|list| !list.measured.is_empty())
        .collect();
    let sentences = models.iter().map(Shortlist::sentence).collect();
    let blocks = vec![
        Block::Text(format!(
            "For a context of {tokens} tokens, over all machines of the fleet; a model fits where its \
             weights, and keys and values of the context, stay within nine tenths of what the GPU may \
             keep resident: the rule by which a plan skips what would not fit. Machines are in the order \
             of the rates that this run measured ({case}); whether two of them may be compared, and \
             differ, is said beside them. Of a machine that was not measured only a ceiling is known: \
             what the published bandwidth of its chip would allow if a token cost nothing but reading \
             the weights. It is no prediction.",
            tokens = number::whole(CHOICE_TOKENS.unsigned_abs()),
            case = case.words(),
        )),
        Block::List(sentences),
        Block::Table(table(report, &models)),
    ];
    (!models.is_empty()).then_some(Section {
        id: "which",
        title: "Which machine for which model",
        blocks,
    })
}

/// The machines for one model: fastest first, then those that nobody measured, then the too small.
struct Shortlist<'a> {
    model: &'a Model,
    measured: Vec<(&'a Fit, &'a Measurement)>,
    /// Machines of one chip and memory are one row, by the first of them.
    unmeasured: Vec<Vec<&'a Fit>>,
    too_small: Vec<Vec<&'a Fit>>,
}

impl<'a> Shortlist<'a> {
    fn of(report: &'a Report, model: &'a Model, case: &CaseKey) -> Self {
        let rates: Vec<&Measurement> = report
            .of("decode", "decode_tps")
            .filter(|m| m.valid && m.variant == model.variant && m.case_key == *case)
            .collect();
        let mut measured = Vec::new();
        let (mut unmeasured, mut too_small) = (Vec::new(), Vec::new());
        for fit in report.fits.iter().filter(|f| f.variant == model.variant) {
            let rate = rates.iter().find(|m| m.machine == fit.machine);
            match (rate, fit.context_tokens) {
                (Some(rate), _) => measured.push((fit, *rate)),
                (None, Some(tokens)) if tokens < CHOICE_TOKENS => too_small.push(fit),
                (None, _) => unmeasured.push(fit),
            }
        }
        measured.sort_by(|(_, a), (_, b)| b.estimate.value.total_cmp(&a.estimate.value));
        let mut unmeasured = alike(unmeasured);
        let ceiling = |fits: &Vec<&Fit>| fits[0].decode_ceiling_tps.unwrap_or(0.0);
        unmeasured.sort_by(|a, b| ceiling(b).total_cmp(&ceiling(a)));
        Self {
            model,
            measured,
            unmeasured,
            too_small: alike(too_small),
        }
    }

    fn sentence(&self) -> String {
        let count = |groups: &[Vec<&Fit>]| groups.iter().map(Vec::len).sum::<usize>();
        let fitting = self.measured.len() + count(&self.unmeasured);
        let all = fitting + count(&self.too_small);
        let needs = number::bytes(self.model.needs_bytes(CHOICE_TOKENS) as f64);
        let first = self.measured.first().map(|(fit, rate)| {
            format!(
                "; of {} measured, the first is {} with {}{}",
                self.measured.len(),
                fit.machine,
                number::with_interval(rate),
                number::doubt_mark(rate.tainted),
            )
        });
        format!(
            "{} needs {needs} and fits {fitting} of {}{}.",
            self.model.variant,
            number::counted(all as i64, "machine", "machines"),
            first.unwrap_or_default()
        )
    }
}

/// Machines that arithmetic cannot tell apart, by name.
fn alike(fits: Vec<&Fit>) -> Vec<Vec<&Fit>> {
    let mut groups: BTreeMap<_, Vec<&Fit>> = BTreeMap::new();
    for fit in fits {
        let key = (&fit.chip, fit.gpu_cores, fit.memory_bytes, fit.limit_bytes);
        groups.entry(key).or_default().push(fit);
    }
    groups.into_values().collect()
}

fn table(report: &Report, models: &[Shortlist<'_>]) -> Table {
    let rates = models.iter().flat_map(|list| &list.measured);
    let rates: Vec<&Measurement> = rates.map(|(_, rate)| *rate).collect();
    let scale = Scale::of(&rates);
    let mut rows = Vec::new();
    for list in models {
        rows.extend(list.measured.iter().map(|(fit, rate)| {
            let standing = Cell::Text("measured".to_owned());
            let [ratio, verdict] = against_baseline(report, rate);
            let rate = Cell::measured(Some(*rate), &scale);
            row(list, &[*fit], standing, [rate, ratio, verdict])
        }));
        let none = || [Cell::Missing, Cell::Missing, Cell::Missing];
        rows.extend(list.unmeasured.iter().map(|fits| {
            let standing = match fits[0].context_tokens {
                Some(_) => "fits, not measured",
                None => "not measured, its memory is not known",
            };
            row(list, fits, Cell::Text(standing.to_owned()), none())
        }));
        rows.extend(list.too_small.iter().map(|fits| {
            let standing = format!(
                "would not fit, needs {}, has {}",
                number::bytes(list.model.needs_bytes(CHOICE_TOKENS) as f64),
                number::bytes(fits[0].limit_bytes.unwrap_or(0) as f64)
            );
            row(list, fits, Cell::Text(standing), none())
        }));
    }
    let baseline = report.comparison.baseline.as_deref();
    Table {
        caption: "Machines by model: measured ones by their decode rate, then those that fit, then those \
                  that are too small"
            .to_owned(),
        columns: vec![
            Column::text("Model"),
            Column::text("Machine"),
            Column::number("Decode", &scale.unit),
            Column::number(&format!("Over {}", baseline.unwrap_or("a baseline")), ""),
            Column::text("Verdict"),
            Column::text("Standing"),
            Column::number("Ceiling by published bandwidth", &scale.unit),
            Column::number("Longest context", "tokens"),
            Column::text("Chip"),
            Column::number("Memory", ""),
        ],
        rows,
    }
}

fn row(
    list: &Shortlist<'_>,
    fits: &[&Fit],
    standing: Cell,
    [rate, ratio, verdict]: [Cell; 3],
) -> Vec<Cell> {
    let fit = fits[0];
    let machine = match fits.len() {
        1 => fit.machine.clone(),
        n => format!("{} and {} like it", fit.machine, n - 1),
    };
    vec![
        Cell::Text(list.model.variant.to_string()),
        Cell::Text(machine),
        rate,
        ratio,
        verdict,
        standing,
        Cell::known(fit.decode_ceiling_tps),
        fit.context_tokens.map_or(Cell::Missing, |tokens| {
            Cell::plain(number::whole(tokens.unsigned_abs()))
        }),
        Cell::Text(number::chip(&fit.chip, fit.gpu_cores)),
        Cell::plain(number::bytes(fit.memory_bytes as f64)),
    ]
}

/// The comparison's own pair of this rate, where it has one.
fn against_baseline(report: &Report, rate: &Measurement) -> [Cell; 2] {
    if report.comparison.baseline.as_ref() == Some(&rate.machine) {
        return [Cell::Missing, Cell::Text("baseline".to_owned())];
    }
    let is_of = |pair: &&Pair| {
        (&pair.machine, &pair.suite, &pair.metric, &pair.case_key)
            == (&rate.machine, &rate.suite, &rate.metric, &rate.case_key)
            && pair.variant == rate.variant
    };
    let Some(pair) = report.comparison.pairs.iter().find(is_of) else {
        return [Cell::Missing, Cell::Missing];
    };
    let verdict = match pair.verdict {
        Some(verdict) => Cell::Verdict(verdict),
        None => Cell::Text(format!("not comparable: {}", pair.differences.join(", "))),
    };
    [Cell::ratio(pair.ratio.as_ref(), Doubt::of(pair)), verdict]
}
