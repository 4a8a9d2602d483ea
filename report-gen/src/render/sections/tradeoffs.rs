//! Memory against speed, model by model, and what follows for choosing one: facts, no marks for quality.

use super::tables::{MOST_LINES, cut};
use crate::number::{self, Scale};
use crate::render::document::{
    Block, Cell, Chart, Cloud, Column, Dot, Plot, Point, Section, Table,
};
use crate::report::{
    CHOICE_TOKENS, CaseKey, Choice, Contest, Measurement, Model, Report, beside_the_first, leaders,
};
use crate::stats::Verdict;

/// A context that shows what keys and values take.
const LONG_TOKENS: i64 = 32_768;

/// None with fewer than two models to choose between on one machine.
pub fn section(report: &Report) -> Option<Section> {
    let is_choice = |choice: &&Choice| {
        let mut others = report.choices.iter();
        others.any(|o| o.machine == choice.machine && o.variant != choice.variant)
    };
    let choices: Vec<&Choice> = report.choices.iter().filter(is_choice).collect();
    let first = choices.first()?;
    let blocks = vec![
        Block::Chart(chart(report, &choices)),
        Block::Table(table(report, &choices)),
        Block::Text(format!(
            "Needs are weights, and keys and values of the context, by arithmetic; MLX needs some more \
             while it computes. A model is dominated where another that needs no more decodes faster \
             ({}) by more than 2 %, or as fast and needs less. Nothing here says how good a model's \
             answers are.",
            first.case_key.words()
        )),
        Block::Heading("Selection guide".to_owned()),
        Block::List(guide(report, &choices)),
    ];
    Some(Section {
        id: "tradeoffs",
        title: "Trade-offs",
        blocks,
    })
}

fn rate<'a>(report: &'a Report, choice: &Choice) -> Option<&'a Measurement> {
    let mut rates = report.of("decode", "decode_tps");
    rates.find(|m| {
        m.machine == choice.machine && m.variant == choice.variant && m.case_key == choice.case_key
    })
}

fn model<'a>(report: &'a Report, choice: &Choice) -> Option<&'a Model> {
    report.models.iter().find(|m| m.variant == choice.variant)
}

fn chart(report: &Report, choices: &[&Choice]) -> Chart {
    let measured = || choices.iter().filter_map(|c| Some((*c, rate(report, c)?)));
    let needs = measured().map(|(choice, _)| choice.needs_bytes as f64);
    let bytes = Scale::fitting("bytes", needs);
    let rates: Vec<&Measurement> = measured().map(|(_, rate)| rate).collect();
    let scale = Scale::of(&rates);
    let mut clouds: Vec<Cloud> = Vec::new();
    for (choice, rate) in measured() {
        let dot = Dot {
            label: choice.variant.to_string(),
            x: bytes.apply(choice.needs_bytes as f64),
            point: Point::of(rate, &scale),
        };
        match clouds.iter_mut().find(|cloud| cloud.name == choice.machine) {
            Some(cloud) => cloud.dots.push(dot),
            None => clouds.push(Cloud {
                name: choice.machine.clone(),
                dots: vec![dot],
                curve: Vec::new(),
            }),
        }
    }
    let of = cut(&mut clouds, MOST_LINES);
    Chart {
        title: format!(
            "Decode rate against memory with {} tokens",
            tokens(CHOICE_TOKENS)
        ),
        unit: scale.unit,
        plot: Plot::Scatter {
            x_title: format!("memory needed, {}", bytes.unit),
            by_ratio: true,
            clouds,
        },
        of,
    }
}

fn tokens(tokens: i64) -> String {
    number::whole(tokens.unsigned_abs())
}

/// Metrics beside the needs: suite, name, title. Each in the case that most models have.
const BESIDE: [(&str, &str, &str); 3] = [
    ("prefill", "ttft_ms", "First token"),
    ("memory", "mem_peak_bytes", "MLX peak"),
    ("quantization", "quant_baseline_ppl", "Perplexity"),
];

fn table(report: &Report, choices: &[&Choice]) -> Table {
    let several = report.machines.len() > 1;
    let mut columns = vec![Column::text("Model")];
    if several {
        columns.push(Column::text("Machine"));
    }
    let needs = |context: i64| Column::number(&format!("Needs with {}", tokens(context)), "");
    columns.extend([
        Column::number("Weights", ""),
        needs(CHOICE_TOKENS),
        needs(LONG_TOKENS),
    ]);
    let rates: Vec<&Measurement> = choices.iter().filter_map(|c| rate(report, c)).collect();
    let of_rates = Scale::of(&rates);
    columns.push(Column::number("Decode", &of_rates.unit));
    let mut beside = Vec::new();
    for (suite, metric, title) in BESIDE {
        let measured: Vec<&Measurement> = report.of(suite, metric).collect();
        let Some(case) = CaseKey::most_common(measured.iter().map(|m| &m.case_key)) else {
            continue;
        };
        let scale = Scale::of(&measured);
        let prompt = case.number("prompt").filter(|_| suite != "quantization");
        let title = match prompt {
            Some(prompt) => format!("{title}, prompt of {}", number::whole(prompt)),
            None => title.to_owned(),
        };
        columns.push(Column::number(&title, &scale.unit));
        beside.push((measured, case, scale));
    }
    columns.push(Column::text("Against the others"));
    let rows = choices.iter().map(|choice| {
        let mut row = vec![Cell::Text(choice.variant.to_string())];
        if several {
            row.push(Cell::Text(choice.machine.clone()));
        }
        let need = |bytes: fn(&Model) -> i64| {
            let model = model(report, choice);
            model.map_or(Cell::Missing, |m| {
                Cell::plain(number::bytes(bytes(m) as f64))
            })
        };
        row.extend([
            need(|m| m.weight_bytes),
            need(|m| m.needs_bytes(CHOICE_TOKENS)),
            need(|m| m.needs_bytes(LONG_TOKENS)),
            Cell::measured(rate(report, choice), &of_rates),
        ]);
        row.extend(beside.iter().map(|(measured, case, scale)| {
            let mut of_case = measured.iter().filter(|m| m.case_key == **case);
            let here = of_case.find(|m| m.machine == choice.machine && m.variant == choice.variant);
            Cell::measured(here.copied(), scale)
        }));
        row.push(Cell::Text(standing(choice)));
        row
    });
    let perplexity = beside
        .iter()
        .any(|(m, ..)| m.iter().any(|m| m.suite == "quantization"));
    Table {
        caption: format!(
            "Models by what they need and what they give{}",
            if perplexity {
                "; perplexities compare only between models of one tokenizer"
            } else {
                ""
            }
        ),
        columns,
        rows: rows.collect(),
    }
}

fn standing(choice: &Choice) -> String {
    let Some(rival) = &choice.rival else {
        return "needs least".to_owned();
    };
    let over = format!(
        "{} of its rate{}",
        number::ratio_with_interval(&rival.claim.ratio),
        number::doubt_mark(rival.claim.tainted)
    );
    let rival_name = &rival.variant;
    match rival.claim.verdict {
        _ if choice.is_dominated => format!("dominated by {rival_name}: {over}"),
        Verdict::Faster => format!("faster than all that need no more; next {rival_name}: {over}"),
        _ => format!("not told apart from {rival_name}: {over}"),
    }
}

/// For the machine that sentences are about.
fn guide(report: &Report, choices: &[&Choice]) -> Vec<String> {
    let machine = report.reference().unwrap_or_default();
    let here: Vec<&Choice> = choices
        .iter()
        .copied()
        .filter(|c| c.machine == machine)
        .collect();
    let mut lines = Vec::new();
    if let Some(least) = here.iter().min_by_key(|choice| choice.needs_bytes) {
        lines.push(format!(
            "Least memory: {}, {} with {} tokens.",
            least.variant,
            number::bytes(least.needs_bytes as f64),
            tokens(CHOICE_TOKENS)
        ));
    }
    for ranking in report.rankings.iter().filter(|r| r.machine == machine) {
        let of = |metric: &str| {
            let contests = ranking.contests.iter().filter(move |c| c.metric == metric);
            let common = CaseKey::most_common(contests.clone().map(|c| &c.case_key))?;
            contests.into_iter().find(|c| c.case_key == *common)
        };
        for (metric, words) in [
            ("decode_tps", "Fastest decoding"),
            ("ttft_ms", "Shortest wait for the first token"),
        ] {
            let line = of(metric).and_then(|contest| {
                Some(format!(
                    "{words} {} on {machine}: {}.",
                    ranking.dtype_words(),
                    first(report, machine, contest)?
                ))
            });
            lines.extend(line);
        }
    }
    lines.extend(here.iter().filter(|choice| choice.is_dominated).filter_map(|choice| {
        let rival = choice.rival.as_ref()?;
        Some(format!(
            "Dominated in memory and speed: {} on {machine}, by {}, which needs {} instead of {}; of its \
             decode rate, {} has {}.",
            choice.variant,
            rival.variant,
            number::bytes(rival.needs_bytes as f64),
            number::bytes(choice.needs_bytes as f64),
            choice.variant.name(),
            number::ratio_with_interval(&rival.claim.ratio)
        ))
    }));
    lines
}

/// Who is first, with its number, and how far the next one is behind.
fn first(report: &Report, machine: &str, contest: &Contest) -> Option<String> {
    let leaders = leaders(&contest.ranks);
    let best = leaders.first()?;
    let m = report.of(&contest.suite, &contest.metric).find(|m| {
        m.machine == machine && m.variant == best.variant && m.case_key == contest.case_key
    })?;
    let beside = beside_the_first(&contest.ranks);
    let next = contest.ranks.get(1).filter(|_| leaders.len() == 1);
    let tail = match next {
        Some(next) => {
            let claim = next.over_best.as_ref()?;
            format!(
                "{beside}; next {} with {} of it",
                next.variant,
                number::ratio_with_interval(&claim.ratio)
            )
        }
        None => beside,
    };
    Some(format!(
        "{}, {}{}{tail}",
        best.variant,
        number::with_interval(m),
        number::doubt_mark(m.tainted)
    ))
}
