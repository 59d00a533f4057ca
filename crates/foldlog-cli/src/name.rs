//! Names of aggregates on the command line: `TYPE/ID`, or `["TYPE","ID"]` for what that cannot express.

use std::fmt;

use foldlog::Store;

use crate::failure::Failure;
use crate::show::text;

/// An aggregate as the user named it. Where the type ends is found in the file, because both parts may hold slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Exact(String, String),
    Text(String),
}

/// For clap.
pub(crate) fn parse(text: &str) -> Result<Named, String> {
    if text.starts_with('[')
        && let Ok((aggregate_type, id)) = serde_json::from_str::<(String, String)>(text)
    {
        return Ok(Named::Exact(aggregate_type, id));
    }
    match text.split_once('/') {
        Some((aggregate_type, id)) if !aggregate_type.is_empty() && !id.is_empty() => Ok(Named::Text(text.to_owned())),
        _ => Err("expected TYPE/ID, such as order/4711; or [\"TYPE\",\"ID\"] in JSON".to_owned()),
    }
}

/// The type and the id of an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) aggregate_type: String,
    pub(crate) id: String,
}

impl Named {
    /// The possible readings: the text divided at each of its slashes.
    fn readings(&self) -> Vec<Name> {
        match self {
            Named::Exact(aggregate_type, id) => vec![Name { aggregate_type: aggregate_type.clone(), id: id.clone() }],
            Named::Text(text) => text
                .match_indices('/')
                .filter_map(|(at, _)| Some((text.get(..at)?, text.get(at + 1..)?)))
                .filter(|(aggregate_type, id)| !aggregate_type.is_empty() && !id.is_empty())
                .map(|(aggregate_type, id)| Name { aggregate_type: aggregate_type.to_owned(), id: id.to_owned() })
                .collect(),
        }
    }

    /// The aggregate, which need not exist: the reading whose type is in the file, or the first one.
    pub(crate) fn find(&self, store: &Store) -> Result<Name, Failure> {
        let readings = self.readings();
        let types = store.aggregate_types()?;
        let mut of_known_type = readings.iter().filter(|name| types.contains(&name.aggregate_type));
        let found = match (of_known_type.next(), of_known_type.next()) {
            (Some(one), None) => Some(one),
            (None, _) => readings.first(),
            (Some(_), Some(_)) => return self.of_several(&readings, store),
        };
        found.cloned().ok_or_else(|| Failure::usage("expected TYPE/ID, such as order/4711"))
    }

    fn of_several(&self, readings: &[Name], store: &Store) -> Result<Name, Failure> {
        let mut existing = Vec::new();
        for name in readings {
            if store.version(&name.aggregate_type, &name.id)? > 0 {
                existing.push(name.clone());
            }
        }
        match <[Name; 1]>::try_from(existing) {
            Ok([name]) => Ok(name),
            Err(several) if several.is_empty() => {
                readings.first().cloned().ok_or_else(|| Failure::usage("expected TYPE/ID, such as order/4711"))
            }
            Err(several) => {
                let ways: Vec<String> = several.iter().map(Name::as_json).collect();
                Err(Failure::usage("this name can be divided in several ways").hint(format!("write one of {}", ways.join(", "))))
            }
        }
    }

    /// The aggregate, which must have events.
    pub(crate) fn existing(&self, store: &Store) -> Result<Name, Failure> {
        let name = self.find(store)?;
        if store.version(&name.aggregate_type, &name.id)? > 0 {
            return Ok(name);
        }
        let what = match store.tenant_name() {
            foldlog::DEFAULT_TENANT => format!("no aggregate {name}"),
            tenant => format!("no aggregate {name} of tenant {}", text::safe(tenant)),
        };
        let hint = match self.elsewhere(store)? {
            None => near(store, &name)?,
            elsewhere => elsewhere,
        };
        Err(Failure::not_found(what).maybe_hint(hint))
    }
}

/// Tenants that are looked through for an aggregate that the tenant asked for does not have.
const TENANTS: usize = 100;

impl Named {
    /// The tenant that has the aggregate, if another one does.
    fn elsewhere(&self, store: &Store) -> Result<Option<String>, Failure> {
        for tenant in store.tenants()?.into_iter().take(TENANTS) {
            for Name { aggregate_type, id } in self.readings() {
                if store.tenant(&tenant).version(&aggregate_type, &id)? > 0 {
                    return Ok(Some(format!("another tenant has it: --tenant {}", text::safe(&tenant))));
                }
            }
        }
        Ok(None)
    }
}

impl Name {
    fn as_json(&self) -> String {
        text::safe_json(&serde_json::json!([self.aggregate_type, self.id]).to_string()).into_owned()
    }
}

/// In a form that can be given to the command again.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = format!("{}/{}", self.aggregate_type, self.id);
        let is_plain = !self.aggregate_type.contains('/') && !plain.starts_with('[') && text::is_safe(&plain);
        if is_plain { f.write_str(&plain) } else { f.write_str(&self.as_json()) }
    }
}

/// How many neighbours in the order of ids are compared with a name that was not found.
const NEIGHBOURS: usize = 2_000;

/// What the user may have meant.
fn near(store: &Store, missing: &Name) -> Result<Option<String>, Failure> {
    let types = store.aggregate_types()?;
    if !types.contains(&missing.aggregate_type) {
        let Some(aggregate_type) = nearest(&missing.aggregate_type, types.iter().map(String::as_str)) else {
            return Ok(match types.is_empty() {
                true => None,
                false => Some(format!("there are aggregates of {}", few(&types))),
            });
        };
        let name = Name { aggregate_type, id: missing.id.clone() };
        let exists = store.version(&name.aggregate_type, &name.id)? > 0;
        return Ok(Some(match exists {
            true => format!("did you mean {name}?"),
            false => format!("did you mean the type {}?", text::safe(&name.aggregate_type)),
        }));
    }
    // What differs at the end stands close by in the order of ids; the first character is assumed to be right.
    let first: String = missing.id.chars().take(1).collect();
    let shorter: String = missing.id.chars().take(missing.id.chars().count().saturating_sub(2)).collect();
    let of_type = store.json_aggregates(&missing.aggregate_type);
    let mut ids = Vec::new();
    for start in [first, shorter] {
        for id in of_type.ids().after(start).take(NEIGHBOURS) {
            ids.push(id?);
        }
    }
    let found = nearest(&missing.id, ids.iter().map(String::as_str));
    Ok(found.map(|id| format!("did you mean {}?", Name { aggregate_type: missing.aggregate_type.clone(), id })))
}

/// The candidate that is most like the text, if one is like it at all.
pub(crate) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        // Of equals the first one.
        .reduce(|best, other| if other.0 > best.0 { other } else { best })
        .map(|(_, candidate)| candidate.to_owned())
}

fn few(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(5).map(|name| text::safe(name).into_owned()).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use foldlog::{Expected, NewEvent};

    fn store(names: &[(&str, &str)]) -> Store {
        let store = Store::in_memory().unwrap();
        for (aggregate_type, id) in names {
            store.append(aggregate_type, id, Expected::Any, [NewEvent::new("Made", &()).unwrap()]).unwrap();
        }
        store
    }

    fn name(aggregate_type: &str, id: &str) -> Name {
        Name { aggregate_type: aggregate_type.to_owned(), id: id.to_owned() }
    }

    #[test]
    fn names_with_slashes_are_divided_where_the_type_ends() {
        let store = store(&[("file", "src/lib.rs"), ("a/b", "c"), ("a", "x")]);
        let find = |text| parse(text).unwrap().existing(&store);
        assert_eq!(find("file/src/lib.rs").unwrap(), name("file", "src/lib.rs"));
        assert_eq!(find("a/b/c").unwrap(), name("a/b", "c"));
        assert_eq!(find(r#"["a/b","c"]"#).unwrap(), name("a/b", "c"));
        assert_eq!(find("file/src/lib.r").unwrap_err().to_string(), "no aggregate file/src/lib.r; did you mean file/src/lib.rs?");
        assert_eq!(
            find("flie/src/lib.rs").unwrap_err().to_string(),
            "no aggregate flie/src/lib.rs; did you mean file/src/lib.rs?"
        );
        for text in ["", "a", "/a", "a/", "[1,2]", "[]"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_that_can_be_divided_twice_is_refused() {
        let store = store(&[("a", "b/c"), ("a/b", "c")]);
        let said = parse("a/b/c").unwrap().existing(&store).unwrap_err().to_string();
        assert!(said.contains(r#"["a","b/c"], ["a/b","c"]"#), "{said}");
    }

    #[test]
    fn what_is_shown_can_be_given_again() {
        for (aggregate_type, id) in
            [("order", "4711"), ("a/b", "c"), ("[x", "1]"), ("order", "new\nline\u{1b}[31m"), ("o", "a b\"c")]
        {
            let name = name(aggregate_type, id);
            let shown = name.to_string();
            assert!(!shown.chars().any(char::is_control), "{shown}");
            assert_eq!(parse(&shown).unwrap().readings().first(), Some(&name), "{shown}");
        }
    }
}
