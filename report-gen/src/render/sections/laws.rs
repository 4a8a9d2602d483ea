//! Laws of growth: fits with what is known of their coefficients, and what was too little for one.

use super::tables::{MOST_LINES, cut};
use crate::number::Scale;
use crate::render::document::{
    Block, Cell, Chart, Cloud, Column, Dot, Doubt, Plot, Point, PointState, Section, Table,
};
use crate::report::{Law, Quantity, Report};
use crate::stats::{Known, LEAST_PLACES};

/// Pieces of a drawn curve.
const PIECES: i32 = 32;

/// None where nothing was measured that could grow.
pub fn section(report: &Report) -> Option<Section> {
    let most = report.laws.iter().map(|law| law.points.len()).max()?;
    let mut blocks = Vec::new();
    let fitted = |law: &&Law| law.line.is_some();
    if report.laws.iter().any(|law| law.line.is_some()) {
        blocks.push(Block::Text(
            "Least squares through the estimates, on each machine by itself. A power law is a line \
             through the logs: y at the middle of the points, times (x over the middle) to the power of \
             the exponent. A law holds from its first point to its last. R² says how near the points \
             lie, not how well a coefficient is known: that is its 95 % interval. A law is established \
             where the ends of the interval of its slope or exponent lie within a factor of two."
                .to_owned(),
        ));
    } else {
        blocks.push(Block::Note(format!(
            "No law: a law needs {LEAST_PLACES} models of different size in one precision on one \
             machine, or attention at {LEAST_PLACES} lengths; the most here are {most}."
        )));
    }
    let mut quantities: Vec<&Quantity> = report.laws.iter().map(|law| &law.quantity).collect();
    quantities.dedup();
    for quantity in quantities {
        let of = report.laws.iter().filter(|law| law.quantity == *quantity);
        let laws: Vec<&Law> = of.filter(fitted).collect();
        if !laws.is_empty() {
            blocks.push(Block::Heading(quantity.title.to_owned()));
            blocks.push(Block::Chart(chart(report, quantity, &laws)));
            blocks.push(Block::Table(table(report, quantity, &laws)));
        }
    }
    let refused = refused(report);
    if blocks.len() > 1 && !refused.is_empty() {
        blocks.push(Block::Text(format!(
            "Refused, with fewer than {LEAST_PLACES} different points:"
        )));
        blocks.push(Block::List(refused));
    }
    Some(Section {
        id: "laws",
        title: "Scaling laws",
        blocks,
    })
}

/// One line a quantity.
fn refused(report: &Report) -> Vec<String> {
    let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
    for law in report.laws.iter().filter(|law| law.line.is_none()) {
        let here = format!("{} in {} ({})", law.machine, law.of, law.points.len());
        match lines.last_mut() {
            Some((title, all)) if *title == law.quantity.title => all.push(here),
            _ => lines.push((law.quantity.title, vec![here])),
        }
    }
    let line = |(title, all): (&str, Vec<String>)| format!("{title}: {}", all.join("; "));
    lines.into_iter().map(line).collect()
}

fn chart(report: &Report, quantity: &Quantity, laws: &[&Law]) -> Chart {
    let mut clouds: Vec<Cloud> = laws
        .iter()
        .map(|law| Cloud {
            name: match report.machines.len() {
                0 | 1 => law.of.clone(),
                _ => format!("{} on {}", law.of, law.machine),
            },
            dots: law
                .points
                .iter()
                .map(|point| Dot {
                    label: point.label.clone(),
                    x: point.x,
                    point: Point {
                        value: point.y,
                        interval: point.interval,
                        n: Some(point.launches),
                        state: PointState::of(point),
                    },
                })
                .collect(),
            curve: curve(law),
        })
        .collect();
    let of = cut(&mut clouds, MOST_LINES);
    Chart {
        title: quantity.title.to_owned(),
        unit: quantity.y_unit.to_owned(),
        plot: Plot::Scatter {
            x_title: format!("{}, {}", quantity.x_title, quantity.x_unit),
            // A line has to look like one.
            by_ratio: over_lengths(quantity),
            clouds,
        },
        of,
    }
}

fn over_lengths(quantity: &Quantity) -> bool {
    quantity.case_key.is_none()
}

/// The line; of a quantity over lengths, which double, the power law. Nothing where it is not
/// established: a drawn line is believed.
fn curve(law: &Law) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (law.points.first(), law.points.last()) else {
        return Vec::new();
    };
    let over_lengths = over_lengths(&law.quantity);
    let power = law
        .power
        .filter(|p| over_lengths && p.exponent_known != Known::NotEstablished);
    let line = law
        .line
        .filter(|l| !over_lengths && l.slope_known != Known::NotEstablished);
    let at = |x: f64| power.map(|p| p.at(x)).or_else(|| line.map(|l| l.at(x)));
    (0..=PIECES)
        .filter_map(|piece| {
            let share = f64::from(piece) / f64::from(PIECES);
            let x = first.x * (last.x / first.x).powf(share);
            Some((x, at(x)?))
        })
        .collect()
}

fn table(report: &Report, quantity: &Quantity, laws: &[&Law]) -> Table {
    let several = report.machines.len() > 1;
    let (x, y) = (quantity.x_unit, quantity.y_unit);
    let mut columns = Vec::new();
    if several {
        columns.push(Column::text("Machine"));
    }
    columns.extend([
        Column::text("Of"),
        Column::text("Line"),
        Column::number("At zero", y),
        Column::number("Slope", &format!("{y} per {x}")),
        Column::number("R²", ""),
        Column::text("Power law"),
        Column::number("Middle", x),
        Column::number("At the middle", y),
        Column::number("Exponent", ""),
        Column::number("R² of logs", ""),
        Column::number("Points", ""),
        Column::number("Range", x),
    ]);
    let case = quantity
        .case_key
        .as_ref()
        .map(|case| format!(" ({})", case.words()));
    Table {
        caption: format!(
            "{}{}, with 95 % intervals of the coefficients",
            quantity.title,
            case.unwrap_or_default()
        ),
        columns,
        rows: laws.iter().map(|law| row(law, several)).collect(),
    }
}

fn row(law: &Law, several: bool) -> Vec<Cell> {
    let doubt = law.points.iter().find_map(Doubt::of);
    let three = |value: f64| Cell::plain(format!("{value:.3}"));
    let mut row = Vec::new();
    if several {
        row.push(Cell::Text(law.machine.clone()));
    }
    row.push(Cell::Text(law.of.clone()));
    match law.line {
        Some(line) => row.extend([
            Cell::Text(line.slope_known.to_string()),
            Cell::fitted(line.intercept, line.intercept_interval, doubt.clone()),
            Cell::fitted(line.slope, line.slope_interval, doubt.clone()),
            three(line.r_squared),
        ]),
        None => row.extend([const { Cell::Missing }; 4]),
    }
    match law.power {
        Some(power) => row.extend([
            Cell::Text(power.exponent_known.to_string()),
            Cell::plain(Scale::fitting("", []).value(power.centre)),
            Cell::fitted(power.at_centre, power.at_centre_interval, doubt.clone()),
            Cell::fitted(power.exponent, power.exponent_interval, doubt),
            three(power.r_squared),
        ]),
        None => row.extend([const { Cell::Missing }; 5]),
    }
    let scale = Scale::fitting("", []);
    let ends = [law.points.first(), law.points.last()].map(|p| p.map_or(0.0, |p| p.x));
    row.extend([
        Cell::plain(law.points.len().to_string()),
        Cell::plain(ends.map(|x| scale.value(x)).join(" to ")),
    ]);
    row
}
