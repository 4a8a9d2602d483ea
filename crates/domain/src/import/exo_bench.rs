//! `exo_bench.py --json-out`: one object for each request to an exo cluster, with the server's own rates.
//! The file names the model and says on how many machines it lay, but neither which nor when.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::{Given, Model, Value, json_place};
use crate::metric::Metric;
use crate::plan::Problem;
use crate::suite::{Case, decode, prefill};

#[derive(Deserialize)]
struct File {
    runs: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    model_id: String,
    placement_sharding: String,
    placement_instance_meta: String,
    placement_nodes: u64,
    pp_tokens: u64,
    tg: u64,
    #[serde(default = "one")]
    concurrency: u64,
    /// None where the server sent none.
    stats: Option<Stats>,
    #[serde(default)]
    prefix_cache_hit: Option<String>,
}

fn one() -> u64 {
    1
}

#[derive(Deserialize)]
struct Stats {
    prompt_tps: f64,
    generation_tps: f64,
    generation_tokens: u64,
    #[serde(default)]
    peak_memory_usage: Peak,
    #[serde(default)]
    prefix_cache_hit: Option<String>,
}

#[derive(Default, Deserialize)]
struct Peak {
    #[serde(default, alias = "inBytes")]
    in_bytes: f64,
}

/// Why a request is no value of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LeftOut {
    Machines,
    Concurrent,
    NoStats,
    Short,
}

impl LeftOut {
    const ALL: [Self; 4] = [Self::Machines, Self::Concurrent, Self::NoStats, Self::Short];

    fn words(self) -> &'static str {
        match self {
            Self::Machines => "ran on several machines, or on an unknown number of them,",
            Self::Concurrent => "ran beside others",
            Self::NoStats => "have no rates of the server",
            Self::Short => "made fewer tokens than were asked for",
        }
    }
}

pub(super) fn read(text: &str, given: &Given) -> Result<(Vec<Value>, Vec<String>), Vec<Problem>> {
    // Older versions write the requests alone.
    let requests = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<Request>>(text)
    } else {
        serde_json::from_str(text).map(|File { runs }| runs)
    };
    let requests = requests.map_err(|error| vec![refused(text, &error)])?;
    let mut problems = Vec::new();
    let (Some(chip), Some(at)) = given.chip_and_time(&mut problems) else {
        return Err(problems);
    };
    let machine = given.machine(chip);
    let source = given.source("exo-bench");
    let mut left_out = Vec::new();
    let mut kept = Vec::new();
    for request in &requests {
        match stats_of(request) {
            Ok(stats) => kept.push((request, stats)),
            Err(why) => left_out.push(why),
        }
    }
    let placements: BTreeSet<_> = kept.iter().map(|(request, _)| placement(request)).collect();
    let mut cached = 0;
    let mut values = Vec::new();
    for (request, stats) in kept {
        let label = given.model.as_ref().unwrap_or(&request.model_id);
        let quantisation = given.quantisation.clone();
        let model = Model::new(label, given.architecture, given.dtype, quantisation, None);
        let more = if placements.len() > 1 {
            placement(request)
        } else {
            String::new()
        };
        for (metric, case, key, value) in cases(request, stats) {
            if metric == Metric::PrefillTps && is_cached(request, stats) {
                cached += 1;
                continue;
            }
            if !(value > 0.0 && value.is_finite()) {
                let why = format!("{metric} of {key} is {value}, which is no rate and no size");
                problems.push(Problem::at(0..0, why));
                continue;
            }
            values.push(Value {
                span: 0..0,
                source: source.clone(),
                machine: machine.clone(),
                at,
                suite: case.suite(),
                model: Some(model.clone()),
                case,
                case_key: key + &more,
                launch: 1,
                metric,
                value,
                rounding: 0.0,
                duration: Duration::ZERO,
                work: 0,
                mean_of: None,
            });
        }
    }
    if problems.is_empty() {
        Ok((values, notes(&left_out, cached)))
    } else {
        Err(problems)
    }
}

fn notes(left_out: &[LeftOut], cached: usize) -> Vec<String> {
    let of = |why: LeftOut| {
        let count = left_out.iter().filter(|found| **found == why).count();
        (count > 0).then(|| format!("requests that {} are left out: {count}", why.words()))
    };
    let mut notes: Vec<String> = LeftOut::ALL.into_iter().filter_map(of).collect();
    if cached > 0 {
        notes.push(format!(
            "rates of prompts that came in part from exo's prefix cache are left out: {cached}"
        ));
    }
    notes
}

/// How exo laid the model out, as more parameters of a case.
fn placement(request: &Request) -> String {
    let Request {
        placement_sharding,
        placement_instance_meta,
        ..
    } = request;
    format!(",sharding={placement_sharding},instance={placement_instance_meta}")
}

fn stats_of(request: &Request) -> Result<&Stats, LeftOut> {
    let stats = request.stats.as_ref().ok_or(LeftOut::NoStats)?;
    match (request.placement_nodes, request.concurrency) {
        (1, 1) if stats.generation_tokens == request.tg => Ok(stats),
        (1, 1) => Err(LeftOut::Short),
        (1, _) => Err(LeftOut::Concurrent),
        _ => Err(LeftOut::Machines),
    }
}

fn is_cached(request: &Request, stats: &Stats) -> bool {
    let hits = [&request.prefix_cache_hit, &stats.prefix_cache_hit];
    hits.into_iter().flatten().any(|hit| hit != "none")
}

/// The prompt's rate, that of the new tokens after it, and the peak memory where the server told it.
fn cases(request: &Request, stats: &Stats) -> Vec<(Metric, Case, String, f64)> {
    let (prompt_tokens, new_tokens) = (request.pp_tokens, request.tg);
    let prefill = Case::Prefill(prefill::Case {
        prompt_tokens,
        depth: 0,
        chunk: 2048,
    });
    let decode = Case::Decode(decode::Case {
        new_tokens,
        depth: prompt_tokens,
    });
    let prefill_key = format!("prompt={prompt_tokens},depth=0,chunk=?");
    let decode_key = decode.key();
    let mut cases = vec![
        (Metric::PrefillTps, prefill, prefill_key, stats.prompt_tps),
        (
            Metric::DecodeTpsAtDepth,
            decode.clone(),
            decode_key.clone(),
            stats.generation_tps,
        ),
    ];
    let peak = stats.peak_memory_usage.in_bytes;
    if peak > 0.0 {
        cases.push((Metric::MemPeakProcessBytes, decode, decode_key, peak));
    }
    cases
}

fn refused(text: &str, error: &serde_json::Error) -> Problem {
    let at = json_place(text, error);
    let problem = Problem::at(at..at, format!("no result of exo-bench: {error}"));
    problem.with_help("give the file that `exo_bench.py --json-out FILE` wrote, whole")
}
