//! A point of a suite, as its key names it.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A case key with its parameters, ordered as people count.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct CaseKey(String);

impl From<String> for CaseKey {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl From<CaseKey> for String {
    fn from(key: CaseKey) -> Self {
        key.0
    }
}

impl CaseKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(',').filter_map(|part| part.split_once('='))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The key without one of its parameters.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let rest = self
            .0
            .split(',')
            .filter(|part| part.split_once('=').is_none_or(|(found, _)| found != name));
        Self(rest.collect::<Vec<&str>>().join(","))
    }

    /// Of several cases, the largest of those that most have: one number must stand for all.
    pub fn most_common<'a>(keys: impl Iterator<Item = &'a Self>) -> Option<&'a Self> {
        let mut counts: BTreeMap<&Self, usize> = BTreeMap::new();
        for key in keys {
            *counts.entry(key).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(key, _)| key)
    }

    /// The parameters in words.
    pub fn words(&self) -> String {
        let words: Vec<String> = self
            .0
            .split(',')
            .map(|part| part.replacen('=', " ", 1))
            .collect();
        words.join(", ")
    }
}

impl Ord for CaseKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |key: &Self| -> Vec<(String, u64, String)> {
            key.parameters()
                .map(|(name, value)| (name.into(), value.parse().unwrap_or(0), value.into()))
                .collect()
        };
        place(self)
            .cmp(&place(other))
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for CaseKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_ordered_as_people_count() {
        let mut keys: Vec<CaseKey> = [
            "new=128,depth=2048",
            "new=128,depth=512",
            "new=16,depth=512",
        ]
        .map(|key| CaseKey::from(key.to_owned()))
        .into();
        keys.sort();
        let keys: Vec<&str> = keys.iter().map(CaseKey::as_str).collect();
        assert_eq!(
            keys,
            [
                "new=16,depth=512",
                "new=128,depth=512",
                "new=128,depth=2048"
            ]
        );
    }

    #[test]
    fn of_cases_that_are_as_common_the_largest_stands_for_all() {
        let keys = [
            "prompt=512",
            "prompt=2048",
            "prompt=512",
            "prompt=2048",
            "prompt=8192",
        ];
        let keys = keys.map(|key| CaseKey::from(key.to_owned()));
        let most = CaseKey::most_common(keys.iter()).unwrap();
        assert_eq!(most.as_str(), "prompt=2048");
        assert_eq!(CaseKey::most_common([].into_iter()), None);
    }

    #[test]
    fn a_case_without_a_parameter_keeps_the_others() {
        let key = CaseKey::from("regime=decode,length=512,dtype=f16".to_owned());
        assert_eq!(key.without("length").as_str(), "regime=decode,dtype=f16");
    }
}
