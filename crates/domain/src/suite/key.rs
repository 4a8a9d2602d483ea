//! A case out of its key: the text is the case's name in SQL, and so in files that others write.

use serde_json::{Map, Value};

use super::{Case, Suite};
use crate::catalogue;

impl Case {
    /// The case whose key this is; None where it is no key of the suite, or not written as
    /// [`Case::key`] writes it.
    pub fn from_key(suite: Suite, key: &str) -> Option<Self> {
        let mut fields = Map::new();
        fields.insert("suite".to_owned(), suite.as_str().into());
        if suite == Suite::Memory {
            fields.insert("question".to_owned(), "prompt".into());
        }
        for part in key.split(',') {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (field(suite, name), value),
                None if suite == Suite::Roofline => ("ceiling", part),
                None if suite == Suite::Memory => ("question", part),
                None => return None,
            };
            let value = value
                .parse::<u64>()
                .map_or_else(|_| value.into(), Value::from);
            fields.insert(name.to_owned(), value);
        }
        if suite == Suite::Attention {
            let shape = catalogue::find(fields.get("shape")?.as_str()?)?;
            fields.insert("heads".to_owned(), shape.heads.into());
            fields.insert("kv_heads".to_owned(), shape.kv_heads.into());
            fields.insert("head_dim".to_owned(), shape.head_dim.into());
        }
        let case: Self = serde_json::from_value(Value::Object(fields)).ok()?;
        (case.key() == key).then_some(case)
    }
}

/// The field that a word of the key stands for.
fn field(suite: Suite, word: &str) -> &str {
    match word {
        "new" => "new_tokens",
        // Of speculative decoding it is a text.
        "prompt" if suite != Suite::Speculative => "prompt_tokens",
        "batch" => "batch_size",
        "sequence" => "sequence_tokens",
        "group" => "group_size",
        "k" => "draft_tokens",
        "mb" => "megabytes",
        "n" => "size",
        "up_to" => "up_to_tokens",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn every_suites_cases_are_found_by_their_keys() {
        let mut text = "name = \"p\"\n[[model]]\nsource = \"synthetic:nano-llama\"\n".to_owned();
        for suite in Suite::ALL {
            let more = match suite {
                Suite::Speculative => "draft = \"synthetic:nano-llama\"",
                Suite::Memory => "max_context = 4096",
                _ => "",
            };
            text.extend(["[suite.", suite.as_str(), "]\n", more, "\n"]);
        }
        let plan = Plan::parse(&text).unwrap();
        assert_eq!(plan.suites.len(), Suite::ALL.len());
        for (suite, cases) in &plan.suites {
            for case in cases {
                let key = case.key();
                assert_eq!(Case::from_key(*suite, &key).as_ref(), Some(case), "{key}");
            }
        }
    }

    #[test]
    fn what_is_no_key_of_the_suite_is_no_case() {
        for (suite, key) in [
            (Suite::Decode, "new=50"),
            (Suite::Decode, "depth=0,new=50"),
            (Suite::Decode, "new=50,depth=0,more=1"),
            (Suite::Decode, "new=050,depth=0"),
            (Suite::Load, "cold"),
            (Suite::Attention, "shape=unknown,length=1"),
            (Suite::Generate, ""),
        ] {
            assert_eq!(Case::from_key(suite, key), None, "{key}");
        }
    }
}
