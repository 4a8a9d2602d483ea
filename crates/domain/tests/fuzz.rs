//! Texts of others: plans, and results to import.

use domain::expand::{self, Candidate};
use domain::ids::MachineId;
use domain::import::{self, Format, Given};
use domain::machine::Inventory;
use domain::plan::{Plan, Problem};
use time::OffsetDateTime;

/// A problem has a place in the text that it is of.
fn check_places(text: &str, problems: &[Problem]) {
    assert!(!problems.is_empty(), "a refusal says why");
    for problem in problems {
        assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
        problem.line_column(text);
    }
}

#[test]
fn plan() {
    let seeds = [
        &include_bytes!("../../../plans/quick.toml")[..],
        include_bytes!("../../../plans/m-series.toml"),
        include_bytes!("../../../plans/seed-report.toml"),
        include_bytes!("../../../plans/tinyllama.toml"),
    ];
    fuzz::feed("plan", &seeds, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return;
        };
        match Plan::parse(text) {
            Ok(plan) => {
                let machine = Candidate {
                    machine_id: MachineId::new(),
                    name: "mini".to_owned(),
                    approved: true,
                    inventory: Inventory {
                        os: "macos".to_owned(),
                        chip: "Apple M3".to_owned(),
                        memory_bytes: 16_000_000_000,
                        ..Inventory::default()
                    },
                };
                plan.launches_per_machine();
                expand::expand(&plan, &[machine]);
            }
            Err(problems) => check_places(text, &problems),
        }
    });
}

fn read(bytes: &[u8], format: Format) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let given = Given {
        machine: Some("mini".to_owned()),
        chip: Some("Apple M3 Max".to_owned()),
        gpu_cores: Some(40),
        memory_bytes: Some(128_000_000_000),
        at: Some(OffsetDateTime::UNIX_EPOCH),
        model: Some("some model".to_owned()),
        ..Given::default()
    };
    let found = import::read(text, None, &Given::default());
    for result in [found, import::read(text, Some(format), &given)] {
        if let Err(problems) = result {
            check_places(text, &problems);
        }
    }
}

#[test]
fn import_csv() {
    let seeds = [&include_bytes!("../../../data/seed.csv")[..]];
    fuzz::feed("import_csv", &seeds, |bytes| read(bytes, Format::Csv));
}

#[test]
fn import_llama_bench() {
    let seeds = [
        &include_bytes!("../data/import/llama-bench.json")[..],
        include_bytes!("../data/import/llama-bench.jsonl"),
    ];
    fuzz::feed("import_llama_bench", &seeds, |bytes| {
        read(bytes, Format::LlamaBench);
    });
}

#[test]
fn import_exo_bench() {
    let seeds = [&include_bytes!("../data/import/exo-bench.json")[..]];
    fuzz::feed("import_exo_bench", &seeds, |bytes| {
        read(bytes, Format::ExoBench);
    });
}

#[test]
fn import_mlx_lm() {
    let seeds = [&include_bytes!("../data/import/mlx-lm.txt")[..]];
    fuzz::feed("import_mlx_lm", &seeds, |bytes| read(bytes, Format::MlxLm));
}
