//! A JSON text as a tree that keeps what a map of values would lose: the order of keys, repeated keys, every digit.

use std::fmt;

use foldlog::serde_json;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A part of a JSON text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// A string, a number, a truth value or null, as it is written.
    Leaf(Box<str>),
    Array(Vec<Node>),
    Object(Vec<(Box<str>, Node)>),
}

impl Node {
    /// Reads a text of the store. What is not JSON, which the store does not hold, becomes a leaf.
    pub(crate) fn parse(text: &str) -> Node {
        let text = text.trim();
        match text.as_bytes().first() {
            Some(b'{') => match serde_json::from_str::<Members<'_>>(text) {
                Ok(members) => {
                    Node::Object(members.0.into_iter().map(|(key, value)| (key.into(), Node::parse(value.get()))).collect())
                }
                Err(_) => Node::Leaf(text.into()),
            },
            Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
                Ok(items) => Node::Array(items.into_iter().map(|item| Node::parse(item.get())).collect()),
                Err(_) => Node::Leaf(text.into()),
            },
            _ => Node::Leaf(text.into()),
        }
    }

    /// The class that the style sheet knows a leaf by.
    pub(crate) fn class(leaf: &str) -> &'static str {
        match leaf.as_bytes().first() {
            Some(b'"') => "s",
            Some(b't' | b'f' | b'n') => "b",
            Some(b'-' | b'0'..=b'9') => "n",
            _ => "q",
        }
    }

    /// A member of an object.
    pub(crate) fn member(&self, name: &str) -> Option<&Node> {
        match self {
            Node::Object(members) => members.iter().find(|(key, _)| &**key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string, of another leaf as it is written; `None` for the rest.
    pub(crate) fn as_text(&self) -> Option<String> {
        match self {
            Node::Leaf(leaf) => Some(serde_json::from_str::<String>(leaf).unwrap_or_else(|_| leaf.to_string())),
            _ => None,
        }
    }

    /// One line that says what is in it: its first leaves with their names.
    pub(crate) fn summary(&self) -> String {
        let mut parts = Vec::new();
        self.collect_summary(None, &mut parts);
        parts.join(", ")
    }

    fn collect_summary(&self, name: Option<&str>, parts: &mut Vec<String>) {
        const MOST_PARTS: usize = 8;
        if parts.len() >= MOST_PARTS {
            return;
        }
        match self {
            Node::Object(members) => members.iter().for_each(|(key, value)| value.collect_summary(Some(key), parts)),
            Node::Array(items) => {
                parts.push(format!("{}{} items", name.map(|name| format!("{name}: ")).unwrap_or_default(), items.len()));
            }
            Node::Leaf(_) => {
                let value: String = self.as_text().unwrap_or_default().chars().take(80).collect();
                parts.push(name.map_or(value.clone(), |name| format!("{name}: {value}")));
            }
        }
    }

    /// The number of lines that it takes.
    pub(crate) fn lines(&self) -> usize {
        match self {
            Node::Leaf(_) => 1,
            Node::Array(items) if items.is_empty() => 1,
            Node::Array(items) => 2 + items.iter().map(Node::lines).sum::<usize>(),
            Node::Object(members) if members.is_empty() => 1,
            Node::Object(members) => 2 + members.iter().map(|(_, value)| value.lines()).sum::<usize>(),
        }
    }
}

/// The members of an object in the order of the text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_digits_and_repeated_keys_stay() {
        let node = Node::parse(r#"{"b":12345678901234567890.10,"a":[1e3,"\u0041"],"b":{},"10":null,"9":[]}"#);
        let Node::Object(members) = &node else { panic!("{node:?}") };
        assert_eq!(members.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["b", "a", "b", "10", "9"]);
        assert_eq!(members[0].1, Node::Leaf("12345678901234567890.10".into()));
        assert_eq!(members[1].1, Node::Array(vec![Node::Leaf("1e3".into()), Node::Leaf(r#""\u0041""#.into())]));
        assert_eq!((node.lines(), Node::parse("7").lines()), (10, 1));
        assert_eq!(node.summary(), "b: 12345678901234567890.10, a: 2 items, 10: null, 9: 0 items");
        assert_eq!(node.member("a").and_then(Node::as_text), None);
    }
}
