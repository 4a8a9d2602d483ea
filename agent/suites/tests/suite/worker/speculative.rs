//! `speculative` as the agent runs it.

use domain::suite::speculative::{self, PROMPT_TOKENS, Prompt};
use sha2::{Digest, Sha256};
use suites::suites::speculative::{CODE, PROSE};

use super::*;
use crate::checkpoints;

fn case(draft: &str, draft_tokens: u64, new_tokens: u64) -> Case {
    Case::Speculative(speculative::Case {
        draft_tokens,
        prompt: Prompt::Code,
        new_tokens,
        draft: draft.parse().unwrap(),
    })
}

/// A launch of a checkpoint of the parity tests, in the type that it is stored in.
fn stored(name: &str, case: Case) -> Request {
    let mut request = request("nano-llama", Dtype::Bf16, case);
    let model = request.model.as_mut().unwrap();
    let checkpoint = checkpoints::case(name).folder;
    model.source = checkpoint.to_str().unwrap().parse().unwrap();
    model.dtype = None;
    request
}

/// Seconds of each turn: from its first token to its last.
fn turns(iteration: &Iteration, new_tokens: usize) -> Vec<f64> {
    iteration
        .token_times
        .chunks(new_tokens)
        .map(|turn| turn[new_tokens - 1].saturating_sub(turn[0]).as_secs_f64())
        .collect()
}

#[test]
fn a_model_that_drafts_for_itself_is_always_right() {
    let request = request(
        "nano-llama",
        Dtype::F32,
        case("synthetic:nano-llama", 2, 12),
    );
    let launch = Worker::start(&request).finish();
    assert_sound(&launch, &request);
    for iteration in launch.iterations() {
        assert_eq!(iteration.mode, "in_turn_random_ids", "no tokenizer");
        assert_eq!((iteration.token_times.len(), iteration.work), (48, 48));
        let value = |metric| sample(iteration, metric);
        // Four rounds of two drafted tokens and one of the model's.
        assert_close(value(Metric::SpecAcceptRate), 1.0);
        assert_close(value(Metric::SpecFromDraftShare), 8.0 / 12.0);
        assert_close(value(Metric::SpecTokensPerRound), 3.0);
        assert_close(value(Metric::SpecAcceptPos1), 1.0);
        assert_close(value(Metric::SpecAcceptPos2), 1.0);
        assert!(!has(iteration, Metric::SpecAcceptPos3), "two are drafted");
        assert_close(value(Metric::SpecOutputIdentical), 1.0);
        assert!(!has(iteration, Metric::SpecDivergenceIndex));
        // As large as the model, and a cache as large as its own.
        let extra = launch.model().weight_bytes as f64 + value(Metric::KvBytes);
        assert_close(value(Metric::SpecMemExtraBytes), extra);
        assert!(value(Metric::MemPeakBytes) >= 2.0 * launch.model().weight_bytes as f64);
        // Even launches: plain, speculative, speculative, plain.
        let turns = turns(iteration, 12);
        let (plain, drafted) = (turns[0] + turns[3], turns[1] + turns[2]);
        assert_close(value(Metric::SpecBaselineDecodeTps), 22.0 / plain);
        assert_close(value(Metric::SpecDecodeTps), 22.0 / drafted);
        let times = &iteration.token_times;
        // The tokens of a round are known at once, and each round takes a while.
        let gap = |at: usize| times[at + 1].saturating_sub(times[at]);
        assert!(gap(12) < gap(14) / 10 && gap(13) < gap(14) / 10);
        // A turn begins where the one before it ended.
        let ends = [11, 23, 35, 47].map(|at: usize| times[at].as_secs_f64());
        let whole = [
            ends[0],
            ends[1] - ends[0],
            ends[2] - ends[1],
            ends[3] - ends[2],
        ];
        let speedup = (whole[0] + whole[3]) / (whole[1] + whole[2]);
        let apart = value(Metric::SpecSpeedup) / speedup - 1.0;
        assert!(apart.abs() < 0.01, "{apart}");
    }
}

#[test]
fn the_parts_of_a_round_are_told_once_for_a_launch() {
    let request = request(
        "nano-llama",
        Dtype::F32,
        case("synthetic:nano-qwen2", 3, 16),
    );
    let launch = Worker::start(&request).finish();
    assert_sound(&launch, &request);
    let iterations = launch.iterations();
    let told: Vec<_> = iterations
        .iter()
        .filter(|iteration| has(iteration, Metric::SpecDraftMs))
        .collect();
    let [told] = told[..] else {
        panic!("told {} times", told.len());
    };
    assert_eq!(told.phase, Phase::Measured);
    assert!(sample(told, Metric::SpecDraftMs) > 0.0 && sample(told, Metric::SpecVerifyMs) > 0.0);
    // A stranger's drafts are refused, so that all they do is cost.
    let predicted = sample(told, Metric::SpecSpeedupPred);
    assert!(predicted > 0.0 && predicted < 1.0, "{predicted}");
    assert!(sample(told, Metric::SpecAcceptRate) < 0.5);
    assert_close(sample(told, Metric::SpecOutputIdentical), 1.0);
}

#[test]
fn a_text_is_read_with_the_models_own_tokenizer() {
    let draft = checkpoints::case("llama-untied-q8").folder;
    let request = stored("llama-untied-f32", case(draft.to_str().unwrap(), 4, 24));
    let launch = Worker::start(&request).finish();
    assert_eq!(launch.exit, Some(0), "{}", launch.log);
    for iteration in launch.iterations() {
        assert_eq!(iteration.mode, "in_turn");
        assert!(!iteration.reasons.contains(&Reason::Incorrect));
        assert_close(sample(iteration, Metric::SpecOutputIdentical), 1.0);
    }
}

#[test]
fn code_and_prose_are_two_prompts() {
    let hash = |prompt, model: &str| {
        let mut request = match model {
            "" => request("nano-llama", Dtype::F32, case("synthetic:nano-llama", 2, 4)),
            name => stored(name, case("synthetic:nano-llama", 2, 4)),
        };
        let Case::Speculative(case) = &mut request.case else {
            unreachable!("made above");
        };
        case.prompt = prompt;
        if !model.is_empty() {
            let draft = checkpoints::case(model).folder;
            case.draft = draft.to_str().unwrap().parse().unwrap();
        }
        let launch = Worker::start(&request).finish();
        assert_eq!(launch.exit, Some(0), "{}", launch.log);
        launch.iterations()[0].token_ids_sha256.clone()
    };
    for model in ["", "llama-tied-f32"] {
        assert_ne!(hash(Prompt::Code, model), hash(Prompt::Prose, model));
    }
    // Four characters make a token, or fewer: both texts are cut, for any tokenizer.
    for text in [CODE, PROSE] {
        assert!(text.len() as u64 > 6 * PROMPT_TOKENS, "{}", text.len());
    }
}

#[test]
fn another_draft_makes_it_another_thing_that_is_measured() {
    let told = |draft: &str| {
        let request = request("nano-llama", Dtype::F32, case(draft, 2, 4));
        Worker::start(&request).finish().model().clone()
    };
    let alone = Worker::start(&request("nano-llama", Dtype::F32, decode(4, 0))).finish();
    let (itself, other) = (told("synthetic:nano-llama"), told("synthetic:nano-qwen2"));
    assert_eq!(itself.label, "nano-llama + nano-llama");
    assert!(itself.digest != other.digest && itself.digest != alone.model().digest);
    let digest = &alone.model().digest;
    assert_eq!(
        itself.source,
        format!("synthetic:nano-llama with draft synthetic:nano-llama sha256:{digest}")
    );
    // Whoever has both digests can compute the third.
    let pair = Sha256::digest(format!("{digest} {digest}\n"));
    assert_eq!(itself.digest, hex::encode(pair));
}

#[test]
fn a_draft_of_other_tokens_is_refused_by_name() {
    let request = request(
        "nano-llama",
        Dtype::Bf16,
        case("synthetic:mini-llama", 2, 4),
    );
    let launch = Worker::start(&request).finish();
    let words = ["synthetic:mini-llama", "32000", "4096", "`suites`"];
    assert_failed(&launch, FailureKind::Skipped, 5, &words);

    // As many tokens, and two of them the other way round.
    let copy = checkpoints::copy("llama-tied-f32");
    let path = copy.path().join("tokenizer.json");
    let mut tokenizer: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let (a, b) = (vocab["A"].clone(), vocab["B"].clone());
    (vocab["A"], vocab["B"]) = (b, a);
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let draft = copy.path().to_str().unwrap();
    let launch = Worker::start(&stored("llama-tied-f32", case(draft, 2, 4))).finish();
    let words = [draft, "another tokenizer", "`A`", "`suites`"];
    assert_failed(&launch, FailureKind::Skipped, 5, &words);
}

#[test]
fn a_draft_that_is_not_there_fails_by_its_own_name() {
    let request = request("nano-llama", Dtype::Bf16, case("/no/such/draft", 2, 4));
    let launch = Worker::start(&request).finish();
    let words = ["the draft /no/such/draft:"];
    assert_failed(&launch, FailureKind::Model, 3, &words);
}

#[test]
fn a_draft_that_does_not_fit_beside_the_model_skips_the_case() {
    let mut request = request(
        "nano-llama",
        Dtype::Bf16,
        case("synthetic:llama-3.1-8b", 2, 4),
    );
    request.memory_limit_bytes = 8_000_000_000;
    let launch = Worker::start(&request).finish();
    let words = ["would not fit, needs 16.2 GB, has 8.0 GB"];
    assert_failed(&launch, FailureKind::Skipped, 5, &words);
}
