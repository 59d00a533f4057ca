//! Changes to single fields, made in the text: all other fields stay byte for byte, and none of them is parsed.

use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A change to one field of an object.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// Unless there is such a field. The value is JSON text.
    Add {
        field: String,
        value: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        field: String,
    },
}

impl Edit {
    /// The object with the change made. An error if the data is not an object.
    pub(super) fn apply(&self, data: &str) -> serde_json::Result<String> {
        let Members(mut members) = serde_json::from_str(data)?;
        let has = |members: &[(String, &str)], field: &str| members.iter().any(|(key, _)| key == field);
        match self {
            Edit::Add { field, value } => {
                if !has(&members, field) {
                    members.push((field.clone(), value));
                }
            }
            Edit::Rename { from, to } => {
                // With both names, the new one is what the program that knew both meant.
                if from != to && has(&members, to) {
                    members.retain(|(key, _)| key != from);
                }
                members.iter_mut().filter(|(key, _)| key == from).for_each(|(key, _)| key.clone_from(to));
            }
            Edit::Remove { field } => members.retain(|(key, _)| key != field),
        }
        let mut text = String::with_capacity(data.len() + 32);
        for (at, (key, value)) in members.iter().enumerate() {
            text.push(if at == 0 { '{' } else { ',' });
            // Writing to a string cannot fail.
            let _ = write!(text, "{}:{value}", serde_json::to_string(key)?);
        }
        text.push_str(if members.is_empty() { "{}" } else { "}" });
        Ok(text)
    }

    /// What it does, for the fingerprint: the same text must mean the same change.
    pub(super) fn description(&self) -> String {
        match self {
            Edit::Add { field, value } => format!("add {field:?} {value}"),
            Edit::Rename { from, to } => format!("rename {from:?} {to:?}"),
            Edit::Remove { field } => format!("remove {field:?}"),
        }
    }
}

/// The members of an object in their order, each value as it is written.
struct Members<'de>(Vec<(String, &'de str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((key, value.get()));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
