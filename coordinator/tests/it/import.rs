//! The command that imports, against a real coordinator.

use std::fs;
use std::path::Path;

use crate::fleet::{Fleet, stderr, stdout};

#[test]
fn results_are_imported_once_listed_as_what_they_are_and_reported() {
    let fleet = Fleet::start();
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/seed.csv");
    let seed = seed.to_str().unwrap();
    let first = fleet.command(&["import", seed]);
    assert!(first.status.success(), "{}", stderr(&first));
    let said = stderr(&first);
    assert!(
        said.contains(
            "imported 39 values of mlx_multi_model_benchmark.py MLX 0.26.1; the gates refuse 20"
        ),
        "{said}"
    );
    let again = fleet.command(&["import", seed]);
    assert!(again.status.success());
    assert!(
        stderr(&again).contains("was imported before, as run"),
        "{}",
        stderr(&again)
    );
    assert_eq!(stdout(&first), stdout(&again), "both say the run");

    assert_eq!(
        fleet.json(&["machine", "list", "--json"])[0]["state"],
        "imported"
    );
    assert_eq!(fleet.json(&["runs", "--json"])[0]["label"], "imported");
    let out = fleet.dir.path().to_str().unwrap();
    let written = fleet.ok(&["report", "latest", "--format", "md", "--out", out]);
    let report = fs::read_to_string(written.trim()).unwrap();
    for as_printed in [" 13.348 ", " 12.0 "] {
        assert!(report.contains(as_printed), "{as_printed}: {report}");
    }

    let bad = fleet.dir.path().join("bad.csv");
    let text = fs::read_to_string(seed)
        .unwrap()
        .replace(",0.97,", ",0.97s,");
    let (line, _) = text.split_once(",0.97s,").unwrap();
    let (line, column) = (line.lines().count(), line.lines().last().unwrap().len() + 2);
    fs::write(&bad, text).unwrap();
    let refused = fleet.command(&["import", bad.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3));
    let place = format!("bad.csv:{line}:{column}: `0.97s` is no number");
    let said = stderr(&refused)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(said.contains(&place), "{place}: {said}");

    // What the file does not say, flags do; without them it is refused with their names.
    let printed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/domain/data/import/mlx-lm.txt"
    );
    let refused = fleet.command(&["import", printed]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("--model"), "{}", stderr(&refused));
    let flags = [
        "--model",
        "tiny",
        "--chip",
        "Apple M2",
        "--memory",
        "16GiB",
        "--date",
        "2026-11-26",
    ];
    fleet.ok(&[&["import", printed], &flags[..]].concat());
    assert_eq!(
        fleet.value("select count(*) from report.sample where source = 'mlx-lm'"),
        "15"
    );
}
