//! A file of each format: every later version must open it, whole.
//!
//! Beside a file lies what was in it: a hash for each question that it was asked. Once a format is released its file never
//! changes again. Format 1 is not released yet: until then its file is made anew whenever the format changes, by
//!
//! ```text
//! FOLDLOG_MAKE_GOLDEN=1 cargo test --test behaviour golden::
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow::Continue;
use std::path::{Path, PathBuf};

use foldlog::{
    Batch, Clock, Durability, Expected, Filter, Message, Metadata, NewEvent, Options, PublishError, Purge, Query, RecordedEvent,
    SnapshotReason, Store, Upcasters, Version,
};
use serde_json::{Value, json};

const FORMAT: u32 = 1;

/// One of the events has a schema version that no upcaster leads to.
fn options() -> Options {
    Options::new().upcasters(Upcasters::new().pass_newer()).unwrap()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/golden/format-{FORMAT}.db"))
}

/// A copy of the golden file that may be changed, and the truth about it.
fn copy() -> (tempfile::TempDir, PathBuf, Digest) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.db");
    if std::env::var_os("FOLDLOG_MAKE_GOLDEN").is_some() {
        make_anew();
    }
    std::fs::copy(golden(), &path).unwrap();
    let truth = std::fs::read_to_string(golden().with_extension("digest")).unwrap();
    let truth =
        truth.lines().map(|line| line.split_once(' ').unwrap()).map(|(hash, asked)| (asked.into(), hash.into())).collect();
    (directory, path, truth)
}

/// Once, whatever the number of tests that ask for it.
fn make_anew() {
    static MADE: std::sync::Once = std::sync::Once::new();
    MADE.call_once(|| {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("new.db");
        make(&path);
        std::fs::copy(&path, golden()).unwrap();
        let digest = digest(&options().open_read_only(&path).unwrap());
        let lines: String = digest.iter().map(|(asked, hash)| format!("{hash} {asked}\n")).collect();
        std::fs::write(golden().with_extension("digest"), lines).unwrap();
    });
}

/// A hash for each question.
type Digest = BTreeMap<String, String>;

/// Everything that can be read of a store through the public API.
fn digest(store: &Store) -> Digest {
    let mut digest = Digest::new();
    let mut told = |asked: String, answer: Value| {
        digest.insert(asked, format!("{:016x}", xxhash_rust::xxh3::xxh3_64(answer.to_string().as_bytes())));
    };
    told("last position".into(), json!(store.last_position().unwrap()));
    for name in store.tenants().unwrap() {
        let tenant = store.tenant(&name);
        let all: Vec<RecordedEvent> = tenant.read(Query::new()).map(Result::unwrap).collect();
        told(format!("events of {name}"), json!(all));
        told(format!("events by id of {name}"), json!(all.iter().map(|e| tenant.event(e.id).unwrap()).collect::<Vec<_>>()));
        told(format!("statistics of {name}"), json!(tenant.statistics().unwrap()));
        told(format!("subscriptions of {name}"), json!(tenant.subscriptions().unwrap()));
        for aggregate_type in tenant.aggregate_types().unwrap() {
            let handle = tenant.json_aggregates(&aggregate_type);
            for id in handle.ids().collect::<foldlog::Result<Vec<_>>>().unwrap() {
                let replayed = handle.replay(&id).unwrap();
                told(format!("{name} {aggregate_type}/{id}"), json!((replayed.version, replayed.state)));
                told(format!("snapshots of {name} {aggregate_type}/{id}"), json!(handle.snapshots(&id).unwrap()));
            }
        }
    }
    told("outbox".into(), json!(store.outbox("feed").status().unwrap()));
    let letters = store.outbox("feed").dead_letters().unwrap();
    let letters: Vec<_> = letters.iter().map(Result::unwrap).map(|l| (l.position, l.attempts, l.last_error, l.event)).collect();
    told("dead letters".into(), json!(letters));
    digest
}

/// A question that passes over parts of the log finds what a look at every event finds, and `verify` has no complaint.
fn check_derived(store: &Store) {
    let read = |filter: Filter| -> Vec<RecordedEvent> { store.read(filter.all_tenants()).map(Result::unwrap).collect() };
    let all = read(Filter::new());
    let mut types: Vec<&str> = all.iter().map(|event| &*event.event_type).collect();
    types.sort_unstable();
    types.dedup();
    for event_type in types {
        let expected: Vec<_> = all.iter().filter(|event| &*event.event_type == event_type).cloned().collect();
        assert_eq!(read(Filter::new().event_type(event_type)), expected, "{event_type}");
        assert_eq!(
            store.read(Query::matching(Filter::new().event_type(event_type).all_tenants()).newest_first()).count(),
            expected.len(),
            "{event_type}"
        );
    }
    let middle = all[all.len() / 2].created_at;
    let (earlier, later) = (read(Filter::new().to(middle)), read(Filter::new().from(middle)));
    assert_eq!(earlier, all.iter().filter(|event| event.created_at <= middle).cloned().collect::<Vec<_>>());
    assert_eq!(later, all.iter().filter(|event| event.created_at >= middle).cloned().collect::<Vec<_>>());
    let report = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
}

#[test]
fn the_golden_file_opens_and_holds_what_was_put_into_it() {
    let (_directory, path, truth) = copy();
    let store = options().open(&path).unwrap();
    assert_eq!(digest(&store), truth);
    check_derived(&store);

    // A repeat of what was purged is still known: what the file keeps of it never changes its meaning.
    let again = NewEvent::new("Noted", &json!({ "text": "naïve \u{1F980} \"quoted\"", "n": 3 })).unwrap();
    let again = Batch::new().append("order", "purged", Expected::Any, [again.id(purged_id()).tag("a").tag("b")]).skip_existing();
    let again = store.commit(again).unwrap();
    assert_eq!((again[0].was_duplicate, again[0].version.get()), (true, 4));

    // It is not only readable: it goes on.
    let last = store.last_position().unwrap().get();
    let orders = store.json_aggregates("order");
    let version = orders.version("o-1").unwrap();
    let appended = orders.append("o-1", version, [NewEvent::new("Noted", &json!({ "later": true })).unwrap()]).unwrap();
    assert_eq!((appended.version.get(), appended.position.get()), (version.get() + 1, last + 1));
    assert_eq!(orders.replay("o-1").unwrap().state["later"], json!(true));
    assert_eq!(store.subscription("mails").run_to_end(|_| Ok(())).unwrap(), 5);
    drop((orders, store));
    assert_eq!(options().open(&path).unwrap().last_position().unwrap(), last + 1);
}

#[test]
fn the_golden_file_can_be_read_without_being_changed() {
    let (_directory, path, truth) = copy();
    let before = std::fs::read(&path).unwrap();
    let store = options().open_read_only(&path).unwrap();
    assert_eq!(digest(&store), truth);
    check_derived(&store);
    drop(store);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Another format needs a golden file of its own.
#[test]
fn a_new_file_is_of_the_format_of_the_golden_file() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("new.db");
    make(&path);
    // The file header of SQLite: user_version is the big-endian number at byte 60.
    let format = |path: &Path| u32::from_be_bytes(std::fs::read(path).unwrap()[60..64].try_into().unwrap());
    assert_eq!(format(&path), FORMAT);
    assert_eq!(format(&copy().1), FORMAT);
}

/// Of an event that is purged.
fn purged_id() -> foldlog::EventId {
    "0198f2c4-9d3a-7c1e-8a55-0123456789ac".parse().unwrap()
}

/// Something of everything that the format can hold.
fn make(path: &Path) {
    let clock = Clock::fixed("2026-01-02T03:04:05.678901Z".parse().unwrap());
    let store = options().durability(Durability::Fast).clock(clock.clone()).open(path).unwrap();
    let metadata = Metadata::new().user_id("u-1").ip_address("192.0.2.7").correlation_id("r-1").extra("channel", "mobile");
    let orders = store.json_aggregates("order").with_metadata(&metadata).unwrap();
    let note = |n: u64| NewEvent::new("Noted", &json!({ "n": n, "text": "naïve \u{1F980} \"quoted\"" })).unwrap();
    orders.append("o-1", Expected::New, [NewEvent::new("Placed", &json!({ "customer": "c-1", "open": true })).unwrap()]).unwrap();
    // More than one block of 512 positions, with snapshots on the way.
    for n in 0..120 {
        orders.append("o-1", Expected::Any, (0..5).map(|part| note(n * 5 + part))).unwrap();
    }
    clock.set("2025-12-31T00:00:00Z".parse().unwrap());
    let id = "0198f2c4-9d3a-7c1e-8a55-0123456789ab".parse().unwrap();
    let old = "1969-07-20T20:17:40Z".parse().unwrap();
    store
        .commit(
            Batch::new()
                .append("order", "o-2", Expected::Any, [note(1).id(id).schema_version(3).tag("branch:7").tag("ä b"), note(2)])
                .append(
                    "customer",
                    "c-1",
                    Expected::Any,
                    [NewEvent::new("Greeted", &json!({ "loud": null })).unwrap().created_at(old)],
                ),
        )
        .unwrap();
    store.tenant("acme").append("order", "o-1", Expected::Any, [note(9)]).unwrap();
    orders
        .append(
            "purged",
            Expected::Any,
            (0..10).map(|n| if n == 3 { note(n).id(purged_id()).tag("b").tag("a") } else { note(n) }),
        )
        .unwrap();
    orders.create_snapshot("purged", SnapshotReason::Manual).unwrap();
    orders.append("purged", Expected::Exactly(Version::new(10)), [note(10)]).unwrap();
    let report = store
        .maintenance()
        .purge(Purge::created_before("2026-01-01T00:00:00Z".parse().unwrap()).aggregate("order", "purged").fold(&orders))
        .unwrap();
    assert_eq!(report.events_removed, 10);
    store.subscription("all").run_to_end(|_| Ok(())).unwrap();
    let publish = |message: &Message<'_>| match message.event.position.get() {
        300 => Err(PublishError::Reject("nobody wants it".into())),
        _ => Ok(()),
    };
    store.outbox("feed").filter(Filter::new().aggregate_type("order")).publisher(publish).run_to_end().unwrap();
    let stopped = store.subscription("mails").run_to_end(|event| match event.position.get() {
        602.. => Err("the mail server is down".into()),
        _ => Ok(()),
    });
    assert_eq!(stopped.unwrap_err().position(), Some(602.into()));
    store.maintenance().checkpoint().unwrap();
}
