//! Which machines measured, with which software: what must be equal before anything is compared.

use std::iter;

use serde_json::Value;

use crate::number;
use crate::render::document::{Block, Cell, Column, Section, Table};
use crate::report::{Environment, Machine, Report};

/// Enough to tell the commits of one repository apart, or the builds of a library.
const DIGITS: usize = 10;
/// A phone shows two values beside their name.
const SIDE_BY_SIDE: usize = 2;
const UNKNOWN: &str = "–";

pub fn section(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if report.machines.is_empty() {
        blocks.push(Block::Note("No machine has a job in this run.".to_owned()));
    } else {
        blocks.push(Block::Table(machines(&report.machines)));
    }
    if report.environments.is_empty() {
        blocks.push(Block::Note(match &report.run.source {
            None => "No worker got as far as to describe its software.".to_owned(),
            Some(source) => format!(
                "The numbers are imported from {source}. What it does not say is not known here: it has \
                 no agent, no sensors and no worker."
            ),
        }));
    } else {
        blocks.push(Block::Table(software(&report.environments)));
        blocks.extend(variables(&report.environments));
    }
    Section {
        id: "environment",
        title: "Machines and software",
        blocks,
    }
}

fn machines(machines: &[Machine]) -> Table {
    let rows = machines
        .iter()
        .map(|m| {
            let kind = match (m.imported, m.simulated, m.virtual_machine) {
                (true, _, _) => "imported",
                (false, true, _) => "simulated",
                (false, false, true) => "virtual",
                (false, false, false) => "real",
            };
            let told = |is_told: bool, cell: Cell| if is_told { cell } else { Cell::Missing };
            vec![
                Cell::Text(m.machine.clone()),
                Cell::Text(m.chip.clone()),
                told(m.cpu_cores > 0, Cell::plain(m.cpu_cores.to_string())),
                m.gpu_cores
                    .map_or(Cell::Missing, |cores| Cell::plain(cores.to_string())),
                told(
                    m.memory_bytes > 0,
                    Cell::plain(number::bytes(m.memory_bytes as f64)),
                ),
                told(
                    !m.hardware_model.is_empty(),
                    Cell::Text(m.hardware_model.clone()),
                ),
                told(
                    !m.os.is_empty(),
                    Cell::Text(format!("{} {}", m.os, m.os_version)),
                ),
                Cell::Text(kind.to_owned()),
            ]
        })
        .collect();
    Table {
        caption: "Machines of this run".to_owned(),
        columns: vec![
            Column::text("Machine"),
            Column::text("Chip"),
            Column::number("CPU cores", ""),
            Column::number("GPU cores", ""),
            Column::number("Memory", ""),
            Column::text("Hardware"),
            Column::text("System"),
            Column::text("Kind"),
        ],
        rows,
    }
}

const CONDITIONS: [&str; 8] = [
    "System (build)",
    "MLX (library)",
    "Device",
    "BLAS",
    "Matrix kernels",
    "Worker",
    "Agent",
    "Power",
];
const LAUNCHES: &str = "Launches";

/// In the order of [`CONDITIONS`].
fn conditions(e: &Environment) -> [String; CONDITIONS.len()] {
    let nax = match (e.nax_built, e.nax_expected) {
        (Some(true), true) => "built in",
        (Some(true), false) => "built in, not for this GPU and system",
        (Some(false), true) => "not built in: the GPU's matrix units are idle",
        (Some(false), false) => "not built in",
        (None, _) => "no metallib",
    };
    let power = match (e.power_source.as_deref(), e.low_power_mode) {
        (None, _) => UNKNOWN.to_owned(),
        (Some(source), Some(true)) => format!("{source}, low-power mode"),
        (Some(source), _) => source.to_owned(),
    };
    let debug = if e.debug_build { " (debug build)" } else { "" };
    let device = format!("{} {}", e.mlx_device, e.mlx_architecture);
    [
        format!("{} {} ({})", e.os, e.os_version, e.os_build),
        match &e.mlx_sha256 {
            Some(library) => build(&e.mlx_version, library),
            None => e.mlx_version.clone(),
        },
        device.trim().to_owned(),
        match e.blas.as_str() {
            "" => UNKNOWN.to_owned(),
            blas => blas.to_owned(),
        },
        nax.to_owned(),
        format!("{}{debug}", build(&e.suite_version, &e.suite_commit)),
        build(&e.agent_version, &e.agent_commit),
        power,
    ]
}

/// Few stand side by side, which shows where they differ and needs no width; many in rows.
fn software(environments: &[Environment]) -> Table {
    let machines = environments.iter().map(|e| &e.machine);
    if environments.len() <= SIDE_BY_SIDE {
        let row = |name: &str, values: Vec<String>| {
            let cells = iter::once(name.to_owned()).chain(values);
            cells.map(Cell::Text).collect()
        };
        let of_each: Vec<_> = environments.iter().map(conditions).collect();
        let of_all = CONDITIONS.iter().enumerate().map(|(place, name)| {
            let values = of_each.iter().map(|values| values[place].clone());
            row(name, values.collect())
        });
        let launches = environments.iter().map(|e| e.launches.to_string());
        return Table {
            caption: "Software of the launches, one column per distinct set of conditions"
                .to_owned(),
            columns: iter::once(Column::text("Condition"))
                .chain(machines.map(|machine| Column::text(machine)))
                .collect(),
            rows: of_all.chain([row(LAUNCHES, launches.collect())]).collect(),
        };
    }
    let rows = machines.zip(environments).map(|(machine, e)| {
        iter::once(Cell::Text(machine.clone()))
            .chain(conditions(e).map(Cell::Text))
            .chain([Cell::plain(e.launches.to_string())])
            .collect()
    });
    Table {
        caption: "Software of the launches, one row per distinct set of conditions".to_owned(),
        columns: iter::once(Column::text("Machine"))
            .chain(CONDITIONS.map(Column::text))
            .chain([Column::number(LAUNCHES, "")])
            .collect(),
        rows: rows.collect(),
    }
}

/// A version and what it was built from in as many digits as git shows, with what else is said of it.
fn build(version: &str, commit: &str) -> String {
    let (digits, modified) = match commit.split_once('-') {
        Some((digits, _)) => (digits, "-modified"),
        None => (commit, ""),
    };
    let digits: String = digits.chars().take(DIGITS).collect();
    format!("{version} {digits}{modified}")
}

/// MLX's environment variables, where any were set.
fn variables(environments: &[Environment]) -> Option<Block> {
    let mut lines: Vec<String> = environments
        .iter()
        .filter_map(|e| {
            let variables: Vec<String> = e
                .mlx_env
                .as_object()?
                .iter()
                .map(|(name, value)| {
                    format!(
                        "{name}={}",
                        value
                            .as_str()
                            .map_or_else(|| Value::to_string(value), str::to_owned)
                    )
                })
                .collect();
            (!variables.is_empty()).then(|| format!("{}: {}", e.machine, variables.join(" ")))
        })
        .collect();
    lines.sort();
    lines.dedup();
    (!lines.is_empty()).then_some(Block::List(lines))
}
