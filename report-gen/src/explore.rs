//! One metric of many cases over whatever they differ in: what a page that explores draws.

use std::collections::BTreeMap;

use crate::metric_title;
use crate::number::Scale;
use crate::render::document::{
    Chart, Cloud, Dot, Plot, Point, PointState, Series, Spot, spread_out,
};
use crate::render::picture;
use crate::report::CaseKey;
use crate::stats::Interval;

/// More rows make a picture that nobody reads.
const MOST_ROWS: usize = 40;
/// As many as there are colours; the last is for the others.
const MOST_COLOURS: usize = 8;
const OTHERS: &str = "others";

/// A case's number, as `report.case_summary` has it.
#[derive(Clone, Debug)]
pub struct Found {
    pub run: String,
    pub machine: String,
    pub chip: String,
    pub model: String,
    pub dtype: String,
    pub case_key: CaseKey,
    pub estimate: f64,
    /// Of the 95 % interval; None with one launch.
    pub interval: Option<(f64, f64)>,
    pub launches: usize,
    pub valid: bool,
    pub tainted: bool,
}

/// What cases can differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    Machine,
    Chip,
    Model,
    Dtype,
    Run,
    /// One of the suite's.
    Parameter(String),
}

impl Axis {
    const FIXED: [(&'static str, Self); 5] = [
        ("machine", Self::Machine),
        ("chip", Self::Chip),
        ("model", Self::Model),
        ("precision", Self::Dtype),
        ("run", Self::Run),
    ];

    /// None where nothing has this name.
    pub fn named(name: &str, found: &[Found]) -> Option<Self> {
        Self::all(found)
            .into_iter()
            .find(|axis| axis.name() == name)
    }

    /// Those there are of these cases.
    pub fn all(found: &[Found]) -> Vec<Self> {
        let mut all: Vec<Self> = Self::FIXED.map(|(_, axis)| axis).into();
        let parameters = found.iter().flat_map(|of| of.case_key.parameters());
        for (name, _) in parameters {
            let axis = Self::Parameter(name.to_owned());
            if !all.contains(&axis) {
                all.push(axis);
            }
        }
        all
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Parameter(name) => name,
            fixed => Self::FIXED
                .iter()
                .find(|(_, axis)| axis == fixed)
                .map_or("", |(name, _)| name),
        }
    }

    fn of<'a>(&self, found: &'a Found) -> &'a str {
        match self {
            Self::Machine => &found.machine,
            Self::Chip => &found.chip,
            Self::Model => &found.model,
            Self::Dtype => &found.dtype,
            Self::Run => &found.run,
            Self::Parameter(name) => found.case_key.text(name).unwrap_or(""),
        }
    }

    /// How many values it has.
    fn width(&self, found: &[Found]) -> usize {
        let mut values: Vec<&str> = found.iter().map(|of| self.of(of)).collect();
        values.sort_unstable();
        values.dedup();
        values.len()
    }

    fn is_number(&self, found: &[Found]) -> bool {
        matches!(self, Self::Parameter(_))
            && found.iter().all(|of| self.of(of).parse::<f64>().is_ok())
    }

    /// What these cases differ in most usefully: a quantity, or else where they were measured.
    pub fn along(found: &[Found]) -> Self {
        let numbers = Self::all(found)
            .into_iter()
            .filter(|axis| axis.is_number(found) && axis.width(found) > 1);
        let most = numbers.max_by_key(|axis| axis.width(found));
        most.unwrap_or(if Self::Model.width(found) > Self::Machine.width(found) {
            Self::Model
        } else {
            Self::Machine
        })
    }

    /// What to tell apart beside it.
    pub fn colour(found: &[Found], along: &Self) -> Self {
        let wanted = [Self::Model, Self::Chip, Self::Machine, Self::Dtype];
        let differing = wanted
            .into_iter()
            .find(|axis| axis != along && axis.width(found) > 1);
        differing.unwrap_or(Self::Model)
    }
}

/// In what else points of one place and one colour differ: the picture cannot tell them apart.
pub fn mixed(found: &[Found], along: &Axis, colour: &Axis) -> Vec<Axis> {
    let others = Axis::all(found)
        .into_iter()
        .filter(|axis| axis != along && axis != colour);
    let differs = |axis: &Axis| {
        let mut values: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        found.iter().any(|of| {
            let first = values.entry((along.of(of), colour.of(of)));
            *first.or_insert(axis.of(of)) != axis.of(of)
        })
    };
    others.filter(differs).collect()
}

/// As SVG, in the report's light colours; None where there is nothing to draw. `label` says where the numbers
/// come from, as of a run.
pub fn draw(
    metric: &str,
    label: &str,
    unit: &str,
    found: &[Found],
    along: &Axis,
    colour: &Axis,
) -> Option<String> {
    if found.is_empty() {
        return None;
    }
    let scale = Scale::fitting(unit, found.iter().map(|of| of.estimate));
    let groups = groups(found, colour);
    let (plot, of) = if along.is_number(found) {
        (scatter(&groups, along, &scale), None)
    } else {
        strips(&groups, found, along, &scale)
    };
    let label = match label {
        "measured" => String::new(),
        other => format!(", {other}"),
    };
    let chart = Chart {
        title: format!("{} by {}{label}", metric_title(metric), along.name()),
        unit: scale.unit.clone(),
        plot,
        of,
    };
    let cases = if found.len() == 1 { "case" } else { "cases" };
    Some(picture(&chart, &format!("{} {cases}", found.len())))
}

/// By colour, those with most cases first; what is beyond the colours stands together.
fn groups<'a>(found: &'a [Found], colour: &Axis) -> Vec<(&'a str, Vec<&'a Found>)> {
    let mut by: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
    for of in found {
        by.entry(colour.of(of)).or_default().push(of);
    }
    let mut groups: Vec<_> = by.into_iter().collect();
    if groups.len() > MOST_COLOURS {
        groups.sort_by_key(|(_, of)| std::cmp::Reverse(of.len()));
        let others = groups.split_off(MOST_COLOURS - 1);
        let others = others.into_iter().flat_map(|(_, of)| of).collect();
        groups.push((OTHERS, others));
    }
    groups
}

fn point(of: &Found, scale: &Scale) -> Point {
    let interval = of.interval.map(|(low, high)| Interval { low, high });
    Point {
        value: scale.apply(of.estimate),
        interval: interval.map(|interval| scale.apply_to(interval)),
        n: Some(of.launches),
        state: if of.valid {
            PointState::tainted(of.tainted)
        } else {
            PointState::Invalid
        },
    }
}

fn scatter(groups: &[(&str, Vec<&Found>)], along: &Axis, scale: &Scale) -> Plot {
    let dot = |of: &&Found| {
        let x = along.of(of).parse().ok()?;
        Some(Dot {
            label: String::new(),
            x,
            point: point(of, scale),
        })
    };
    let cloud = |(name, of): &(&str, Vec<&Found>)| Cloud {
        name: (*name).to_owned(),
        dots: of.iter().filter_map(dot).collect(),
        curve: Vec::new(),
    };
    Plot::Scatter {
        x_title: along.name().to_owned(),
        by_ratio: true,
        clouds: groups.iter().map(cloud).collect(),
    }
}

/// With how many rows there are, where not all are drawn.
fn strips(
    groups: &[(&str, Vec<&Found>)],
    found: &[Found],
    along: &Axis,
    scale: &Scale,
) -> (Plot, Option<usize>) {
    let mut rows: Vec<&str> = found.iter().map(|of| along.of(of)).collect();
    rows.sort_unstable();
    rows.dedup();
    let all = rows.len();
    rows.truncate(MOST_ROWS);
    let spot = |of: &&Found| {
        let row = rows.iter().position(|row| *row == along.of(of))?;
        Some(Spot {
            row,
            lane: 0,
            label: String::new(),
            point: point(of, scale),
        })
    };
    let mut series: Vec<Series<Spot>> = groups
        .iter()
        .map(|(name, of)| Series {
            name: (*name).to_owned(),
            points: of.iter().filter_map(spot).collect(),
        })
        .collect();
    spread_out(&mut series);
    let plot = Plot::Strips {
        rows: rows.iter().map(|row| (*row).to_owned()).collect(),
        series,
        margin: None,
    };
    (plot, (all > MOST_ROWS).then_some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(machine: &str, model: &str, key: &str, estimate: f64) -> Found {
        Found {
            run: "2026-03-04".to_owned(),
            machine: machine.to_owned(),
            chip: "M3 Max".to_owned(),
            model: model.to_owned(),
            dtype: "bf16".to_owned(),
            case_key: CaseKey::from(key.to_owned()),
            estimate,
            interval: Some((estimate - 1.0, estimate + 1.0)),
            launches: 3,
            valid: true,
            tainted: false,
        }
    }

    #[test]
    fn a_parameter_of_numbers_is_an_axis_and_what_differs_beside_it_is_the_colour() {
        let cases = [
            found("mini", "small", "new=16,depth=0", 40.0),
            found("mini", "large", "new=16,depth=0", 20.0),
            found("mini", "small", "new=16,depth=2048", 30.0),
        ];
        let along = Axis::along(&cases);
        assert_eq!(along, Axis::Parameter("depth".to_owned()));
        assert_eq!(Axis::colour(&cases, &along), Axis::Model);
        assert_eq!(mixed(&cases, &along, &Axis::Model), []);
        assert_eq!(mixed(&cases, &along, &Axis::Chip), [Axis::Model]);
        let svg = draw(
            "decode_tps",
            "measured",
            "tok/s",
            &cases,
            &along,
            &Axis::Model,
        )
        .unwrap();
        assert!(svg.contains("3 points in 2 series"), "{svg}");
        for word in [">depth<", ">small<", ">large<", "decode rate by depth"] {
            assert!(svg.contains(word), "{word} is not in {svg}");
        }
    }

    #[test]
    fn names_are_rows_and_more_of_them_than_can_be_read_are_counted() {
        let cases: Vec<Found> = (0..50)
            .map(|i| found(&format!("mini-{i:02}"), "small", "new=16", 10.0))
            .collect();
        assert_eq!(Axis::along(&cases), Axis::Machine);
        let draw = |cases: &[Found]| {
            draw(
                "decode_tps",
                "simulated",
                "tok/s",
                cases,
                &Axis::Machine,
                &Axis::Run,
            )
        };
        let svg = draw(&cases).unwrap();
        assert!(svg.contains("decode rate by machine, simulated"), "{svg}");
        assert!(svg.contains("40 of 50 rows shown"), "{svg}");
        assert!(svg.contains(">mini-00<") && !svg.contains(">mini-40<"));
        assert_eq!(draw(&[]), None);
    }

    #[test]
    fn more_colours_than_there_are_end_in_one_for_the_others() {
        let cases: Vec<Found> = (0..12)
            .map(|i| found("mini", &format!("model-{i:02}"), "new=16", 10.0))
            .collect();
        let groups = groups(&cases, &Axis::Model);
        assert_eq!(groups.len(), MOST_COLOURS);
        let (name, others) = groups.last().unwrap();
        assert_eq!((*name, others.len()), (OTHERS, 5));
    }

    #[test]
    fn an_axis_is_found_by_its_name_where_cases_have_it() {
        let cases = [found("mini", "small", "new=16", 1.0)];
        assert_eq!(Axis::named("precision", &cases), Some(Axis::Dtype));
        let new = Axis::Parameter("new".to_owned());
        assert_eq!(Axis::named("new", &cases), Some(new));
        assert_eq!(Axis::named("depth", &cases), None);
    }
}
