//! `generate`, `batch`, `memory` and `sustained` as the agent runs them.

use domain::suite::{batch, generate, memory, sustained};
use suites::chat::ChatTemplate;
use suites::suites::generate::QUESTIONS;

use super::*;
use crate::checkpoints;

#[test]
fn four_answers_take_the_time_from_question_to_text() {
    let case = Case::Generate(generate::Case { new_tokens: 6 });
    let request = request("nano-qwen3", Dtype::F32, case);
    let launch = Worker::start(&request).finish();
    assert_sound(&launch, &request);
    for iteration in launch.iterations() {
        assert_eq!((iteration.work, iteration.token_times.len()), (24, 24));
        assert_eq!(iteration.mode, "random_tokens", "it has no tokenizer");
        let response = sample(iteration, Metric::ResponseMs);
        assert_close(sample(iteration, Metric::GenerateTps), 6.0 / response * 1e3);
        assert!(sample(iteration, Metric::TtftMs) < response);
        let whole_ms = iteration.duration.as_secs_f64() * 1e3;
        assert!(response * 4.0 <= whole_ms && response * 4.0 > whole_ms * 0.9);
    }
}

#[test]
fn questions_are_put_in_the_models_template() {
    let folder = checkpoints::case("llama-chat-f32").folder;
    let template = ChatTemplate::find(&folder).unwrap().unwrap();
    let expected: Vec<String> =
        serde_json::from_slice(&std::fs::read(folder.join("chat.json")).unwrap()).unwrap();
    // As transformers renders them.
    let ours = QUESTIONS.map(|question| template.ask(question).unwrap());
    assert_eq!(ours.to_vec(), expected);

    let case = Case::Generate(generate::Case { new_tokens: 4 });
    let mut request = request("nano-llama", Dtype::F32, case);
    request.model.as_mut().unwrap().source = folder.to_str().unwrap().parse().unwrap();
    let launch = Worker::start(&request).finish();
    assert_eq!(launch.exit, Some(0), "{}", launch.log);
    assert_eq!(launch.iterations()[0].mode, "questions");
}

#[test]
fn a_template_that_refuses_is_the_models_fault_in_its_own_words() {
    let folder = checkpoints::copy("llama-chat-f32");
    let refusing = "{{ raise_exception('only tools may speak') }}";
    std::fs::write(folder.path().join("chat_template.jinja"), refusing).unwrap();
    let case = Case::Generate(generate::Case { new_tokens: 4 });
    let mut request = request("nano-llama", Dtype::F32, case);
    request.model.as_mut().unwrap().source = folder.path().to_str().unwrap().parse().unwrap();
    let launch = Worker::start(&request).finish();
    let words = ["chat_template.jinja", "only tools may speak"];
    assert_failed(&launch, FailureKind::Model, 3, &words);
}

#[test]
fn a_batch_and_one_alone_take_turns() {
    for (lengths, mode) in [
        (batch::Lengths::Equal, "equal_lengths"),
        (batch::Lengths::Ragged, "ragged"),
    ] {
        let case = Case::Batch(batch::Case {
            batch_size: 3,
            prompt_tokens: 20,
            new_tokens: 8,
            lengths,
        });
        let request = request("nano-llama", Dtype::F32, case);
        let launch = Worker::start(&request).finish();
        assert_sound(&launch, &request);
        for iteration in launch.iterations() {
            assert_eq!(iteration.mode, mode);
            // One, three, three, one.
            assert_eq!((iteration.work, iteration.token_times.len()), (64, 32));
            let turn = |place: usize| {
                let times = &iteration.token_times[8 * place..];
                times[7].saturating_sub(times[0]).as_secs_f64()
            };
            let (alone, together) = (turn(0) + turn(3), turn(1) + turn(2));
            let value = |metric| sample(iteration, metric);
            assert_close(value(Metric::BatchDecodeTps), 42.0 / together);
            assert_close(value(Metric::BatchStreamTps), 14.0 / together);
            assert_close(value(Metric::BatchSpeedup), 3.0 * alone / together);
            assert_close(value(Metric::BatchEfficiency), alone / together);
            // The tokens before each prompt's last, over less than the time to the first tokens; what
            // fills the shorter ones up is none.
            let filled = if mode == "ragged" { 19 + 12 + 4 } else { 57 };
            let filling = f64::from(filled) / value(Metric::BatchPrefillTps) * 1e3;
            let ttft = value(Metric::BatchTtftMs);
            assert!(
                filling < ttft && filling > ttft * 0.1,
                "{filling} of {ttft}"
            );
        }
    }
}

#[test]
fn memory_is_weights_and_cache_and_what_one_pass_needs() {
    let case = Case::Memory(memory::Case::Prompt { prompt_tokens: 300 });
    let request = request("nano-qwen2", Dtype::Bf16, case);
    let launch = Worker::start(&request).finish();
    assert_sound(&launch, &request);
    let model = launch.model();
    for iteration in launch.iterations() {
        assert_eq!(iteration.phase, Phase::Measured, "nothing is warmed up");
        let value = |metric| sample(iteration, metric);
        let theory = 300.0 * model.kv_bytes_per_token as f64;
        assert_close(value(Metric::KvTheoryBytes), theory);
        assert_close(value(Metric::KvUsedBytes), theory);
        assert_close(value(Metric::KvBytes), theory / 300.0 * 512.0);
        assert_close(
            value(Metric::MemPeakBytes),
            value(Metric::MemWeightsBytes)
                + value(Metric::KvBytes)
                + value(Metric::MemActivationBytes),
        );
    }
}

#[test]
fn the_longest_prompt_within_the_limit_is_found_by_running_them() {
    let search = Case::Memory(memory::Case::MaxContext { up_to_tokens: 1280 });
    let mut request = request("nano-llama", Dtype::F32, search);
    let found = |request: &Request| {
        let launch = Worker::start(request).finish();
        assert_eq!(launch.exit, Some(0), "{}", launch.log);
        let [
            Frame::Started(_),
            Frame::Model(_),
            Frame::Iteration(iteration),
            Frame::Finished(_),
        ] = launch.frames.as_slice()
        else {
            panic!("{:?}", launch.frames);
        };
        assert_eq!(iteration.mode, "max_context");
        assert_eq!(
            iteration.reasons.contains(&Reason::DebugBuild),
            cfg!(debug_assertions)
        );
        (iteration.work, launch.log)
    };
    // Without a limit the plan's own end is tried first.
    let (all, log) = found(&request);
    assert_eq!((all, log.matches(" tokens: ").count()), (1280, 1), "{log}");
    let unlimited = request.clone();
    let peak = |prompt_tokens| {
        let launch = Worker::start(&Request {
            case: Case::Memory(memory::Case::Prompt { prompt_tokens }),
            ..unlimited.clone()
        })
        .finish();
        sample(launch.iterations()[0], Metric::MemPeakProcessBytes)
    };
    // Two runs of one length are not equal to the byte.
    let limit = peak(512) * 1.05;
    request.memory_limit_bytes = limit as u64;
    let (some, log) = found(&request);
    assert!((512..=512 + 256).contains(&some), "{some}: {log}");
    assert!(peak(some) <= limit, "{some} tokens ran within it");

    request.memory_limit_bytes = 1000;
    let launch = Worker::start(&request).finish();
    assert_failed(&launch, FailureKind::Skipped, 5, &["would not fit"]);
}

#[test]
fn minutes_of_decoding_are_one_pass_of_equal_stretches() {
    let case = Case::Sustained(sustained::Case {
        seconds: 2,
        depth: 5,
    });
    let mut request = request("nano-llama", Dtype::F32, case);
    request.protocol.iterations = 4;
    let launch = Worker::start(&request).finish();
    assert_eq!(launch.exit, Some(0), "{}", launch.log);
    let iterations = launch.iterations();
    assert_eq!(iterations.len(), 1, "one pass, however many the plan wants");
    let pass = iterations[0];
    assert!(pass.duration >= Duration::from_secs(2));
    assert!(pass.duration < Duration::from_secs(30));
    assert_eq!(pass.work % 64, 0);
    let stretches = pass.token_times.chunks_exact(64);
    let seconds: f64 = stretches
        .clone()
        .map(|times| times[63].saturating_sub(times[0]).as_secs_f64())
        .sum();
    let tokens = stretches.len() as f64 * 63.0;
    assert_close(sample(pass, Metric::SustainedTps), tokens / seconds);
    assert!(!pass.reasons.contains(&Reason::Incorrect));
}
