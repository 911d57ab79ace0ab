//! Lists of names from outside, in little memory.
//!
//! Whoever sends a list can send millions of names of one letter: as texts of their own they would take twenty times the
//! bytes that came.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names in one text, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameList(Box<str>);

impl NameList {
    /// What stands between names; none contains it.
    const SEPARATOR: char = '\n';

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator(Self::SEPARATOR)
    }
}

impl<S: AsRef<str>> FromIterator<S> for NameList {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> NameList {
        let mut text = String::new();
        for name in names {
            text.extend(name.as_ref().chars().filter(|c| *c != Self::SEPARATOR));
            text.push(Self::SEPARATOR);
        }
        NameList(text.into())
    }
}

impl Serialize for NameList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for NameList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = NameList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<NameList, A::Error> {
                std::iter::from_fn(|| names.next_element::<String>().transpose()).collect()
            }
        }
        deserializer.deserialize_seq(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_takes_no_more_room() {
        let text = r#"["b","a","c d"]"#;
        let list: NameList = serde_json::from_str(text).unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), ["b", "a", "c d"]);
        assert!(list.contains("a") && !list.contains("d") && list.0.len() <= text.len());
        assert_eq!(serde_json::to_string(&list).unwrap(), text);
        assert!(serde_json::from_str::<NameList>("[]").unwrap().is_empty());
        assert!(serde_json::from_str::<NameList>("[1]").is_err());
        let odd: NameList = ["a\nb"].into_iter().collect();
        assert_eq!(odd.iter().collect::<Vec<_>>(), ["ab"]);
    }
}
