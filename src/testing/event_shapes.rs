//! The shapes of stored events, kept in a file beside the tests: a changed shape without a new schema version fails a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::unexpected;
use crate::model::codec;
use crate::{Aggregate, ErrorKind, Expected, Json, NewEvent, Options, Query, Store, UnknownEvents, Upcasters};

/// Set to `accept`, the file is written anew instead of being compared.
const ACCEPT: &str = "FOLDLOG_EVENT_SHAPES";

/// Checks that the shapes of stored events change only together with their schema versions, and that what old versions
/// stored can still be read. Path, relative to `Cargo.toml`; upcasters; samples of the events of each aggregate.
///
/// The file holds a line for each event type and schema version: its shape, and a sample of what is stored. Commit it.
/// The test fails
/// - if today's program stores an event type in another shape than its line says: with a new schema version and an
///   upcaster, old events are read in the new shape, and old programs do not mistake new events;
/// - if today's program cannot read the sample of a line any more, also of types that were renamed or removed;
/// - if an event type has no sample, or has no line yet.
///
/// `FOLDLOG_EVENT_SHAPES=accept cargo test` writes the missing lines. It also accepts a changed shape without a new
/// schema version if the old sample can still be read; that is right only if old programs can read new events, too.
///
/// The shape is that of the samples, so fill every optional field in at least one of a variant's samples.
///
/// ```
/// # use foldlog::{Aggregate, Upcasters};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # enum AccountEvent { Opened { owner: String }, Deposited { cents: u64 } }
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Account { cents: u64 }
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "account";
/// #     type Event = AccountEvent;
/// #     fn apply(&mut self, _: AccountEvent) {}
/// # }
/// # fn upcasters() -> Upcasters { Upcasters::new() }
/// // A test of the application.
/// fn shapes() {
///     foldlog::testing::event_shapes!("tests/event_shapes.jsonl", upcasters(), {
///         Account => [AccountEvent::Opened { owner: "Ada".into() }, AccountEvent::Deposited { cents: 5 }],
///     });
/// }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __event_shapes {
    ($path:expr, $upcasters:expr, { $($aggregate:ty => $samples:expr),+ $(,)? }) => {
        $crate::testing::EventShapes::new(
            ::std::path::Path::new(::std::env!("CARGO_MANIFEST_DIR")).join($path),
            $upcasters,
        )
        $(.of::<$aggregate>($samples))+
        .check()
    };
}

#[doc(inline)]
pub use crate::__event_shapes as event_shapes;

/// What [`event_shapes!`] runs: the shapes of today's events, to be compared with a file.
#[must_use = "it compares nothing before `check`"]
pub struct EventShapes {
    file: PathBuf,
    store: Store,
    today: BTreeMap<Key, Line>,
    /// Reads the sample of an older line: for each aggregate type.
    readers: BTreeMap<&'static str, Reader>,
    wrong: Vec<String>,
}

/// Returns why the sample cannot be read.
type Reader = fn(&Store, &Line) -> Result<(), String>;

/// Aggregate type, event type, schema version.
type Key = (String, String, u32);

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    aggregate_type: String,
    event_type: String,
    schema_version: u32,
    shape: String,
    sample: Json,
}

impl Line {
    fn key(&self) -> Key {
        (self.aggregate_type.clone(), self.event_type.clone(), self.schema_version)
    }
}

impl fmt::Debug for EventShapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventShapes").field("file", &self.file).field("today", &self.today.keys()).finish_non_exhaustive()
    }
}

impl EventShapes {
    /// Starts with the file's path and the application's upcasters.
    #[track_caller]
    pub fn new(file: impl AsRef<Path>, upcasters: Upcasters) -> EventShapes {
        let store = Options::new().upcasters(upcasters).and_then(Options::in_memory);
        let store = store.unwrap_or_else(|error| unexpected("the upcasters cannot be used", &error));
        let file = file.as_ref().to_owned();
        EventShapes { file, store, today: BTreeMap::new(), readers: BTreeMap::new(), wrong: Vec::new() }
    }

    /// Adds the events of an aggregate: at least one sample of each variant.
    #[track_caller]
    pub fn of<A: Aggregate>(mut self, samples: impl IntoIterator<Item = A::Event>) -> EventShapes {
        let aggregates = self.store.aggregates::<A>();
        for sample in samples {
            if let Err(error) = aggregates.append("sample", Expected::Any, [sample]) {
                unexpected("a sample cannot be appended", &error);
            }
        }
        let mut shapes: BTreeMap<Key, (Shape, Json)> = BTreeMap::new();
        for event in self.store.read(Query::aggregate(A::TYPE, "sample").as_stored()) {
            let event = event.unwrap_or_else(|error| unexpected("a sample cannot be read", &error));
            let value = event.data.to_value().unwrap_or_else(|error| unexpected("a sample is not JSON", &error));
            let key = (A::TYPE.to_owned(), event.event_type.to_string(), event.schema_version);
            let (shape, _) = shapes.entry(key).or_insert_with(|| (Shape::default(), event.data));
            shape.add(&value);
        }
        let seen: BTreeSet<String> = shapes.keys().map(|(_, event_type, _)| event_type.clone()).collect();
        for missing in codec::event_types::<A::Event>().unwrap_or_default().iter().filter(|name| !seen.contains(**name)) {
            self.wrong.push(format!("there is no sample of {} {missing}", A::TYPE));
        }
        for (key, (shape, sample)) in shapes {
            let (aggregate_type, event_type, schema_version) = key.clone();
            let line = Line { aggregate_type, event_type, schema_version, shape: shape.to_string(), sample };
            self.today.insert(key, line);
        }
        self.readers.insert(A::TYPE, read_old::<A>);
        self
    }

    /// Compares with the file; or writes it, if the environment variable `FOLDLOG_EVENT_SHAPES` is `accept`.
    #[track_caller]
    pub fn check(mut self) {
        let is_accepting = std::env::var_os(ACCEPT).is_some_and(|value| value == "accept");
        let locked = self.locked();
        let mut lines = locked.clone();
        let accept = format!("`{ACCEPT}=accept cargo test`");
        for (key, today) in &self.today {
            let (aggregate_type, event_type, version) = key;
            match locked.get(key) {
                Some(line) if line.shape == today.shape => continue,
                _ if is_accepting => {}
                Some(line) => self.wrong.push(format!(
                    "{aggregate_type} {event_type} is stored in another shape, and its schema version is still {version}:\n    - {}\n    \
                     + {}\n  Register an upcaster from version {version}, so that new events get the next version. If old and new \
                     programs can read both shapes, {accept} accepts the new one.",
                    line.shape, today.shape
                )),
                None => self.wrong.push(format!(
                    "{aggregate_type} {event_type} in schema version {version} is not in the file yet: {accept} adds it"
                )),
            }
            lines.insert(key.clone(), today.clone());
        }
        for line in locked.values() {
            let read = match self.readers.get(&*line.aggregate_type) {
                Some(read) => read(&self.store, line),
                None => Err("no aggregate of this type was named".to_owned()),
            };
            if let Err(why) = read {
                let Line { aggregate_type, event_type, schema_version, sample, .. } = line;
                self.wrong.push(format!(
                    "{aggregate_type} {event_type} as schema version {schema_version} stored it cannot be read: {why}\n    {}\n  If no such event was ever \
                     stored, delete its line.",
                    sample.as_str()
                ));
            }
        }
        if !self.wrong.is_empty() {
            panic!("the shapes of stored events, {}:\n- {}", self.file.display(), self.wrong.join("\n- "));
        }
        if is_accepting {
            self.write(&lines);
        }
    }

    #[track_caller]
    fn locked(&self) -> BTreeMap<Key, Line> {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => panic!("{} cannot be read: {error}", self.file.display()),
        };
        let parse = |(number, text): (usize, &str)| match serde_json::from_str::<Line>(text) {
            Ok(line) => (line.key(), line),
            Err(error) => panic!("{}, line {}: {error}", self.file.display(), number + 1),
        };
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
    }

    #[track_caller]
    fn write(&self, lines: &BTreeMap<Key, Line>) {
        let line = |line: &Line| match serde_json::to_string(line) {
            Ok(text) => format!("{text}\n"),
            Err(error) => unexpected("a line cannot be written", &error),
        };
        let text: String = lines.values().map(line).collect();
        if let Err(error) = std::fs::write(&self.file, text) {
            panic!("{} cannot be written: {error}", self.file.display());
        }
    }
}

/// Reads a sample as a replay would.
fn read_old<A: Aggregate>(store: &Store, line: &Line) -> Result<(), String> {
    let old = NewEvent::with_json(&*line.event_type, line.sample.clone()).schema_version(line.schema_version);
    let appended = store.append(A::TYPE, "old", Expected::Any, [old]).map_err(|error| error.to_string())?;
    for event in store.read(Query::aggregate(A::TYPE, "old").after_version(appended.version.get() - 1)) {
        match event.and_then(|event| event.decode::<A::Event>()) {
            Err(error) if error.kind() == ErrorKind::UnknownEventType && A::UNKNOWN_EVENTS == UnknownEvents::Ignore => {}
            Err(error) => return Err(error.to_string()),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// What was seen at one place of the JSON of several samples.
#[derive(Default)]
struct Shape {
    scalars: BTreeSet<&'static str>,
    items: Option<Box<Shape>>,
    /// The fields, each with the number of objects that had it.
    fields: Option<BTreeMap<String, (Shape, usize)>>,
    objects: usize,
}

impl Shape {
    fn add(&mut self, value: &Value) {
        match value {
            Value::Null => drop(self.scalars.insert("null")),
            Value::Bool(_) => drop(self.scalars.insert("boolean")),
            Value::String(_) => drop(self.scalars.insert("string")),
            Value::Number(number) if number.is_f64() => drop(self.scalars.insert("number")),
            Value::Number(_) => drop(self.scalars.insert("integer")),
            Value::Array(items) => {
                let shape = self.items.get_or_insert_default();
                items.iter().for_each(|item| shape.add(item));
            }
            Value::Object(fields) => {
                self.objects += 1;
                let shapes = self.fields.get_or_insert_default();
                for (field, value) in fields {
                    let (shape, count) = shapes.entry(field.clone()).or_default();
                    shape.add(value);
                    *count += 1;
                }
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.scalars.iter().map(ToString::to_string).collect();
        parts.extend(self.items.as_ref().map(|items| format!("[{items}]")));
        parts.extend(self.fields.as_ref().map(|fields| {
            let field = |(name, (shape, count)): (&String, &(Shape, usize))| {
                let mark = if *count < self.objects { "?" } else { "" };
                format!("{name}{mark}: {shape}")
            };
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }));
        f.write_str(&parts.join(" | "))
    }
}
