//! Speculative decoding against mlx-lm's: the same tokens, and the same of them drafted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use suites::generate;
use suites::generate::speculative;
use suites::load::Loaded;

use crate::checkpoints::{load, written_by};

/// What `speculative_generate_step` gave.
#[derive(Deserialize)]
struct Case {
    target: String,
    target_folder: PathBuf,
    draft: String,
    draft_folder: PathBuf,
    prompt: String,
    prompt_ids: Vec<u32>,
    draft_tokens: usize,
    ids: Vec<u32>,
    from_draft: Vec<bool>,
    plain_ids: Vec<u32>,
}

fn cases() -> Vec<Case> {
    let folder = written_by("speculative", &["parity"]);
    let text = std::fs::read(folder.join("reference.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Models by their folder, each loaded once.
#[derive(Default)]
struct Shelf(BTreeMap<PathBuf, Loaded>);

impl Shelf {
    fn put(&mut self, folder: &PathBuf) {
        if !self.0.contains_key(folder) {
            self.0.insert(folder.clone(), load(folder).unwrap());
        }
    }
}

#[test]
fn every_round_ends_where_it_does_in_mlx_lm() {
    let mut shelf = Shelf::default();
    let mut failures = Vec::new();
    let mut drafted: BTreeMap<String, f64> = BTreeMap::new();
    let cases = cases();
    for case in &cases {
        shelf.put(&case.target_folder);
        shelf.put(&case.draft_folder);
        let [target, draft] =
            [&case.target_folder, &case.draft_folder].map(|folder| shelf.0[folder].model.as_ref());
        let (k, count) = (case.draft_tokens, case.ids.len());
        let (ids, from_draft) =
            speculative::generate(target, draft, &case.prompt_ids, k, count).unwrap();
        let name = format!(
            "{} with {}, {}, k = {k}",
            case.target, case.draft, case.prompt
        );
        if ids != case.ids {
            failures.push(format!("{name}: other tokens"));
        }
        if from_draft != case.from_draft {
            failures.push(format!("{name}: other tokens are drafted"));
        }
        let share = from_draft.iter().filter(|drafted| **drafted).count() as f64 / count as f64;
        drafted.insert(format!("{} {} {k}", case.target, case.draft), share);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    // The cases are of every kind: all drafts right, some, hardly any.
    let most = |k: f64| k / (k + 1.0);
    assert!(drafted["untied itself 4"] > most(4.0) - 0.02, "{drafted:?}");
    for draft in ["packed", "near"] {
        let share = drafted[&format!("untied {draft} 4")];
        assert!(share > 0.3 && share < most(4.0) - 0.05, "{drafted:?}");
    }
    assert!(drafted["untied far 4"] < 0.3, "{drafted:?}");
}

#[test]
fn whatever_is_drafted_the_tokens_are_those_of_the_model_alone() {
    let mut shelf = Shelf::default();
    for case in cases().iter().filter(|case| case.draft_tokens == 8) {
        assert_eq!(case.ids, case.plain_ids, "mlx-lm finds so too");
        shelf.put(&case.target_folder);
        shelf.put(&case.draft_folder);
        let [target, draft] =
            [&case.target_folder, &case.draft_folder].map(|folder| shelf.0[folder].model.as_ref());
        let count = case.ids.len();
        let (plain, _) = generate::greedy(target, &case.prompt_ids, count).unwrap();
        assert_eq!(plain, case.plain_ids);
        // Each number of tokens ends its last round at another place, the first within one draft.
        for count in [1, 5, count - 10] {
            let (ids, _) =
                speculative::generate(target, draft, &case.prompt_ids, 8, count).unwrap();
            assert_eq!(ids, plain[..count], "{} {}", case.draft, case.prompt);
        }
    }
}
