//! Blanks single values of a JSON text: all the rest stays byte for byte.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The text with the values at a JSON pointer replaced: by `value`, or by an empty value of their kind. `None` if nothing
/// changes. A step `*` stands for every element of an array.
pub(crate) fn blank(text: &str, pointer: &str, value: Option<&str>) -> Option<String> {
    let mut found = Vec::new();
    let steps: Vec<String> = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    find(text, 0, &steps, &mut found);
    let mut changed = text.to_owned();
    // From the end, so that the places of the others stay.
    for range in found.into_iter().rev() {
        let old = changed.get(range.clone())?;
        let new = value.unwrap_or_else(|| empty(old)).to_owned();
        changed.replace_range(range, &new);
    }
    (changed != text).then_some(changed)
}

/// An empty value of the same kind: a program that reads the field still finds what it expects there.
fn empty(value: &str) -> &'static str {
    match value.bytes().next() {
        Some(b'"') => "\"\"",
        Some(b'{') => "{}",
        Some(b'[') => "[]",
        Some(b't' | b'f') => "false",
        Some(b'n') => "null",
        _ => "0",
    }
}

/// Finds where the values are; `begin` is where `text` begins in the whole.
fn find(text: &str, begin: usize, steps: &[String], found: &mut Vec<Range<usize>>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(begin..begin + text.len());
        return;
    };
    let Ok(Parts(parts)) = serde_json::from_str::<Parts<'_>>(text) else { return };
    for (at, (key, value)) in parts.into_iter().enumerate() {
        let is_it = match &key {
            Some(key) => key == step,
            None => step == "*" || *step == at.to_string(),
        };
        if is_it {
            // A raw value is a part of the text that it was read from.
            let offset = (value.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            find(value, begin + offset, rest, found);
        }
    }
}

/// The members of an object, those of the same name each, or the elements of an array; each value as it is written.
struct Parts<'de>(Vec<(Option<String>, &'de str)>);

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Parts<'de>, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
                let mut parts = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    parts.push((Some(key), value.get()));
                }
                Ok(Parts(parts))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts<'de>, A::Error> {
                let mut parts = Vec::new();
                while let Some(value) = seq.next_element::<&'de RawValue>()? {
                    parts.push((None, value.get()));
                }
                Ok(Parts(parts))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The member of the metadata that names what was erased of an event.
pub(crate) const ERASED: &str = "erasedFields";

/// Metadata that says what was erased of its event, in addition to what it said before.
pub(crate) fn marked(metadata: Option<&str>, erased: &[String]) -> Option<String> {
    let metadata = metadata.unwrap_or("{}");
    let mut all = marks(Some(metadata));
    all.extend(erased.iter().filter(|pointer| !all.contains(pointer)).cloned().collect::<Vec<_>>());
    let list = serde_json::to_string(&all).ok()?;
    if let Some(changed) = blank(metadata, &format!("/{ERASED}"), Some(&list)) {
        return Some(changed);
    }
    let members = serde_json::from_str::<std::collections::BTreeMap<String, IgnoredAny>>(metadata).ok()?;
    if members.contains_key(ERASED) {
        return Some(metadata.to_owned());
    }
    let open = metadata.trim_end().strip_suffix('}')?;
    let comma = if members.is_empty() { "" } else { "," };
    Some(format!("{open}{comma}\"{ERASED}\":{list}}}"))
}

/// What the metadata says was erased of its event.
pub(crate) fn marks(metadata: Option<&str>) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Marked {
        #[serde(rename = "erasedFields", default)]
        erased: Vec<String>,
    }
    let marked = metadata.filter(|text| text.contains(ERASED)).and_then(|text| serde_json::from_str::<Marked>(text).ok());
    marked.map_or_else(Vec::new, |marked| marked.erased)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_changes() {
        let text = r#"{ "a": "x" , "b":{"c":[1, {"d":true}, "y"], "a":"z"}, "n":null, "~/": 2.50 }"#;
        for (pointer, expected) in [
            ("/a", r#"{ "a": "" , "b":{"c":[1, {"d":true}, "y"], "a":"z"}, "n":null, "~/": 2.50 }"#),
            ("/b/a", r#"{ "a": "x" , "b":{"c":[1, {"d":true}, "y"], "a":""}, "n":null, "~/": 2.50 }"#),
            ("/b/c/*", r#"{ "a": "x" , "b":{"c":[0, {}, ""], "a":"z"}, "n":null, "~/": 2.50 }"#),
            ("/b/c/1/d", r#"{ "a": "x" , "b":{"c":[1, {"d":false}, "y"], "a":"z"}, "n":null, "~/": 2.50 }"#),
            ("/b", r#"{ "a": "x" , "b":{}, "n":null, "~/": 2.50 }"#),
            ("/~0~1", r#"{ "a": "x" , "b":{"c":[1, {"d":true}, "y"], "a":"z"}, "n":null, "~/": 0 }"#),
        ] {
            assert_eq!(blank(text, pointer, None).as_deref(), Some(expected), "{pointer}");
        }
        for pointer in ["/x", "/a/b", "/b/c/7", "/n"] {
            assert_eq!(blank(text, pointer, None), None, "{pointer}");
        }
        assert_eq!(blank(text, "/n", Some("7")).unwrap(), text.replace("null", "7"));
        assert_eq!(blank("\"all\"", "", None).as_deref(), Some("\"\""));
    }

    #[test]
    fn a_name_that_is_there_twice_is_found_twice() {
        assert_eq!(blank(r#"{"a":"first","a":"second"}"#, "/a", None).as_deref(), Some(r#"{"a":"","a":""}"#));
    }

    #[test]
    fn the_metadata_says_what_was_erased() {
        let erased = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let first = marked(None, &erased(&["/data/a"])).unwrap();
        assert_eq!(first, r#"{"erasedFields":["/data/a"]}"#);
        let second = marked(Some(&first), &erased(&["/data/a", "/tags"])).unwrap();
        assert_eq!(second, r#"{"erasedFields":["/data/a","/tags"]}"#);
        assert_eq!(marked(Some(&second), &erased(&["/tags"])).as_deref(), Some(&*second));
        let third = marked(Some(r#"{"userId":"u-1"} "#), &erased(&["/tags"])).unwrap();
        assert_eq!(third, r#"{"userId":"u-1","erasedFields":["/tags"]}"#);
        assert_eq!(marks(Some(&third)), ["/tags"]);
        assert!(marks(None).is_empty());
    }
}
