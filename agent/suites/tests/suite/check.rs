//! `mlx-fleet-suite check` as other programs call it.

use std::path::Path;
use std::process::{Command, Output};

use domain::catalogue;
use serde_json::Value;

use crate::checkpoints::{case, copy};

fn check(arguments: &[&str], cache: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mlx-fleet-suite"))
        .arg("check")
        .args(arguments)
        .env("MLX_FLEET_CACHE", cache)
        .env("HF_HUB_CACHE", cache)
        .output()
        .unwrap()
}

fn object(arguments: &[&str], cache: &Path) -> Value {
    let output = check(arguments, cache);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(arguments: &[&str], cache: &Path) -> String {
    let output = check(arguments, cache);
    assert!(!output.status.success(), "{arguments:?} was not refused");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn check_prints_one_object_with_the_contracts_keys() {
    let cache = tempfile::tempdir().unwrap();
    let case = case("llama-tied-q4");
    let model = case.folder.to_str().unwrap();
    let text = case.reference.prompt_text.as_deref().unwrap();
    let object = object(
        &[
            "--model",
            model,
            "--prompt",
            text,
            "--max-tokens",
            "5",
            "--json",
        ],
        cache.path(),
    );
    assert_eq!(
        object["prompt_ids"],
        serde_json::json!(case.reference.prompt_ids)
    );
    assert_eq!(object["greedy_ids"].as_array().unwrap().len(), 5);
    assert_eq!(object["logits"].as_array().unwrap().len(), 619);
    let model = &object["model"];
    assert_eq!(model["type"], "llama");
    assert_eq!(model["parameters"], case.reference.parameters);
    assert_eq!(model["weight_bytes"], case.reference.weight_bytes);
    assert_eq!(model["quantisation"], "affine 4-bit g64");
}

#[test]
fn a_synthetic_model_is_written_once_and_the_same_everywhere() {
    let caches = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // As a process that was killed while it wrote would leave it.
    let left = caches[1]
        .path()
        .join("synthetic/.unfinished-nano-qwen3-bf16");
    std::fs::create_dir_all(&left).unwrap();
    let ids = caches.each_ref().map(|cache| {
        let arguments = [
            "--model",
            "synthetic:nano-qwen3",
            "--prompt-ids",
            "1,2,3",
            "--max-tokens",
            "9",
        ];
        let again = [0, 1].map(|_| {
            let object = object(&[&arguments[..], &["--json"]].concat(), cache.path());
            object["greedy_ids"].clone()
        });
        assert_eq!(again[0], again[1]);
        let made: Vec<_> = std::fs::read_dir(cache.path().join("synthetic"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(made.len(), 1, "nothing unfinished is left: {made:?}");
        assert!(made[0].starts_with("nano-qwen3-bf16-"), "{made:?}");
        again.into_iter().next().unwrap()
    });
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn dtype_casts_plain_weights() {
    let cache = tempfile::tempdir().unwrap();
    let case = case("qwen2-tied-bf16");
    let model = case.folder.to_str().unwrap();
    let cast = object(
        &[
            "--model",
            model,
            "--prompt-ids",
            "5",
            "--max-tokens",
            "1",
            "--dtype",
            "f32",
            "--json",
        ],
        cache.path(),
    );
    assert_eq!(cast["model"]["dtype"], "f32");
    assert_eq!(
        cast["model"]["weight_bytes"],
        2 * case.reference.weight_bytes
    );
}

#[test]
fn what_cannot_be_checked_is_refused_with_the_reason() {
    let cache = tempfile::tempdir().unwrap();
    let no_tokenizer = copy("qwen2-tied-f32");
    std::fs::remove_file(no_tokenizer.path().join("tokenizer.json")).unwrap();
    let folder = no_tokenizer.path().to_str().unwrap();
    let prompt = ["--prompt-ids", "1"];
    for (arguments, expected) in [
        (
            vec!["--model", folder, "--prompt", "hello"],
            "no tokenizer.json",
        ),
        (
            vec!["--model", folder, "--prompt-ids", "619"],
            "not in the model's vocabulary of 619",
        ),
        (
            vec!["--model", folder, "--prompt", "a", "--prompt-ids", "1"],
            "cannot be used with",
        ),
        (vec!["--model", folder], "required"),
        (
            [&["--model", "/nowhere/at/all"], &prompt[..]].concat(),
            "/nowhere/at/all",
        ),
        (
            [&["--model", "synthetic:gpt9"], &prompt[..]].concat(),
            "gpt9",
        ),
        (
            [&["--model", "hf://mlx-community/Absent@abc"], &prompt[..]].concat(),
            "hf download mlx-community/Absent --revision abc",
        ),
    ] {
        let said = refusal(&arguments, cache.path());
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn a_hugging_face_name_is_found_in_its_cache() {
    let hub = tempfile::tempdir().unwrap();
    let case = case("qwen3-tied-bf16");
    let entry = hub.path().join("models--some--model");
    std::fs::create_dir_all(entry.join("refs")).unwrap();
    std::fs::create_dir_all(entry.join("snapshots")).unwrap();
    std::fs::write(entry.join("refs/main"), "0123abcd\n").unwrap();
    std::os::unix::fs::symlink(&case.folder, entry.join("snapshots/0123abcd")).unwrap();
    for name in [
        "hf://some/model",
        "hf://some/model@main",
        "hf://some/model@0123abcd",
    ] {
        let arguments = [
            "--model",
            name,
            "--prompt-ids",
            "1",
            "--max-tokens",
            "1",
            "--json",
        ];
        assert_eq!(object(&arguments, hub.path())["model"]["type"], "qwen3");
    }
}

#[test]
fn synthetic_models_of_every_architecture_compute_and_count_what_the_catalogue_says() {
    let cache = tempfile::tempdir().unwrap();
    let nano = catalogue::names().filter(|name| name.starts_with("nano-"));
    for name in nano {
        let source = format!("synthetic:{name}");
        let arguments = ["--model", &source, "--prompt-ids", "1,2,3", "--json"];
        let told = object(&arguments, cache.path());
        let architecture = catalogue::find(name).unwrap();
        assert_eq!(
            told["model"]["parameters"],
            architecture.parameters(),
            "{name}"
        );
        assert_eq!(
            told["model"]["weight_bytes"],
            architecture.weight_bytes(2),
            "{name}"
        );
    }
}
