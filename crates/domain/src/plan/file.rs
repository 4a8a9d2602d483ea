//! A plan as it stands in its file, before it is checked.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use serde::Deserialize;

use super::{LEAST_LAUNCHES, Places, Plan, PlannedModel, Problem, Protocol, Span, period};
use crate::machine::Selector;
use crate::metric::Metric;
use crate::model::{Dtype, ModelRef, ModelSource};
use crate::suite::{Case, Subject, Suite, Tables};
use crate::text::is_plain;

const MAX_NAME_CHARS: usize = 80;
/// Longest name, chip or label that a machine may have.
const MAX_WORD_BYTES: usize = 200;
const MAX_MEMORY_GB: f64 = 1e6;
const MAX_LAUNCHES: u64 = 1000;
const PRIORITIES: RangeInclusive<i64> = -100..=100;
const EVERY_LEAST: Duration = Duration::from_mins(1);
const EVERY_MOST: Duration = Duration::from_hours(366 * 24);
/// Nothing that a machine does for a plan takes longer.
const LONGEST: Duration = Duration::from_hours(24);

/// What `launches = "auto"` means where the plan says no more: half the margin of a verdict, and as
/// many launches as that takes at a spread between launches of 2.5 %.
const AUTO_PRECISION: f64 = 0.01;
const AUTO_MAX_LAUNCHES: u64 = 30;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanFile {
    name: Span<String>,
    #[serde(default)]
    description: String,
    priority: Option<Span<i64>>,
    every: Option<Span<String>>,
    headline: Option<Span<Vec<Span<String>>>>,
    machines: Option<Span<MachinesFile>>,
    #[serde(default)]
    protocol: ProtocolFile,
    #[serde(default, rename = "model")]
    models: Vec<ModelFile>,
    #[serde(default)]
    suite: Tables,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachinesFile {
    names: Option<Span<Vec<Span<String>>>>,
    chips: Option<Span<Vec<Span<String>>>>,
    #[serde(default)]
    labels: BTreeMap<String, Span<String>>,
    min_memory_gb: Option<Span<f64>>,
    #[serde(default)]
    simulated: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProtocolFile {
    launches: Option<Span<toml::Value>>,
    max_launches: Option<Span<u64>>,
    precision: Option<Span<f64>>,
    iterations: Option<Span<u64>>,
    min_region: Option<Span<String>>,
    warmup_max_iterations: Option<Span<u64>>,
    warmup_max: Option<Span<String>>,
    launch_timeout: Option<Span<String>>,
    gate_timeout: Option<Span<String>>,
    canary: Option<bool>,
    cooldown_max: Option<Span<String>>,
    cooldown_pause: Option<Span<String>>,
    seed: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    source: Span<String>,
    dtypes: Option<Span<Vec<Span<String>>>>,
    suites: Option<Span<Vec<Span<String>>>>,
}

impl PlanFile {
    pub(super) fn check(self) -> Result<Plan, Vec<Problem>> {
        let Self {
            name,
            description,
            priority,
            every,
            headline,
            machines,
            protocol,
            models,
            suite,
        } = self;
        let mut problems = Vec::new();
        check_name(&name, &mut problems);
        let priority = priority.map_or(0, |written| check_priority(&written, &mut problems));
        let every = every.and_then(|written| check_every(&written, &mut problems));
        let protocol = protocol.check(&mut problems);
        let suites = suite.expand(&mut problems);
        let wants_model = |(suite, _): &(Suite, _)| suite.subject() == Subject::Model;
        if models.is_empty() && (suites.is_empty() || suites.iter().any(wants_model)) {
            problems.push(
                Problem::at(0..0, "the plan has no model").with_help(
                    "add [[model]] with source = \"synthetic:tinyllama-1.1b\" or a folder",
                ),
            );
        }
        let models = check_models(models, &suites, &mut problems);
        if suites.is_empty() {
            problems.push(
                Problem::at(0..0, "the plan has no suite")
                    .with_help("add a table such as [suite.decode]"),
            );
        }
        let headline = match headline {
            Some(names) => check_headline(&names, &mut problems),
            None => suites
                .iter()
                .flat_map(|(suite, _)| suite.headline())
                .copied()
                .collect(),
        };
        let (machines, places) = machines.map_or_else(Default::default, |machines| {
            let table = machines.span();
            machines.into_inner().check(table, &mut problems)
        });
        if !problems.is_empty() {
            problems.sort_by_key(|problem| problem.span.start);
            return Err(problems);
        }
        Ok(Plan {
            name: name.into_inner(),
            description,
            priority,
            every,
            machines,
            protocol,
            models,
            suites,
            headline,
            places,
        })
    }
}

impl MachinesFile {
    fn check(self, table: Range<usize>, problems: &mut Vec<Problem>) -> (Selector, Places) {
        let Self {
            names,
            chips,
            labels,
            min_memory_gb,
            simulated,
        } = self;
        let mut words = |list: &Option<Span<Vec<Span<String>>>>, key| {
            let Some(list) = list else { return Vec::new() };
            for word in Problem::check_list(list, key, problems) {
                check_word(word, key, problems);
            }
            list.get_ref().clone()
        };
        let places = Places {
            table,
            names: words(&names, "names"),
            chips: words(&chips, "chips"),
        };
        for (label, value) in &labels {
            check_word(value, "labels", problems);
            if !is_word(label) {
                problems.push(Problem::at(value.span(), not_a_word("a label's name")));
            }
        }
        let min_memory_bytes = min_memory_gb.map(|gb| {
            if !(0.0..=MAX_MEMORY_GB).contains(gb.get_ref()) {
                let what = format!("`min_memory_gb` must be 0 to {MAX_MEMORY_GB}");
                problems.push(Problem::at(gb.span(), what));
            }
            (*gb.get_ref() * 1e9) as u64
        });
        let bare = |list: Span<Vec<Span<String>>>| {
            list.into_inner()
                .into_iter()
                .map(Span::into_inner)
                .collect()
        };
        let selector = Selector {
            names: names.map(bare),
            chips: chips.map(bare),
            labels: labels
                .into_iter()
                .map(|(label, value)| (label, value.into_inner()))
                .collect(),
            min_memory_bytes,
            simulated,
        };
        (selector, places)
    }
}

/// Stands in the reason of every machine that a plan leaves out.
fn check_word(word: &Span<String>, key: &str, problems: &mut Vec<Problem>) {
    if !is_word(word.get_ref()) {
        problems.push(Problem::at(word.span(), not_a_word(&format!("`{key}`"))));
    }
}

fn is_word(text: &str) -> bool {
    text.len() <= MAX_WORD_BYTES && text.chars().all(is_plain)
}

fn not_a_word(what: &str) -> String {
    format!("{what} is longer than {MAX_WORD_BYTES} bytes, or holds control characters")
}

fn check_name(name: &Span<String>, problems: &mut Vec<Problem>) {
    let text = name.get_ref();
    let plain = text.chars().all(is_plain);
    if text.trim().is_empty() || text.chars().count() > MAX_NAME_CHARS || !plain {
        problems.push(Problem::at(
            name.span(),
            format!("a plan's name has 1 to {MAX_NAME_CHARS} printable characters"),
        ));
    }
}

fn check_priority(written: &Span<i64>, problems: &mut Vec<Problem>) -> i32 {
    let priority = *written.get_ref();
    if !PRIORITIES.contains(&priority) {
        let (least, most) = PRIORITIES.into_inner();
        let what = format!("`priority` must be {least} to {most}");
        problems.push(Problem::at(written.span(), what).with_help("0 is usual, higher goes first"));
    }
    priority as i32
}

fn check_every(written: &Span<String>, problems: &mut Vec<Problem>) -> Option<Duration> {
    let Some(every) = duration(written.get_ref()) else {
        let problem = Problem::at(written.span(), "`every` is no duration");
        problems.push(problem.with_help("write it as \"12h\", \"1d\" or \"7d\""));
        return None;
    };
    if !(EVERY_LEAST..=EVERY_MOST).contains(&every) {
        let (least, most) = (period(EVERY_LEAST), period(EVERY_MOST));
        let what = format!("`every` must be {least} to {most}");
        problems.push(Problem::at(written.span(), what));
    }
    Some(every)
}

fn check_models(
    models: Vec<ModelFile>,
    tables: &[(Suite, Vec<Case>)],
    problems: &mut Vec<Problem>,
) -> Vec<PlannedModel> {
    let mut checked: Vec<PlannedModel> = Vec::new();
    for ModelFile {
        source: written,
        dtypes,
        suites,
    } in models
    {
        let suites = suites.map(|suites| check_suites(suites, tables, problems));
        let Some(source) = Problem::check_source(&written, problems) else {
            continue;
        };
        for dtype in check_dtypes(dtypes, &source, problems) {
            let model = ModelRef {
                source: source.clone(),
                dtype,
            };
            if checked.iter().any(|planned| planned.model == model) {
                let what = format!("`{source}` in {} stands here twice", model.dtype_label());
                problems.push(Problem::at(written.span(), what));
            }
            let suites = suites.clone();
            checked.push(PlannedModel { model, suites });
        }
    }
    checked
}

/// The suites that a model keeps to: each has a table in the plan and is about models.
fn check_suites(
    names: Span<Vec<Span<String>>>,
    tables: &[(Suite, Vec<Case>)],
    problems: &mut Vec<Problem>,
) -> Vec<Suite> {
    if names.get_ref().is_empty() {
        problems
            .push(Problem::at(names.span(), "`suites` is empty").with_help("leave the key out"));
    }
    let mut checked = Vec::new();
    for written in names.into_inner() {
        let word = written.get_ref();
        let Ok(suite) = word.parse::<Suite>() else {
            let known = Suite::ALL.iter().map(|suite| suite.as_str());
            problems.push(Problem::unknown(written.span(), "suite", word, known));
            continue;
        };
        if suite.subject() == Subject::Machine {
            let what = format!("`{suite}` is about the machine and measures no model");
            problems.push(Problem::at(written.span(), what).with_help("leave it out here"));
        } else if !tables.iter().any(|(table, _)| *table == suite) {
            let what = format!("the plan has no suite `{suite}`");
            let help = format!("add the table [suite.{suite}]");
            problems.push(Problem::at(written.span(), what).with_help(help));
        }
        checked.push(suite);
    }
    checked
}

/// The precisions asked for; without any, files run as stored and synthetic models in bf16.
fn check_dtypes(
    dtypes: Option<Span<Vec<Span<String>>>>,
    source: &ModelSource,
    problems: &mut Vec<Problem>,
) -> Vec<Option<Dtype>> {
    let Some(list) = dtypes else {
        return vec![matches!(source, ModelSource::Synthetic(_)).then_some(Dtype::Bf16)];
    };
    if list.get_ref().is_empty() {
        problems.push(Problem::at(list.span(), "`dtypes` is empty").with_help("leave the key out"));
    }
    let mut checked = Vec::new();
    for written in list.into_inner() {
        let word = written.get_ref();
        if let Ok(dtype) = word.parse() {
            checked.push(Some(dtype));
        } else {
            problems.push(Problem::unknown(
                written.span(),
                "dtype",
                word,
                Dtype::NAMES,
            ));
        }
    }
    checked
}

fn check_headline(names: &Span<Vec<Span<String>>>, problems: &mut Vec<Problem>) -> Vec<Metric> {
    if names.get_ref().is_empty() {
        problems.push(
            Problem::at(names.span(), "`headline` is empty")
                .with_help("leave the key out for the suites' own"),
        );
    }
    let mut checked = Vec::new();
    for name in names.get_ref() {
        let word = name.get_ref();
        if let Ok(metric) = word.parse() {
            checked.push(metric);
        } else {
            let known = Metric::ALL.iter().map(|metric| metric.name());
            problems.push(Problem::unknown(name.span(), "metric", word, known));
        }
    }
    checked
}

impl ProtocolFile {
    fn check(self, problems: &mut Vec<Problem>) -> Protocol {
        let default = Protocol::default();
        let (launches, precision) =
            check_launches(self.launches, self.max_launches, self.precision, problems);
        let mut count = |value: Option<Span<u64>>, key: &str, most: u64, default: u32| {
            value.map_or(default, |value| {
                Problem::check_one(&value, 1..=most, key, problems);
                *value.get_ref() as u32
            })
        };
        let iterations = count(self.iterations, "iterations", 1000, default.iterations);
        let warmup_max_iterations = count(
            self.warmup_max_iterations,
            "warmup_max_iterations",
            1000,
            default.warmup_max_iterations,
        );
        let mut time = |value: Option<Span<String>>, key: &str, default: Duration| {
            value.map_or(default, |value| {
                let written = duration(value.get_ref()).filter(|time| *time <= LONGEST);
                written.unwrap_or_else(|| {
                    problems.push(
                        Problem::at(value.span(), format!("`{key}` is no duration"))
                            .with_help("write it as \"500ms\", \"30s\" or \"10m\""),
                    );
                    default
                })
            })
        };
        let named = self.launch_timeout.as_ref().map(Span::span);
        let launch_timeout = time(
            self.launch_timeout,
            "launch_timeout",
            default.launch_timeout,
        );
        let (min_region, warmup_max, gate_timeout) = (
            time(self.min_region, "min_region", default.min_region),
            time(self.warmup_max, "warmup_max", default.warmup_max),
            time(self.gate_timeout, "gate_timeout", default.gate_timeout),
        );
        let pause = self.cooldown_pause.as_ref().map(Span::span);
        let (cooldown_max, cooldown_pause) = (
            time(self.cooldown_max, "cooldown_max", default.cooldown_max),
            time(
                self.cooldown_pause,
                "cooldown_pause",
                default.cooldown_pause,
            ),
        );
        if cooldown_pause > cooldown_max {
            problems.push(
                Problem::at(
                    pause.unwrap_or_default(),
                    "`cooldown_pause` is longer than `cooldown_max`",
                )
                .with_help("raise `cooldown_max`, which ends every wait"),
            );
        }
        if launch_timeout < Duration::from_secs(1) {
            problems.push(
                Problem::at(
                    named.unwrap_or_default(),
                    "`launch_timeout` is under a second",
                )
                .with_help("every launch would be ended before it measures"),
            );
        }
        Protocol {
            launches,
            precision,
            iterations,
            warmup_max_iterations,
            min_region,
            warmup_max,
            launch_timeout,
            gate_timeout,
            canary: self.canary.unwrap_or(default.canary),
            cooldown_max,
            cooldown_pause,
            seed: self.seed.unwrap_or(default.seed),
        }
    }
}

/// `launches = 10`, or `launches = "auto"` with its limits: how many at most, and the precision.
fn check_launches(
    launches: Option<Span<toml::Value>>,
    max_launches: Option<Span<u64>>,
    precision: Option<Span<f64>>,
    problems: &mut Vec<Problem>,
) -> (u32, Option<f64>) {
    let fixed = match launches {
        None => Protocol::default().launches,
        Some(written) => match written.get_ref() {
            toml::Value::String(word) if word == "auto" => {
                return check_auto(max_launches, precision, problems);
            }
            toml::Value::Integer(number) => {
                let number = Span::new(written.span(), u64::try_from(*number).unwrap_or(0));
                Problem::check_one(&number, 1..=MAX_LAUNCHES, "launches", problems) as u32
            }
            _ => {
                problems.push(
                    Problem::at(
                        written.span(),
                        "`launches` is neither a number nor \"auto\"",
                    )
                    .with_help("write launches = 10 or launches = \"auto\""),
                );
                Protocol::default().launches
            }
        },
    };
    let keys = [
        ("max_launches", max_launches.map(|value| value.span())),
        ("precision", precision.map(|value| value.span())),
    ];
    for (key, place) in keys {
        let Some(place) = place else { continue };
        problems.push(
            Problem::at(place, format!("`{key}` is for launches = \"auto\" only"))
                .with_help("write launches = \"auto\", or leave the key out"),
        );
    }
    (fixed, None)
}

fn check_auto(
    max_launches: Option<Span<u64>>,
    precision: Option<Span<f64>>,
    problems: &mut Vec<Problem>,
) -> (u32, Option<f64>) {
    let most = max_launches.map_or(AUTO_MAX_LAUNCHES, |most| {
        let allowed = u64::from(LEAST_LAUNCHES)..=MAX_LAUNCHES;
        Problem::check_one(&most, allowed, "max_launches", problems)
    });
    let precision = precision.map_or(AUTO_PRECISION, |share| {
        if !(0.001..=0.5).contains(share.get_ref()) {
            problems.push(
                Problem::at(share.span(), "`precision` must be 0.001 to 0.5")
                    .with_help("0.01 asks for intervals of 1 % to either side"),
            );
        }
        share.into_inner()
    });
    (most as u32, Some(precision))
}

/// A whole number with the unit ms, s, m, h or d.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}
