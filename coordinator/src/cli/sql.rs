//! `sql`: one read-only query over the views of schema `report`.

use std::process::ExitCode;

use proto::wire;
use serde_json::{Map, Value};

use super::connect::{Client, Where};
use super::exit::Failure;
use super::show;
use crate::csv_cell::csv_cell;

#[derive(clap::Args)]
pub struct Args {
    /// The query, for example: select machine, metric, estimate from report.case_summary
    query: String,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Csv,
    Json,
}

type Row = Vec<Option<String>>;

/// What a query found; without a head where it was none that finds anything.
#[derive(Default)]
pub struct Answer {
    head: Vec<String>,
    types: Vec<String>,
    pub rows: Vec<Row>,
}

pub async fn sql(args: Args) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    let answer = ask(&mut client, args.query).await?;
    if !answer.head.is_empty() {
        answer.print(args.format)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn ask(client: &mut Client, sql: String) -> Result<Answer, Failure> {
    let mut stream = client.query(wire::QueryRequest { sql }).await?.into_inner();
    let Some(head) = stream.message().await? else {
        return Ok(Answer::default());
    };
    let Some(types) = stream.message().await? else {
        return Ok(Answer::default());
    };
    let [head, types]: [Vec<String>; 2] = [head, types].map(|row| {
        let cells = cells(row).into_iter();
        cells.map(Option::unwrap_or_default).collect()
    });
    let mut rows = Vec::new();
    while let Some(row) = stream.message().await? {
        rows.push(cells(row));
    }
    Ok(Answer { head, types, rows })
}

impl Answer {
    pub fn print(self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Table => table(&self.head, &self.rows),
            Format::Csv => csv(&self.head, &self.types, &self.rows),
            Format::Json => json(&self.head, &self.types, self.rows),
        }
    }
}

fn cells(row: wire::QueryRow) -> Row {
    row.values.into_iter().map(|value| value.text).collect()
}

fn table(head: &[String], rows: &[Row]) -> Result<(), Failure> {
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = show::table(&head);
    for row in rows {
        table.add_row(row.iter().map(|cell| cell.as_deref().unwrap_or("")));
    }
    show::line(table)?;
    let count = show::counted(rows.len() as u64, ["row", "rows"]);
    show::note(format_args!("({count})"));
    Ok(())
}

fn csv(head: &[String], types: &[String], rows: &[Row]) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(std::io::stdout().lock());
    writer.write_record(head).map_err(std::io::Error::from)?;
    for row in rows {
        let cells = row.iter().zip(types);
        let cells = cells.map(|(cell, kind)| csv_cell(cell.as_deref().unwrap_or(""), kind));
        writer.write_record(cells).map_err(std::io::Error::from)?;
    }
    writer.flush()?;
    Ok(())
}

/// An array of objects; numbers, booleans and JSON as such, everything else as text.
fn json(head: &[String], types: &[String], rows: Vec<Row>) -> Result<(), Failure> {
    let objects: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            let cells = row
                .into_iter()
                .zip(types)
                .map(|(cell, kind)| json_cell(cell, kind));
            Value::Object(head.iter().cloned().zip(cells).collect::<Map<_, _>>())
        })
        .collect();
    show::json(&objects)
}

/// A value that is no JSON for all its type (NaN, say) stays text: nothing is lost.
fn json_cell(cell: Option<String>, kind: &str) -> Value {
    let Some(text) = cell else { return Value::Null };
    let value = match kind {
        "bool" => Some(Value::Bool(text == "t")),
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "json" | "jsonb" => {
            serde_json::from_str(&text).ok()
        }
        _ => None,
    };
    value.unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::json_cell;

    #[test]
    fn json_has_the_types_that_the_database_has() {
        let cell = |text: &str, kind| json_cell(Some(text.to_owned()), kind);
        assert_eq!(cell("t", "bool"), json!(true));
        assert_eq!(cell("42", "int8"), json!(42));
        assert_eq!(cell("2.5", "numeric"), json!(2.5));
        assert_eq!(cell("NaN", "float8"), json!("NaN"));
        assert_eq!(cell("7", "text"), json!("7"));
        assert_eq!(json_cell(None, "int8"), json!(null));
    }
}
