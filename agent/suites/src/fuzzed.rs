//! A model's files, which people download from anywhere.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::{fs, process};

use domain::catalogue;
use tempfile::TempDir;

use crate::load::header::{Header, HeaderError};
use crate::models::weights::Quantization;
use crate::models::{self, Config, Weights};
use crate::tokenizer::Tokenizer;

/// A file of these bytes, the same one every time.
fn file(bytes: &[u8]) -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let path = folder.path().join(process::id().to_string());
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn safetensors() {
    let header = br#"{"__metadata__":{"format":"mlx"},
        "a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},
        "b":{"dtype":"U32","shape":[],"data_offsets":[12,16]}}"#;
    let mut whole = (header.len() as u64).to_le_bytes().to_vec();
    whole.extend(header);
    whole.extend([0; 16]);
    fuzz::feed("safetensors", &[header, &whole], |bytes| {
        drop(Header::read(&file(bytes)));
        // The same as a header of a file that holds what it promises.
        let mut sealed = (bytes.len() as u64).to_le_bytes().to_vec();
        sealed.extend(bytes);
        if let Err(HeaderError::Truncated { promised, .. }) = Header::read(&file(&sealed))
            && promised < 1 << 20
        {
            sealed.resize(sealed.len() + promised as usize, 0);
            drop(Header::read(&file(&sealed)));
        }
    });
}

#[test]
fn config() {
    let seeds: Vec<String> = catalogue::names()
        .map(|name| catalogue::find(name).unwrap().config_json("bfloat16"))
        .map(|config| config.to_string())
        .collect();
    let seeds: Vec<&[u8]> = seeds.iter().map(String::as_bytes).collect();
    fuzz::feed("config", &seeds, |bytes| {
        let Ok(config) = Config::parse(&String::from_utf8_lossy(bytes)) else {
            return;
        };
        if let Ok(quantization) = Quantization::read(&config) {
            // Without a weight: whatever the configuration asks for is missing.
            let mut none = Weights::new(HashMap::new(), quantization);
            assert!(models::build(&config, &mut none).is_err());
        }
    });
}

#[test]
fn tokenizer() {
    let seed = br#"{"version":"1.0","truncation":null,"padding":null,
        "added_tokens":[{"id":5,"content":"<|end|>","single_word":false,"lstrip":false,"rstrip":false,
            "normalized":false,"special":true}],
        "normalizer":{"type":"NFC"},
        "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
        "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|end|>","type_id":0}},
            {"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},
            {"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<|end|>":{"id":"<|end|>","ids":[5],
            "tokens":["<|end|>"]}}},
        "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
        "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
            "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
            "vocab":{"a":0,"b":1,"c":2,"ab":3,"abc":4},"merges":[["a","b"],["ab","c"]]}}"#;
    fuzz::feed("tokenizer", &[seed], |bytes| {
        let Ok(tokenizer) = Tokenizer::load(&file(bytes), 1000) else {
            return;
        };
        if let Ok(ids) = tokenizer.encode("abc cab\u{e9} <|end|>") {
            drop(tokenizer.decode(&ids));
        }
    });
}
