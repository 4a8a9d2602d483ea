//! Every query of the Grafana dashboard, with its variables and macros put in as Grafana does, runs as the
//! reader and finds something in the seeded fleet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::database::rows;
use crate::postgres::{Database, read, repository};

/// The dashboard's time picker: all of the seeded fleet.
const FROM: &str = "2026-10-01T00:00:00Z";
const TO: &str = "2026-12-01T00:00:00Z";
/// What Grafana chooses for a picture of such a time.
const INTERVAL: (&str, u32) = ("1h", 3600);

/// By the variable's name; of one that takes several, all.
type Chosen = BTreeMap<String, Vec<String>>;

#[tokio::test]
async fn every_query_of_the_dashboard_finds_something_in_the_seeded_fleet() {
    let database = Database::start();
    let _owner = database.with_fleet("dashboard").await;
    let reader = database.reader("dashboard").await;
    let dashboard: Value =
        serde_json::from_str(&read(&repository("deploy/grafana/mlx-fleet.json"))).unwrap();

    let mut chosen = Chosen::new();
    for variable in list(&dashboard["templating"]["list"]) {
        let name = text(&variable["name"]);
        if variable["type"] == "datasource" {
            assert_eq!(name, "datasource");
            continue;
        }
        assert_eq!(variable["datasource"]["uid"], "${datasource}", "{name}");
        let found = rows(&reader, &put_in(text(&variable["query"]), &chosen)).await;
        let options = found.iter().map(option);
        let taken = if variable["multi"] == true {
            usize::MAX
        } else {
            1
        };
        let values: Vec<String> = options.take(taken).collect();
        assert!(!values.is_empty(), "variable {name} has no value");
        chosen.insert(name.to_owned(), values);
    }
    assert_eq!(
        chosen.keys().collect::<Vec<_>>(),
        [
            "baseline", "label", "machine", "metric", "model", "run", "suite"
        ]
    );

    let mut ids = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        let title = text(&panel["title"]);
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: its id is taken"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in list(&panel["targets"]) {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let query = put_in(text(&target["rawSql"]), &chosen);
            let found = rows(&reader, &query).await;
            assert!(!found.is_empty(), "{title}: nothing found by\n{query}");
            if target["format"] == "time_series" {
                let columns: BTreeSet<&str> = found[0]
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(String::as_str)
                    .collect();
                assert_eq!(
                    columns,
                    BTreeSet::from(["metric", "time", "value"]),
                    "{title}"
                );
            }
        }
    }
    reader.close().await;
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// What a row of a variable's query stands for: `__value` where it is named so, else its only column.
fn option(row: &Value) -> String {
    let columns = row.as_object().unwrap();
    let value = columns.get("__value").or_else(|| columns.values().next());
    text(value.unwrap()).to_owned()
}

/// Variables first, then macros.
fn put_in(query: &str, chosen: &Chosen) -> String {
    let mut query = query.replace("$__interval", INTERVAL.0);
    for (name, values) in chosen {
        let quoted: Vec<String> = values
            .iter()
            .map(|value| format!("'{}'", value.replace('\'', "''")))
            .collect();
        query = query.replace(&format!("${{{name}:sqlstring}}"), &quoted.join(","));
    }
    query = expand(&query, "$__timeFilter", |args| {
        format!("{} BETWEEN '{FROM}' AND '{TO}'", args[0])
    });
    query = expand(&query, "$__timeGroupAlias", |args| {
        assert_eq!(args[1], INTERVAL.0);
        let seconds = INTERVAL.1;
        format!(
            "floor(extract(epoch from {})/{seconds})*{seconds} AS \"time\"",
            args[0]
        )
    });
    assert!(!query.contains('$'), "something is not put in:\n{query}");
    query
}

/// Grafana's macros end at the first closing bracket.
fn expand(query: &str, name: &str, write: impl Fn(&[&str]) -> String) -> String {
    let call = format!("{name}(");
    let mut parts = query.split(&call);
    let mut expanded = parts.next().unwrap().to_owned();
    for part in parts {
        let (args, rest) = part.split_once(')').unwrap();
        let args: Vec<&str> = args.split(',').map(str::trim).collect();
        expanded += &write(&args);
        expanded += rest;
    }
    expanded
}
