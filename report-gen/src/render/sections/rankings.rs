//! Models against each other: every headline metric by model, and who is first by all of them.

use crate::number::{self, Scale};
use crate::render::document::{Block, Cell, Column, Doubt, Section, Table};
use crate::report::{
    Claim, Contest, Measurement, Overall, Ranking, Report, Variant, leaders, leaders_in_words,
};
use crate::titles;

/// None with fewer than two models of one type on one machine.
pub fn section(report: &Report) -> Option<Section> {
    if report.rankings.is_empty() {
        return None;
    }
    let mut blocks = vec![Block::Text(
        "Models of one type on one machine. The best of a row is bold, alone where every other is \
         shown to be worse by more than 2 % (after Holm's correction), else with all that are not \
         told apart from it; single launches have no interval, and the best stands by its value alone. \
         What is invalid is shown and not ranked."
            .to_owned(),
    )];
    blocks.extend(several_conditions(report));
    blocks.extend(overall(report));
    let mut dtypes: Vec<&Option<String>> = report.rankings.iter().map(|r| &r.dtype).collect();
    dtypes.sort();
    dtypes.dedup();
    for dtype in dtypes {
        let of = report.rankings.iter().filter(|r| r.dtype == *dtype);
        blocks.push(Block::Table(matrix(report, &of.collect::<Vec<_>>())));
    }
    Some(Section {
        id: "rankings",
        title: "Models compared",
        blocks,
    })
}

/// Whoever was updated in the middle of a run may have met its models with different software.
fn several_conditions(report: &Report) -> Option<Block> {
    let conditions = |machine: &str| {
        let of = report.environments.iter().filter(|e| e.machine == machine);
        of.count()
    };
    let mut changed: Vec<&str> = report.rankings.iter().map(|r| r.machine.as_str()).collect();
    changed.dedup();
    changed.retain(|machine| conditions(machine) > 1);
    (!changed.is_empty()).then(|| {
        Block::Note(format!(
            "The conditions changed during the run on {}: models may have been measured under \
             different ones, see Machines and software.",
            changed.join(", ")
        ))
    })
}

/// Every contest of one type, a model a column.
fn matrix(report: &Report, rankings: &[&Ranking]) -> Table {
    let several = report.machines.len() > 1;
    let takes_part = |variant: &&Variant| {
        let mut contests = rankings.iter().flat_map(|ranking| &ranking.contests);
        contests.any(|c| c.ranks.iter().any(|rank| rank.variant == **variant))
    };
    let variants: Vec<&Variant> = report.models.iter().map(|m| &m.variant).collect();
    let variants: Vec<&Variant> = variants.into_iter().filter(takes_part).collect();
    let mut columns = vec![Column::text("Metric"), Column::text("Case")];
    if several {
        columns.push(Column::text("Machine"));
    }
    columns.extend([
        Column::text("Best"),
        Column::number("Second over first", ""),
        Column::number("p (margin, Holm)", ""),
        Column::text("Unit"),
    ]);
    columns.extend(variants.iter().map(|v| Column::number(&v.to_string(), "")));
    let mut rows = Vec::new();
    for ranking in rankings {
        for contest in &ranking.contests {
            let mut row = vec![
                Cell::Text(titles::metric_title(&contest.metric).to_owned()),
                Cell::Text(contest.case_key.words()),
            ];
            if several {
                row.push(Cell::Text(ranking.machine.clone()));
            }
            row.extend(numbers(report, &ranking.machine, contest, &variants));
            rows.push(row);
        }
    }
    Table {
        caption: format!(
            "Every headline metric by model, {}",
            rankings
                .first()
                .map(|r| r.dtype_words())
                .unwrap_or_default()
        ),
        columns,
        rows,
    }
}

/// Who is best and by how much, and each model's estimate.
fn numbers(report: &Report, machine: &str, contest: &Contest, variants: &[&Variant]) -> Vec<Cell> {
    let measured: Vec<_> = variants
        .iter()
        .map(|variant| {
            report.of(&contest.suite, &contest.metric).find(|m| {
                m.machine == machine && m.variant == **variant && m.case_key == contest.case_key
            })
        })
        .collect();
    let all: Vec<&Measurement> = measured.iter().flatten().copied().collect();
    let scale = Scale::of(&all);
    let leaders: Vec<&Variant> = leaders(&contest.ranks).iter().map(|r| &r.variant).collect();
    let second = contest
        .ranks
        .get(1)
        .and_then(|rank| rank.over_best.as_ref());
    let mut cells = vec![Cell::Text(leaders_in_words(&contest.ranks))];
    cells.extend(judged(second));
    cells.push(Cell::Text(scale.unit.clone()));
    cells.extend(
        variants
            .iter()
            .zip(measured)
            .map(|(variant, m)| Cell::measured(m, &scale).best(leaders.contains(variant))),
    );
    cells
}

fn judged(claim: Option<&Claim>) -> [Cell; 2] {
    let p = claim.and_then(|claim| claim.p_holm);
    [
        Cell::ratio(claim.map(|c| &c.ratio), claim.and_then(Doubt::of)),
        p.map_or(Cell::Missing, |p| Cell::plain(number::p_value(p))),
    ]
}

fn overall(report: &Report) -> Vec<Block> {
    let mut blocks = Vec::new();
    let rows: Vec<Vec<Cell>> = report
        .rankings
        .iter()
        .filter_map(|ranking| Some((ranking, ranking.overall.as_ref()?)))
        .flat_map(|(ranking, overall)| places(ranking, overall))
        .collect();
    if !rows.is_empty() {
        blocks.push(Block::Table(Table {
            caption: "Over all metrics that the models have in common: geometric mean of the ratios \
                      to the first, times and bytes turned over, so that less than 1 is worse. Each \
                      metric counts once, its cases equally"
                .to_owned(),
            columns: vec![
                Column::text("Machine"),
                Column::text("Type"),
                Column::number("Place", ""),
                Column::text("Model"),
                Column::number("Of the first", ""),
                Column::text("Verdict"),
                Column::number("p (margin, Holm)", ""),
                Column::number("Metrics", ""),
                Column::number("Cases", ""),
            ],
            rows,
        }));
    }
    let without: Vec<String> = report
        .rankings
        .iter()
        .filter(|ranking| ranking.overall.is_none())
        .map(|ranking| format!("{} {}", ranking.machine, ranking.dtype_words()))
        .collect();
    if !without.is_empty() {
        blocks.push(Block::Note(format!(
            "No order over all metrics where the models have no case in common that was measured \
             validly: {}.",
            without.join("; ")
        )));
    }
    blocks
}

/// All that are not told apart from the first share its place.
fn places(ranking: &Ranking, overall: &Overall) -> Vec<Vec<Cell>> {
    let leaders: Vec<&Variant> = leaders(&overall.ranks).iter().map(|r| &r.variant).collect();
    (1..)
        .zip(&overall.ranks)
        .map(|(place, rank)| {
            let place = if leaders.contains(&&rank.variant) {
                1
            } else {
                place
            };
            let claim = rank.over_best.as_ref();
            let [ratio, p] = judged(claim);
            vec![
                Cell::Text(ranking.machine.clone()),
                Cell::Text(
                    ranking
                        .dtype
                        .clone()
                        .unwrap_or_else(|| "as stored".to_owned()),
                ),
                Cell::plain(place.to_string()),
                Cell::Text(rank.variant.to_string()),
                ratio,
                claim.map_or(Cell::Missing, |claim| Cell::Verdict(claim.verdict)),
                p,
                Cell::plain(overall.metrics.len().to_string()),
                Cell::plain(overall.cases.to_string()),
            ]
        })
        .collect()
}
