//! serde's reasons why data does not fit, without the data.

use std::fmt;

use serde_json::error::Category;

/// serde quotes the value that it refused, but a payload does not belong in an error. What remains comes from the
/// program's own types: the kind of value, what was expected, which field is missing, and where.
#[derive(Clone, Debug)]
pub(crate) struct Redacted(String);

impl Redacted {
    /// The reason from a message of serde that names no place.
    pub(crate) fn of(said: &str) -> Redacted {
        Redacted(without_data(said))
    }

    /// The same reason, with the field's name.
    pub(crate) fn of_field(field: &str, reason: &impl fmt::Display) -> Redacted {
        let reason = reason.to_string();
        if reason.contains(&format!("field `{field}`")) {
            Redacted(reason)
        } else {
            Redacted(format!("field `{field}`: {reason}"))
        }
    }

    /// Whether it expected something that begins with these words.
    pub(crate) fn expects(&self, what: &str) -> bool {
        self.0.split_once(", expected ").is_some_and(|(_, expected)| expected.starts_with(what))
    }
}

/// The kinds of value with which serde's messages begin.
const SORTS: [&str; 9] = ["boolean", "integer", "floating point", "character", "string", "null", "unit", "sequence", "map"];

impl From<serde_json::Error> for Redacted {
    fn from(error: serde_json::Error) -> Redacted {
        let text = error.to_string();
        if error.classify() != Category::Data {
            // Syntax errors are fixed texts of serde_json.
            return Redacted(text);
        }
        let place = format!(" at line {} column {}", error.line(), error.column());
        match text.strip_suffix(&place) {
            Some(said) => Redacted(format!("{}{place}", without_data(said))),
            None => Redacted::of(&text),
        }
    }
}

fn without_data(said: &str) -> String {
    if said.starts_with("missing field `")
        || said.starts_with("duplicate field `")
        || said.starts_with("invalid length ")
        || said.starts_with("data did not match any variant of untagged enum ")
    {
        return said.to_owned();
    }
    // The expectation comes last, so no part of the value can follow it.
    let expected = said.rfind(", expected ").and_then(|at| said.get(at..)).unwrap_or_default();
    for start in ["invalid type", "invalid value"] {
        if let Some(value) = said.strip_prefix(start).and_then(|rest| rest.strip_prefix(": ")) {
            let sort = SORTS.into_iter().find(|sort| value.starts_with(sort)).unwrap_or("a value");
            return format!("{start}: {sort}{expected}");
        }
    }
    for start in ["unknown field", "unknown variant"] {
        if said.strip_prefix(start).is_some_and(|rest| rest.starts_with(" `")) {
            return format!("{start}{expected}");
        }
    }
    "a value was refused".to_owned()
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Redacted {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Deposit {
        cents: u64,
        pair: Option<(u8, u8)>,
        colour: Option<Colour>,
        id: Option<uuid::Uuid>,
    }

    #[derive(Debug, Deserialize)]
    enum Colour {
        Red,
    }

    #[test]
    fn what_fits_not_is_told_without_the_data() {
        for (data, said) in [
            (r#"{"cents":"secret, expected secret"}"#, "invalid type: string, expected u64 at line 1 column 34"),
            (r#"{"cents":-777}"#, "invalid value: integer, expected u64 at line 1 column 13"),
            (r#"{"cents":1,"secret":2}"#, "unknown field, expected one of `cents`, `pair`, `colour`, `id` at line 1 column 19"),
            (r#"{"cents":1,"colour":"secret"}"#, "unknown variant, expected `Red` at line 1 column 28"),
            (r#"{"cents":1,"pair":[1]}"#, "invalid length 1, expected a tuple of size 2 at line 1 column 21"),
            ("{}", "missing field `cents` at line 1 column 2"),
            (r#"{"cents":1,"id":"secret"}"#, "a value was refused at line 1 column 24"),
            (r#"{"cents":1"#, "EOF while parsing an object at line 1 column 10"),
        ] {
            let error = serde_json::from_str::<Deposit>(data).unwrap_err();
            assert_eq!(Redacted::from(error).to_string(), said, "{data}");
        }
    }
}
