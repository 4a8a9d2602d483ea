//! `generate`: four questions answered one after another, each from its tokens to the whole answer as
//! text: what a person waits for. Greedy, in the model's chat template where it has one; an end token
//! is a token like any other, so that every answer has the length asked for.

use std::time::Duration;

use domain::metric::Metric;
use domain::suite::generate::Case;
use domain::worker::Finished;

use super::prefill::return_to;
use super::{Bench, Demand, Ready, tokens};
use crate::chat::ChatTemplate;
use crate::generate::{self, Decoder};
use crate::harness::clock::{Mark, Region, Watch, ms, rate};
use crate::harness::{Observation, Shape, Trial, TrialError};
use crate::load::LoadError;
use crate::models::KvCache;
use crate::tokenizer::Tokenizer;

/// Plain knowledge, explanation, code and a story.
pub const QUESTIONS: [&str; 4] = [
    "Which planets of the solar system have rings, and what are the rings made of?",
    "Explain to a twelve-year-old why the sky is blue during the day and red in the evening.",
    "Write a Python function that returns the longest word of a text, ignoring punctuation.",
    "Tell a short story about a lighthouse keeper who finds a letter in a bottle.",
];

/// What stands for them where there is no tokenizer: so many random tokens.
const LENGTHS: [usize; 4] = [24, 28, 24, 26];

pub fn demand(case: &Case) -> Demand {
    Demand {
        positions: case.context_tokens() - 1,
        step_tokens: case.context_tokens() - case.new_tokens,
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let ready = bench.load()?;
    let folder = &bench.files()?.folder.path;
    let prompts = match &ready.loaded.tokenizer {
        Some(tokenizer) => {
            let template = ChatTemplate::find(folder).map_err(LoadError::Chat)?;
            asked(tokenizer, template.as_ref())?
        }
        None => random(&ready, bench.request.protocol.seed),
    };
    let trial = Generate {
        cache: ready.loaded.model.new_cache(),
        answers: Vec::new(),
        ready: &ready,
        case,
        prompts,
    };
    bench.measure(&mut [trial])
}

fn asked(
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<Vec<Vec<u32>>, LoadError> {
    QUESTIONS
        .iter()
        .map(|question| {
            let text = match template {
                Some(template) => template.ask(question).map_err(LoadError::Chat)?,
                None => (*question).to_owned(),
            };
            Ok(tokenizer.encode(&text)?)
        })
        .collect()
}

fn random(ready: &Ready, seed: u64) -> Vec<Vec<u32>> {
    let vocab = ready.loaded.model.dims().vocab as u32;
    let of = |(number, length): (u64, usize)| tokens::random(seed + number, length, vocab);
    (0..).zip(LENGTHS).map(of).collect()
}

struct Generate<'a> {
    ready: &'a Ready,
    case: &'a Case,
    prompts: Vec<Vec<u32>>,
    cache: Vec<KvCache>,
    /// Ids of all answers, one after another.
    answers: Vec<u32>,
}

impl Trial for Generate<'_> {
    fn mode(&self) -> &'static str {
        if self.ready.loaded.tokenizer.is_some() {
            "questions"
        } else {
            "random_tokens"
        }
    }

    fn shape(&self) -> Shape {
        Shape::Whole
    }

    fn marks_per_pass(&self) -> usize {
        self.prompts.len() * (self.case.new_tokens as usize + 1)
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        return_to(&mut self.cache, 0);
        self.answers.clear();
        self.answers
            .reserve(self.prompts.len() * self.case.new_tokens as usize);
        Ok(())
    }

    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        let loaded = &self.ready.loaded;
        let model = loaded.model.as_ref();
        for prompt in &self.prompts {
            return_to(&mut self.cache, 0);
            let (before, last) = prompt.split_at(prompt.len() - 1);
            generate::prefill(model, &mut self.cache, before, generate::PREFILL_CHUNK)?;
            let mut decoder = Decoder::start(model, &mut self.cache, last[0])?;
            let begin = self.answers.len();
            for remaining in (0..self.case.new_tokens).rev() {
                if remaining > 0 {
                    decoder.submit()?;
                }
                self.answers.push(decoder.read()?);
                watch.mark(Mark::Token);
            }
            if let Some(tokenizer) = &loaded.tokenizer {
                tokenizer
                    .decode(&self.answers[begin..])
                    .map_err(LoadError::Tokenizer)?;
            }
            watch.mark(Mark::Done);
        }
        Ok(())
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let per_answer = self.case.new_tokens as usize;
        let times: Vec<Duration> = region.times(Mark::Token).collect();
        let ends: Vec<Duration> = region.times(Mark::Done).collect();
        let begins = [Duration::ZERO].into_iter().chain(ends.iter().copied());
        let first_tokens: Duration = begins
            .zip(times.iter().step_by(per_answer))
            .map(|(begin, first)| first.saturating_sub(begin))
            .sum();
        let answers = self.prompts.len() as f64;
        let whole = ends.last().copied().unwrap_or_default();
        let work = times.len() as u64;
        let mut seen = Observation {
            work,
            token_times: times,
            token_ids_sha256: tokens::sha256(&self.prompts.concat(), &self.answers),
            weight_bytes: self.ready.loaded.facts.weight_bytes,
            ..Observation::default()
        };
        seen.sample(Metric::ResponseMs, ms(whole) / answers);
        seen.sample(Metric::GenerateTps, rate(work, whole));
        seen.sample(Metric::TtftMs, ms(first_tokens) / answers);
        seen.sample(Metric::MemWeightsBytes, self.ready.active_bytes as f64);
        seen.expect_tokens((self.prompts.len() * per_answer) as u64, self.answers.len());
        Ok(seen)
    }
}
