//! Events of old schema versions: stored as they were appended, read in today's shape, by every reader.

use std::ops::ControlFlow;

use foldlog::{
    Aggregate, Annotated, Batch, CloudEvents, ErrorKind, Expected, Export, Filter, Json, NewEvent, Options, Query, Rejected,
    SnapshotPolicy, SnapshotReason, Store, UnknownEvents, Upcasters,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{Place, at, fast, read, refused, says};

/// The application's first version: euros as a float, and a name that nobody liked.
mod first {
    use super::*;

    #[derive(Serialize, Deserialize)]
    pub enum Event {
        Opened { owner: String },
        Paid { euros: f64 },
        ContactChanged { mail: Option<String>, phone: Option<String> },
        Noise,
    }

    #[derive(Default, Serialize, Deserialize)]
    pub struct Account {
        pub events: u64,
    }

    impl Aggregate for Account {
        const TYPE: &'static str = "account";
        type Event = Event;
        fn apply(&mut self, _: Event) {
            self.events += 1;
        }
    }
}

/// Today's version.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Opened { owner: String, verified: bool },
    Deposited { cents: i64 },
    MailChanged { to: String },
    PhoneChanged { to: String },
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    owner: String,
    verified: bool,
    cents: i64,
    changes: Vec<String>,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    const FOLD_VERSION: u32 = 2;
    type Event = Event;
    fn apply(&mut self, event: Event) {
        match event {
            Event::Opened { owner, verified } => (self.owner, self.verified) = (owner, verified),
            Event::Deposited { cents } => self.cents += cents,
            Event::MailChanged { to } => self.changes.push(format!("mail {to}")),
            Event::PhoneChanged { to } => self.changes.push(format!("phone {to}")),
        }
    }
}

#[derive(Deserialize)]
struct Paid {
    euros: f64,
}

#[derive(Serialize)]
struct PaidCents {
    cents: i64,
}

impl From<Paid> for PaidCents {
    fn from(old: Paid) -> PaidCents {
        PaidCents { cents: (old.euros * 100.0).round() as i64 }
    }
}

fn upcasters() -> Upcasters {
    Upcasters::new()
        .add_field("Opened", 1, "verified", false)
        .convert::<Paid, PaidCents>("Paid", 1)
        .rename_type("Paid", 2, "Deposited", 1)
        .split("ContactChanged", 1, [("MailChanged", 1), ("PhoneChanged", 1)], |data| {
            let changed = |event_type, field: &str| (!data[field].is_null()).then(|| (event_type, json!({"to": data[field]})));
            Ok([changed("MailChanged", "mail"), changed("PhoneChanged", "phone")].into_iter().flatten().collect())
        })
        .discard("Noise", 1)
}

fn today(place: &Place) -> Store {
    fast().snapshots(SnapshotPolicy::manual()).upcasters(upcasters()).unwrap().open(place.file()).unwrap()
}

fn contact(mail: &str, phone: &str) -> first::Event {
    first::Event::ContactChanged { mail: Some(mail.into()), phone: Some(phone.into()) }
}

/// A file of the first version: 1 Opened, 2 Paid, 3 Noise, 4 ContactChanged; and one that today's version appended to it.
fn grown() -> (Place, Store) {
    let place = Place::new();
    let old = place.open().aggregates::<first::Account>();
    let events = [
        first::Event::Opened { owner: "Ada".into() },
        first::Event::Paid { euros: 1.1 },
        first::Event::Noise,
        contact("a@b.c", "77"),
    ];
    let tagged = events.into_iter().zip(1..).map(|(event, n)| Annotated::new(event).tag("old").created_at(at(n)));
    old.append("a", Expected::New, tagged).unwrap();
    old.create_snapshot("a", SnapshotReason::Manual).unwrap();
    let store = today(&place);
    store.aggregates::<Account>().append("a", 4, [Event::Deposited { cents: 5 }]).unwrap();
    (place, store)
}

fn expected() -> Account {
    Account { owner: "Ada".into(), verified: false, cents: 115, changes: vec!["mail a@b.c".into(), "phone 77".into()] }
}

/// (version, type, schema version, data) of the grown file, as it is read today.
fn as_read() -> Vec<(u64, &'static str, u32, Value)> {
    vec![
        (1, "Opened", 2, json!({"owner": "Ada", "verified": false})),
        (2, "Deposited", 1, json!({"cents": 110})),
        (4, "MailChanged", 1, json!({"to": "a@b.c"})),
        (4, "PhoneChanged", 1, json!({"to": "77"})),
        (5, "Deposited", 1, json!({"cents": 5})),
    ]
}

fn shown(events: &[foldlog::RecordedEvent]) -> Vec<(u64, &str, u32, Value)> {
    let shown = |event: &'_ foldlog::RecordedEvent| (event.version.get(), event.schema_version, event.data.to_value().unwrap());
    events
        .iter()
        .map(|event| (&*event.event_type, shown(event)))
        .map(|(name, (n, version, data))| (n, name, version, data))
        .collect()
}

#[test]
fn every_replay_folds_todays_events() {
    let (_place, store) = grown();
    let accounts = store.aggregates::<Account>();
    let replayed = accounts.replay("a").unwrap();
    assert_eq!((replayed.state, replayed.version.get(), replayed.events_folded), (expected(), 5, 5));
    let to_three = Account { changes: Vec::new(), cents: 110, ..expected() };
    assert_eq!(accounts.replay_to_version("a", 3).unwrap().state, to_three);
    assert_eq!(accounts.replay_to_time("a", at(3)).unwrap().state, to_three);
    assert_eq!(accounts.replay_to_position("a", 3).unwrap().state, to_three);
    assert_eq!(accounts.find("a").unwrap().unwrap().state, expected());
    assert_eq!(accounts.replay_each().next().unwrap().unwrap().1.state, expected());
    assert_eq!(accounts.without_snapshots().replay("a").unwrap().state, expected());
    let done = accounts.execute("a", |account| [Event::Deposited { cents: -account.cents }]).unwrap();
    assert_eq!((done.state.cents, accounts.replay("a").unwrap().state.cents), (0, 0));
    // Without types as well.
    let folded = store.json_aggregates("account").replay_to_version("a", 4).unwrap().state;
    assert_eq!(folded, json!({"owner": "Ada", "verified": false, "cents": 110, "to": "77"}));
}

#[test]
fn every_query_reads_todays_events() {
    let (_place, store) = grown();
    assert_eq!(shown(&read(&store, Query::new())), as_read());
    assert_eq!(shown(&store.aggregates::<Account>().history("a").map(Result::unwrap).collect::<Vec<_>>()), as_read());
    let mut reversed = as_read();
    reversed.reverse();
    assert_eq!(shown(&read(&store, Query::new().newest_first())), reversed);
    assert_eq!(shown(&store.recent_events(2).unwrap()), reversed[..2]);
    assert_eq!(shown(&read(&store, Filter::new().tag("old"))), as_read()[..4]);
    assert_eq!(shown(&read(&store, Filter::new().all_tenants())), as_read());
    assert_eq!(shown(&read(&store, Query::aggregate("account", "a").after_version(1).up_to_version(4))), as_read()[1..4]);
    // A split can be cut by a limit, and never by a page.
    assert_eq!(shown(&read(&store, Query::new().limit(3))), as_read()[..3]);

    let all = read(&store, Query::new());
    let (mail, phone) = (&all[2], &all[3]);
    assert_eq!(
        (mail.position, mail.created_at, &mail.tags, mail.commit_id),
        (phone.position, at(4), &phone.tags, phone.commit_id)
    );
    let stored = &read(&store, Query::new().as_stored())[3];
    assert_eq!((mail.id, phone.id == mail.id, phone.id), (stored.id, false, read(&store, Query::new())[3].id));
    assert_eq!(store.event(stored.id).unwrap().unwrap(), *mail);
    assert!(store.event(read(&store, Query::new().as_stored())[2].id).unwrap().is_none(), "it is discarded");
}

#[test]
fn filters_find_renamed_types_under_both_names() {
    let (_place, store) = grown();
    for (names, versions, count) in [
        (&["Deposited"][..], &[2, 5][..], 2),
        (&["Paid"], &[2, 5], 2),
        (&["PhoneChanged"], &[4], 1),
        (&["ContactChanged"], &[4, 4], 2),
        (&["Noise"], &[], 0),
        (&["Opened", "MailChanged"], &[1, 4], 2),
        (&["Unheard"], &[], 0),
    ] {
        let filter = || Filter::new().event_types(names.iter().copied());
        for query in [Query::matching(filter()), Query::aggregate("account", "a").filter(filter())] {
            let found = read(&store, query.clone());
            assert_eq!(found.iter().map(|event| event.version.get()).collect::<Vec<_>>(), versions, "{names:?}");
            assert_eq!(store.count(query).unwrap(), count, "{names:?}");
        }
        let tagged = read(&store, filter().tag("old"));
        assert_eq!(tagged.len(), versions.iter().filter(|version| **version < 5).count(), "{names:?}");
    }
    assert_eq!(store.count(Query::new()).unwrap(), 5, "one is discarded, one is two");
    assert_eq!(store.count(Filter::new().aggregate_type("account")).unwrap(), 5);
    let by_type = store.statistics().unwrap().events_by_type;
    let by_type: Vec<(&str, u64)> = by_type.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(by_type, [("ContactChanged", 1), ("Deposited", 2), ("Noise", 1), ("Opened", 1)], "as stored, but renamed");
}

#[test]
fn a_split_at_the_edge_of_a_page_stays_whole() {
    let place = Place::new();
    let old = place.open().aggregates::<first::Account>();
    old.append("a", Expected::New, (0..1_300).map(|n| contact(&n.to_string(), &n.to_string()))).unwrap();
    let store = today(&place);
    for newest_first in [false, true] {
        for query in [Query::new(), Query::aggregate("account", "a")] {
            let query = if newest_first { query.newest_first() } else { query };
            let read = read(&store, query);
            assert_eq!(read.len(), 2_600);
            let place = |at: usize| if newest_first { 1_300 - at as u64 / 2 } else { at as u64 / 2 + 1 };
            assert!(read.iter().enumerate().all(|(at, event)| event.version == place(at)));
            let first_of_pair = if newest_first { "PhoneChanged" } else { "MailChanged" };
            assert!(read.iter().step_by(2).all(|event| &*event.event_type == first_of_pair));
        }
    }
}

#[test]
fn what_is_stored_stays_as_it_was_appended() {
    let (place, store) = grown();
    let stored = read(&store, Query::new().as_stored());
    let names: Vec<(&str, u32)> = stored.iter().map(|event| (&*event.event_type, event.schema_version)).collect();
    assert_eq!(names, [("Opened", 1), ("Paid", 1), ("Noise", 1), ("ContactChanged", 1), ("Deposited", 1)]);
    assert_eq!(stored[1].data.as_str(), r#"{"euros":1.1}"#);
    let paid = Query::matching(Filter::new().event_type("Paid")).as_stored();
    let names = read(&store, paid.clone()).iter().map(|event| event.event_type.to_string()).collect::<Vec<_>>();
    assert_eq!((names, store.count(paid).unwrap()), (vec!["Paid".to_owned(), "Deposited".to_owned()], 2));
    assert_eq!(store.count(Query::new().as_stored()).unwrap(), 5);
    assert!(store.maintenance().verify(|_| ControlFlow::Continue(())).unwrap().is_clean());
    assert_eq!(read(&place.open(), Query::new().up_to_position(4)), stored[..4], "the old program still reads its events");
}

#[test]
fn new_events_have_the_current_version() {
    let (_place, store) = grown();
    let accounts = store.aggregates::<Account>();
    accounts.append("b", 0, [Event::Opened { owner: "Bob".into(), verified: true }]).unwrap();
    accounts.execute("b", |_| [Event::Opened { owner: "Bo".into(), verified: true }]).unwrap();
    store
        .commit(Batch::new().append_to(&accounts, "b", 2, [Event::Opened { owner: "B".into(), verified: true }]).unwrap())
        .unwrap();
    let stored = read(&store, Query::aggregate("account", "b").as_stored());
    assert!(stored.len() == 3 && stored.iter().all(|event| event.schema_version == 2));

    // Old ones can still be appended as what they are, from an old file for example.
    let old = |version| NewEvent::new("Opened", &json!({"owner": "Old"})).unwrap().schema_version(version);
    store.append("account", "c", 0, [old(1)]).unwrap();
    assert_eq!(accounts.replay("c").unwrap().state.owner, "Old");
    let lists = store.json_aggregates("account");
    let done = lists.execute("d", |_| [old(1)]).unwrap();
    assert_eq!(
        (done.state, lists.replay("d").unwrap().state),
        (json!({"owner": "Old", "verified": false}), json!({"owner": "Old", "verified": false}))
    );

    says(&refused(store.append("account", "e", 0, [old(3)]), ErrorKind::SchemaVersionTooNew), &["version 3", "up to version 2"]);
    let paid = || NewEvent::new("Paid", &json!({"euros": 1})).unwrap();
    says(&refused(store.append("account", "e", 0, [paid()]), ErrorKind::InvalidInput), &["are read as Deposited", "\"Paid\""]);
    store.append("account", "e", 0, [paid().schema_version(1)]).unwrap();
    let noise = || NewEvent::new("Noise", &()).unwrap();
    says(&refused(store.append("account", "e", 1, [noise()]), ErrorKind::InvalidInput), &["are discarded"]);
    assert_eq!((accounts.replay("e").unwrap().state.cents, store.version("account", "e").unwrap().get()), (100, 1));
}

#[test]
fn an_export_is_what_is_stored_unless_it_is_asked_for_more() {
    let (_place, store) = grown();
    let lines = |export: Export| -> Vec<Value> {
        let mut to = Vec::new();
        store.export(export, &mut to, |_| ControlFlow::Continue(())).unwrap();
        String::from_utf8(to).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let stored = lines(Export::new(Query::new()));
    assert_eq!(stored.len(), 5);
    assert_eq!((&stored[1]["event_type"], &stored[1]["data"]), (&json!("Paid"), &json!({"euros": 1.1})));
    let all = |lines: Vec<Value>, name: &str| lines.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    let names = as_read().iter().map(|(_, name, ..)| json!(name)).collect::<Vec<_>>();
    assert_eq!(all(lines(Export::new(Query::new()).upcast()), "event_type"), names);
    assert_eq!(all(lines(Export::new(Query::new()).as_cloud_events(CloudEvents::new())), "type"), names);

    // A copy is read as the first file is.
    let copy = Place::new();
    let copied = today(&copy);
    let text: String = stored.iter().map(|line| format!("{line}\n")).collect();
    copied.import(&foldlog::Import::new(), text.as_bytes(), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(shown(&read(&copied, Query::new())), as_read());
    assert_eq!(copied.aggregates::<Account>().replay("a").unwrap().state, expected());
}

#[test]
fn a_repeated_append_is_recognised_across_versions() {
    let place = Place::new();
    let upcasters = Upcasters::new().compatible("Noted", 1);
    let note = || NewEvent::new("Noted", &json!({"n": 1})).unwrap().id(uuid::Uuid::from_u128(7));
    place.open().append("list", "a", 0, [note()]).unwrap();
    let store = fast().upcasters(upcasters).unwrap().open(place.file()).unwrap();
    assert!(store.append("list", "a", 0, [note()]).unwrap().was_duplicate);
    says(&refused(store.append("list", "a", 0, [note().schema_version(2)]), ErrorKind::DuplicateEventId), &["schema version 1"]);
}

#[test]
fn an_old_program_says_that_events_are_too_new() {
    let (place, store) = grown();
    store.aggregates::<Account>().append("a", 5, [Event::Opened { owner: "Bob".into(), verified: true }]).unwrap();
    let old = place.open();
    let parts =
        ["schema version 2", "up to version 1", "account \"a\"", "\"Opened\"", "version 6", "newer version of the program"];
    let accounts = old.aggregates::<first::Account>();
    says(&refused(accounts.without_snapshots().replay("a"), ErrorKind::UnknownEventType), &["\"Deposited\""]);
    let lists = old.json_aggregates("account");
    says(&refused(lists.replay("a"), ErrorKind::SchemaVersionTooNew), &parts[..5]);
    let error = old.read(Query::new().after_position(5)).next().unwrap();
    let error = refused(error, ErrorKind::SchemaVersionTooNew);
    says(&error, &parts);
    assert_eq!((error.position().map(|position| position.get()), error.is_retryable()), (Some(6), false));
    assert_eq!(lists.replay_to_version("a", 5).unwrap().version, 5, "what comes before it can be read");
    assert_eq!(old.count(Filter::new().event_type("Opened")).unwrap(), 2, "to count is not to understand");
    assert_eq!(old.read(Filter::new().event_type("Deposited")).count(), 1, "others do not matter");
    assert_eq!(read(&old, Query::new().as_stored()).len(), 6);
    // A program for the events of any application passes them as they are.
    let any = fast().upcasters(Upcasters::new().pass_newer()).unwrap().open(place.file()).unwrap();
    let last = read(&any, Query::new()).pop().unwrap();
    assert_eq!((last.schema_version, any.json_aggregates("account").replay("a").unwrap().version.get()), (2, 6));
    any.append("account", "a", 6, [NewEvent::new("Opened", &json!({})).unwrap().schema_version(9)]).unwrap();
}

#[test]
fn snapshots_of_other_upcasters_are_not_used() {
    let place = Place::new();
    let opened = |upcasters: Upcasters| {
        fast().snapshots(SnapshotPolicy::manual()).upcasters(upcasters).unwrap().open(place.file()).unwrap()
    };
    let with = |value: u64| Upcasters::new().add_field("Set", 1, "b", value);
    let set = NewEvent::new("Set", &json!({"a": 1})).unwrap().schema_version(1);
    opened(with(1)).append("list", "l", 0, [set.clone(), set]).unwrap();
    opened(with(1)).json_aggregates("list").create_snapshot("l", SnapshotReason::Manual).unwrap();
    let replay = |upcasters: Upcasters| opened(upcasters).json_aggregates("list").replay("l").unwrap();

    let same = replay(with(1));
    assert_eq!((same.from_snapshot.map(|version| version.get()), same.warnings.len()), (Some(2), 0));
    for other in [with(2), with(1).revision(1), with(1).discard("Noise", 1), with(1).compatible("Set", 2)] {
        let replayed = replay(other);
        assert_eq!((replayed.from_snapshot, &replayed.warnings[0].rejected), (None, &Rejected::OtherUpcasters));
        assert!(replayed.warnings[0].to_string().ends_with("it was made with other upcasters"));
    }
    assert_eq!(replay(with(2)).state, json!({"a": 1, "b": 2}));
    let elsewhere = replay(with(1).of_aggregates("other").discard("Set", 1));
    assert_eq!(elsewhere.from_snapshot.map(|version| version.get()), Some(2), "upcasters of other aggregates do not matter");
}

#[test]
fn a_typed_fold_depends_on_the_upcasters_of_its_events_only() {
    let place = Place::new();
    let opened = |upcasters: Upcasters| {
        fast().snapshots(SnapshotPolicy::manual()).upcasters(upcasters).unwrap().open(place.file()).unwrap()
    };
    let first = || opened(Upcasters::new()).aggregates::<Account>();
    first().append("a", 0, [Event::Deposited { cents: 1 }]).unwrap();
    first().create_snapshot("a", SnapshotReason::Manual).unwrap();
    let starts_at = |upcasters: Upcasters| opened(upcasters).aggregates::<Account>().replay("a").unwrap().from_snapshot;
    assert!(starts_at(Upcasters::new().compatible("Elsewhere", 1).rename_type("Other", 1, "Elsewhere", 1)).is_some());
    assert!(starts_at(Upcasters::new().compatible("Deposited", 1)).is_none());
    assert!(starts_at(Upcasters::new().rename_type("Paid", 1, "Deposited", 1)).is_none());
    assert!(starts_at(Upcasters::new().discard("Other", 1)).is_none(), "an earlier fold may have known it");
}

#[test]
fn an_upcaster_that_fails_names_the_event_and_not_its_data() {
    let place = Place::new();
    let old = NewEvent::new("Paid", &json!({"euros": "secret"})).unwrap();
    place.open().append("account", "a", 0, [old]).unwrap();
    let failing = [
        Upcasters::new().convert::<Paid, PaidCents>("Paid", 1),
        Upcasters::new().data("Paid", 1, |_| Err("no euros".into())),
        Upcasters::new().data("Paid", 1, |_| {
            let mut deep = json!(1);
            (0..200).for_each(|_| deep = json!([deep.take()]));
            Ok(deep)
        }),
    ];
    for (upcasters, why) in failing.into_iter().zip(["invalid type: string", "no euros", "nested deeper"]) {
        let store = fast().upcasters(upcasters).unwrap().open(place.file()).unwrap();
        for error in [
            store.json_aggregates("account").replay("a").map(drop),
            store.read(Query::new()).next().unwrap().map(drop),
            store.read(Query::aggregate("account", "a")).next().unwrap().map(drop),
        ] {
            let error = refused(error, ErrorKind::Codec);
            says(&error, &[why, "\"Paid\"", "version 1", "account \"a\""]);
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!(read(&store, Query::new().as_stored()).len(), 1);
    }
}

#[test]
fn an_upcaster_that_panics_leaves_the_store_usable() {
    let place = Place::new();
    place.open().append("list", "a", 0, [NewEvent::new("Noted", &()).unwrap()]).unwrap();
    let store =
        fast().upcasters(Upcasters::new().data("Noted", 1, |_| panic!("on purpose"))).unwrap().open(place.file()).unwrap();
    let replay = std::panic::AssertUnwindSafe(|| store.json_aggregates("list").replay("a"));
    assert!(std::panic::catch_unwind(replay).is_err());
    store.append("list", "b", 0, [NewEvent::new("Other", &()).unwrap()]).unwrap();
    assert_eq!(store.json_aggregates("list").replay("b").unwrap().version, 1);
}

#[test]
fn wrong_upcasters_are_refused_before_a_file_is_made() {
    let place = Place::new();
    let error = refused(Options::new().upcasters(Upcasters::new().compatible("Noted", 3)), ErrorKind::InvalidInput);
    says(&error, &["register upcasters", "from schema version 3, and none from version 1", "\"Noted\""]);
    assert!(!place.file().exists());
}

#[test]
fn a_copy_in_memory_and_a_preview_read_as_the_store_does() {
    let (_place, store) = grown();
    assert_eq!(shown(&read(&store.copy_to_memory().unwrap(), Query::new())), as_read());
    let old = || NewEvent::new("Paid", &json!({"euros": 2})).unwrap().schema_version(1);
    let preview = store.json_aggregates("account").preview("a", |_| [old()]).unwrap();
    assert_eq!(shown(&preview.events), [(6, "Deposited", 1, json!({"cents": 200}))]);
    assert_eq!(preview.state["cents"], 200);
    assert!(store.aggregates::<Account>().verify_snapshots(|_| ControlFlow::Continue(())).unwrap().is_clean());
}

/// A fold that skips what it does not know.
#[derive(Default, Serialize, Deserialize)]
struct Deposits {
    cents: i64,
}

#[derive(Serialize, Deserialize)]
enum Deposit {
    Deposited { cents: i64 },
}

impl Aggregate for Deposits {
    const TYPE: &'static str = "account";
    const UNKNOWN_EVENTS: UnknownEvents = UnknownEvents::Ignore;
    type Event = Deposit;
    fn apply(&mut self, Deposit::Deposited { cents }: Deposit) {
        self.cents += cents;
    }
}

#[test]
fn unknown_types_are_judged_after_upcasting() {
    let (_place, store) = grown();
    assert_eq!(store.aggregates::<Deposits>().replay("a").unwrap().state.cents, 115);
}

/// One step of a chain over an object with the counter `n`.
#[derive(Clone, Copy, Debug)]
enum Step {
    Same,
    AddField,
    Data,
    Convert,
    Rename,
    Twice,
    Discard,
}

#[derive(Deserialize)]
struct Old {
    n: u64,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Serialize)]
struct New {
    n: u64,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

impl From<Old> for New {
    fn from(Old { n, rest }: Old) -> New {
        New { n: n * 3, rest }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Same),
        3 => Just(Step::AddField),
        3 => Just(Step::Data),
        3 => Just(Step::Convert),
        3 => Just(Step::Rename),
        1 => Just(Step::Twice),
        1 => Just(Step::Discard),
    ];
    proptest::collection::vec(step, 0..8)
}

const NAMES: [&str; 9] = ["T0", "T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8"];

/// An event as it is read: type, version, n, fields.
type Read = (&'static str, u32, u64, u64);
/// Stored events, by type and version, and what each is read as.
type Reads = Vec<(&'static str, u32, Vec<Read>)>;

/// The rules of a chain; and for an event of each of its types and versions, in order, what it is read as. The plain
/// computation goes from the end of the chain to its beginning.
fn chain(steps: &[Step]) -> (Upcasters, Reads) {
    let mut places = vec![(NAMES[0], 1)];
    let mut upcasters = Upcasters::new();
    let mut renamed = 0;
    for (at, step) in steps.iter().enumerate() {
        let (name, version) = places[at];
        let mut next = (name, version + 1);
        upcasters = match step {
            Step::Same => upcasters.compatible(name, version),
            Step::AddField => upcasters.add_field(name, version, format!("f{at}"), 1),
            Step::Data => upcasters.data(name, version, |mut data| {
                data["n"] = json!(data["n"].as_u64().ok_or("no n")? + 1);
                Ok(data)
            }),
            Step::Convert => upcasters.convert::<Old, New>(name, version),
            Step::Rename | Step::Twice | Step::Discard => {
                renamed += 1;
                next = (NAMES[renamed], 1);
                match step {
                    Step::Rename => upcasters.rename_type(name, version, next.0, 1),
                    Step::Twice => {
                        upcasters.split(name, version, [next], move |data| Ok(vec![(next.0, data.clone()), (next.0, data)]))
                    }
                    _ => upcasters.discard(name, version),
                }
            }
        };
        places.push(next);
    }
    // (copies, n, fields) of an event with n = 1 at each place.
    let plain = |from: usize| {
        let (mut copies, mut n, mut fields) = (1usize, 1u64, 0u64);
        for step in &steps[from..] {
            match step {
                Step::AddField => fields += 1,
                Step::Data => n += 1,
                Step::Convert => n *= 3,
                Step::Twice => copies *= 2,
                Step::Discard => copies = 0,
                Step::Same | Step::Rename => {}
            }
        }
        let (name, version) = places[steps.len()];
        vec![(name, version, n, fields); copies]
    };
    // After a discard nothing leads on, so the rest of the chain is its own.
    let read = places.iter().enumerate().map(|(at, (name, version))| (*name, *version, plain(at))).collect();
    (upcasters, read)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever the chain, events of every version in it are read as a plain computation says, by query, replay and count.
    #[test]
    fn chains_are_what_their_steps_say(steps in steps()) {
        let (upcasters, expected) = chain(&steps);
        let store = fast().upcasters(upcasters).unwrap().in_memory().unwrap();
        for (name, version, _) in &expected {
            let event = NewEvent::with_json(*name, Json::from_text(r#"{"n":1}"#).unwrap()).schema_version(*version);
            store.append("list", "l", Expected::Any, [event]).unwrap();
        }
        let read = read(&store, Query::new());
        let found: Vec<(u64, &str, u32, u64, u64)> = read
            .iter()
            .map(|event| {
                let data = event.data.to_value().unwrap();
                let fields = data.as_object().unwrap().len() as u64 - 1;
                (event.version.get(), &*event.event_type, event.schema_version, data["n"].as_u64().unwrap(), fields)
            })
            .collect();
        let wanted: Vec<(u64, &str, u32, u64, u64)> = expected
            .iter()
            .zip(1..)
            .flat_map(|((_, _, parts), at)| parts.iter().map(move |(name, version, n, fields)| (at, *name, *version, *n, *fields)))
            .collect();
        prop_assert_eq!(&found, &wanted);
        prop_assert_eq!(store.count(Query::new()).unwrap() as usize, wanted.len());
        let folded = store.json_aggregates("list").fold_with("count", 1, |state, _, data| {
            let sum = |state: &Value| state["sum"].as_u64().unwrap_or(0) + data["n"].as_u64().unwrap_or(0);
            *state = json!({"sum": sum(state)});
            Ok(())
        });
        let sum = wanted.iter().map(|(_, _, _, n, _)| n).sum::<u64>();
        prop_assert_eq!(folded.replay("l").unwrap().state["sum"].as_u64().unwrap_or(0), sum);
        for name in NAMES {
            let by_name = store.read(Filter::new().event_type(name)).map(Result::unwrap).collect::<Vec<_>>();
            prop_assert_eq!(store.count(Filter::new().event_type(name)).unwrap() as usize, by_name.len());
            let own: usize = wanted.iter().filter(|(_, wanted, ..)| *wanted == name).count();
            prop_assert!(by_name.len() >= own);
        }
        let ids: std::collections::HashSet<_> = read.iter().map(|event| event.id).collect();
        prop_assert_eq!(ids.len(), read.len(), "each has an id of its own");
    }
}
