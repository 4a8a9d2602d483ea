//! Values grouped into what a run holds, each judged by the gates.

use super::{Import, Job, Judged, Launch, Machine, Value};
use crate::gate::{self, Ceilings};
use crate::plan::Problem;
use crate::reason::Reason;
use crate::suite::Subject;
use crate::text::is_plain;
use crate::worker::Sample;

/// Longer than any name of a machine, a model or a case.
const MAX_NAME_BYTES: usize = 300;

pub(super) fn assemble(values: Vec<Value>, mut notes: Vec<String>) -> Result<Import, Vec<Problem>> {
    let Some(first) = values.first() else {
        return Err(vec![Problem::at(0..0, "the file holds no result")]);
    };
    let source = first.source.clone();
    let mut machines: Vec<Machine> = Vec::new();
    let mut jobs: Vec<Job> = Vec::new();
    let mut problems = Vec::new();
    for value in values {
        if let Some(problem) = contradiction(&value, &source, &machines) {
            problems.push(problem);
            continue;
        }
        if machines.iter().all(|machine| *machine != value.machine) {
            machines.push(value.machine.clone());
        }
        put(value, &mut jobs);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    notes.extend(blind_spots(&machines, &jobs));
    Ok(Import {
        source,
        machines,
        jobs,
        notes,
    })
}

/// What a value says against those before it, or against its suite.
fn contradiction(value: &Value, source: &str, machines: &[Machine]) -> Option<Problem> {
    let at = |message: String| Problem::at(value.span.clone(), message);
    if let Some(word) = unprintable(value) {
        let start: String = word.chars().take(40).collect();
        return Some(at(format!(
            "a name has at most {MAX_NAME_BYTES} bytes and no control characters; this one is {start:?}"
        )));
    }
    let Machine { name, .. } = &value.machine;
    if value.source != source {
        let message = format!("a result of `{}` in a file of `{source}`", value.source);
        return Some(at(message).with_help("a file is one source's: split it"));
    }
    if machines
        .iter()
        .any(|known| known.name == *name && *known != value.machine)
    {
        let message = format!("machine `{name}` is told in two ways");
        return Some(at(message).with_help(
            "chip, cores, memory and system of one machine are the same in every row; two machines \
             have two names",
        ));
    }
    match (value.suite.subject(), &value.model) {
        (Subject::Model, None) => Some(at(format!("suite `{}` is about a model", value.suite))),
        (Subject::Machine, Some(_)) => Some(at(format!(
            "suite `{}` is about the machine and has no model",
            value.suite
        ))),
        (Subject::Model, Some(_)) | (Subject::Machine, None) => None,
    }
}

/// A name of the file that would not stay a name where it is shown.
fn unprintable(value: &Value) -> Option<&str> {
    let Machine {
        name,
        chip,
        os,
        os_version,
        gpu_cores: _,
        cpu_cores: _,
        memory_bytes: _,
    } = &value.machine;
    let model = value.model.as_ref();
    let of_model = model.map(|model| [Some(&model.label), model.quantisation.as_ref()]);
    [name, chip, os, os_version, &value.source, &value.case_key]
        .into_iter()
        .chain(of_model.into_iter().flatten().flatten())
        .map(String::as_str)
        .find(|word| word.len() > MAX_NAME_BYTES || !word.chars().all(is_plain))
}

fn put(value: Value, jobs: &mut Vec<Job>) {
    let judged = judge(&value);
    let Value {
        machine,
        at,
        suite,
        model,
        case_key,
        launch: ordinal,
        metric,
        mean_of,
        ..
    } = value;
    let machine = machine.name;
    let known = jobs
        .iter()
        .position(|job| job.machine == machine && job.suite == suite && job.model == model);
    let place = known.unwrap_or_else(|| {
        jobs.push(Job {
            machine,
            suite,
            model,
            launches: Vec::new(),
        });
        jobs.len() - 1
    });
    let launches = &mut jobs[place].launches;
    let known = launches
        .iter()
        .position(|launch| launch.case_key == case_key && launch.ordinal == ordinal);
    let place = known.unwrap_or_else(|| {
        launches.push(Launch {
            case_key,
            ordinal,
            at,
            values: Vec::new(),
            message: String::new(),
        });
        launches.len() - 1
    });
    let launch = &mut launches[place];
    if let Some(known) = mean_of {
        if !launch.message.is_empty() {
            launch.message.push_str("; ");
        }
        for part in [metric.name(), ": ", &known] {
            launch.message.push_str(part);
        }
    }
    launch.at = launch.at.min(at);
    launch.values.push(judged);
}

/// A gate that would let the value through at either end of its rounding lets it through.
fn judge(value: &Value) -> Judged {
    let identity = value
        .model
        .as_ref()
        .and_then(|model| model.identity.as_ref());
    let ceilings = Ceilings::of(&value.machine.chip, value.machine.gpu_cores, None);
    let failed = |number: f64| {
        let sample = Sample {
            metric: value.metric,
            value: number,
        };
        gate::judge(&value.case, identity, ceilings, &[sample])
    };
    let (low, high) = (
        failed(value.value - value.rounding),
        failed(value.value + value.rounding),
    );
    let mut reasons: Vec<Reason> = failed(value.value)
        .into_iter()
        .filter(|reason| low.contains(reason) && high.contains(reason))
        .collect();
    reasons.extend(value.mean_of.is_some().then_some(Reason::MeanOnly));
    Judged {
        metric: value.metric,
        value: value.value,
        duration: value.duration,
        work: value.work,
        reasons,
    }
}

/// Where the gates have nothing to hold a number against.
fn blind_spots(machines: &[Machine], jobs: &[Job]) -> Vec<String> {
    let unknown_chips = machines.iter().filter(|machine| {
        Ceilings::of(&machine.chip, machine.gpu_cores, None) == Ceilings::default()
    });
    let mut notes: Vec<String> = unknown_chips
        .map(|Machine { name, chip, .. }| {
            format!("nothing is published here of the chip `{chip}` of {name}: gates g1 and g2 cannot look")
        })
        .collect();
    let mut unknown_models: Vec<&str> = jobs
        .iter()
        .filter_map(|job| job.model.as_ref())
        .filter(|model| model.identity.is_none())
        .map(|model| model.label.as_str())
        .collect();
    unknown_models.sort_unstable();
    unknown_models.dedup();
    notes.extend(unknown_models.into_iter().map(|label| {
        format!(
            "the architecture or the precision of `{label}` is not known: gates g1, g2, g4 and g5 cannot \
             look (--architecture, --dtype, --quantisation)"
        )
    }));
    notes
}
