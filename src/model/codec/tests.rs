use super::*;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Point {
    x: i64,
    label: String,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Closed,
    Moved(Point),
    Counted(u64),
    Pair(i64, Option<String>),
    #[serde(rename_all = "camelCase")]
    Drawn {
        line_width: f64,
        at: Option<Point>,
    },
    Empty {},
    #[serde(rename = "Renamed!")]
    Other {
        text: String,
    },
    #[serde(alias = "old_name")]
    NewName(Vec<u8>),
}

fn all() -> Vec<(Shape, &'static str, &'static str)> {
    let point = Point { x: -1, label: "ü\"".into() };
    vec![
        (Shape::Closed, "closed", "{}"),
        (Shape::Moved(point.clone()), "moved", r#"{"x":-1,"label":"ü\""}"#),
        (Shape::Counted(u64::MAX), "counted", "18446744073709551615"),
        (Shape::Pair(3, None), "pair", "[3,null]"),
        (Shape::Drawn { line_width: 0.5, at: Some(point) }, "drawn", r#"{"lineWidth":0.5,"at":{"x":-1,"label":"ü\""}}"#),
        (Shape::Empty {}, "empty", "{}"),
        (Shape::Other { text: "\u{0}".into() }, "Renamed!", "{\"text\":\"\\u0000\"}"),
        (Shape::NewName(vec![1, 2]), "new_name", "[1,2]"),
    ]
}

#[test]
fn every_form_of_variant_there_and_back() {
    for (event, name, data) in all() {
        let (written_name, written) = encode(&event).unwrap();
        assert_eq!((&*written_name, written.as_str()), (name, data));
        assert_eq!(decode::<Shape>(&written_name, &written).unwrap(), event);
    }
}

#[test]
fn the_shape_is_serde_jsons_own() {
    for (event, name, data) in all().into_iter().skip(1) {
        let whole = serde_json::to_value(&event).unwrap();
        assert_eq!(whole[name], serde_json::from_str::<Value>(data).unwrap());
    }
}

#[test]
fn aliases_and_variants_that_lost_their_fields_are_read() {
    assert_eq!(decode::<Shape>("old_name", "[7]").unwrap(), Shape::NewName(vec![7]));
    for data in ["null", "{}", r#"{"why":"forgotten"}"#] {
        assert_eq!(decode::<Shape>("closed", data).unwrap(), Shape::Closed);
    }
}

#[test]
fn an_unknown_name_is_told_from_bad_data() {
    assert!(matches!(decode::<Shape>("nothing", "{}"), Err(DecodeError::UnknownVariant(_))));
    assert!(matches!(decode::<Shape>("counted", "-1"), Err(DecodeError::Data(_))));
    assert!(matches!(decode::<Shape>("counted", "1 2"), Err(DecodeError::Data(_))));
}

#[test]
fn serde_other_catches_unknown_names() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    enum Some {
        Known(u8),
        #[serde(other)]
        Unknown,
    }
    assert_eq!(decode::<Some>("Known", "1").unwrap(), Some::Known(1));
    assert_eq!(decode::<Some>("NeverSeen", r#"{"a":1}"#).unwrap(), Some::Unknown);
}

/// The same events in every form that serde has.
macro_rules! form {
    ($name:ident, $($attribute:tt)*) => {
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        $($attribute)*
        enum $name {
            Closed,
            Moved(Point),
            #[serde(rename = "drawn", alias = "painted", rename_all = "camelCase")]
            Drawn { line_width: f64, at: Option<Point> },
            Empty {},
            Coloured { colour: Colour, #[serde(default)] note: Option<u64> },
        }

        impl $name {
            fn all() -> Vec<($name, &'static str, &'static str)> {
                let point = Point { x: -1, label: "ü\"".into() };
                vec![
                    ($name::Closed, "Closed", "{}"),
                    ($name::Moved(point.clone()), "Moved", r#"{"x":-1,"label":"ü\""}"#),
                    ($name::Drawn { line_width: 0.1, at: Some(point) }, "drawn", r#"{"lineWidth":0.1,"at":{"x":-1,"label":"ü\""}}"#),
                    ($name::Empty {}, "Empty", "{}"),
                    ($name::Coloured { colour: Colour::Red, note: None }, "Coloured", r#"{"colour":"Red","note":null}"#),
                ]
            }
        }
    };
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Colour {
    Red,
}

form!(External,);
form!(Internal, #[serde(tag = "type")]);
form!(Adjacent, #[serde(tag = "type", content = "data")]);
form!(Strict, #[serde(tag = "t", content = "c", deny_unknown_fields, expecting = "words of its own")]);
form!(InternalInItsOwnWords, #[serde(tag = "kind", expecting = "words of its own")]);

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Catching {
    Closed,
    #[serde(alias = "Shut")]
    Counted(u64),
    Optional(Option<Point>),
    Empty {},
    Pair(u8, u8),
    Coloured {
        colour: Colour,
        #[serde(default)]
        note: Option<u64>,
    },
    /// serde tries the first variant in vain and then the second: that is no error.
    Either {
        number: Either,
    },
    #[serde(untagged)]
    Other(Value),
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u64),
    Text(String),
}

macro_rules! every_form {
    ($check:ident) => {
        $check!(External);
        $check!(Internal);
        $check!(Adjacent);
        $check!(Strict);
        $check!(InternalInItsOwnWords);
    };
}

#[test]
fn what_is_stored_does_not_depend_on_the_form() {
    macro_rules! check {
        ($form:ident) => {
            for (event, name, data) in $form::all() {
                let (written_name, written) = encode(&event).unwrap();
                assert_eq!((&*written_name, written.as_str()), (name, data), "{event:?}");
                assert_eq!(decode::<$form>(name, data).unwrap(), event);
            }
            assert!(matches!(decode::<$form>("painted", r#"{"lineWidth":1.0}"#), Ok($form::Drawn { .. })));
            for data in ["null", "5", r#"{"why":"forgotten"}"#] {
                let read = decode::<$form>("Closed", data);
                // An internal tag is a member of an object, and this is none.
                assert!(
                    matches!(read, Ok($form::Closed)) || data.len() < 5 && stringify!($form).starts_with("Internal"),
                    "{data}"
                );
            }
        };
    }
    every_form!(check);
}

#[test]
fn an_error_names_the_field_and_not_the_data() {
    macro_rules! check {
        ($form:ident) => {
            for (name, data, said) in [
                ("drawn", r#"{"at":null,"lineWidth":"secret"}"#, "field `lineWidth`: invalid type: string, expected f64"),
                ("drawn", r#"{"at":null}"#, "missing field `lineWidth`"),
                ("drawn", r#"{"lineWidth":1,"at":{"x":"secret","label":""}}"#, "field `at`: invalid type: string, expected i64"),
                ("Coloured", r#"{"colour":"secret"}"#, "field `colour`: unknown variant, expected `Red`"),
                ("Coloured", r#"{"colour":"Red","note":-1}"#, "field `note`: invalid value: integer, expected u64"),
                ("Moved", r#"{"x":1,"label":[]}"#, "field `label`: invalid type: sequence, expected a string"),
            ] {
                let error = decode::<$form>(name, data).unwrap_err();
                assert!(matches!(error, DecodeError::Data(_) | DecodeError::MissingField(_)), "{error:?}");
                assert!(error.to_string().starts_with(said), "{}: {error}, not {said}", stringify!($form));
            }
            assert!(matches!(decode::<$form>("nothing", "{}"), Err(DecodeError::UnknownVariant(_))));
            assert!(matches!(decode::<$form>("red", r#"{"colour":"Red"}"#), Err(DecodeError::UnknownVariant(_))));
        };
    }
    every_form!(check);
}

#[test]
fn the_keys_of_a_map_are_data() {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    enum Counted {
        Each(std::collections::BTreeMap<String, u64>),
    }
    let said = decode::<Counted>("Each", r#"{"secret":-1}"#).unwrap_err().to_string();
    assert!(said.starts_with("invalid value: integer, expected u64"), "{said}");
}

#[test]
fn an_untagged_variant_takes_what_is_unknown_and_nothing_else() {
    for (event, name, data) in [
        (Catching::Closed, "Closed", "{}"),
        (Catching::Counted(7), "Counted", "7"),
        (Catching::Optional(None), "Optional", "null"),
        (Catching::Optional(Some(Point { x: 1, label: String::new() })), "Optional", r#"{"x":1,"label":""}"#),
        (Catching::Empty {}, "Empty", "{}"),
        (Catching::Pair(1, 2), "Pair", "[1,2]"),
        (Catching::Coloured { colour: Colour::Red, note: Some(1) }, "Coloured", r#"{"colour":"Red","note":1}"#),
        (Catching::Either { number: Either::Text("five".into()) }, "Either", r#"{"number":"five"}"#),
        (Catching::Other(serde_json::json!({"NeverSeen": {"a": 1}})), "NeverSeen", r#"{"a":1}"#),
        (Catching::Other(serde_json::json!({"NeverSeen": {}})), "NeverSeen", "{}"),
        (Catching::Other(serde_json::json!({"NeverSeen": "text"})), "NeverSeen", r#""text""#),
    ] {
        let (written_name, written) = encode(&event).unwrap();
        assert_eq!((&*written_name, written.as_str()), (name, data));
        assert_eq!(decode::<Catching>(name, data).unwrap(), event);
    }
    assert_eq!(decode::<Catching>("Closed", r#"{"why":"forgotten"}"#).unwrap(), Catching::Closed);
    assert_eq!(decode::<Catching>("Shut", "7").unwrap(), Catching::Counted(7));
    for (name, data, said) in [
        ("Counted", r#""secret""#, "invalid type: string, expected u64"),
        ("Coloured", r#"{"colour":"secret"}"#, "field `colour`: unknown variant, expected `Red`"),
        ("Coloured", "{}", "missing field `colour`"),
        ("Coloured", r#"{"colour":"Red","note":-1}"#, "field `note`: invalid value: integer, expected u64"),
        ("Optional", "{}", "missing field `x`"),
    ] {
        let error = decode::<Catching>(name, data).unwrap_err();
        assert!(error.to_string().starts_with(said), "{name} {data}: {error}");
        assert!(matches!(error, DecodeError::Data(_) | DecodeError::MissingField(_)), "{error:?}");
    }
    for other in [serde_json::json!("text"), serde_json::json!({}), serde_json::json!({"A": 1, "B": 2}), serde_json::json!([1])] {
        let error = encode(&Catching::Other(other)).unwrap_err();
        assert!(error.to_string().contains("an object with one member"), "{error}");
    }
}

#[test]
fn an_untagged_enum_of_enums_is_read_as_the_first_that_knows_the_name() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Door {
        Opened,
        Painted(u8),
    }
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Any {
        Shape(External),
        Door(Door),
    }
    for (event, name) in [
        (Any::Shape(External::Closed), "Closed"),
        (Any::Shape(External::Empty {}), "Empty"),
        (Any::Door(Door::Opened), "Opened"),
        (Any::Door(Door::Painted(3)), "Painted"),
    ] {
        let (written_name, written) = encode(&event).unwrap();
        assert_eq!(written_name, name);
        assert_eq!(decode::<Any>(name, &written).unwrap(), event);
    }
}

#[test]
fn wrappers_are_looked_through() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Wrapper<T>(T);
    macro_rules! check {
        ($form:ident) => {
            for (event, name, data) in $form::all() {
                let event = Wrapper(event);
                assert_eq!(encode(&event).unwrap(), (name.into(), data.to_owned()));
                assert_eq!(decode::<Wrapper<$form>>(name, data).unwrap(), event);
            }
        };
    }
    every_form!(check);
}

#[test]
fn what_has_no_event_type_is_refused_with_what_to_write() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Deposited {
        kind: String,
        cents: u64,
    }
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        A { x: u8 },
        B(String),
    }
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(tag = "type")]
    enum TaggedAndUntagged {
        A {
            x: u8,
        },
        #[serde(untagged)]
        Other(Value),
    }
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(tag = "type")]
    enum Number {
        A(u64),
    }
    fn refused<E: Serialize + DeserializeOwned>(event: &E, said: &str) {
        let error = encode(event).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains(said), "{error}");
    }
    refused(&Deposited { kind: "a".into(), cents: 1 }, "Deposited is a struct; write an enum");
    refused(&Untagged::A { x: 1 }, "remove `untagged`");
    refused(&Untagged::B("b".into()), "remove `untagged`");
    refused(&TaggedAndUntagged::A { x: 1 }, "`tag` and `content`");
    refused(&TaggedAndUntagged::Other(Value::Null), "`tag` and `content`");
    refused(&Number::A(5), "cannot serialize tagged newtype variant Number::A containing an integer");
    refused(&5, "must be an enum");
    refused(&serde_json::json!({"a": 1}), "must be an enum");
    for read in [decode::<Deposited>("Deposited", "{}").err(), decode::<Untagged>("A", "{}").err()] {
        assert!(matches!(read, Some(DecodeError::NotAnEnum(_))), "{read:?}");
    }
}
