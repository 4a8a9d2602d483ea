//! What `mlx_lm.benchmark` prints: a line of the trials' parameters, a line for each trial, their means.
//! It names neither model nor machine, so whoever imports does.

use std::ops::Range;
use std::time::Duration;

use super::{Given, Model, Value, needed};
use crate::metric::Metric;
use crate::plan::Problem;
use crate::suite::batch::{self, Lengths};
use crate::suite::{Case, decode, prefill};

/// What `-p`, `-g` and `-b` said.
#[derive(Clone, Copy)]
struct Timing {
    prompt_tokens: u64,
    new_tokens: u64,
    batch_size: u64,
}

struct Trial {
    span: Range<usize>,
    timing: Timing,
    /// Which of the file's timings, from 1.
    launch: u32,
    prompt_tps: f64,
    generation_tps: f64,
    peak_gb: f64,
    is_mean: bool,
}

pub(super) fn read(text: &str, given: &Given) -> Result<Vec<Value>, Vec<Problem>> {
    let mut problems = Vec::new();
    let trials = trials(text, &mut problems);
    let model = needed(
        given.model.as_ref(),
        "which model it is of",
        "--model",
        &mut problems,
    );
    let (chip, at) = given.chip_and_time(&mut problems);
    let (Some(model), Some(chip), Some(at), true) = (model, chip, at, problems.is_empty()) else {
        return Err(problems);
    };
    let machine = given.machine(chip);
    let source = given.source("mlx-lm");
    let quantisation = given.quantisation.clone();
    let model = Model::new(&model, given.architecture, given.dtype, quantisation, None);
    let of_trial = |trial: &Trial| -> Vec<Value> {
        let known = cases(trial.timing);
        let numbers = [trial.prompt_tps, trial.generation_tps, trial.peak_gb * 1e9];
        let roundings = [0.0005, 0.0005, 0.0005e9];
        known
            .into_iter()
            .zip(numbers.into_iter().zip(roundings))
            .map(|((metric, case, case_key), (value, rounding))| Value {
                span: trial.span.clone(),
                source: source.clone(),
                machine: machine.clone(),
                at,
                suite: case.suite(),
                model: Some(model.clone()),
                case,
                case_key,
                launch: trial.launch,
                metric,
                value,
                rounding,
                duration: Duration::ZERO,
                work: 0,
                mean_of: trial
                    .is_mean
                    .then(|| "a mean of values that are not known".to_owned()),
            })
            .collect()
    };
    Ok(trials.iter().flat_map(of_trial).collect())
}

/// The rate of the prompt, that of the new tokens, the peak memory: each with what it is of. The size
/// of a prefill's chunks is not printed.
fn cases(timing: Timing) -> [(Metric, Case, String); 3] {
    let Timing {
        prompt_tokens,
        new_tokens,
        batch_size,
    } = timing;
    if batch_size > 1 {
        let case = Case::Batch(batch::Case {
            batch_size,
            prompt_tokens,
            new_tokens,
            lengths: Lengths::Equal,
        });
        return [
            Metric::BatchPrefillTps,
            Metric::BatchDecodeTps,
            Metric::MemPeakProcessBytes,
        ]
        .map(|metric| (metric, case.clone(), case.key()));
    }
    let prefill = Case::Prefill(prefill::Case {
        prompt_tokens,
        depth: 0,
        chunk: 2048,
    });
    let decode = Case::Decode(decode::Case {
        new_tokens,
        depth: prompt_tokens,
    });
    let key = decode.key();
    [
        (
            Metric::PrefillTpsMlxlm,
            prefill,
            format!("prompt={prompt_tokens},depth=0,chunk=?"),
        ),
        (Metric::DecodeTpsMlxlm, decode.clone(), key.clone()),
        (Metric::MemPeakProcessBytes, decode, key),
    ]
}

/// The trials; of a timing that has none, its means.
fn trials(text: &str, problems: &mut Vec<Problem>) -> Vec<Trial> {
    let mut start = 0;
    let mut trials: Vec<Trial> = Vec::new();
    let mut timing = None;
    let mut launch = 0;
    for line in text.split_inclusive('\n') {
        let span = start..start + line.trim_end().len();
        start += line.len();
        let line = line.trim();
        let mut wrong = |why: &str| problems.push(Problem::at(span.clone(), why));
        if line.starts_with("Timing with ") {
            let number = |name| Some(field(line, name)? as u64).filter(|&number| number > 0);
            timing = (|| {
                Some(Timing {
                    prompt_tokens: number("prompt_tokens")?,
                    new_tokens: number("generation_tokens")?,
                    batch_size: number("batch_size")?,
                })
            })();
            launch += 1;
            if timing.is_none() {
                wrong(
                    "a line `Timing with` without prompt_tokens, generation_tokens and batch_size",
                );
            }
            continue;
        }
        let is_mean = line.starts_with("Averages:");
        if !is_mean && !line.starts_with("Trial ") {
            continue;
        }
        let Some(timing) = timing else {
            wrong(
                "a result before any line `Timing with prompt_tokens=…`: what it is of is not known",
            );
            continue;
        };
        if is_mean && trials.iter().any(|trial| trial.launch == launch) {
            continue;
        }
        let numbers = ["prompt_tps", "generation_tps", "peak_memory"].map(|name| field(line, name));
        let [Some(prompt_tps), Some(generation_tps), Some(peak_gb)] = numbers else {
            wrong("a result without prompt_tps, generation_tps and peak_memory");
            continue;
        };
        trials.push(Trial {
            span,
            timing,
            launch,
            prompt_tps,
            generation_tps,
            peak_gb,
            is_mean,
        });
    }
    trials
}

/// The number behind `name=`.
fn field(line: &str, name: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("{name}="))?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().ok()
}
