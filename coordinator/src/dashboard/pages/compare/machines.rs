//! Machines of one run against each other, or chips. The URL says which, and the statement that finds the
//! ratios is shown.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use report_gen::report::CaseKey;
use report_gen::{metric_title, quantity};

use super::super::shell::Place;
use super::super::sql::{Answer, ask, text};
use super::super::{failure, page, words};
use super::{Choice, MAX_RUNS, choices};
use crate::dashboard::Desk;
use crate::dispatch::query::Of;
use crate::dispatch::tokens::Caller;
use crate::dispatch::{Dispatch, Error, Result};
use crate::store::reader::TextRow;
use crate::store::run;

const MAX_ROWS: usize = 500;

/// `of` and `over` are names of machines or of chips.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct Asked {
    run: String,
    of: String,
    over: String,
}

#[derive(Template)]
#[template(path = "compare_machines.html")]
struct Compare {
    runs: Vec<Choice>,
    run: String,
    /// Of the run.
    label: String,
    of: String,
    over: String,
    /// Machines and chips that there are.
    names: Vec<String>,
    why: String,
    asked: bool,
    rows: Vec<Row>,
    more: bool,
    statement: String,
    link: String,
}

/// A case of two machines.
struct Row {
    machines: String,
    metric: String,
    model: String,
    case: String,
    value: String,
    baseline: String,
    ratio: Option<String>,
    interval: Option<String>,
    verdict: String,
    /// What forbids the comparison.
    differences: String,
    tainted: bool,
}

pub async fn machines(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Response {
    match compared(&desk.dispatch, asked).await {
        Ok(main) => page(caller, Place::Compare, "Compare machines", &main),
        Err(error) => failure(&error),
    }
}

async fn compared(dispatch: &Dispatch, asked: Asked) -> Result<Compare> {
    let Asked { run, of, over } = asked;
    let runs = dispatch
        .list_runs(&run::Wanted::default(), MAX_RUNS)
        .await?;
    let names = dispatch.machine_names().await?;
    let is_asked = ![&run, &of, &over].iter().any(|word| word.is_empty());
    let id = if is_asked {
        dispatch.find_run(&run).await?.to_string()
    } else {
        String::new()
    };
    let statement = statement(&id, &of, &over);
    // `latest` and the beginning of an id are a run by now.
    let run = if is_asked { id } else { run };
    let choices = choices(&runs, &[&run]);
    let label = runs.iter().find(|known| known.run_id.to_string() == run);
    let (answer, why) = if is_asked {
        match ask(dispatch, Of::Page, &statement, MAX_ROWS).await {
            Ok(answer) => (answer, String::new()),
            Err(error @ (Error::Precondition(_) | Error::TooMuch(_) | Error::Invalid(_))) => {
                (Answer::default(), words(&error).1)
            }
            Err(error) => return Err(error),
        }
    } else {
        (Answer::default(), String::new())
    };
    Ok(Compare {
        label: label.map_or(String::new(), |run| run.label.clone()),
        runs: choices,
        names,
        asked: is_asked,
        rows: answer.rows.iter().filter_map(row).collect(),
        more: answer.more,
        link: form_urlencoded::byte_serialize(statement.as_bytes()).collect(),
        run,
        of,
        over,
        why,
        statement,
    })
}

/// Its columns are those that [`row`] reads.
fn statement(run: &str, of: &str, over: &str) -> String {
    let [run, of, over] = [run, of, over].map(text);
    format!(
        "select machine || ' over ' || baseline as machines, metric, model, coalesce(dtype, '') as dtype, \
         suite, case_key,\n    unit, estimate, baseline_estimate, ratio, ci_low, ci_high, verdict, differences, tainted\n\
         from report.comparison\n\
         where run_id = {run}\n    and {of} in (machine, chip)\n    and {over} in (baseline, baseline_chip)\n    \
         and metric in (select unnest(headline) from report.run where run_id = {run})\n\
         order by metric, model, dtype, case_key, machines\nlimit {}",
        MAX_ROWS + 1
    )
}

fn row(cells: &TextRow) -> Option<Row> {
    let mut cells = cells.iter().map(|cell| cell.as_deref().unwrap_or(""));
    let mut next = || cells.next().unwrap_or("");
    let machines = next().to_owned();
    let metric = metric_title(next()).to_owned();
    let model = format!("{} {}", next(), next());
    let (suite, case) = (next(), CaseKey::from(next().to_owned()).words());
    let unit = next();
    let mut value = || Some(quantity(unit, next().parse().ok()?, None).0);
    let (value, baseline) = (value()?, value()?);
    let mut number = || next().parse::<f64>().ok();
    let (ratio, low, high) = (number(), number(), number());
    let times = |ratio: f64| quantity("ratio", ratio, low.zip(high));
    let (ratio, interval) = ratio.map(times).unzip();
    let (verdict, differences, tainted) = (next(), next(), next());
    Some(Row {
        machines,
        metric,
        model,
        case: format!("{suite} {case}"),
        value,
        baseline,
        ratio,
        interval: interval.flatten(),
        verdict: verdict.to_owned(),
        differences: differences
            .trim_matches(['{', '}'])
            .replace('"', "")
            .replace(',', ", "),
        tainted: tainted == "t",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_ratio_or_says_what_forbids_it() {
        let cells = [
            "studio over mini",
            "decode_tps",
            "small",
            "bf16",
            "decode",
            "new=16",
            "tok/s",
            "80",
            "40",
            "2",
            "1.9",
            "2.1",
            "faster",
            "{}",
            "f",
        ];
        let mut cells: TextRow = cells.map(|cell| Some(cell.to_owned())).into();
        let found = row(&cells).unwrap();
        assert_eq!(found.case, "decode new 16");
        assert_eq!(
            (found.value.as_str(), found.baseline.as_str()),
            ("80.00 tok/s", "40.00 tok/s")
        );
        assert_eq!(found.ratio.as_deref(), Some("2.000"));
        assert_eq!(found.interval.as_deref(), Some("1.900 to 2.100"));
        cells[9..13].fill(None);
        cells[13] = Some("{mlx_version,\"os version\"}".to_owned());
        let found = row(&cells).unwrap();
        assert_eq!((found.ratio, found.interval), (None, None));
        assert_eq!(found.differences, "mlx_version, os version");
    }
}
