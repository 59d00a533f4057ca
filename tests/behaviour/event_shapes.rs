//! The lock file of event shapes: what it accepts, and what it says when a shape was changed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use foldlog::testing::EventShapes;
use foldlog::{Aggregate, Upcasters};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::support::Place;

/// An aggregate whose events are of any type, as they change from version to version of a program.
struct Of<E>(std::marker::PhantomData<E>);

impl<E> Default for Of<E> {
    fn default() -> Of<E> {
        Of(std::marker::PhantomData)
    }
}

impl<E> Serialize for Of<E> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de, E> Deserialize<'de> for Of<E> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Of<E>, D::Error> {
        <()>::deserialize(deserializer).map(|()| Of::default())
    }
}

impl<E: Serialize + DeserializeOwned + 'static> Aggregate for Of<E> {
    const TYPE: &'static str = "account";
    type Event = E;
    fn apply(&mut self, _: E) {}
}

#[derive(Serialize, Deserialize)]
enum First {
    Opened { owner: String, since: Option<u64> },
    Paid { euros: f64 },
    Closed,
}

fn first() -> Vec<First> {
    let opened = |since| First::Opened { owner: "Ada".into(), since };
    vec![opened(None), opened(Some(7)), First::Paid { euros: 1.0 }, First::Closed]
}

/// `Opened` has a field more, `Paid` is gone.
#[derive(Serialize, Deserialize)]
enum Second {
    Opened { owner: String, since: Option<u64>, verified: bool },
    Closed,
}

fn second() -> Vec<Second> {
    vec![
        Second::Opened { owner: "Ada".into(), since: None, verified: true },
        Second::Opened { owner: "B".into(), since: Some(7), verified: true },
        Second::Closed,
    ]
}

fn shapes<E: Serialize + DeserializeOwned + 'static>(place: &Place, upcasters: Upcasters, samples: Vec<E>) -> EventShapes {
    EventShapes::new(place.join("shapes.jsonl"), upcasters).of::<Of<E>>(samples)
}

/// What the check says when it fails.
#[track_caller]
fn fails(shapes: EventShapes) -> String {
    let failed = catch_unwind(AssertUnwindSafe(|| shapes.check())).expect_err("the check must fail");
    *failed.downcast::<String>().unwrap()
}

/// Writes the lines that the environment variable would write.
fn lock(place: &Place, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(place.join("shapes.jsonl"), text).unwrap();
}

fn line(event_type: &str, version: u32, shape: &str, sample: Value) -> Value {
    json!({"aggregateType": "account", "eventType": event_type, "schemaVersion": version, "shape": shape, "sample": sample})
}

fn first_lines() -> Vec<Value> {
    vec![
        line("Closed", 1, "{}", json!({})),
        line("Opened", 1, "{owner: string, since: integer | null}", json!({"owner": "Ada", "since": null})),
        line("Paid", 1, "{euros: number}", json!({"euros": 1.0})),
    ]
}

#[test]
fn an_unchanged_program_passes_and_a_new_type_is_named() {
    let place = Place::new();
    let said = fails(shapes(&place, Upcasters::new(), first()));
    for event_type in ["Opened", "Paid", "Closed"] {
        let part = format!("account {event_type} in schema version 1 is not in the file yet");
        assert!(said.contains(&part) && said.contains("FOLDLOG_EVENT_SHAPES=accept cargo test"), "{said}");
    }
    lock(&place, &first_lines());
    shapes(&place, Upcasters::new(), first()).check();
}

#[test]
fn a_changed_shape_needs_a_new_version_and_old_samples_must_stay_readable() {
    let place = Place::new();
    lock(&place, &first_lines());
    let said = fails(shapes(&place, Upcasters::new(), second()));
    for part in [
        "account Opened is stored in another shape, and its schema version is still 1",
        "- {owner: string, since: integer | null}",
        "+ {owner: string, since: integer | null, verified: boolean}",
        "Register an upcaster from version 1",
        "account Opened as schema version 1 stored it cannot be read",
        "missing field `verified`",
        "account Paid as schema version 1 stored it cannot be read",
    ] {
        assert!(said.contains(part), "{said}");
    }
    // With an upcaster, old samples can be read; only the new version is not in the file.
    let upcasters = || Upcasters::new().add_field("Opened", 1, "verified", false).discard("Paid", 1);
    let said = fails(shapes(&place, upcasters(), second()));
    assert!(
        said.contains("account Opened in schema version 2 is not in the file yet") && said.matches("\n- ").count() == 1,
        "{said}"
    );
    let opened = line(
        "Opened",
        2,
        "{owner: string, since: integer | null, verified: boolean}",
        json!({"owner": "Ada", "since": null, "verified": true}),
    );
    lock(&place, &[first_lines(), vec![opened]].concat());
    shapes(&place, upcasters(), second()).check();
}

#[test]
fn every_variant_needs_a_sample() {
    let place = Place::new();
    lock(&place, &first_lines());
    let said = fails(shapes(&place, Upcasters::new(), first().into_iter().take(2).collect()));
    assert!(said.contains("there is no sample of account Paid") && said.contains("no sample of account Closed"), "{said}");

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Opened { owner: String },
        Closed,
    }
    let said = fails(shapes(&place, Upcasters::new(), vec![Tagged::Opened { owner: "Ada".into() }]));
    assert!(said.contains("no sample of account Closed") && !said.contains("no sample of account Opened"), "{said}");
    let _ = Tagged::Closed;
}

#[test]
fn shapes_show_what_json_shows() {
    #[derive(Serialize, Deserialize)]
    enum Any {
        It(Value),
    }
    let place = Place::new();
    let samples =
        [json!({"a": [1, "x", null], "b": {"c": true}, "d": 1}), json!({"a": [], "b": {"c": false, "e": 1.5}, "d": [{"f": {}}]})];
    let said = fails(shapes(&place, Upcasters::new(), samples.clone().map(Any::It).into()));
    assert!(said.contains("is not in the file"), "{said}");
    let shape = "{a: [integer | null | string], b: {c: boolean, e?: number}, d: integer | [{f: {}}]}";
    lock(&place, &[line("It", 1, shape, samples[0].clone())]);
    shapes(&place, Upcasters::new(), samples.clone().map(Any::It).into()).check();
    let said = fails(shapes(&place, Upcasters::new(), samples[..1].iter().cloned().map(Any::It).collect()));
    assert!(said.contains("+ {a: [integer | null | string], b: {c: boolean}, d: integer}"), "{said}");
}

#[test]
fn a_damaged_or_foreign_line_is_named() {
    let place = Place::new();
    std::fs::write(place.join("shapes.jsonl"), "\n{\"aggregateType\":1}\n").unwrap();
    let said = fails(shapes(&place, Upcasters::new(), first()));
    assert!(said.contains("shapes.jsonl, line 2"), "{said}");
    let mut foreign = line("Opened", 1, "{}", json!({}));
    foreign["aggregateType"] = json!("order");
    lock(&place, &[first_lines(), vec![foreign]].concat());
    let said = fails(shapes(&place, Upcasters::new(), first()));
    assert!(said.contains("order Opened") && said.contains("no aggregate of this type was named"), "{said}");
}

/// The file is written by a process of its own, because the variable is the whole process's.
#[test]
fn accepting_writes_the_file() {
    const CHILD: &str = "FOLDLOG_TEST_SHAPES";
    if let Some(directory) = std::env::var_os(CHILD) {
        let file = std::path::Path::new(&directory).join("shapes.jsonl");
        EventShapes::new(file, Upcasters::new()).of::<Of<First>>(first()).check();
        return;
    }
    let place = Place::new();
    let accept = || {
        let me = std::env::current_exe().unwrap();
        let arguments = ["--exact", "event_shapes::accepting_writes_the_file"];
        let variables = [(CHILD, place.directory().as_os_str()), ("FOLDLOG_EVENT_SHAPES", "accept".as_ref())];
        let done = std::process::Command::new(me).args(arguments).envs(variables).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        let text = std::fs::read_to_string(place.join("shapes.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    assert_eq!(accept(), first_lines());
    shapes(&place, Upcasters::new(), first()).check();
    // A changed shape is accepted too; what old versions stored stays.
    let old = line("Paid", 1, "{euros: string}", json!({"euros": 2.0}));
    lock(&place, &[first_lines()[..2].to_vec(), vec![old]].concat());
    assert_eq!(accept(), first_lines());
}
