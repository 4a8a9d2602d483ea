//! One Parquet file per flat table: typed columns, and in the file's metadata their units and the run.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use time::OffsetDateTime;

use super::flat::{self, Column, Flat, Values};
use super::{Error, RenderedFile};
use crate::report::{FORMAT_VERSION, Report, Run};
use crate::rows::SampleRow;

type Result<T> = std::result::Result<T, Error>;

pub fn render(report: &Report) -> Result<Vec<RenderedFile>> {
    let tables = flat::all(report);
    let file = |table: &Flat| {
        let mut file = File::of(&report.run, table)?;
        file.append(table)?;
        file.finish()
    };
    tables.iter().map(file).collect()
}

/// The run's samples, which come in pieces.
pub struct SampleFile<'a> {
    run: &'a Run,
    file: File,
    waiting: Vec<SampleRow>,
}

impl<'a> SampleFile<'a> {
    /// A piece is small enough to hold as rows, and large enough that columns compress.
    const PIECE: usize = 1 << 16;

    pub fn of(run: &'a Run) -> Result<Self> {
        Ok(Self {
            run,
            file: File::of(run, &flat::samples(run, &[]))?,
            waiting: Vec::new(),
        })
    }

    pub fn push(&mut self, row: SampleRow) -> Result<()> {
        self.waiting.push(row);
        if self.waiting.len() == Self::PIECE {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.file.append(&flat::samples(self.run, &self.waiting))?;
        self.waiting.clear();
        Ok(())
    }

    pub fn finish(mut self) -> Result<RenderedFile> {
        self.write()?;
        self.file.finish()
    }
}

/// A file whose row groups are tables of the same columns.
struct File {
    name: String,
    writer: SerializedFileWriter<Vec<u8>>,
}

impl File {
    fn of(run: &Run, table: &Flat) -> Result<Self> {
        let pair = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
        let mut metadata = vec![
            pair("format_version", &FORMAT_VERSION.to_string()),
            pair("run_id", &run.run_id.to_string()),
            pair("plan", &run.plan),
            pair("label", &run.label),
        ];
        let with_units = table
            .columns
            .iter()
            .filter(|column| !column.unit.is_empty());
        metadata.extend(with_units.map(|c| pair(&format!("unit.{}", c.name), c.unit)));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by("mlx-fleet report-gen".to_owned())
            .set_key_value_metadata(Some(metadata))
            .build();
        let schema = Arc::new(parse_message_type(&schema(table))?);
        Ok(Self {
            name: format!("{}.parquet", table.name),
            writer: SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?,
        })
    }

    fn append(&mut self, table: &Flat) -> Result<()> {
        if table.rows() == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for column in &table.columns {
            let mut out = group.next_column()?.ok_or_else(|| {
                ParquetError::General(format!("no column {} in the schema", column.name))
            })?;
            write(&mut out, &column.values)?;
            out.close()?;
        }
        group.close()?;
        Ok(())
    }

    fn finish(self) -> Result<RenderedFile> {
        Ok(RenderedFile {
            name: self.name,
            bytes: self.writer.into_inner()?,
        })
    }
}

fn schema(table: &Flat) -> String {
    let columns: String = table.columns.iter().map(declaration).collect();
    format!("message {} {{ {columns} }}", table.name)
}

fn declaration(Column { name, values, .. }: &Column) -> String {
    match values {
        Values::Text(_) => format!("optional binary {name} (STRING); "),
        Values::Texts(_) => format!(
            "required group {name} (LIST) {{ repeated group list {{ required binary element (STRING); }} }} "
        ),
        Values::Number(_) => format!("optional double {name}; "),
        Values::Whole(_) => format!("optional int64 {name}; "),
        Values::Flag(_) => format!("optional boolean {name}; "),
        Values::Time(_) => format!("optional int64 {name} (TIMESTAMP(MICROS,true)); "),
    }
}

fn write(out: &mut SerializedColumnWriter<'_>, values: &Values) -> Result<()> {
    match values {
        Values::Text(all) => {
            let (known, levels) =
                known(all.iter().map(|text| text.as_deref().map(ByteArray::from)));
            out.typed::<ByteArrayType>()
                .write_batch(&known, Some(&levels), None)?;
        }
        Values::Texts(all) => {
            let (known, levels, repeats) = lists(all);
            out.typed::<ByteArrayType>()
                .write_batch(&known, Some(&levels), Some(&repeats))?;
        }
        Values::Number(all) => {
            let (known, levels) = known(all.iter().copied());
            out.typed::<DoubleType>()
                .write_batch(&known, Some(&levels), None)?;
        }
        Values::Whole(all) => {
            let (known, levels) = known(all.iter().copied());
            out.typed::<Int64Type>()
                .write_batch(&known, Some(&levels), None)?;
        }
        Values::Flag(all) => {
            let (known, levels) = known(all.iter().copied());
            out.typed::<BoolType>()
                .write_batch(&known, Some(&levels), None)?;
        }
        Values::Time(all) => {
            let (known, levels) = known(all.iter().map(|time| time.map(microseconds)));
            out.typed::<Int64Type>()
                .write_batch(&known, Some(&levels), None)?;
        }
    }
    Ok(())
}

/// The values that are there, and for each row whether it has one (1) or none (0).
fn known<T>(values: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let mut levels = Vec::new();
    let known = values
        .inspect(|value| levels.push(i16::from(value.is_some())))
        .flatten()
        .collect();
    (known, levels)
}

/// The texts of all lists; for each, or for a list without any, whether there is one, and whether it
/// follows another in its list.
fn lists(all: &[Vec<String>]) -> (Vec<ByteArray>, Vec<i16>, Vec<i16>) {
    let (mut texts, mut levels, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
    for list in all {
        if list.is_empty() {
            levels.push(0);
            repeats.push(0);
        }
        for (place, text) in list.iter().enumerate() {
            texts.push(ByteArray::from(text.as_str()));
            levels.push(1);
            repeats.push(i16::from(place > 0));
        }
    }
    (texts, levels, repeats)
}

fn microseconds(time: OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos() / 1000) as i64
}
