//! Our own format: one value a row, its columns named in the header, every problem told with its place.

use std::ops::Range;
use std::time::Duration;

use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime};

use super::{Given, Machine, Model, Value};
use crate::catalogue;
use crate::metric::Metric;
use crate::model::Dtype;
use crate::plan::Problem;
use crate::suite::{Case, Suite};

/// Names the format and its version.
pub(super) const TITLE: &str = "# mlx-fleet results";
const VERSION: &str = "1";

/// What a cell that nobody can fill holds, where a column must be filled.
const UNKNOWN: &str = "?";

/// More than any number needs, and too few for one that is infinite.
const MAX_DIGITS: usize = 30;

const NEEDED: [&str; 7] = [
    "machine", "chip", "engine", "date", "suite", "metric", "value",
];
const OPTIONAL: [&str; 15] = [
    "gpu_cores",
    "cpu_cores",
    "memory",
    "os",
    "os_version",
    "engine_version",
    "model",
    "architecture",
    "dtype",
    "quantisation",
    "case",
    "launch",
    "unit",
    "mean_of",
    "deviation",
];

pub(super) fn read(text: &str, given: &Given) -> Result<Vec<Value>, Vec<Problem>> {
    if *given != Given::default() {
        let problem = Problem::at(0..0, "a file of results says itself what it is of");
        return Err(vec![
            problem.with_help("leave out the flags, and fill its columns"),
        ]);
    }
    let mut lines = lines(text);
    let title = lines.next().unwrap_or(0..0);
    let version = text[title.clone()].strip_prefix(TITLE).map(str::trim);
    if version != Some(VERSION) {
        let problem = Problem::at(title, format!("the first line is not `{TITLE} {VERSION}`"));
        return Err(vec![problem.with_help(
            "the number is the format's version; this one is known here",
        )]);
    }
    let mut rows = lines.filter(|line| {
        let line = &text[line.clone()];
        !line.trim().is_empty() && !line.starts_with('#')
    });
    let mut problems = Vec::new();
    let Some(header) = rows.next() else {
        return Err(vec![Problem::at(0..0, "the file ends before its header")]);
    };
    let header = cells(text, header, &mut problems);
    check_header(&header, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut values = Vec::new();
    for line in rows {
        let cells = cells(text, line.clone(), &mut problems);
        if cells.len() != header.len() {
            let (found, wanted) = (cells.len(), header.len());
            problems.push(Problem::at(
                line,
                format!("{found} cells under {wanted} columns"),
            ));
            continue;
        }
        let row = Row {
            header: &header,
            cells: &cells,
            line,
        };
        values.extend(row.value(&mut problems));
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let at = start;
        start += line.len();
        at..at + line.trim_end_matches(['\n', '\r']).len()
    })
}

struct Cell {
    text: String,
    span: Range<usize>,
}

/// The cells of a line: quoted where they hold a comma, a quote within quotes written twice.
fn cells(text: &str, line: Range<usize>, problems: &mut Vec<Problem>) -> Vec<Cell> {
    let mut cells = vec![Cell {
        text: String::new(),
        span: line.start..line.start,
    }];
    let mut quoted = false;
    let mut characters = text[line.clone()].char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let end = line.start + at + character.len_utf8();
        let cell = cells.last_mut().expect("there is one from the start");
        match character {
            '"' if quoted && characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                cell.text.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => {
                cells.push(Cell {
                    text: String::new(),
                    span: end..end,
                });
                continue;
            }
            other => cell.text.push(other),
        }
        cell.span.end = end;
    }
    if quoted {
        problems.push(Problem::at(line, "a quote that does not end in its line"));
    }
    for cell in &mut cells {
        cell.text = cell.text.trim().to_owned();
    }
    cells
}

fn check_header(header: &[Cell], problems: &mut Vec<Problem>) {
    for (place, cell) in header.iter().enumerate() {
        let name = cell.text.as_str();
        if !NEEDED.contains(&name) && !OPTIONAL.contains(&name) {
            let known = NEEDED.iter().chain(&OPTIONAL).copied();
            problems.push(Problem::unknown(cell.span.clone(), "column", name, known));
        }
        if header[..place].iter().any(|other| other.text == name) {
            problems.push(Problem::at(
                cell.span.clone(),
                format!("column `{name}` is there twice"),
            ));
        }
    }
    for needed in NEEDED {
        if header.iter().all(|cell| cell.text != needed) {
            let end = header.last().map_or(0, |cell| cell.span.end);
            problems.push(Problem::at(
                end..end,
                format!("there is no column `{needed}`"),
            ));
        }
    }
}

struct Row<'a> {
    header: &'a [Cell],
    cells: &'a [Cell],
    line: Range<usize>,
}

impl Row<'_> {
    /// The cell of a column; None where it is empty or the file has no such column.
    fn cell(&self, column: &str) -> Option<&Cell> {
        let place = self.header.iter().position(|cell| cell.text == column)?;
        Some(&self.cells[place]).filter(|cell| !cell.text.is_empty())
    }

    fn text(&self, column: &str) -> Option<String> {
        self.cell(column).map(|cell| cell.text.clone())
    }

    fn filled(&self, column: &str, problems: &mut Vec<Problem>) -> Option<&Cell> {
        let cell = self.cell(column);
        if cell.is_none() {
            let message = format!("column `{column}` is empty");
            problems.push(Problem::at(self.line.clone(), message));
        }
        cell
    }

    /// What the cell holds, or a problem with the words of what it should.
    fn parsed<T>(
        &self,
        column: &str,
        parse: impl Fn(&str) -> Option<T>,
        should: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        let cell = self.cell(column)?;
        let parsed = parse(&cell.text);
        if parsed.is_none() {
            let message = format!("`{}` in column `{column}` is no {should}", cell.text);
            problems.push(Problem::at(cell.span.clone(), message));
        }
        parsed
    }

    fn value(&self, problems: &mut Vec<Problem>) -> Option<Value> {
        let before = problems.len();
        let number = |text: &str| text.parse::<u32>().ok();
        let machine = Machine {
            name: self.filled("machine", problems)?.text.clone(),
            chip: self.filled("chip", problems)?.text.clone(),
            gpu_cores: self.parsed("gpu_cores", number, "number of cores", problems),
            cpu_cores: self.parsed("cpu_cores", number, "number of cores", problems),
            memory_bytes: self.parsed("memory", memory_bytes, "size such as 128GiB", problems),
            os: self.text("os").unwrap_or_default(),
            os_version: self.text("os_version").unwrap_or_default(),
        };
        let engine = self.filled("engine", problems)?.text.clone();
        let source = match self.text("engine_version") {
            Some(version) => format!("{engine} {version}"),
            None => engine,
        };
        self.filled("date", problems)?;
        let at = self.parsed("date", instant, "date such as 2025-06-20", problems);
        let suite = self.suite(problems)?;
        let model = self.model(problems);
        let (case, case_key) = self.case(suite, problems)?;
        let metric = self.metric(problems)?;
        let (value, rounding) = self.number(metric, problems)?;
        let launch = self.parsed("launch", number, "number of a launch", problems);
        let mean_of = self.mean_of(problems);
        (problems.len() == before).then_some(Value {
            span: self.line.clone(),
            source,
            machine,
            at: at?,
            suite,
            model,
            case,
            case_key,
            launch: launch.unwrap_or(1),
            metric,
            value,
            rounding,
            duration: Duration::ZERO,
            work: 0,
            mean_of,
        })
    }

    fn suite(&self, problems: &mut Vec<Problem>) -> Option<Suite> {
        let cell = self.filled("suite", problems)?;
        let suite = cell.text.parse().ok();
        if suite.is_none() {
            let known = Suite::ALL.iter().map(|suite| suite.as_str());
            problems.push(Problem::unknown(
                cell.span.clone(),
                "suite",
                &cell.text,
                known,
            ));
        }
        suite
    }

    fn metric(&self, problems: &mut Vec<Problem>) -> Option<Metric> {
        let cell = self.filled("metric", problems)?;
        let metric = cell.text.parse().ok();
        if metric.is_none() {
            let known = Metric::ALL.iter().map(|metric| metric.name());
            let mut problem = Problem::unknown(cell.span.clone(), "metric", &cell.text, known);
            if problem
                .help
                .as_ref()
                .is_some_and(|help| help.starts_with("known"))
            {
                problem.help =
                    Some("docs/measurement.md and the view report.metric name them all".to_owned());
            }
            problems.push(problem);
        }
        metric
    }

    fn model(&self, problems: &mut Vec<Problem>) -> Option<Model> {
        let architecture = self.cell("architecture").and_then(|cell| {
            let found = catalogue::find(&cell.text);
            if found.is_none() {
                let span = cell.span.clone();
                let known = catalogue::names();
                problems.push(Problem::unknown(span, "architecture", &cell.text, known));
            }
            found
        });
        let dtype = |text: &str| text.parse::<Dtype>().ok();
        let dtype = self.parsed("dtype", dtype, "type: bf16, f16 or f32", problems);
        let label = self.text("model")?;
        Some(Model::new(
            &label,
            architecture,
            dtype,
            self.text("quantisation"),
            None,
        ))
    }

    /// A parameter that nobody knows is taken at the least that it may be, where the gates want it.
    fn case(&self, suite: Suite, problems: &mut Vec<Problem>) -> Option<(Case, String)> {
        let key = self.filled("case", problems)?.text.clone();
        let case = Case::from_key(suite, &key.replace(UNKNOWN, "2"));
        if case.is_none() {
            let span = self
                .cell("case")
                .map_or(self.line.clone(), |cell| cell.span.clone());
            let problem = Problem::at(span, format!("`{key}` is no case of suite `{suite}`"));
            let example = example(suite);
            problems.push(problem.with_help(format!(
                "write it as report.case_summary has it, such as `{example}`, and a number that is not \
                 known as `{UNKNOWN}`"
            )));
        }
        Some((case?, key))
    }

    fn number(&self, metric: Metric, problems: &mut Vec<Problem>) -> Option<(f64, f64)> {
        let cell = self.filled("value", problems)?;
        let is_plain = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
        let plain = Some(cell.text.as_str())
            .filter(|text| text.len() <= MAX_DIGITS && text.chars().all(is_plain));
        let Some(text) = plain.filter(|text| text.parse::<f64>().is_ok()) else {
            let problem = Problem::at(cell.span.clone(), format!("`{}` is no number", cell.text));
            problems.push(
                problem.with_help("digits and a point: 358751 or 0.97; the unit has its column"),
            );
            return None;
        };
        let unit = self
            .text("unit")
            .unwrap_or_else(|| metric.unit().to_owned());
        let Some((factor, exponent)) = scale(&unit, metric.unit()) else {
            let span = self
                .cell("unit")
                .map_or(self.line.clone(), |cell| cell.span.clone());
            let message = format!(
                "`{unit}` is no unit of {metric}, which is in `{}`",
                metric.unit()
            );
            problems.push(Problem::at(span, message));
            return None;
        };
        // As a decimal, so that 0.97 s is 970 ms and not a hair more.
        let at_scale = |digits: &str| Some(digits_at(digits, exponent)? * factor);
        let decimals = text
            .split_once('.')
            .map_or(0, |(_, decimals)| decimals.len());
        let half = at_scale("0.5")? / 10_f64.powi(decimals as i32);
        Some((at_scale(text)?, half))
    }

    /// `mean_of` is the number of values behind a mean, or `?`.
    fn mean_of(&self, problems: &mut Vec<Problem>) -> Option<String> {
        let is_count = |text: &str| text == UNKNOWN || text.parse::<u32>().is_ok_and(|n| n > 1);
        let checked = |text: &str| is_count(text).then(|| text.to_owned());
        let of = self.parsed(
            "mean_of",
            checked,
            "number of values from 2, or `?`",
            problems,
        );
        let is_number = |text: &str| text.parse::<f64>().is_ok().then(|| text.to_owned());
        let deviation = self.parsed("deviation", is_number, "number", problems);
        let unit = self.text("unit").unwrap_or_default();
        let mean = match of.as_deref() {
            None if deviation.is_none() => return None,
            None | Some(UNKNOWN) => "a mean of values that are not known".to_owned(),
            Some(count) => format!("a mean of {count} values"),
        };
        Some(match deviation {
            Some(deviation) => format!("{mean}, standard deviation {deviation} {unit}")
                .trim_end()
                .to_owned(),
            None => mean,
        })
    }
}

fn digits_at(digits: &str, exponent: i32) -> Option<f64> {
    format!("{digits}e{exponent}").parse().ok()
}

/// What to multiply with and which power of ten, from the unit as written to the metric's own.
fn scale(written: &str, own: &str) -> Option<(f64, i32)> {
    const KIB: f64 = 1024.0;
    if written == own {
        return Some((1.0, 0));
    }
    Some(match (written, own) {
        ("us", "µs") => (1.0, 0),
        ("kB", "bytes") | ("s", "ms") | ("ms", "µs") => (1.0, 3),
        ("MB", "bytes") | ("s", "µs") => (1.0, 6),
        ("GB", "bytes") => (1.0, 9),
        ("TFLOP/s", "FLOP/s") => (1.0, 12),
        ("KiB", "bytes") => (KIB, 0),
        ("MiB", "bytes") => (KIB * KIB, 0),
        ("GiB", "bytes") => (KIB * KIB * KIB, 0),
        ("us" | "µs", "ms") => (1.0, -3),
        ("%", "ratio") => (1.0, -2),
        _ => return None,
    })
}

/// A size with its unit, such as `128GiB` or `24 GB`.
pub fn memory_bytes(text: &str) -> Option<u64> {
    let unit = text.find(|c: char| c.is_alphabetic())?;
    let (factor, exponent) = scale(&text[unit..], "bytes")?;
    let bytes = digits_at(text[..unit].trim_end(), exponent)? * factor;
    (1.0..1e18).contains(&bytes).then_some(bytes as u64)
}

/// A date, or a date and time with its offset.
pub fn instant(text: &str) -> Option<OffsetDateTime> {
    let date = Date::parse(text, &Iso8601::DATE)
        .ok()
        .map(|date| date.midnight().assume_utc());
    date.or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok())
}

fn example(suite: Suite) -> &'static str {
    match suite {
        Suite::Roofline => "stream,mb=1000",
        Suite::Load => "regime=cold",
        Suite::Prefill => "prompt=512,depth=0,chunk=2048",
        Suite::Decode => "new=128,depth=0",
        Suite::Generate => "new=50",
        Suite::Memory => "prompt=2048",
        Suite::Attention => {
            "shape=llama-3.1-8b,heads=32/8x128,regime=prefill,length=2048,dtype=bf16"
        }
        Suite::Batch => "batch=8,prompt=512,new=64,lengths=equal",
        Suite::Quantization => "bits=4,group=64,prompt=512,new=128",
        Suite::Speculative => "k=4,prompt=code,new=128,draft=synthetic:llama-3.2-1b",
        Suite::Sustained => "seconds=300,depth=0",
        Suite::Training => "mode=full,batch=4,sequence=512",
    }
}
