//! `llama-bench -o json` and `-o jsonl`: one object for each test, with every repetition's time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use super::{Given, Model, Value, csv, json_place};
use crate::catalogue::{self, Architecture};
use crate::metric::Metric;
use crate::model::Dtype;
use crate::plan::Problem;
use crate::suite::{Case, decode, prefill};

/// Fields of each test's own, in which it may differ from another of the same conditions.
const OF_THE_TEST: [&str; 20] = [
    "build_commit",
    "build_number",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ns",
    "samples_ts",
    "n_ubatch",
];

#[derive(Deserialize)]
struct Test {
    build_commit: String,
    build_number: Option<u64>,
    gpu_info: String,
    model_filename: String,
    model_type: String,
    model_size: u64,
    model_n_params: u64,
    n_ubatch: u64,
    n_prompt: u64,
    n_gen: u64,
    #[serde(default)]
    n_depth: u64,
    test_time: String,
    avg_ts: f64,
    stddev_ts: f64,
    /// Files of the CSV kind leave the repetitions out; some tools that pass JSON on do too.
    #[serde(default)]
    samples_ns: Vec<u64>,
    /// The conditions.
    #[serde(flatten)]
    conditions: BTreeMap<String, Json>,
}

pub(super) fn read(text: &str, given: &Given) -> Result<(Vec<Value>, Vec<String>), Vec<Problem>> {
    let tests = tests(text).map_err(|problem| vec![problem])?;
    let varying = varying(&tests);
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let mut values = Vec::new();
    let mut combined = 0;
    for (number, (span, test)) in tests.iter().enumerate() {
        let mut wrong = |why: String| {
            let problem = Problem::at(span.clone(), format!("test {}: {why}", number + 1));
            problems.push(problem);
        };
        let (tokens, metric, case) = match (test.n_prompt, test.n_gen) {
            (0, 0) => {
                wrong("it has neither a prompt nor new tokens".to_owned());
                continue;
            }
            (prompt_tokens, 0) => {
                let metric = if test.n_depth == 0 {
                    Metric::PrefillTps
                } else {
                    Metric::PrefillTpsAtDepth
                };
                let case = Case::Prefill(prefill::Case {
                    prompt_tokens,
                    depth: test.n_depth,
                    chunk: test.n_ubatch,
                });
                (prompt_tokens, metric, case)
            }
            (0, new_tokens) => {
                let case = Case::Decode(decode::Case {
                    new_tokens,
                    depth: test.n_depth,
                });
                (new_tokens, Metric::DecodeTpsSync, case)
            }
            // Prompt and answer in one rate: no metric of ours, nor of anybody else.
            _ => {
                combined += 1;
                continue;
            }
        };
        let Some(at) = csv::instant(&test.test_time) else {
            wrong(format!("`{}` in `test_time` is no time", test.test_time));
            continue;
        };
        if test.samples_ns.contains(&0) || !(test.avg_ts > 0.0 && test.avg_ts.is_finite()) {
            wrong("a time or a rate is not positive".to_owned());
            continue;
        }
        let rates = rates(test, tokens);
        let template = Value {
            span: span.clone(),
            source: source(test),
            machine: given.machine(given.chip.clone().unwrap_or_else(|| test.gpu_info.clone())),
            at,
            suite: case.suite(),
            model: Some(model(test, given)),
            case_key: case.key() + &more(test, &varying),
            case,
            launch: 1,
            metric,
            value: 0.0,
            rounding: 0.0,
            duration: Duration::ZERO,
            work: tokens,
            mean_of: None,
        };
        values.extend(rates.into_iter().map(|(value, duration, mean_of)| Value {
            value,
            duration,
            mean_of,
            ..template.clone()
        }));
    }
    if combined > 0 {
        notes.push(format!(
            "{combined} tests of prompt and answer together (-pg) are left out: they mix two rates in one"
        ));
    }
    if problems.is_empty() {
        Ok((values, notes))
    } else {
        Err(problems)
    }
}

/// Each repetition with its time, or the mean of those that are not there.
fn rates(test: &Test, tokens: u64) -> Vec<(f64, Duration, Option<String>)> {
    if test.samples_ns.is_empty() {
        let deviation = test.stddev_ts;
        let mean_of =
            format!("a mean of values that are not known, standard deviation {deviation} tok/s");
        return vec![(test.avg_ts, Duration::ZERO, Some(mean_of))];
    }
    let of_each = test.samples_ns.iter().map(|&ns| {
        let rate = tokens as f64 * 1e9 / ns as f64;
        (rate, Duration::from_nanos(ns), None)
    });
    of_each.collect()
}

/// The objects with their places: of one array the whole of it, else of each line.
fn tests(text: &str) -> Result<Vec<(Range<usize>, Test)>, Problem> {
    if text.trim_start().starts_with('[') {
        let tests: Vec<Test> = serde_json::from_str(text).map_err(|e| refused(text, 0, &e))?;
        return Ok(tests.into_iter().map(|test| (0..0, test)).collect());
    }
    let mut start = 0;
    let mut tests = Vec::new();
    for line in text.split_inclusive('\n') {
        let span = start..start + line.trim_end().len();
        if !line.trim().is_empty() {
            let test = serde_json::from_str(line).map_err(|e| refused(line, start, &e))?;
            tests.push((span, test));
        }
        start += line.len();
    }
    Ok(tests)
}

/// The text begins at `offset` of the file.
fn refused(text: &str, offset: usize, error: &serde_json::Error) -> Problem {
    let at = offset + json_place(text, error);
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    let problem = Problem::at(at..at, format!("no test of llama-bench: {message}"));
    problem.with_help("give the whole output of `llama-bench -o json` or `-o jsonl`")
}

fn source(test: &Test) -> String {
    match test.build_number {
        Some(number) => format!("llama-bench {} ({number})", test.build_commit),
        None => format!("llama-bench {}", test.build_commit),
    }
}

/// `qwen2 7B Q4_K - Medium`: family, size, and what the weights are stored in.
fn model(test: &Test, given: &Given) -> Model {
    let file = test
        .model_filename
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or_default();
    let label = given
        .model
        .as_deref()
        .unwrap_or(file.trim_end_matches(".gguf"));
    let stored = test.model_type.splitn(3, ' ').nth(2).unwrap_or_default();
    let stored_dtype = match stored.trim_start_matches("all ") {
        "BF16" => Some(Dtype::Bf16),
        "F16" => Some(Dtype::F16),
        "F32" => Some(Dtype::F32),
        _ => None,
    };
    let quantisation = match (stored_dtype, stored) {
        (Some(_), _) => Some("none".to_owned()),
        (None, "") => None,
        (None, stored) => Some(stored.to_owned()),
    };
    let bits = test.model_size as f64 * 8.0 / test.model_n_params.max(1) as f64;
    let architecture = given
        .architecture
        .or_else(|| by_parameters(test.model_n_params));
    let dtype = given.dtype.or(stored_dtype);
    let quantisation = given.quantisation.clone().or(quantisation);
    Model::new(label, architecture, dtype, quantisation, Some(bits))
}

/// Counts of parameters are as good as names: no two of the catalogue are within a thousandth. A file
/// may hold the few frequencies of its positions beside the weights.
fn by_parameters(count: u64) -> Option<&'static Architecture> {
    let mut all = catalogue::names().filter_map(catalogue::find);
    all.find(|architecture| architecture.parameters().abs_diff(count) <= count / 1_000_000)
}

/// Conditions in which the file's tests differ.
fn varying(tests: &[(Range<usize>, Test)]) -> Vec<String> {
    let Some((_, first)) = tests.first() else {
        return Vec::new();
    };
    let names = first.conditions.keys().filter(|name| {
        !OF_THE_TEST.contains(&name.as_str())
            && tests
                .iter()
                .any(|(_, test)| test.conditions.get(*name) != first.conditions.get(*name))
    });
    names.cloned().collect()
}

/// What tells the case from others of the file, as further parameters of its key.
fn more(test: &Test, varying: &[String]) -> String {
    let of_each = varying.iter().map(|name| {
        let value = match test.conditions.get(name) {
            Some(Json::String(text)) => text.replace([',', '='], "_"),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        format!(",{name}={value}")
    });
    of_each.collect()
}
