//! One metric over whatever its cases differ in. The URL holds what is asked for, and the statement that
//! finds it is shown.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use domain::suite::Suite;
use report_gen::explore::{Axis, Found, draw, mixed};
use report_gen::report::CaseKey;
use report_gen::{metric_title, quantity};

use super::shell::Place;
use super::sql::{Answer, ask, text};
use super::{failure, page, words};
use crate::dashboard::Desk;
use crate::dispatch::query::Of;
use crate::dispatch::tokens::Caller;
use crate::dispatch::{Dispatch, Error, Result};
use crate::store::reader::TextRow;

/// Cases of one picture, the newest.
const MAX_CASES: usize = 2000;
/// Rows of the table below it.
const MAX_ROWS: usize = 300;
const FIRST_SUITE: Suite = Suite::Decode;

/// What a URL asks for; empty stands for all, or for what fits best.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct Asked {
    suite: String,
    metric: String,
    x: String,
    colour: String,
    model: String,
    chip: String,
    precision: String,
    machine: String,
    label: String,
    doubts: String,
}

#[derive(Template)]
#[template(path = "explore.html")]
struct Explore {
    selects: Vec<Select>,
    why: String,
    /// What was asked for and is not there, with what is shown instead.
    instead: Vec<String>,
    /// What the picture does not tell apart.
    mixed: Vec<String>,
    /// As SVG.
    picture: Option<String>,
    rows: Vec<Row>,
    found: usize,
    more: bool,
    statement: String,
    link: String,
}

/// A question with its answers.
struct Select {
    name: &'static str,
    title: &'static str,
    options: Vec<Choice>,
}

struct Choice {
    value: String,
    words: String,
    chosen: bool,
}

impl Choice {
    fn new(value: &str, words: &str, chosen: bool) -> Self {
        Self {
            value: value.to_owned(),
            words: words.to_owned(),
            chosen,
        }
    }
}

struct Row {
    of: Found,
    value: String,
    interval: Option<String>,
    reasons: String,
}

pub async fn explore(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Response {
    match explored(&desk.dispatch, asked).await {
        Ok(main) => page(caller, Place::Explore, "Explore", &main),
        Err(error) => failure(&error),
    }
}

async fn explored(dispatch: &Dispatch, mut asked: Asked) -> Result<Explore> {
    let wished = asked.clone();
    let first = [FIRST_SUITE.as_str().to_owned()];
    let measured = dispatch.measured_suites().await?;
    asked.suite = fitting(&asked.suite, &measured, &first);
    let mut choices = dispatch.case_choices(&asked.suite).await?;
    choices.insert("suite".to_owned(), measured);
    let of = |facet: &str| choices.get(facet).map_or(&[][..], Vec::as_slice);
    asked.metric = fitting(&asked.metric, of("metric"), &headline(&asked.suite));
    asked.label = fitting(&asked.label, of("label"), &["measured".to_owned()]);
    let statement = asked.statement();
    let (answer, why) = match ask(dispatch, Of::Page, &statement, MAX_CASES).await {
        Ok(answer) => (answer, String::new()),
        // Where nobody may read at all, the answer says why.
        Err(error @ (Error::Precondition(_) | Error::TooMuch(_) | Error::Invalid(_))) => {
            (Answer::default(), words(&error).1)
        }
        Err(error) => return Err(error),
    };
    let told: Vec<Told> = answer.rows.iter().filter_map(Told::of).collect();
    let unit = told
        .first()
        .map(|told| told.unit.clone())
        .unwrap_or_default();
    let found: Vec<Found> = told.iter().map(|told| told.of.clone()).collect();
    let along = Axis::named(&asked.x, &found).unwrap_or_else(|| Axis::along(&found));
    let colour = Axis::named(&asked.colour, &found);
    let colour = colour.unwrap_or_else(|| Axis::colour(&found, &along));
    let axes = Axis::all(&found);
    let names =
        |axes: &[Axis]| -> Vec<String> { axes.iter().map(|axis| axis.name().to_owned()).collect() };
    let axes = names(&axes);
    let instead = [
        ("suite", &wished.suite, asked.suite.as_str()),
        ("metric", &wished.metric, &asked.metric),
        ("source", &wished.label, &asked.label),
        ("axis", &wished.x, along.name()),
        ("colour", &wished.colour, colour.name()),
    ];
    let instead = instead
        .into_iter()
        .filter(|(_, wished, shown)| !wished.is_empty() && wished != shown)
        .map(|(what, wished, shown)| {
            format!("Nothing here has the {what} {wished}: {shown} is shown instead.")
        });
    Ok(Explore {
        instead: if found.is_empty() {
            Vec::new()
        } else {
            instead.collect()
        },
        mixed: names(&mixed(&found, &along, &colour)),
        picture: draw(&asked.metric, &asked.label, &unit, &found, &along, &colour),
        selects: selects(&asked, &choices, &axes, &along, &colour),
        found: found.len(),
        rows: told.into_iter().take(MAX_ROWS).map(row).collect(),
        more: answer.more,
        link: form_urlencoded::byte_serialize(statement.as_bytes()).collect(),
        statement,
        why,
    })
}

/// What is asked for where it is there, else the first wanted that is, else the first.
fn fitting(asked: &str, there: &[String], wanted: &[String]) -> String {
    let is_there = |name: &&String| there.contains(name);
    let asked = asked.to_owned();
    let chosen = [&asked].into_iter().chain(wanted).find(is_there);
    chosen.or(there.first()).cloned().unwrap_or_default()
}

fn headline(suite: &str) -> Vec<String> {
    let metrics = suite.parse().map_or(&[][..], Suite::headline);
    metrics.iter().map(|m| m.name().to_owned()).collect()
}

/// A row of the statement's answer; its unit is that of all.
struct Told {
    of: Found,
    unit: String,
    reasons: String,
}

impl Told {
    /// None where a cell is not what its column says.
    fn of(row: &TextRow) -> Option<Self> {
        let mut cells = row.iter().map(|cell| cell.as_deref().unwrap_or(""));
        let mut next = || cells.next().unwrap_or("");
        let mut of = Found {
            run: next().to_owned(),
            machine: next().to_owned(),
            chip: next().to_owned(),
            model: next().to_owned(),
            dtype: next().to_owned(),
            case_key: CaseKey::from(next().to_owned()),
            estimate: next().parse().ok()?,
            interval: None,
            launches: 0,
            valid: true,
            tainted: false,
        };
        of.interval = next().parse().ok().zip(next().parse().ok());
        let unit = next().to_owned();
        of.launches = next().parse().ok()?;
        of.valid = next() == "t";
        of.tainted = next() == "t";
        let reasons = next().trim_matches(['{', '}']).replace(',', ", ");
        Some(Self { of, unit, reasons })
    }
}

impl Asked {
    /// What finds the cases. Its columns are those that [`Told::of`] reads.
    fn statement(&self) -> String {
        let equal = [
            ("suite", &self.suite),
            ("metric", &self.metric),
            ("model", &self.model),
            ("chip", &self.chip),
            ("dtype", &self.precision),
            ("machine", &self.machine),
            ("c.label", &self.label),
        ];
        let equal = equal.into_iter().filter(|(_, value)| !value.is_empty());
        let mut conditions: Vec<String> = equal
            .map(|(column, value)| format!("{column} = {}", text(value)))
            .collect();
        match self.doubts.as_str() {
            "none" => conditions.push("valid and not tainted".to_owned()),
            "all" => {}
            _ => conditions.push("valid".to_owned()),
        }
        format!(
            "select\n    to_char(r.submitted_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS ') || r.plan as run,\n    \
             machine, chip, model, dtype, case_key,\n    estimate, ci_low, ci_high, unit, launches, valid, \
             tainted, reasons\nfrom report.case_summary as c\njoin report.run as r using (run_id)\n\
             where {}\norder by c.started_at desc\nlimit {}",
            conditions.join("\n    and "),
            MAX_CASES + 1
        )
    }
}

fn row(told: Told) -> Row {
    let Told { of, unit, reasons } = told;
    let (value, interval) = quantity(&unit, of.estimate, of.interval);
    Row {
        of,
        value,
        interval,
        reasons,
    }
}

fn selects(
    asked: &Asked,
    choices: &BTreeMap<String, Vec<String>>,
    axes: &[String],
    along: &Axis,
    colour: &Axis,
) -> Vec<Select> {
    let options = |values: &[String], chosen: &str| -> Vec<Choice> {
        let choice = |value: &String| Choice::new(value, value, value == chosen);
        values.iter().map(choice).collect()
    };
    let there = |facet: &str| choices.get(facet).map_or(&[][..], Vec::as_slice);
    let select = |name, title, options| Select {
        name,
        title,
        options,
    };
    // One that is asked for stays in its list, even where nothing has it.
    let filter = |name, title, chosen: &str| {
        let mut values = there(name).to_vec();
        if !chosen.is_empty() && !values.iter().any(|value| value == chosen) {
            values.push(chosen.to_owned());
        }
        let mut all = vec![Choice::new("", "all", chosen.is_empty())];
        all.extend(options(&values, chosen));
        select(name, title, all)
    };
    let metrics = there("metric")
        .iter()
        .map(|metric| Choice::new(metric, metric_title(metric), *metric == asked.metric));
    let doubts = [
        ("", "without invalid"),
        ("none", "without doubtful"),
        ("all", "with all"),
    ];
    let doubts = doubts.map(|(value, words)| Choice::new(value, words, value == asked.doubts));
    vec![
        select("suite", "Suite", options(there("suite"), &asked.suite)),
        select("metric", "Metric", metrics.collect()),
        select("x", "Along", options(axes, along.name())),
        select("colour", "Colour", options(axes, colour.name())),
        filter("model", "Model", &asked.model),
        filter("chip", "Chip", &asked.chip),
        filter("precision", "Precision", &asked.precision),
        filter("machine", "Machine", &asked.machine),
        select("label", "Source", options(there("label"), &asked.label)),
        select("doubts", "Doubts", doubts.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_asks_for_is_a_text_in_the_statement() {
        let asked = Asked {
            suite: "decode".to_owned(),
            metric: "decode_tps".to_owned(),
            machine: "it's; drop".to_owned(),
            ..Asked::default()
        };
        let statement = asked.statement();
        for part in [
            "where suite = 'decode'\n    and metric = 'decode_tps'\n    and machine = 'it''s; drop'\n    and valid\n",
            "limit 2001",
        ] {
            assert!(statement.contains(part), "{statement}");
        }
        let all = Asked {
            doubts: "all".to_owned(),
            ..asked
        };
        assert!(!all.statement().contains("and valid"));
    }

    #[test]
    fn what_is_not_there_gives_way_to_what_mostly_comes_first() {
        let there = ["a", "b", "c"].map(str::to_owned);
        let wanted = ["x", "b"].map(str::to_owned);
        assert_eq!(fitting("c", &there, &wanted), "c");
        assert_eq!(fitting("gone", &there, &wanted), "b");
        assert_eq!(fitting("", &there, &[]), "a");
        assert_eq!(fitting("", &[], &wanted), "");
    }

    #[test]
    fn a_row_is_read_as_its_columns_are() {
        let cells = [
            "2026-03-04 09:05",
            "mini",
            "M3 Max",
            "small",
            "bf16",
            "new=16",
            "40.5",
            "40",
            "41",
            "tok/s",
            "3",
            "t",
            "f",
            "{g8,swap}",
        ];
        let mut row: TextRow = cells.map(|cell| Some(cell.to_owned())).into();
        let told = Told::of(&row).unwrap();
        assert_eq!(told.of.interval, Some((40.0, 41.0)));
        assert_eq!(
            (told.of.launches, told.of.valid, told.of.tainted),
            (3, true, false)
        );
        assert_eq!(
            (told.unit.as_str(), told.reasons.as_str()),
            ("tok/s", "g8, swap")
        );
        row[7] = None;
        assert_eq!(Told::of(&row).unwrap().of.interval, None);
        row[6] = None;
        assert!(Told::of(&row).is_none());
    }
}
