//! What a job wants of the hub, and what is not worth downloading.

use domain::suite::{Case, Suite};

use super::*;
use crate::job::tests::grant;

fn hub(text: &str) -> Wanted {
    Wanted {
        model: text.parse().unwrap(),
        dtype: None,
    }
}

#[test]
fn a_job_wants_its_model_and_its_drafts_each_once_where_they_are_the_hubs() {
    let speculative = |draft: &str| {
        let key = format!("k=2,prompt=code,new=16,draft={draft}");
        Case::from_key(Suite::Speculative, &key).unwrap()
    };
    let mut job = grant("hf://org/large", 0, 1);
    assert_eq!(wanted(&job), [hub("hf://org/large")]);
    job.cases = vec![
        speculative("hf://org/small@main"),
        speculative("hf://org/small@main"),
        speculative("hf://org/large"),
        speculative("synthetic:nano-llama"),
    ];
    assert_eq!(
        wanted(&job),
        [hub("hf://org/large"), hub("hf://org/small@main")]
    );
    job.cases.clear();
    job.model = None;
    assert_eq!(wanted(&job), []);
    assert_eq!(wanted(&grant("synthetic:nano-llama", 1, 1)), []);
}

#[test]
fn only_what_cannot_fit_in_any_case_is_not_downloaded() {
    let file = |name: &str, bytes| HubFile {
        name: name.parse().unwrap(),
        bytes,
        digest: "0a".repeat(32).parse().unwrap(),
    };
    let files = vec![
        file("config.json", 1_000_000_000_000),
        file("model-1.safetensors", 6_000_000_000),
        file("model-2.safetensors", 4_000_000_000),
    ];
    let snapshot = Snapshot::new("0a".repeat(20).parse().unwrap(), files).unwrap();
    let fits = |dtype, limit_bytes| {
        let wanted = Wanted {
            dtype,
            ..hub("hf://org/name")
        };
        wanted.check_fit(&snapshot, limit_bytes).is_ok()
    };
    assert!(fits(None, 10_000_000_000) && !fits(None, 9_999_999_999));
    // They may be stored in 32 bits.
    let bf16 = Some(Dtype::Bf16);
    assert!(fits(bf16, 5_000_000_000) && !fits(bf16, 4_999_999_999));
    assert!(!fits(Some(Dtype::F32), 9_999_999_999));
}
