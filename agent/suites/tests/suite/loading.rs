//! Files that are not what they should be: each is refused, and the message names it.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use suites::device;
use suites::load::identity::identify;
use suites::load::{self, LoadError, ModelFolder, Options};

use crate::checkpoints::{case, copy, load};

fn refusal(folder: &Path) -> String {
    match load(folder) {
        Ok(_) => panic!("{} was not refused", folder.display()),
        Err(error) => error.to_string(),
    }
}

fn edit_config(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let path = folder.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

/// Rewrites the weights with their tensors edited: name, shape, bytes.
fn edit_tensors(folder: &Path, edit: impl FnOnce(&mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>)) {
    let path = folder.join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let mut tensors: Vec<_> = SafeTensors::deserialize(&file)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                view.dtype(),
                view.shape().to_vec(),
                view.data().to_vec(),
            )
        })
        .collect();
    edit(&mut tensors);
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, dtype, shape, data)| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        })
        .collect();
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

const PLAIN: &str = "qwen2-tied-f32";
const PACKED: &str = "llama-untied-q4";

#[test]
fn damaged_files_are_refused_by_name_before_mlx_reads_them() {
    for (spoil, expected) in [
        (
            truncate as fn(Vec<u8>) -> Vec<u8>,
            "truncated: the header promises",
        ),
        (
            |mut file: Vec<u8>| {
                file.truncate(5);
                file
            },
            "not a safetensors file: it has 5 bytes",
        ),
        (|_| Vec::new(), "not a safetensors file: it has 0 bytes"),
        (
            |mut file: Vec<u8>| {
                file[7] = 0x7f;
                file
            },
            "its header would be",
        ),
        (
            |mut file: Vec<u8>| {
                file[20] = b'\0';
                file
            },
            "damaged header",
        ),
        (
            |mut file: Vec<u8>| {
                file.extend([0; 9]);
                file
            },
            "9 bytes after the last tensor",
        ),
        (
            |_| b"<html>not found, and more of it</html>".to_vec(),
            "not a safetensors file",
        ),
    ] {
        let folder = copy(PLAIN);
        let path = folder.path().join("model.safetensors");
        fs::write(&path, spoil(fs::read(&path).unwrap())).unwrap();
        let said = refusal(folder.path());
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("model.safetensors"), "{said}");
    }
}

fn truncate(mut file: Vec<u8>) -> Vec<u8> {
    file.truncate(file.len() * 2 / 3);
    file
}

#[test]
fn offsets_that_overlap_are_refused() {
    let folder = copy(PLAIN);
    let path = folder.path().join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let norm = header["model.norm.weight"]["data_offsets"].clone();
    header["model.layers.0.input_layernorm.weight"]["data_offsets"] = norm;
    let header = header.to_string();
    let mut spoilt = (header.len() as u64).to_le_bytes().to_vec();
    spoilt.extend(header.bytes());
    spoilt.extend(&file[8 + length..]);
    fs::write(&path, spoilt).unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("damaged header"), "{said}");
}

#[test]
fn a_missing_misnamed_or_misshapen_tensor_is_refused_by_name() {
    let name = "model.layers.1.mlp.down_proj.weight";
    let folder = copy(PLAIN);
    edit_tensors(folder.path(), |tensors| {
        tensors.retain(|tensor| tensor.0 != name);
    });
    let said = refusal(folder.path());
    assert!(
        said.contains(&format!("tensor `{name}` is missing")),
        "{said}"
    );

    let folder = copy(PLAIN);
    edit_tensors(folder.path(), |tensors| {
        let twin = tensors
            .iter()
            .find(|tensor| tensor.0 == name)
            .unwrap()
            .clone();
        tensors.push((
            "model.layers.1.mlp.extra.weight".to_owned(),
            twin.1,
            twin.2,
            twin.3,
        ));
    });
    let said = refusal(folder.path());
    assert!(
        said.contains("not used by this model: model.layers.1.mlp.extra.weight"),
        "{said}"
    );

    let folder = copy(PLAIN);
    edit_tensors(folder.path(), |tensors| {
        tensors
            .iter_mut()
            .find(|tensor| tensor.0 == name)
            .unwrap()
            .2
            .reverse();
    });
    let said = refusal(folder.path());
    assert!(
        said.contains(name) && said.contains("has shape [320, 192]"),
        "{said}"
    );

    let folder = copy(PLAIN);
    edit_tensors(folder.path(), |tensors| {
        tensors
            .iter_mut()
            .find(|tensor| tensor.0 == name)
            .unwrap()
            .1 = Dtype::I32;
    });
    let said = refusal(folder.path());
    assert!(said.contains(name) && said.contains("I32"), "{said}");
}

#[test]
fn redundant_tensors_are_dropped_and_change_nothing() {
    let folder = copy(PLAIN);
    edit_tensors(folder.path(), |tensors| {
        let (dtype, bytes) = (Dtype::F32, vec![1; 48]);
        let name = "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned();
        tensors.push((name, dtype, vec![12], bytes));
        tensors.push(("lm_head.weight".to_owned(), dtype, vec![12], vec![1; 48]));
    });
    let facts = load(folder.path()).unwrap().facts;
    assert_eq!(facts.parameters, case(PLAIN).reference.parameters);
}

#[test]
fn packed_weights_without_their_settings_are_refused() {
    let folder = copy(PACKED);
    edit_config(folder.path(), |config| {
        config.as_object_mut().unwrap().remove("quantization");
        config
            .as_object_mut()
            .unwrap()
            .remove("quantization_config");
    });
    let said = refusal(folder.path());
    assert!(
        said.contains("is quantised, but config.json has no `quantization`"),
        "{said}"
    );

    let folder = copy(PACKED);
    let lost = "model.layers.0.mlp.up_proj.biases";
    edit_tensors(folder.path(), |tensors| {
        tensors.retain(|tensor| tensor.0 != lost);
    });
    let said = refusal(folder.path());
    assert!(
        said.contains(&format!("tensor `{lost}` is missing")),
        "{said}"
    );
}

#[test]
fn configurations_that_ask_for_something_else_are_refused_by_key() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 21] = [
        (
            |c| c["model_type"] = json!("mamba"),
            "model_type `mamba` is not supported; those that",
        ),
        (
            |c| c["hidden_size"] = json!("192"),
            "`hidden_size` must be a whole number from 1",
        ),
        (
            |c| c["num_attention_heads"] = json!(7),
            "a multiple of num_attention_heads (7)",
        ),
        (
            |c| c["num_key_value_heads"] = json!(3),
            "a divisor of num_attention_heads (8)",
        ),
        (|c| c["num_hidden_layers"] = json!(0), "`num_hidden_layers`"),
        (
            |c| c["num_hidden_layers"] = Value::Null,
            "`num_hidden_layers` is missing",
        ),
        (
            |c| c["rms_norm_eps"] = json!(-1),
            "`rms_norm_eps` must be a number above 0",
        ),
        (
            |c| c["hidden_act"] = json!("gelu"),
            "activation `gelu`, which is not supported",
        ),
        (
            |c| {
                c["use_sliding_window"] = json!(true);
                c["max_window_layers"] = json!(1);
            },
            "sliding-window",
        ),
        (
            |c| c["layer_types"] = json!(["sliding_attention"]),
            "`layer_types` must be a list of 2",
        ),
        (
            |c| c["layer_types"] = json!(["full_attention", "linear_attention"]),
            "\"linear_attention\" layers",
        ),
        (
            |c| c["layer_types"] = json!(["full_attention", "sliding_attention"]),
            "\"sliding_attention\" layers",
        ),
        (
            |c| c["rope_scaling"] = json!({"type": "mrope"}),
            "`rope_scaling.mrope_section` must be",
        ),
        (
            |c| c["rope_scaling"] = json!({"type": "spiral"}),
            "RoPE scaling `spiral`",
        ),
        (
            |c| c["rope_scaling"] = json!({"type": "longrope"}),
            "`rope_scaling.long_factor` must be",
        ),
        (
            |c| c["rope_scaling"] = json!({"type": "linear"}),
            "`rope_scaling.factor` must be",
        ),
        (
            |c| c["rope_scaling"] = json!({"rope_type": 3}),
            "`rope_scaling.rope_type`",
        ),
        (
            |c| c["quantization_config"] = json!({"quant_method": "awq"}),
            "\"awq\" weights",
        ),
        (
            |c| c["quantization"] = json!({"mode": "mxfp4", "bits": 4, "group_size": 32}),
            "quantisation mode \"mxfp4\"",
        ),
        (
            |c| c["quantization"] = json!({"bits": 7, "group_size": 64}),
            "`quantization.bits`",
        ),
        (|c| c["model_file"] = json!("evil.py"), "model_file"),
    ];
    for (edit, expected) in cases {
        let folder = copy(PLAIN);
        edit_config(folder.path(), edit);
        let said = refusal(folder.path());
        assert!(said.contains(expected), "{said}");
    }
    let folder = copy(PLAIN);
    fs::write(folder.path().join("config.json"), "{\"model_type\": ").unwrap();
    assert!(refusal(folder.path()).contains("config.json is not a JSON object"));
}

#[test]
fn a_shard_that_did_not_arrive_is_named() {
    let folder = copy("llama-sharded-bf16");
    fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    let said = refusal(folder.path());
    assert!(
        said.contains("names `model-00002-of-00003.safetensors`, which is not there"),
        "{said}"
    );

    let folder = copy("llama-sharded-bf16");
    let [first, again] = [
        "model-00001-of-00003.safetensors",
        "model-extra.safetensors",
    ];
    fs::copy(folder.path().join(first), folder.path().join(again)).unwrap();
    let said = refusal(folder.path());
    assert!(
        said.contains("is in both") && said.contains(again),
        "{said}"
    );
}

#[test]
fn an_index_of_other_files_is_no_matter_where_nothing_is_missing() {
    let folder = copy(PLAIN);
    let index = r#"{"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    load(folder.path()).unwrap();
}

#[test]
fn a_tokenizer_neither_cuts_nor_fills_a_prompt() {
    let folder = copy(PLAIN);
    let file = folder.path().join("tokenizer.json");
    let text = "Pack my box with five dozen liquor jugs.";
    let before = load(folder.path()).unwrap().tokenizer.unwrap();
    let mut saved: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    saved["truncation"] = json!({
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0
    });
    saved["padding"] = json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|end|>"
    });
    fs::write(&file, saved.to_string()).unwrap();
    let after = load(folder.path()).unwrap().tokenizer.unwrap();
    assert_eq!(after.encode(text).unwrap(), before.encode(text).unwrap());
    assert!(after.encode(text).unwrap().len() > 4);
}

#[test]
fn a_tokenizer_that_does_not_match_is_refused() {
    // Six hundred tokens, for a model that knows fifty.
    let folder = copy(PLAIN);
    edit_config(folder.path(), |config| config["vocab_size"] = json!(50));
    let said = refusal(folder.path());
    assert!(
        said.contains("tokenizer does not match the model"),
        "{said}"
    );
    assert!(said.contains("vocab_size is 50"), "{said}");

    let folder = copy(PLAIN);
    fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("tokenizer.json: not a tokenizer"), "{said}");
}

#[test]
fn text_becomes_the_ids_that_python_finds() {
    let case = case(PLAIN);
    let loaded = load(&case.folder).unwrap();
    let tokenizer = loaded.tokenizer.unwrap();
    let text = case.reference.prompt_text.unwrap();
    assert_eq!(tokenizer.encode(&text).unwrap(), case.reference.prompt_ids);
    assert_eq!(tokenizer.decode(&case.reference.prompt_ids).unwrap(), text);
}

#[test]
fn phases_are_timed_and_add_up() {
    let ticks = std::cell::Cell::new(0);
    let clock = || {
        ticks.set(ticks.get() + 1);
        ticks.get() * 1000
    };
    let folder = ModelFolder::open(&case(PLAIN).folder).unwrap();
    let loaded = load::load(
        &folder,
        &Options {
            dtype: None,
            clock: &clock,
        },
    )
    .unwrap();
    // One reading before and one after each of the five phases.
    assert_eq!(ticks.get(), 6);
    assert_eq!(loaded.phases.total_ns(), 5000);
    assert_eq!(loaded.phases.weights_ns, 1000);
}

#[test]
fn experts_that_the_processor_cannot_multiply_are_refused_before_they_run() {
    if device::device_info().unwrap().is_gpu {
        return;
    }
    let folder = ModelFolder::open(&case("qwen3_moe-tied-f32").folder).unwrap();
    let options = Options {
        dtype: Some(domain::model::Dtype::Bf16),
        clock: &|| 0,
    };
    let Err(error) = load::load(&folder, &options) else {
        panic!("bf16 experts were not refused");
    };
    let said = error.to_string();
    assert!(said.contains("switch_mlp"), "{said}");
    assert!(said.contains("on a CPU"), "{said}");
}

#[test]
fn experts_not_chosen_are_not_counted_as_read() {
    let facts = load(&case("qwen3_moe-untied-f32").folder).unwrap().facts;
    // Two layers of ten experts of which three are chosen, three matrices of 128 times 64 each, in f32;
    // and a table of 619 rows that is only looked up.
    let idle = 2 * 7 * 3 * 128 * 64 * 4;
    let table = 619 * 128 * 4;
    assert_eq!(facts.decode_bytes, facts.weight_bytes - idle - table);
}

#[test]
fn identity_follows_the_content_and_is_remembered() {
    let cache = tempfile::tempdir().unwrap();
    let folder = copy(PLAIN);
    let files = ModelFolder::open(folder.path()).unwrap();
    let identity = identify(&files, cache.path()).unwrap();
    let names: Vec<&str> = identity
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["config.json", "model.safetensors", "tokenizer.json"]
    );
    // SHA-256 by another implementation.
    let weights = fs::read(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(identity.files[1].bytes, weights.len() as u64);
    assert_eq!(identify(&files, cache.path()).unwrap(), identity);
    assert_eq!(
        fs::read_dir(cache.path().join("digests")).unwrap().count(),
        3
    );

    let same = copy(PLAIN);
    let elsewhere = identify(&ModelFolder::open(same.path()).unwrap(), cache.path()).unwrap();
    assert_eq!(elsewhere.digest, identity.digest);

    edit_config(folder.path(), |config| config["rms_norm_eps"] = json!(1e-5));
    let changed = identify(&files, cache.path()).unwrap();
    assert_ne!(changed.digest, identity.digest);
    assert_eq!(changed.files[1], identity.files[1]);
}

#[test]
fn a_folder_without_a_model_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("config.json"), "{said}");
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert!(matches!(
        load(folder.path()),
        Err(LoadError::NoWeights { .. })
    ));
}
