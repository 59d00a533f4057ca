use serde_json::{Value, json};

use super::*;
use crate::model::error::ErrorKind;

fn read(registry: &Registry, aggregate_type: &str, event_type: &str, version: u32, data: &str) -> Vec<(String, u32, Value)> {
    let mut parts = Vec::new();
    let event_type = Arc::from(event_type);
    let stored = Reading { index: 0, event_type: &event_type, schema_version: version, data };
    let read = registry.upcast(aggregate_type, stored, &mut |part| {
        assert_eq!(part.index, parts.len() as u64);
        parts.push((part.event_type.to_string(), part.schema_version, serde_json::from_str(part.data).unwrap()));
        Ok(())
    });
    read.unwrap();
    parts
}

fn refused(upcasters: Upcasters) -> String {
    let error = upcasters.registry().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    error.to_string()
}

#[test]
fn gaps_doubles_and_circles_are_refused() {
    let up = Upcasters::new;
    for (upcasters, says) in [
        (up().compatible("A", 2), "from schema version 2, and none from version 1 (event type \"A\")"),
        (up().compatible("A", 1).compatible("A", 3), "from schema version 3, and none from version 2"),
        (up().compatible("A", 0), "begins at schema version 0"),
        (up().compatible("", 1), "an empty event type"),
        (up().rename_type("A", 1, "", 1), "an empty event type"),
        (up().compatible("A", 1).discard("A", 1), "two upcasters from schema version 1"),
        (up().rename_type("A", 1, "B", 2), "leads to schema version 2, and the last one known is 1 (event type \"B\")"),
        (up().rename_type("A", 1, "B", 0), "leads to schema version 0"),
        (up().rename_type("A", 1, "A", 1), "in a circle: A 1, A 1"),
        (up().rename_type("A", 1, "B", 1).rename_type("B", 1, "A", 1), "in a circle: A 1, B 1, A 1"),
        (up().compatible("A", 1).rename_type("A", 2, "B", 1).rename_type("B", 1, "A", 1), "in a circle: A 1, A 2, B 1, A 1"),
        (up().split("A", 1, [("A", 3), ("B", 1)], |_| Ok(Vec::new())), "schema version 3, and the last one known"),
        (up().split("A", 1, [("B", 1), ("B", 1)], |_| Ok(Vec::new())), "names a type twice"),
        // Only the aggregates of one type go in a circle.
        (up().rename_type("A", 1, "B", 1).of_aggregates("x").rename_type("B", 1, "A", 1), "in a circle"),
    ] {
        assert!(refused(upcasters.clone()).contains(says), "{}", refused(upcasters));
    }
}

#[test]
fn a_type_can_split_off_a_part_and_stay() {
    let upcasters = Upcasters::new().split("Changed", 1, [("Changed", 2), ("Moved", 1)], |data| {
        Ok(vec![("Changed", json!({"name": data["name"]})), ("Moved", json!({"to": data["to"]}))])
    });
    let registry = upcasters.registry().unwrap();
    let parts = read(&registry, "x", "Changed", 1, r#"{"name":"n","to":7}"#);
    assert_eq!(parts, [("Changed".into(), 2, json!({"name": "n"})), ("Moved".into(), 1, json!({"to": 7}))]);
    registry.check_new("x", "Changed", None).unwrap();
    assert_eq!(registry.of_type("Changed").unwrap().current("Changed", "x"), Some(2));
    assert!(registry.matches(&["Moved".into()], "x", "Moved") && !registry.matches(&["Changed".into()], "x", "Moved"));
}

#[test]
fn an_unnamed_type_from_a_split_is_an_error() {
    let registry = Upcasters::new().split("A", 1, [("B", 1)], |data| Ok(vec![("C", data)])).registry().unwrap();
    let event_type = Arc::from("A");
    let stored = Reading { index: 0, event_type: &event_type, schema_version: 1, data: "{}" };
    let error = registry.upcast("x", stored, &mut |_| Ok(())).unwrap_err();
    assert!(error.kind() == ErrorKind::Codec && error.to_string().contains("returned the type \"C\""), "{error}");
}

#[test]
fn an_aggregate_types_own_upcasters_replace_the_others() {
    let upcasters = Upcasters::new()
        .add_field("Created", 1, "by", "all")
        .of_aggregates("order")
        .rename_type("Created", 1, "Placed", 1)
        .of_aggregates("user")
        .add_field("Created", 1, "by", "user")
        .add_field("Created", 2, "more", 1);
    let registry = upcasters.registry().unwrap();
    assert_eq!(read(&registry, "x", "Created", 1, "{}"), [("Created".into(), 2, json!({"by": "all"}))]);
    assert_eq!(read(&registry, "order", "Created", 1, "{}"), [("Placed".into(), 1, json!({}))]);
    assert_eq!(read(&registry, "user", "Created", 1, "{}"), [("Created".into(), 3, json!({"by": "user", "more": 1}))]);
    let names = ["Created".to_owned()];
    assert!(registry.matches(&names, "order", "Placed") && !registry.matches(&names, "user", "Placed"));
    assert!(registry.renamed("Created").is_none(), "only for one aggregate type");
    assert!(registry.check_new("order", "Created", None).is_err() && registry.check_new("user", "Created", Some(3)).is_ok());
}

#[test]
fn edits_keep_every_other_field_byte_for_byte() {
    let edited = |upcasters: Upcasters, data: &str| {
        let registry = upcasters.registry().unwrap();
        let (event_type, mut text) = (Arc::from("A"), String::new());
        let stored = Reading { index: 0, event_type: &event_type, schema_version: 1, data };
        let read = registry.upcast("x", stored, &mut |part| {
            text.push_str(part.data);
            Ok(())
        });
        read.unwrap();
        text
    };
    let up = Upcasters::new;
    let data = r#"{ "b" : 1.50e1, "a\"" : [ 1 ], "c":{"x":null} }"#;
    assert_eq!(
        edited(up().add_field("A", 1, "d", json!({"k": []})), data),
        r#"{"b":1.50e1,"a\"":[ 1 ],"c":{"x":null},"d":{"k":[]}}"#
    );
    assert_eq!(edited(up().add_field("A", 1, "b", 2), data), r#"{"b":1.50e1,"a\"":[ 1 ],"c":{"x":null}}"#);
    assert_eq!(edited(up().rename_field("A", 1, "a\"", "é\n"), data), r#"{"b":1.50e1,"é\n":[ 1 ],"c":{"x":null}}"#);
    assert_eq!(edited(up().rename_field("A", 1, "b", "c"), data), r#"{"a\"":[ 1 ],"c":{"x":null}}"#);
    assert_eq!(edited(up().rename_field("A", 1, "c", "c"), data), r#"{"b":1.50e1,"a\"":[ 1 ],"c":{"x":null}}"#);
    assert_eq!(edited(up().remove_field("A", 1, "b"), data), r#"{"a\"":[ 1 ],"c":{"x":null}}"#);
    assert_eq!(edited(up().remove_field("A", 1, "b"), r#"{"b":1}"#), "{}");
    assert_eq!(edited(up().add_field("A", 1, "b", 1), "{}"), r#"{"b":1}"#);
}

#[test]
fn a_filter_by_either_name_finds_both() {
    let upcasters = Upcasters::new()
        .rename_type("Old", 1, "New", 1)
        .compatible("New", 1)
        .split("Both", 1, [("Old", 1), ("Other", 1)], |_| Ok(Vec::new()))
        .discard("Noise", 1);
    let registry = upcasters.registry().unwrap();
    let stored = |name: &str| registry.stored_types(&[name.to_owned()]).into_iter().collect::<Vec<_>>();
    assert_eq!(stored("New"), ["Both", "New", "Old"]);
    assert_eq!(stored("Old"), ["Both", "New", "Old"]);
    assert_eq!(stored("Other"), ["Both", "Other"]);
    assert_eq!(stored("Else"), ["Else"]);
    let matches = |name: &str, event_type: &str| registry.matches(&[name.to_owned()], "x", event_type);
    assert!(matches("Old", "New") && matches("New", "New") && matches("Both", "Other") && !matches("Other", "New"));
    assert_eq!((registry.renamed("Old"), registry.renamed("New"), registry.renamed("Both")), (Some("New"), None, None));
    let counted = |name: &str| registry.keeps_counts(&[name.to_owned()]);
    assert!(!registry.keeps_counts(&[]) && !counted("New") && !counted("Noise") && counted("Else"));
}

#[test]
fn fingerprints_follow_what_a_fold_depends_on() {
    let of = |upcasters: Upcasters, aggregate_type: &str, variants: Option<&[&str]>| {
        upcasters.registry().unwrap().fingerprint(aggregate_type, variants)
    };
    let one = || Upcasters::new().add_field("A", 1, "x", 1);
    assert_eq!(of(Upcasters::new(), "x", None), 0);
    assert_eq!(of(one(), "x", Some(&["B"])), 0, "an event type that the fold does not have");
    let base = of(one(), "x", Some(&["A", "B"]));
    assert!(base != 0 && base == of(one(), "y", None));
    for other in [
        one().add_field("A", 2, "y", 1),
        Upcasters::new().add_field("A", 1, "x", 2),
        Upcasters::new().data("A", 1, Ok),
        one().revision(1),
        one().discard("Noise", 1),
        one().rename_type("Old", 1, "A", 2),
        one().of_aggregates("x").compatible("A", 1),
    ] {
        assert_ne!(of(other, "x", Some(&["A", "B"])), base);
    }
    assert_eq!(of(one().of_aggregates("other").discard("A", 1), "x", Some(&["A"])), base);
}
