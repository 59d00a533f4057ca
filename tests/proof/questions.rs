//! Everything that can be asked of a log, so that the answers of a damaged file can be held against those of the sound one.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use foldlog::{
    Aggregate, Error, ErrorKind, EventId, Expected, Filter, Json, Message, NewEvent, PublishError, Query, RecordedEvent,
    Replayed, Store, Subscription, SubscriptionStatus,
};

use crate::support::model::{Account, AccountEvent, World, accounts};

/// An answer, made small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Value(u64),
    /// A count: fewer is less than the truth, more is not true.
    Number(u64),
    /// Events or names, and whether the list came to its end.
    List(Vec<u64>, bool),
    Error(ErrorKind),
}

/// What an answer of a damaged file is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// The truth, an error, or the beginning of the truth and then an error.
    Honest,
    /// Something is missing, and nothing says so: as if an index had lost it.
    Short,
    /// Something that never was.
    Changed,
}

impl Answer {
    /// What it is worth where the sound file answers `truth`. That something does not exist is an answer, not an error.
    pub fn worth(&self, truth: &Answer) -> Worth {
        match (self, truth) {
            _ if self == truth => Worth::Honest,
            (Answer::Error(ErrorKind::NotFound), _) => Worth::Short,
            (Answer::Error(ErrorKind::Conflict | ErrorKind::DuplicateEventId), _) => Worth::Changed,
            (Answer::Error(_), _) => Worth::Honest,
            (Answer::List(items, false), Answer::List(all, _)) if all.starts_with(items) => Worth::Honest,
            (Answer::List(items, _), Answer::List(all, _)) if is_among(items, all) => Worth::Short,
            (Answer::Number(less), Answer::Number(all)) if less < all => Worth::Short,
            _ => Worth::Changed,
        }
    }
}

/// Whether all items are in the whole, in the same order.
fn is_among(items: &[u64], whole: &[u64]) -> bool {
    let mut whole = whole.iter();
    items.iter().all(|item| whole.any(|other| other == item))
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

fn number(result: Result<u64, Error>) -> Answer {
    result.map_or_else(|error| failed(&error), Answer::Number)
}

/// All or nothing.
fn names<T: Debug>(result: Result<impl IntoIterator<Item = T>, Error>) -> Answer {
    match result {
        Ok(names) => Answer::List(names.into_iter().map(|name| hash(&name)).collect(), true),
        Err(error) => failed(&error),
    }
}

fn list(store: &Store, query: impl Into<Query>) -> Answer {
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
    pub fn about(world: &World, ids: &[EventId]) -> Questions {
        let world = Rc::new(world.clone());
        let mut questions = Questions { reads: Vec::new(), writes: Vec::new() };
        questions.about_the_log();
        questions.about_deliveries();
        let absent = [("default".to_owned(), "absent".to_owned()), ("nobody".to_owned(), "acc-1".to_owned())];
        for (tenant, id) in world.versions.keys().chain(&absent).cloned() {
            questions.about_an_aggregate(tenant, id, &world);
        }
        for id in ids.iter().copied() {
            questions.read(format!("event {id}"), move |store| {
                names(store.event(id).map(|found| found.map(|event| hash_event(&event))))
            });
            questions.write(format!("append event {id} again"), move |store| {
                let event = NewEvent::of(&AccountEvent::Closed).expect("an event").id(id);
                value(store.append(Account::TYPE, "acc-1", Expected::Any, [event]).map(|done| done.was_duplicate))
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
        self.read("all events", |store| list(store, Filter::new().all_tenants()));
        self.read("all events, newest first", |store| list(store, Query::matching(Filter::new().all_tenants()).newest_first()));
        self.read("a tenant's events", |store| list(&store.tenant("acme"), Query::new()));
        self.read("events after a position", |store| list(store, Query::new().after_position(200).limit(50)));
        for event_type in ["Deposited", "Withdrawn", "Closed", "Never"] {
            self.read(format!("events of type {event_type}"), move |store| list(store, Filter::new().event_type(event_type)));
            self.read(format!("count of type {event_type}"), move |store| {
                number(store.count(Filter::new().event_type(event_type)))
            });
        }
        for tag in ["tag-0", "tag-3", "never"] {
            self.read(format!("events with tag {tag}"), move |store| list(store, Filter::new().tag(tag)));
        }
        for day in ["2026-01-05", "2026-01-20"] {
            let time: chrono::DateTime<chrono::Utc> = format!("{day}T00:00:00Z").parse().expect("a time");
            self.read(format!("events from {day}"), move |store| list(store, Filter::new().from(time)));
            self.read(format!("events to {day}"), move |store| list(store, Filter::new().to(time)));
        }
        self.read("last position", |store| number(store.last_position().map(|last| last.get())));
        self.read("count", |store| number(store.count(Query::new())));
        self.read("statistics", |store| number(store.statistics().map(|of| of.total_events)));
        self.read("aggregates", |store| number(store.statistics().map(|of| of.aggregates)));
        self.read("statistics of the file", |store| number(store.file_statistics().map(|of| of.events)));
        self.read("tenants", |store| names(store.tenants()));
        self.read("aggregate types", |store| names(store.aggregate_types()));
        self.read("ids", |store| names(accounts(store, "default").ids().collect::<foldlog::Result<Vec<_>>>()));
        self.write("append to a new aggregate", |store| append(store, "default", "new", Expected::New));
        self.write("append for a new tenant", |store| append(store, "new", "new", Expected::New));
        self.write("append an event of a new type", |store| {
            let event = NewEvent::new("New", &1).expect("an event");
            value(store.append(Account::TYPE, "acc-1", Expected::Any, [event]).map(|done| (done.version, done.position)))
        });
    }

    /// About what [`deliver`] left behind.
    fn about_deliveries(&mut self) {
        // Less lag is one end of the log that is missing; that is asked for itself.
        let standing = |of: SubscriptionStatus| (of.name, of.position, of.failure, of.is_led, of.version);
        self.read("subscriptions", move |store| names(store.subscriptions().map(|all| all.into_iter().map(standing))));
        for name in [STOPPED, AT_THE_END, OUTBOX, "never"] {
            self.read(format!("status of {name}"), move |store| value(store.subscription(name).status().map(standing)));
        }
        let status = |store: &Store| store.outbox(OUTBOX).status();
        self.read("status of the outbox", move |store| value(status(store).map(|status| (status.position, status.is_led))));
        self.read("to be tried again", move |store| number(status(store).map(|status| status.to_retry)));
        self.read("waiting", move |store| number(status(store).map(|status| status.waiting)));
        self.read("dead", move |store| number(status(store).map(|status| status.dead)));
        // A letter is shown although its event cannot be read.
        self.read("dead letters", |store| {
            let letters = || -> Result<Vec<_>, Error> { store.outbox(OUTBOX).dead_letters()?.iter().collect() };
            names(
                letters().map(|letters| letters.into_iter().map(|letter| (letter.position, letter.attempts, letter.last_error))),
            )
        });
        for name in [STOPPED, AT_THE_END] {
            self.write(format!("{name} goes on"), move |store| {
                let mut handled = Vec::new();
                let done = handler(store, name).run_to_end(|event| {
                    handled.push(hash_event(event));
                    Ok(())
                });
                delivered(handled, done)
            });
        }
        self.write("the outbox goes on", |store| {
            let mut sent = Vec::new();
            let publish = |message: &Message<'_>| {
                sent.push(hash(&(hash_event(message.event), message.attempt)));
                Ok(())
            };
            let done = store.outbox(OUTBOX).publisher(publish).run_to_end();
            delivered(sent, done)
        });
        self.write("dead letters are retried", |store| {
            number(store.outbox(OUTBOX).dead_letters().and_then(|letters| letters.retry_all()))
        });
    }

    fn about_an_aggregate(&mut self, tenant: String, id: String, world: &Rc<World>) {
        let name = format!("{tenant}/{id}");
        // The state at an earlier version is one from which something is missing.
        let of_version = |replayed: Result<Replayed<Account>, Error>, world: &World, tenant: &str, id: &str| match replayed {
            Ok(of) if of.state == world.state(&(tenant.to_owned(), id.to_owned()), of.version.get()) => {
                Answer::Number(of.version.get())
            }
            other => value(other.map(|of| (of.version, of.state))),
        };
        for snapshots in [true, false] {
            let (tenant, id, world) = (tenant.clone(), id.clone(), world.clone());
            self.read(format!("replay {name}, with snapshots: {snapshots}"), move |store| {
                let accounts = accounts(store, &tenant);
                let replayed = if snapshots { accounts.replay(&id) } else { accounts.without_snapshots().replay(&id) };
                of_version(replayed, &world, &tenant, &id)
            });
        }
        {
            let (tenant, id, world) = (tenant.clone(), id.clone(), world.clone());
            self.read(format!("replay to a time {name}"), move |store| {
                let time = "2026-01-15T00:00:00Z".parse().expect("a time");
                of_version(accounts(store, &tenant).replay_to_time(&id, time), &world, &tenant, &id)
            });
        }
        let mut ask = |what: &str, ask: fn(&Store, &str, &str) -> Answer| {
            let (tenant, id) = (tenant.clone(), id.clone());
            self.read(format!("{what} {name}"), move |store| ask(store, &tenant, &id));
        };
        ask("replay to version 9", |store, tenant, id| {
            value(accounts(store, tenant).replay_to_version(id, 9).map(|replayed| replayed.state))
        });
        ask("history", |store, tenant, id| list(&store.tenant(tenant), Query::aggregate(Account::TYPE, id)));
        ask("version", |store, tenant, id| number(store.tenant(tenant).version(Account::TYPE, id).map(|version| version.get())));
        ask("count", |store, tenant, id| {
            number(store.tenant(tenant).count(Query::aggregate(Account::TYPE, id).filter(Filter::new().event_type("Deposited"))))
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

const STOPPED: &str = "mails";
const AT_THE_END: &str = "audit";
const OUTBOX: &str = "feed";

fn handler(store: &Store, name: &str) -> Subscription {
    let subscription = store.subscription(name);
    if name == STOPPED { subscription.filter(Filter::new().event_type("Deposited")) } else { subscription }
}

/// Leaves a handler that stopped in the middle, one that is at the end, and an outbox that is behind, with dead letters, some
/// to be tried again and some that wait for these.
pub fn deliver(store: &Store) -> Result<(), Error> {
    let middle = store.last_position()?.get() / 2;
    let stopped = handler(store, STOPPED).run_to_end(|event| match event.position > middle {
        true => Err("the mail server is down".into()),
        false => Ok(()),
    });
    let error = stopped.expect_err("it stops");
    assert_eq!(error.kind(), ErrorKind::Handler, "{error:?}");
    handler(store, AT_THE_END).run_to_end(|_| Ok(()))?;
    let publish = |message: &Message<'_>| match message.event.position.get() % 97 {
        3 => Err(PublishError::Reject("nobody wants it".into())),
        50 => Err(PublishError::Retry("not now".into())),
        _ => Ok(()),
    };
    let day = Duration::from_secs(24 * 60 * 60);
    store.outbox(OUTBOX).backoff(day, day).publisher(publish).run_to_end().map(drop)
}

/// What reached a handler or a publisher: that it is not all is seen by an error only.
fn delivered(items: Vec<u64>, done: Result<u64, Error>) -> Answer {
    match done {
        Ok(_) => Answer::List(items, true),
        Err(error) if items.is_empty() => failed(&error),
        Err(_) => Answer::List(items, false),
    }
}
