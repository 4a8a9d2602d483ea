//! Laws of growth, fitted on each machine by itself: over the models of one precision, and attention's
//! gain over its lengths. Fewer than three different places are kept as points and make no law.

use std::collections::HashMap;

use super::group_by;
use crate::report::{CaseKey, Law, LawPoint, Measurement, Model, Quantity, Variant};
use crate::stats::{Interval, Line, Power};

/// What of a model a quantity is held against.
#[derive(Clone, Copy)]
enum Size {
    /// 10⁹ bytes of weights, whatever their quantisation.
    Weights,
    /// 10⁹ bytes that a token reads.
    Decode,
    /// 10⁹ parameters, of models in one precision.
    Parameters,
}

/// How a metric becomes a y.
#[derive(Clone, Copy)]
enum As {
    Itself,
    /// Bytes, in 10⁹.
    Gigabytes,
    /// A rate per second, as milliseconds for one: times add up, rates do not.
    Milliseconds,
}

struct Subject {
    title: &'static str,
    suite: &'static str,
    metric: &'static str,
    size: Size,
    y: As,
}

const SUBJECTS: [Subject; 6] = [
    Subject {
        title: "Warm load time over weights",
        suite: "load",
        metric: "load_warm_ms",
        size: Size::Weights,
        y: As::Itself,
    },
    Subject {
        title: "Cold load time over weights",
        suite: "load",
        metric: "load_cold_ms",
        size: Size::Weights,
        y: As::Itself,
    },
    Subject {
        title: "Memory of the weights over parameters",
        suite: "load",
        metric: "mem_weights_bytes",
        size: Size::Parameters,
        y: As::Gigabytes,
    },
    Subject {
        title: "Peak memory over parameters",
        suite: "memory",
        metric: "mem_peak_bytes",
        size: Size::Parameters,
        y: As::Gigabytes,
    },
    Subject {
        title: "Time to first token over parameters",
        suite: "prefill",
        metric: "ttft_ms",
        size: Size::Parameters,
        y: As::Itself,
    },
    Subject {
        title: "Time of a decoded token over the bytes it reads",
        suite: "decode",
        metric: "decode_tps",
        size: Size::Decode,
        y: As::Milliseconds,
    },
];

pub fn laws(models: &[Model], measurements: &[Measurement]) -> Vec<Law> {
    let models: HashMap<&Variant, &Model> = models.iter().map(|m| (&m.variant, m)).collect();
    let mut laws = Vec::new();
    for subject in &SUBJECTS {
        let measured: Vec<&Measurement> = of(measurements, subject.suite, subject.metric)
            .filter(|m| models.contains_key(&m.variant))
            .collect();
        let Some(case) = CaseKey::most_common(measured.iter().map(|m| &m.case_key)) else {
            continue;
        };
        let of_case = measured.iter().copied().filter(|m| m.case_key == *case);
        let groups = group_by(of_case, |m| {
            (m.machine.clone(), subject.size.family(&m.variant))
        });
        for ((machine, of), group) in groups {
            let points = group.into_iter().map(|m| {
                let x = subject.size.of(models[&m.variant]);
                point(m, m.variant.to_string(), x, subject.y)
            });
            laws.push(law(subject.quantity(case), machine, of, points.collect()));
        }
    }
    laws.extend(gains_of_attention(measurements));
    laws
}

fn of<'a>(
    measurements: &'a [Measurement],
    suite: &'a str,
    metric: &'a str,
) -> impl Iterator<Item = &'a Measurement> {
    let valid = measurements.iter().filter(|m| m.valid);
    valid.filter(move |m| m.suite == suite && m.metric == metric)
}

impl Subject {
    fn quantity(&self, case: &CaseKey) -> Quantity {
        let (x_title, x_unit) = match self.size {
            Size::Weights => ("weights", "GB"),
            Size::Decode => ("read for one token", "GB"),
            Size::Parameters => ("parameters", "B"),
        };
        Quantity {
            title: self.title,
            metric: self.metric,
            case_key: Some(case.clone()),
            x_title,
            x_unit,
            y_unit: match self.y {
                As::Itself | As::Milliseconds => "ms",
                As::Gigabytes => "GB",
            },
        }
    }
}

impl Size {
    fn of(self, model: &Model) -> f64 {
        let size = match self {
            Self::Weights => model.weight_bytes,
            Self::Decode => model.decode_bytes,
            Self::Parameters => model.parameters,
        };
        size as f64 / 1e9
    }

    /// Packed weights are fewer bytes for as many parameters.
    fn family(self, variant: &Variant) -> String {
        match self {
            Self::Parameters => variant.precision(),
            Self::Weights | Self::Decode => variant
                .dtype
                .clone()
                .unwrap_or_else(|| "as stored".to_owned()),
        }
    }
}

fn point(m: &Measurement, label: String, x: f64, y: As) -> LawPoint {
    let Interval { low, high } = m.estimate.interval.unwrap_or(Interval {
        low: m.estimate.value,
        high: m.estimate.value,
    });
    let [value, low, high] = match y {
        As::Itself => [m.estimate.value, low, high],
        As::Gigabytes => [m.estimate.value, low, high].map(|bytes| bytes / 1e9),
        // The ends change places.
        As::Milliseconds => [m.estimate.value, high, low].map(|rate| 1e3 / rate),
    };
    LawPoint {
        label,
        x,
        y: value,
        interval: m.estimate.interval.map(|_| Interval { low, high }),
        launches: m.estimate.launches,
        tainted: m.tainted,
        reasons: m.reasons.clone(),
    }
}

fn law(quantity: Quantity, machine: String, of: String, mut points: Vec<LawPoint>) -> Law {
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    let places: Vec<(f64, f64)> = points.iter().map(|p| (p.x, p.y)).collect();
    Law {
        quantity,
        machine,
        of,
        line: Line::through(&places),
        power: Power::through(&places),
        points,
    }
}

/// Each shape, regime and type by itself.
fn gains_of_attention(measurements: &[Measurement]) -> impl Iterator<Item = Law> {
    let measured = of(measurements, "attention", "attn_speedup")
        .filter_map(|m| Some((m, m.case_key.number("length")?)));
    let groups = group_by(measured, |(m, _)| {
        (m.machine.clone(), m.case_key.without("length"))
    });
    groups.into_iter().map(|((machine, rest), group)| {
        let points = group.into_iter().map(|(m, length)| {
            let label = format!("{}, length {length}", rest.words());
            point(m, label, length as f64, As::Itself)
        });
        let quantity = Quantity {
            title: "Gain of fused attention over length",
            metric: "attn_speedup",
            case_key: None,
            x_title: "length",
            x_unit: "tokens",
            y_unit: "times",
        };
        law(quantity, machine, rest.words(), points.collect())
    })
}
