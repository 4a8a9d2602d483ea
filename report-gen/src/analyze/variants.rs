//! Telling variants apart that have the same words: `/a/m` and `/b/m` are both called `m`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::report::Variant;
use crate::rows::Rows;

/// As much of a digest as tells two of them apart.
const DIGEST_SHOWN: usize = 8;

/// Gives each variant the mark that it needs beside its words, where it needs one.
pub fn mark(rows: &mut Rows) {
    let marks = {
        let all: BTreeSet<&Variant> = variants(rows).collect();
        marks(&all)
    };
    if marks.is_empty() {
        return;
    }
    let Rows {
        models,
        launches,
        iterations,
        latencies,
        energies,
        utilisations,
        knees,
        memory_slopes,
        timelines,
        fits,
        history,
        ..
    } = rows;
    let all = models
        .iter_mut()
        .map(|row| &mut row.variant)
        .chain(launches.iter_mut().map(|row| &mut row.case.variant))
        .chain(iterations.iter_mut().map(|row| &mut row.case.variant))
        .chain(latencies.iter_mut().map(|row| &mut row.variant))
        .chain(energies.iter_mut().map(|row| &mut row.case.variant))
        .chain(utilisations.iter_mut().map(|row| &mut row.variant))
        .chain(knees.iter_mut().map(|row| &mut row.variant))
        .chain(memory_slopes.iter_mut().map(|row| &mut row.variant))
        .chain(timelines.iter_mut().map(|row| &mut row.variant))
        .chain(fits.iter_mut().map(|row| &mut row.variant))
        .chain(history.iter_mut().map(|row| &mut row.case.variant));
    for variant in all {
        if let Some(mark) = marks.get(variant) {
            variant.mark = Some(mark.clone());
        }
    }
}

fn variants(rows: &Rows) -> impl Iterator<Item = &Variant> {
    rows.models
        .iter()
        .map(|row| &row.variant)
        .chain(rows.launches.iter().map(|row| &row.case.variant))
        .chain(rows.latencies.iter().map(|row| &row.variant))
        .chain(rows.energies.iter().map(|row| &row.case.variant))
}

fn marks(all: &BTreeSet<&Variant>) -> HashMap<Variant, String> {
    let mut by_words: BTreeMap<String, Vec<&Variant>> = BTreeMap::new();
    for variant in all {
        by_words
            .entry(variant.to_string())
            .or_default()
            .push(variant);
    }
    let mut marks = HashMap::new();
    for alike in by_words.into_values().filter(|alike| alike.len() > 1) {
        let differ = |mark: fn(&Variant) -> String| {
            alike
                .iter()
                .map(|variant| mark(variant))
                .collect::<BTreeSet<_>>()
                .len()
                == alike.len()
        };
        let enough = [source, digest].into_iter().find(|mark| differ(*mark));
        for variant in alike {
            let mark = match enough {
                Some(mark) => mark(variant),
                None => format!("{} {}", source(variant), digest(variant)),
            };
            marks.insert(variant.clone(), mark);
        }
    }
    marks
}

fn source(variant: &Variant) -> String {
    variant.source.clone().unwrap_or_default()
}

fn digest(variant: &Variant) -> String {
    match &variant.digest {
        Some(digest) => digest.chars().take(DIGEST_SHOWN).collect(),
        None => "unknown weights".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(model: &str, source: &str, digest: &str) -> Variant {
        Variant {
            model: model.to_owned(),
            dtype: Some("bf16".to_owned()),
            quantisation: Some("none".to_owned()),
            source: Some(source.to_owned()),
            digest: Some(digest.repeat(32)),
            mark: None,
        }
    }

    fn of(all: &[Variant]) -> Vec<Option<String>> {
        let marks = marks(&all.iter().collect());
        all.iter()
            .map(|variant| marks.get(variant).cloned())
            .collect()
    }

    #[test]
    fn words_that_are_enough_have_no_mark() {
        let all = [variant("m", "/a/m", "aa"), variant("n", "/a/n", "bb")];
        assert_eq!(of(&all), [None, None]);
    }

    #[test]
    fn equal_words_are_told_apart_by_source_and_then_by_content() {
        let all = [variant("m", "/a/m", "aa"), variant("m", "/b/m", "bb")];
        assert_eq!(of(&all), [Some("/a/m".into()), Some("/b/m".into())]);
        let all = [variant("m", "/a/m", "aa"), variant("m", "/a/m", "bb")];
        assert_eq!(of(&all), [Some("aaaaaaaa".into()), Some("bbbbbbbb".into())]);
        let all = [
            variant("m", "/a/m", "aa"),
            variant("m", "/a/m", "bb"),
            variant("m", "/b/m", "bb"),
        ];
        assert_eq!(of(&all)[2].as_deref(), Some("/b/m bbbbbbbb"));
    }
}
