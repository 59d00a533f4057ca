//! Everything that can be asked of a log, so that the answers of a damaged file can be held against those of the sound one.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use foldlog::{Aggregate, Error, ErrorKind, EventId, Expected, Json, NewEvent, Query, RecordedEvent, Store};

use crate::support::model::{Account, AccountEvent, Name, accounts};

/// An answer, made small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Value(u64),
    /// Events, and whether the list came to its end.
    List(Vec<u64>, bool),
    Error(ErrorKind),
}

impl Answer {
    /// Whether a damaged file may answer so where the sound one answers `truth`: with the truth, with an error, or with
    /// the beginning of the truth and then an error. That something does not exist is an answer, not an error.
    pub fn is_honest(&self, truth: &Answer) -> bool {
        match (self, truth) {
            (Answer::Error(ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::DuplicateEventId), _) => self == truth,
            (Answer::Error(_), _) => true,
            (Answer::List(items, false), Answer::List(all, _)) => all.starts_with(items),
            _ => self == truth,
        }
    }
}

type Ask = Box<dyn Fn(&Store) -> Answer>;

/// Questions with their names.
pub struct Questions {
    pub reads: Vec<(String, Ask)>,
    /// Each is asked of a fresh copy: it changes the file.
    pub writes: Vec<(String, Ask)>,
}

fn hash(value: &impl Debug) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{value:?}").hash(&mut hasher);
    hasher.finish()
}

/// Everything of an event, byte for byte.
fn hash_event(event: &RecordedEvent) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event.position, event.id, &event.tenant, &event.aggregate_type, &event.aggregate_id).hash(&mut hasher);
    (event.version, &event.event_type, event.schema_version, event.created_at).hash(&mut hasher);
    (event.commit_id, event.origin, &event.tags, event.data.as_str()).hash(&mut hasher);
    event.metadata.as_ref().map(Json::as_str).hash(&mut hasher);
    hasher.finish()
}

fn value<T: Debug>(result: Result<T, Error>) -> Answer {
    match result {
        Ok(value) => Answer::Value(hash(&value)),
        Err(error) => failed(&error),
    }
}

/// No error of a damaged file may quote what an event holds: see [`crate::support::model::Planner`] for its notes.
fn failed(error: &Error) -> Answer {
    let said =
        format!("{error} {error:?} {}", std::error::Error::source(error).map(|cause| cause.to_string()).unwrap_or_default());
    assert!(!said.contains("a note"), "an error quotes a payload: {said}");
    Answer::Error(error.kind())
}

fn list(store: &Store, query: Query) -> Answer {
    let mut items = Vec::new();
    for event in store.read(query) {
        match event {
            Ok(event) => items.push(hash_event(&event)),
            Err(error) if items.is_empty() => return failed(&error),
            Err(_) => return Answer::List(items, false),
        }
    }
    Answer::List(items, true)
}

impl Questions {
    /// About these aggregates and events, and about some that do not exist.
    pub fn about(names: &[Name], ids: &[EventId]) -> Questions {
        let mut questions = Questions { reads: Vec::new(), writes: Vec::new() };
        questions.about_the_log();
        let absent = [("default".to_owned(), "absent".to_owned()), ("nobody".to_owned(), "acc-1".to_owned())];
        for (tenant, id) in names.iter().chain(&absent).cloned() {
            questions.about_an_aggregate(tenant, id);
        }
        for id in ids.iter().copied() {
            questions.read(format!("event {id}"), move |store| {
                value(store.event(id).map(|found| found.map(|event| (event.position, event.data.into_string()))))
            });
            questions.write(format!("append event {id} again"), move |store| {
                let event = NewEvent::of(&AccountEvent::Closed).expect("an event").id(id);
                value(store.append(Account::TYPE, "acc-1", Expected::Any, [event]).map(|done| done.already_there))
            });
        }
        questions
    }

    fn read(&mut self, name: impl Into<String>, ask: impl Fn(&Store) -> Answer + 'static) {
        self.reads.push((name.into(), Box::new(ask)));
    }

    fn write(&mut self, name: impl Into<String>, ask: impl Fn(&Store) -> Answer + 'static) {
        self.writes.push((name.into(), Box::new(ask)));
    }

    fn about_the_log(&mut self) {
        self.read("all events", |store| list(store, Query::new().all_tenants()));
        self.read("all events, newest first", |store| list(store, Query::new().all_tenants().newest_first()));
        self.read("a tenant's events", |store| list(&store.tenant("acme"), Query::new()));
        self.read("events after a position", |store| list(store, Query::new().after_position(200).limit(50)));
        for event_type in ["Deposited", "Withdrawn", "Closed", "Never"] {
            self.read(format!("events of type {event_type}"), move |store| list(store, Query::new().event_type(event_type)));
            self.read(format!("count of type {event_type}"), move |store| {
                value(store.count_events(None, None, Some(event_type)))
            });
        }
        for tag in ["tag-0", "tag-3", "never"] {
            self.read(format!("events with tag {tag}"), move |store| list(store, Query::new().tag(tag)));
        }
        for day in ["2026-01-05", "2026-01-20"] {
            let time: chrono::DateTime<chrono::Utc> = format!("{day}T00:00:00Z").parse().expect("a time");
            self.read(format!("events from {day}"), move |store| list(store, Query::new().from(time)));
            self.read(format!("events to {day}"), move |store| list(store, Query::new().to(time)));
        }
        self.read("last position", |store| value(store.last_position()));
        self.read("count", |store| value(store.count_events(None, None, None)));
        self.read("statistics", |store| value(store.statistics()));
        self.read("tenants", |store| value(store.tenants()));
        self.read("aggregate types", |store| value(store.aggregate_types()));
        self.read("ids", |store| value(accounts(store, "default").ids(None, 100)));
        self.write("append to a new aggregate", |store| append(store, "default", "new", Expected::New));
        self.write("append for a new tenant", |store| append(store, "new", "new", Expected::New));
        self.write("append an event of a new type", |store| {
            let event = NewEvent::new("New", &1).expect("an event");
            value(store.append(Account::TYPE, "acc-1", Expected::Any, [event]).map(|done| (done.version, done.position)))
        });
    }

    fn about_an_aggregate(&mut self, tenant: String, id: String) {
        let name = format!("{tenant}/{id}");
        let mut ask = |what: &str, ask: fn(&Store, &str, &str) -> Answer| {
            let (tenant, id) = (tenant.clone(), id.clone());
            self.read(format!("{what} {name}"), move |store| ask(store, &tenant, &id));
        };
        ask("replay", |store, tenant, id| {
            value(accounts(store, tenant).replay(id).map(|replayed| (replayed.version, replayed.state)))
        });
        ask("full replay", |store, tenant, id| {
            let accounts = accounts(store, tenant).without_snapshots();
            value(accounts.replay(id).map(|replayed| (replayed.version, replayed.state)))
        });
        ask("replay to version 9", |store, tenant, id| {
            value(accounts(store, tenant).replay_to_version(id, 9).map(|replayed| replayed.state))
        });
        ask("replay to a time", |store, tenant, id| {
            let time = "2026-01-15T00:00:00Z".parse().expect("a time");
            value(accounts(store, tenant).replay_to_time(id, time).map(|replayed| (replayed.version, replayed.state)))
        });
        ask("history", |store, tenant, id| list(&store.tenant(tenant), Query::new().aggregate(Account::TYPE, id)));
        ask("version", |store, tenant, id| value(store.tenant(tenant).version(Account::TYPE, id)));
        ask("count", |store, tenant, id| {
            value(store.tenant(tenant).count_events(Some(Account::TYPE), Some(id), Some("Deposited")))
        });
        for (what, expected) in [("append to", Expected::Any), ("begin", Expected::New)] {
            let (tenant, id) = (tenant.clone(), id.clone());
            self.write(format!("{what} {name}"), move |store| append(store, &tenant, &id, expected));
        }
    }
}

fn append(store: &Store, tenant: &str, id: &str, expected: Expected) -> Answer {
    let event = NewEvent::of(&AccountEvent::Closed).expect("an event");
    value(store.tenant(tenant).append(Account::TYPE, id, expected, [event]).map(|done| (done.version, done.position)))
}
