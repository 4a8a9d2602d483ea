//! Flat tables as Parquet: what CSV holds, with types and units, and every sample beside them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use report_gen::{Format, RenderedFile, render_report, render_run};

use crate::database::{close, expected, rows};
use crate::fleet;
use crate::postgres::Database;

fn read(file: &RenderedFile) -> SerializedFileReader<File> {
    let mut written = tempfile::tempfile().unwrap();
    written.write_all(&file.bytes).unwrap();
    SerializedFileReader::new(written).unwrap()
}

/// As CSV writes it.
fn text(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Double(value) => value.to_string(),
        Field::Long(value) => value.to_string(),
        Field::Bool(value) => value.to_string(),
        Field::ListInternal(list) => {
            let texts: Vec<String> = list.elements().iter().map(text).collect();
            texts.join(" ")
        }
        other => panic!("no column is of this type: {other:?}"),
    }
}

#[test]
fn parquet_holds_what_csv_holds() {
    let report = fleet::report();
    let csv = render_report(&report, &[Format::Csv]).unwrap();
    let parquet = render_report(&report, &[Format::Parquet]).unwrap();
    let stems = |files: &[RenderedFile]| -> Vec<String> {
        let stem = |file: &RenderedFile| file.name.split('.').next().unwrap().to_owned();
        files.iter().map(stem).collect()
    };
    assert_eq!(stems(&csv), stems(&parquet));
    let mut with_rows = 0;
    for (csv, parquet) in csv.iter().zip(&parquet) {
        let mut csv = csv::Reader::from_reader(csv.bytes.as_slice());
        let head: Vec<String> = csv.headers().unwrap().iter().map(Into::into).collect();
        let parquet = read(parquet);
        let columns = parquet.metadata().file_metadata().schema().get_fields();
        let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
        assert_eq!(names, head);
        let mut rows = parquet.get_row_iter(None).unwrap();
        for record in csv.records() {
            let row = rows.next().expect("as many rows").unwrap();
            let cells: Vec<String> = row
                .get_column_iter()
                .map(|(_, field)| text(field))
                .collect();
            assert_eq!(cells, record.unwrap().iter().collect::<Vec<_>>());
            with_rows += 1;
        }
        assert!(rows.next().is_none(), "no more rows");
    }
    assert!(with_rows > 100, "{with_rows}");
}

#[test]
fn a_parquet_file_says_its_units_and_its_run() {
    let files = render_report(&fleet::report(), &[Format::Parquet]).unwrap();
    let models = files
        .iter()
        .find(|file| file.name == "models.parquet")
        .unwrap();
    let file = read(models);
    let metadata = file
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .unwrap();
    let value = |key: &str| {
        let pair = metadata.iter().find(|pair| pair.key == key);
        pair.and_then(|pair| pair.value.as_deref())
    };
    assert_eq!(value("unit.weight_bytes"), Some("bytes"));
    assert_eq!(value("unit.model"), None, "a name has none");
    assert_eq!(value("plan"), Some("m-series"));
    assert_eq!(value("format_version"), Some("2"));
}

#[tokio::test]
async fn every_sample_of_a_run_is_in_its_file() {
    let database = Database::start();
    let _owner = database.with_fleet("fleet").await;
    let pool = database.reader("fleet").await;
    let expected = expected();
    let run = expected["run"].as_str().unwrap();
    let files = render_run(&pool, run.parse().unwrap(), &[Format::Parquet])
        .await
        .unwrap();
    let samples = files
        .iter()
        .find(|file| file.name == "samples.parquet")
        .unwrap();
    let found: Vec<HashMap<String, Field>> = read(samples)
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap().into_columns().into_iter().collect())
        .collect();
    let query = format!(
        "select metric, phase, count(*) as samples, sum(value) as total,
             count(distinct started_at) as starts, sum(cardinality(reasons)) as reasons
         from report.sample where run_id = '{run}' group by metric, phase"
    );
    let groups = rows(&pool, &query).await;
    assert!(groups.len() > 10, "{}", groups.len());
    let mut seen = 0;
    for group in groups {
        let (mut samples, mut total, mut reasons) = (0, 0.0, 0);
        let mut starts = HashSet::new();
        let same = |row: &HashMap<String, Field>, key: &str| text(&row[key]) == group[key];
        for row in &found {
            if same(row, "metric") && same(row, "phase") {
                samples += 1;
                let (Field::Double(value), Field::ListInternal(list)) =
                    (&row["value"], &row["reasons"])
                else {
                    panic!("{row:?}");
                };
                total += value;
                reasons += list.len();
                let Field::TimestampMicros(start) = row["started_at"] else {
                    panic!("{row:?}");
                };
                starts.insert(start);
            }
        }
        assert_eq!(group["samples"], samples, "{group}");
        close(&total.into(), &group["total"], &group.to_string());
        assert_eq!(group["starts"], starts.len(), "{group}");
        assert_eq!(group["reasons"], reasons, "{group}");
        seen += samples;
    }
    assert_eq!(seen, found.len());
    pool.close().await;
}
