//! What operators say of a machine's labels, in a terminal and in a browser.

use std::collections::BTreeMap;
use std::str::FromStr;

/// `KEY=VALUE` or `KEY-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelChange {
    Set(String, String),
    Remove(String),
}

impl FromStr for LabelChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => {
                Ok(Self::Set(key.to_owned(), value.to_owned()))
            }
            (None, Some(key)) if !key.is_empty() => Ok(Self::Remove(key.to_owned())),
            _ => Err("write KEY=VALUE to set a label, KEY- to take it away".to_owned()),
        }
    }
}

impl LabelChange {
    /// Several, between spaces.
    pub fn all(text: &str) -> Result<Vec<Self>, String> {
        text.split_whitespace().map(str::parse).collect()
    }

    /// Those to set, and those to take away.
    pub fn sorted(changes: Vec<Self>) -> (BTreeMap<String, String>, Vec<String>) {
        let (mut set, mut remove) = (BTreeMap::new(), Vec::new());
        for change in changes {
            match change {
                Self::Set(key, value) => drop(set.insert(key, value)),
                Self::Remove(key) => remove.push(key),
            }
        }
        (set, remove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_set_or_taken_away() {
        let set = |key: &str, value: &str| Ok(LabelChange::Set(key.to_owned(), value.to_owned()));
        let change = |text: &str| text.parse::<LabelChange>();
        assert_eq!(change("room=7"), set("room", "7"));
        assert_eq!(change("room="), set("room", ""));
        assert_eq!(change("sign=-"), set("sign", "-"));
        assert_eq!(change("room-"), Ok(LabelChange::Remove("room".to_owned())));
        for wrong in ["room", "=7", "-", ""] {
            assert!(change(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn several_stand_between_spaces() {
        let (set, remove) = LabelChange::sorted(LabelChange::all(" room=7  rack- ").unwrap());
        assert_eq!(set, BTreeMap::from([("room".to_owned(), "7".to_owned())]));
        assert_eq!(remove, ["rack"]);
        assert!(LabelChange::all("room=7 rack").is_err());
    }
}
