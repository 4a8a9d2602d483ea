//! `speculative`: a small model drafts tokens and the large one verifies them in one step, beside the
//! large one alone, in turn.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::model::{Dtype, ModelRef, ModelSource};
use crate::plan::{Problem, Span};
use crate::suite::Subject;

pub const SUBJECT: Subject = Subject::Model;

pub const HEADLINE: &[Metric] = &[
    Metric::SpecSpeedup,
    Metric::SpecAcceptRate,
    Metric::SpecDecodeTps,
];

/// Most tokens of a prompt: its text is cut there, so that every model reads as many.
pub const PROMPT_TOKENS: u64 = 256;

/// Drafts longer than this are accepted to their end too rarely to be worth a case.
pub const MAX_DRAFT_TOKENS: u64 = 8;

/// Acceptance by place in the draft, the first place first.
pub const ACCEPT_BY_POS: [Metric; MAX_DRAFT_TOKENS as usize] = [
    Metric::SpecAcceptPos1,
    Metric::SpecAcceptPos2,
    Metric::SpecAcceptPos3,
    Metric::SpecAcceptPos4,
    Metric::SpecAcceptPos5,
    Metric::SpecAcceptPos6,
    Metric::SpecAcceptPos7,
    Metric::SpecAcceptPos8,
];

/// `[suite.speculative]` in a plan: every draft length with every prompt and every length.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The model that drafts, written as a model's `source`.
    draft: Span<String>,
    /// Tokens that it drafts before each verification.
    #[serde(default = "default_draft_tokens")]
    draft_tokens: Span<Vec<u64>>,
    #[serde(default = "default_new")]
    new_tokens: Span<Vec<u64>>,
    #[serde(default = "default_prompts")]
    prompts: Span<Vec<Prompt>>,
}

fn default_draft_tokens() -> Span<Vec<u64>> {
    Span::new(0..0, vec![2, 4])
}

fn default_new() -> Span<Vec<u64>> {
    Span::new(0..0, vec![128])
}

fn default_prompts() -> Span<Vec<Prompt>> {
    Span::new(0..0, vec![Prompt::Code, Prompt::Prose])
}

/// What the prompt is about: code is guessed more often than prose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prompt {
    Code,
    Prose,
}

impl Prompt {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Prose => "prose",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    pub draft_tokens: u64,
    pub prompt: Prompt,
    pub new_tokens: u64,
    pub draft: ModelSource,
}

impl Params {
    pub fn cases(&self, problems: &mut Vec<Problem>) -> Vec<Case> {
        let draft = Problem::check_source(&self.draft, problems);
        let lengths = 1..=MAX_DRAFT_TOKENS;
        let draft_tokens =
            Problem::check_numbers(&self.draft_tokens, lengths, "draft_tokens", problems);
        let counts = Problem::check_numbers(&self.new_tokens, 2..=131_072, "new_tokens", problems);
        let prompts = Problem::check_list(&self.prompts, "prompts", problems);
        let Some(draft) = draft else {
            return Vec::new();
        };
        let mut cases = Vec::new();
        for &draft_tokens in draft_tokens {
            for &prompt in prompts {
                for &new_tokens in counts {
                    cases.push(Case {
                        draft_tokens,
                        prompt,
                        new_tokens,
                        draft: draft.clone(),
                    });
                }
            }
        }
        cases
    }
}

impl Case {
    /// The draft's whole source stands in it: the last part alone may be that of two models.
    pub fn key(&self) -> String {
        format!(
            "k={},prompt={},new={},draft={}",
            self.draft_tokens,
            self.prompt.as_str(),
            self.new_tokens,
            self.draft
        )
    }

    /// The last round drafts no more than is still wanted.
    pub fn context_tokens(&self) -> u64 {
        PROMPT_TOKENS + self.new_tokens
    }

    /// The draft beside a model that computes in `dtype`: synthetic weights take its type, files stay
    /// as they are stored.
    pub fn draft_beside(&self, dtype: Dtype) -> ModelRef {
        ModelRef {
            dtype: matches!(self.draft, ModelSource::Synthetic(_)).then_some(dtype),
            source: self.draft.clone(),
        }
    }
}

/// The words of every refusal of a pair that does not share its vocabulary, wherever it is made.
pub fn vocabularies_differ(draft: &ModelSource, drafts: u64, models: u64) -> String {
    format!(
        "the draft {draft} has a vocabulary of {drafts} tokens and the model one of {models}: they \
         cannot verify each other; keep this model to other suites with `suites`, or name another \
         draft"
    )
}

#[cfg(test)]
mod tests {
    use crate::plan::{Plan, Problem};
    use crate::suite::Case;

    fn plan(table: &str) -> Result<Plan, Vec<Problem>> {
        Plan::parse(&text(table))
    }

    fn text(table: &str) -> String {
        format!(
            "name = \"p\"\n[[model]]\nsource = \"synthetic:nano-llama\"\n[suite.speculative]\n{table}"
        )
    }

    #[test]
    fn a_case_is_told_by_its_draft_and_its_lengths() {
        let plan = plan("draft = \"synthetic:nano-qwen2\"").unwrap();
        let keys: Vec<String> = plan.suites[0].1.iter().map(Case::key).collect();
        assert_eq!(
            keys,
            [
                "k=2,prompt=code,new=128,draft=synthetic:nano-qwen2",
                "k=2,prompt=prose,new=128,draft=synthetic:nano-qwen2",
                "k=4,prompt=code,new=128,draft=synthetic:nano-qwen2",
                "k=4,prompt=prose,new=128,draft=synthetic:nano-qwen2",
            ]
        );
    }

    #[test]
    fn two_drafts_that_share_a_label_are_two_cases() {
        let key = |draft: &str| {
            let plan = plan(&format!("draft = \"{draft}\"")).unwrap();
            plan.suites[0].1[0].key()
        };
        assert_ne!(key("/a/draft"), key("/b/draft"));
        assert_ne!(key("hf://a/draft"), key("hf://a/draft@v2"));
    }

    #[test]
    fn the_draft_is_required_and_checked_where_it_stands() {
        let missing = plan("").unwrap_err();
        assert!(missing[0].message.contains("`draft`"), "{missing:?}");
        for (draft, help) in [
            ("synthetic:nano-lama", "did you mean `nano-llama`?"),
            ("models/x", "absolute folder"),
        ] {
            let table = format!("draft = \"{draft}\"");
            let problems = plan(&table).unwrap_err();
            let [problem] = problems.as_slice() else {
                panic!("{problems:?}");
            };
            let place = &text(&table)[problem.span.clone()];
            assert_eq!(place, format!("\"{draft}\""));
            assert!(
                problem.help.as_deref().unwrap_or_default().contains(help),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn drafts_are_short_and_prompts_are_known() {
        let draft = "draft = \"synthetic:nano-llama\"\n";
        let refusal = |more: &str| plan(&format!("{draft}{more}")).unwrap_err()[0].clone();
        assert!(
            refusal("draft_tokens = [9]")
                .message
                .contains("1 to 8 is allowed")
        );
        assert!(refusal("draft_tokens = [0]").message.contains("holds 0"));
        let problem = refusal("prompts = [\"prosa\"]");
        assert_eq!(problem.help.as_deref(), Some("did you mean `prose`?"));
        assert!(
            refusal("prompts = [\"code\", \"code\"]")
                .message
                .contains("twice")
        );
    }
}
