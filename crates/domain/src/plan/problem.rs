//! What is wrong in a plan, where, and how to mend it.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::{Range, RangeInclusive};

use super::Span;
use crate::catalogue;
use crate::model::{BadSource, ModelSource};

/// More points of one parameter than anyone reads, and few enough that two lists multiply to thousands.
const MAX_ITEMS: usize = 64;

/// One refusal, with its place in the plan's text (bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub span: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            help: None,
        }
    }

    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A word that is not among those known, with the nearest one suggested.
    pub fn unknown<'a>(
        span: Range<usize>,
        noun: &str,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let problem = Self::at(span, format!("unknown {noun} `{word}`"));
        problem.with_help(match nearest(word, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        })
    }

    /// What serde says of keys and types, with the nearest expected word suggested.
    pub(super) fn from_toml(error: &toml::de::Error) -> Self {
        let message = error.message().to_owned();
        let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let help = match words.split_first() {
            Some((word, known)) if message.starts_with("unknown") => {
                nearest(word, known).map(|near| format!("did you mean `{near}`?"))
            }
            _ => None,
        };
        Self {
            span: error.span().unwrap_or(0..0),
            message,
            help,
        }
    }

    /// The items of a list that is neither empty nor too long and says nothing twice. A list too long
    /// comes back empty, since lists multiply into cases.
    pub fn check_list<'a, T: Eq + Hash>(
        list: &'a Span<Vec<T>>,
        key: &str,
        problems: &mut Vec<Self>,
    ) -> &'a [T] {
        let items = list.get_ref();
        if items.is_empty() {
            problems.push(
                Self::at(list.span(), format!("`{key}` is empty"))
                    .with_help("leave the key out for its default"),
            );
        } else if items.len() > MAX_ITEMS {
            problems.push(
                Self::at(
                    list.span(),
                    format!("`{key}` has {} entries; at most {MAX_ITEMS}", items.len()),
                )
                .with_help("spread them over several plans"),
            );
            return &[];
        } else if items.iter().collect::<HashSet<_>>().len() < items.len() {
            problems.push(Self::at(
                list.span(),
                format!("`{key}` says the same thing twice"),
            ));
        }
        items
    }

    /// The same for numbers within bounds.
    pub fn check_numbers<'a>(
        list: &'a Span<Vec<u64>>,
        allowed: RangeInclusive<u64>,
        key: &str,
        problems: &mut Vec<Self>,
    ) -> &'a [u64] {
        let items = Self::check_list(list, key, problems);
        if let Some(value) = items.iter().find(|value| !allowed.contains(value)) {
            problems.push(out_of_range(list.span(), key, *value, &allowed));
        }
        items
    }

    /// The number, which lies within bounds.
    pub fn check_one(
        value: &Span<u64>,
        allowed: RangeInclusive<u64>,
        key: &str,
        problems: &mut Vec<Self>,
    ) -> u64 {
        if !allowed.contains(value.get_ref()) {
            problems.push(out_of_range(value.span(), key, *value.get_ref(), &allowed));
        }
        *value.get_ref()
    }

    /// Where a model's weights come from; the nearest name for a synthetic one that is not known.
    pub fn check_source(written: &Span<String>, problems: &mut Vec<Self>) -> Option<ModelSource> {
        let refused = match written.get_ref().parse::<ModelSource>() {
            Ok(source) => return Some(source),
            Err(BadSource::UnknownSynthetic { name }) => {
                let known = catalogue::names();
                Self::unknown(written.span(), "synthetic model", &name, known)
            }
            Err(refused @ (BadSource::RelativeFolder { .. } | BadSource::Hub(_))) => {
                Self::at(written.span(), refused.to_string())
                    .with_help("use an absolute folder, hf://ORG/NAME or synthetic:NAME")
            }
            Err(refused @ BadSource::Unprintable { .. }) => {
                Self::at(written.span(), refused.to_string())
            }
        };
        problems.push(refused);
        None
    }

    /// Line and column of the problem's start, both from 1, columns in characters.
    pub fn line_column(&self, text: &str) -> (usize, usize) {
        let before = &text[..self.span.start.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }
}

fn out_of_range(
    span: Range<usize>,
    key: &str,
    value: u64,
    allowed: &RangeInclusive<u64>,
) -> Problem {
    let (low, high) = (allowed.start(), allowed.end());
    Problem::at(
        span,
        format!("`{key}` holds {value}; {low} to {high} is allowed"),
    )
}

pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|&candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}
