//! The plans that ship: each can be read, means machines that exist, and asks no model for more than
//! it has.

use std::path::{Path, PathBuf};

use domain::expand::{Candidate, expand};
use domain::ids::MachineId;
use domain::machine::Inventory;
use domain::metric::Metric;
use domain::model::ModelRef;
use domain::plan::Plan;
use domain::suite::Suite;
use suites::fit::Outline;

fn plans() -> Vec<(PathBuf, Plan)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plans");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let plan = Plan::parse(&text)
            .unwrap_or_else(|problems| panic!("{}: {problems:#?}", path.display()));
        (path, plan)
    };
    paths.into_iter().map(read).collect()
}

fn plan(name: &str) -> Plan {
    let found = plans()
        .into_iter()
        .find(|(path, _)| path.ends_with(format!("{name}.toml")));
    found.unwrap_or_else(|| panic!("plans/{name}.toml")).1
}

fn machine(os: &str, chip: &str, memory_gb: u64) -> Candidate {
    let inventory = Inventory {
        os: os.to_owned(),
        chip: chip.to_owned(),
        memory_bytes: memory_gb << 30,
        ..Inventory::default()
    };
    Candidate {
        approved: true,
        machine_id: MachineId::new(),
        name: chip.to_lowercase(),
        inventory,
    }
}

#[test]
fn every_plan_is_named_after_its_file_and_explains_itself() {
    let plans = plans();
    assert!(plans.len() >= 4);
    for (path, plan) in plans {
        assert_eq!(path.file_stem().unwrap().to_str(), Some(plan.name.as_str()));
        assert!(!plan.description.is_empty(), "{}", plan.name);
    }
}

/// Each example of the page parses, and each suite has its row.
#[test]
fn the_page_about_plans_is_true() {
    let page = include_str!("../../../../docs/plans.md");
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        Plan::parse(example).unwrap_or_else(|problems| panic!("{problems:?}"));
    }
    for suite in Suite::ALL {
        assert!(page.contains(&format!("| `{suite}` |")), "{suite}");
    }
}

#[test]
fn the_page_about_measurement_explains_every_metric() {
    let page = include_str!("../../../../docs/measurement.md");
    for metric in Metric::ALL {
        assert!(page.contains(&format!("`{metric}`")), "{metric}");
    }
}

#[test]
fn no_case_asks_for_more_positions_than_its_model_has() {
    for (_, plan) in plans() {
        for (model, _, cases) in plan.pairs() {
            let Some(model) = model else { continue };
            let outline = Outline::of_catalogue(model).expect("shipped plans need no download");
            for case in cases {
                let draft = outline.of_draft(case, None).unwrap();
                outline
                    .check(draft.as_ref(), case, true, 0)
                    .unwrap_or_else(|error| panic!("{}, {}: {error}", plan.name, model.label()));
            }
        }
    }
}

#[test]
fn a_quick_look_runs_on_anything_and_is_small() {
    let plan = plan("quick");
    let machines = [
        machine("linux", "AMD EPYC", 4),
        machine("macos", "Apple M1", 8),
    ];
    let expansion = expand(&plan, &machines);
    assert!(expansion.left_out.is_empty());
    assert!(Suite::ALL.iter().all(|suite| {
        let mut jobs = expansion.jobs.iter();
        jobs.any(|job| job.suite == *suite)
    }));
    assert!(expansion.jobs.iter().all(|job| job.skipped.is_none()));
    let launches: u32 = expansion.jobs.iter().map(|job| job.launches_total).sum();
    assert!(
        launches / 2 <= 120,
        "each launch costs a second or more: {launches}"
    );
}

#[test]
fn plans_for_macs_leave_other_machines_out_and_skip_what_does_not_fit() {
    for name in ["seed-report", "m-series"] {
        let machines = [
            machine("macos", "Apple M3 Max", 128),
            machine("macos", "Apple M2", 8),
            machine("linux", "AMD EPYC", 64),
        ];
        let expansion = expand(&plan(name), &machines);
        let left_out: Vec<_> = expansion
            .left_out
            .iter()
            .map(|it| &it.machine_name)
            .collect();
        assert_eq!(left_out, ["amd epyc"], "{name}");
        let (large, small): (Vec<_>, Vec<_>) = expansion
            .jobs
            .iter()
            .partition(|job| job.machine_name == "apple m3 max");
        assert!(large.iter().all(|job| job.skipped.is_none()), "{name}");
        let skipped: Vec<_> = small.iter().filter(|job| job.skipped.is_some()).collect();
        assert!(
            skipped
                .iter()
                .any(|job| ModelRef::label_of(job.model.as_ref()) == "llama-3.1-8b"),
            "{name}"
        );
        assert!(
            skipped.len() < small.len(),
            "{name}: something runs on a small Mac"
        );
    }
}

#[test]
fn tinyllama_runs_where_its_weights_fit() {
    let machines = [
        machine("linux", "AMD EPYC", 16),
        machine("linux", "Celeron", 4),
    ];
    let plan = plan("tinyllama");
    let expansion = expand(&plan, &machines);
    assert_eq!(expansion.left_out.len(), 1);
    assert!(expansion.jobs.iter().all(|job| job.skipped.is_none()));
    assert_eq!(expansion.jobs.len(), plan.suites.len());
}
