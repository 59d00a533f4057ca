//! Every kind of error, produced once: that its message says what failed, why, where, and what to do next. To read them all:
//!
//! ```text
//! cargo test --test behaviour messages:: -- --nocapture
//! ```

use std::collections::BTreeSet;
use std::ops::ControlFlow::Continue;
use std::time::Duration;

use foldlog::{
    Aggregate, Archive, Batch, Documents, Erase, Error, ErrorKind, EventId, Filter, Import, Json, Message, Metadata, NewEvent,
    PublishError, Purge, Query, SnapshotReason, StartFrom, Store, Upcasters,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::{Account, AccountEvent, deposits, opened};
use crate::support::{Place, at, fast, noted, notes, raw};

/// Where the errors are made.
struct Ground {
    place: Place,
    store: Store,
}

/// Its error, which it must have.
fn error<T>(result: Result<T, Error>) -> Option<Error> {
    result.err()
}

fn ground() -> Ground {
    let place = Place::new();
    let store = fast().busy_timeout(Duration::from_millis(20)).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    accounts.append("a", 0, [opened()]).unwrap();
    accounts.append("a", 1, deposits(4)).unwrap();
    Ground { place, store }
}

/// What a message must name, besides what failed: the place, if there is one, and the next step.
type Case = (&'static str, ErrorKind, &'static [&'static str], fn(&Ground) -> Option<Error>);

/// A state that starts from something that JSON does not have.
#[derive(Serialize, Deserialize)]
struct Least(f64);

impl Default for Least {
    fn default() -> Least {
        Least(f64::INFINITY)
    }
}

impl Aggregate for Least {
    const TYPE: &'static str = "account";
    type Event = AccountEvent;

    fn apply(&mut self, _event: AccountEvent) {}
}

#[derive(Default, Serialize, Deserialize)]
struct Narrow;

#[derive(Serialize, Deserialize)]
enum OnlyClosed {
    Closed,
}

impl Aggregate for Narrow {
    const TYPE: &'static str = "account";
    type Event = OnlyClosed;

    fn apply(&mut self, OnlyClosed::Closed: OnlyClosed) {}
}

fn documents(name: &str, version: u32) -> Documents {
    Documents::new(name, version, |event| Some(event.aggregate_id.to_string()), |_, _| Ok(()))
}

fn id(n: u128) -> EventId {
    EventId::from_u128(n)
}

const LOG: &[Case] = &[
    (
        "another writer was faster",
        ErrorKind::Conflict,
        &["append", "expected version 3, found version 5", "account \"a\"", "replay, decide again"],
        |on| error(on.store.append("account", "a", 3, notes([1]))),
    ),
    (
        "an aggregate that is not there",
        ErrorKind::NotFound,
        &["replay", "no events", "account \"b\"", "check the tenant, the type"],
        |on| error(on.store.aggregates::<Account>().replay("b")),
    ),
    ("a version that it has not reached", ErrorKind::NotFound, &["version", "9", "account \"a\""], |on| {
        error(on.store.aggregates::<Account>().replay_to_version("a", 9))
    }),
    ("a time before its first event", ErrorKind::NotFound, &["account \"a\""], |on| {
        error(on.store.aggregates::<Account>().replay_to_time("a", at(-1_000_000_000)))
    }),
    ("data that is not JSON", ErrorKind::Codec, &["not JSON", "line 1"], |_| error(Json::from_text("{\"a\":"))),
    ("JSON that is too deep", ErrorKind::Codec, &["deeper than 127"], |_| {
        error(Json::from_text("[".repeat(200) + &"]".repeat(200)))
    }),
    ("an event that cannot be read back", ErrorKind::Codec, &["read back", "Measured", "not finite"], |_| {
        #[derive(Serialize, Deserialize)]
        enum Reading {
            Measured { kelvin: f64 },
        }
        error(NewEvent::of(&Reading::Measured { kelvin: f64::NAN }))
    }),
    (
        "an event that does not fit its type",
        ErrorKind::Codec,
        &["replay", "owner", "default", "account \"c\"", "version 1"],
        |on| {
            let event = NewEvent::new("Opened", &json!({"holder": "Ada"})).unwrap();
            on.store.append("account", "c", 0, [event]).unwrap();
            error(on.store.aggregates::<Account>().replay("c"))
        },
    ),
    ("a state that JSON cannot hold", ErrorKind::Codec, &["does not come back from JSON", "account \"a\""], |on| {
        error(on.store.aggregates::<Least>().create_snapshot("a", SnapshotReason::Manual))
    }),
    ("an event type that the fold does not know", ErrorKind::UnknownEventType, &["replay", "Opened", "add the variant"], |on| {
        error(on.store.aggregates::<Narrow>().replay("a"))
    }),
    (
        "an event of a newer program",
        ErrorKind::SchemaVersionTooNew,
        &["version 2", "up to version 1", "newer version of the program"],
        |on| error(on.store.append("account", "a", 5, [noted(1).schema_version(2)])),
    ),
    ("an empty name", ErrorKind::InvalidInput, &["append", "the aggregate id is empty"], |on| {
        error(on.store.append("account", "", 0, notes([1])))
    }),
    ("a name with a NUL", ErrorKind::InvalidInput, &["the tag", "NUL"], |on| {
        error(on.store.append("account", "a", 5, [noted(1).tag("\0")]))
    }),
    ("no events", ErrorKind::InvalidInput, &["append", "no events to append"], |on| {
        error(on.store.append("account", "a", 5, notes([])))
    }),
    ("metadata that is no object", ErrorKind::InvalidInput, &["metadata is not a JSON object"], |on| {
        error(on.store.append("account", "a", 5, [noted(1).metadata_json("1".parse().unwrap())]))
    }),
    ("the nil UUID", ErrorKind::InvalidInput, &["nil UUID"], |on| {
        error(on.store.append("account", "a", 5, [noted(1).id(EventId::nil())]))
    }),
    ("the batch of another tenant", ErrorKind::InvalidInput, &["another tenant", "commit it with"], |on| {
        let batch = Batch::new().append_to(&on.store.tenant("acme").aggregates::<Account>(), "a", 0, [opened()]).unwrap();
        error(on.store.commit(batch))
    }),
    ("a version of upcasters that is missing", ErrorKind::InvalidInput, &["register upcasters", "Noted"], |_| {
        error(fast().upcasters(Upcasters::new().compatible("Noted", 1).compatible("Noted", 3)))
    }),
    ("tags in a count by time", ErrorKind::InvalidInput, &["count by time", "leave tags out"], |on| {
        error(on.store.count_by_time(&Filter::new().tag("t"), at(0), Duration::from_secs(1), 1))
    }),
    ("one aggregate of all tenants", ErrorKind::InvalidInput, &["leave all_tenants out"], |on| {
        error(on.store.count(Query::aggregate("account", "a").filter(Filter::new().all_tenants())))
    }),
    (
        "a name that is too long",
        ErrorKind::LimitExceeded,
        &["aggregate type has 1025 bytes", "at most 1024", "max_name_bytes"],
        |on| error(on.store.append(&"n".repeat(1_025), "a", 0, notes([1]))),
    ),
    ("too many events", ErrorKind::LimitExceeded, &["100001 events", "at most 100000", "max_batch_events"], |on| {
        error(on.store.append("account", "a", 5, vec![noted(1); 100_001]))
    }),
    ("an event that is too large", ErrorKind::LimitExceeded, &["at most 16777216", "reference", "Large"], |on| {
        error(on.store.append("account", "a", 5, [NewEvent::new("Large", &"x".repeat(17 << 20)).unwrap()]))
    }),
    ("other content under an id", ErrorKind::DuplicateEventId, &["other data", "new ids", "position 6"], |on| {
        on.store.append("account", "a", 5, [noted(1).id(id(1))]).unwrap();
        error(on.store.append("account", "a", 6, [noted(2).id(id(1))]))
    }),
    ("an id twice", ErrorKind::DuplicateEventId, &["occurs twice"], |on| {
        error(on.store.append("account", "a", 5, [noted(1).id(id(1)), noted(2).id(id(1))]))
    }),
    ("a line that is no event", ErrorKind::InvalidInput, &["import", "line 1"], |on| {
        error(on.store.import(&Import::new(), &b"{\"eventType\":\"Noted\"}\n"[..], |_| Continue(())))
    }),
    ("a query that writes", ErrorKind::InvalidInput, &["writes"], |on| {
        error(on.store.query_read_model("DELETE FROM events", [], |_| Ok(())))
    }),
    ("a query that fails", ErrorKind::InvalidInput, &["the query failed", "no such table"], |on| {
        error(on.store.query_read_model("SELECT * FROM missing", [], |_| Ok(())))
    }),
];

const FILES: &[Case] = &[
    ("a damaged event", ErrorKind::Corrupt, &["read", "checksum", "version 3, position 3", "restore a backup"], |on| {
        raw(&on.place.file()).execute("UPDATE events SET data = '{}' WHERE position = 3", []).unwrap();
        error(on.store.read(Query::new()).collect::<foldlog::Result<Vec<_>>>())
    }),
    ("a missing event", ErrorKind::Corrupt, &["missing", "restore a backup"], |on| {
        raw(&on.place.file()).execute("DELETE FROM events WHERE position = 3", []).unwrap();
        error(on.store.aggregates::<Account>().replay("a"))
    }),
    ("a write lock that is held", ErrorKind::Busy, &["append", "write lock", "busy_timeout"], |on| {
        let other = rusqlite::Connection::open(on.place.file()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        error(on.store.append("account", "a", 5, notes([1])))
    }),
    ("a store that was opened for reading", ErrorKind::ReadOnly, &["append", "opened for reading", "Store::open"], |on| {
        error(Store::open_read_only(on.place.file()).unwrap().append("account", "a", 5, notes([1])))
    }),
    ("an empty file opened for reading", ErrorKind::ReadOnly, &["open", "empty", "open it for writing"], |on| {
        std::fs::write(on.place.join("empty.db"), "").unwrap();
        error(Store::open_read_only(on.place.join("empty.db")))
    }),
    ("a file that is not there", ErrorKind::Io, &["open", "none.db", "No such file"], |on| {
        error(Store::open_read_only(on.place.join("none.db")))
    }),
    ("a directory", ErrorKind::Io, &["open", "is a directory", "name a file in it"], |on| {
        error(Store::open(on.place.directory()))
    }),
    ("a name that is too long for the system", ErrorKind::Io, &["open", "File name too long", "shorter name"], |on| {
        error(Store::open(on.place.join(&"n".repeat(260))))
    }),
    ("an empty path", ErrorKind::InvalidInput, &["open", "path is empty"], |_| error(Store::open(""))),
    ("a file of another application", ErrorKind::ForeignFile, &["another application", "choose another path"], |on| {
        rusqlite::Connection::open(on.place.join("other.db")).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        error(Store::open(on.place.join("other.db")))
    }),
    ("a file that is no database", ErrorKind::ForeignFile, &["open"], |on| {
        std::fs::write(on.place.join("text.db"), "This is a text. ".repeat(100)).unwrap();
        error(Store::open(on.place.join("text.db")))
    }),
    ("a changed schema", ErrorKind::ForeignFile, &["schema was changed", "mine", "restore the file"], |on| {
        raw(&on.place.file()).execute_batch("CREATE INDEX mine ON events (created_at)").unwrap();
        error(Store::open(on.place.file()))
    }),
    ("a newer format", ErrorKind::FormatTooNew, &["format 99", "update the application"], |on| {
        raw(&on.place.file()).execute_batch("PRAGMA user_version = 99").unwrap();
        error(Store::open(on.place.file()))
    }),
    ("a file that was moved", ErrorKind::FileMoved, &["append", "store.db", "move it back"], |on| {
        std::fs::rename(on.place.file(), on.place.join("moved.db")).unwrap();
        error(on.store.append("account", "a", 5, notes([1])))
    }),
    ("a second name", ErrorKind::HardLink, &["append", "hard link", "Store::backup"], |on| {
        std::fs::hard_link(on.place.file(), on.place.join("second.db")).unwrap();
        error(on.store.append("account", "a", 5, notes([1])))
    }),
    ("an archive that is not there", ErrorKind::ArchiveMissing, &["replay", ".archive", "is not there"], |on| {
        let accounts = on.store.aggregates::<Account>();
        accounts.append("a", 5, deposits(600)).unwrap();
        accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
        assert!(on.store.maintenance().archive(Archive::all_but_newest(200)).unwrap().events_archived > 0);
        std::fs::remove_file(on.place.join("store.db.archive")).unwrap();
        error(accounts.without_snapshots().replay("a"))
    }),
    ("an archive of a store in memory", ErrorKind::ArchiveMissing, &["in memory", "store in a file"], |_| {
        let store = fast().in_memory().unwrap();
        let accounts = store.aggregates::<Account>();
        accounts.append("a", 0, deposits(600)).unwrap();
        accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
        error(store.maintenance().archive(Archive::all_but_newest(1)))
    }),
    ("a replay of what was purged", ErrorKind::HistoryRemoved, &["replay", "account \"a\"", "restore the events"], |on| {
        let accounts = on.store.aggregates::<Account>();
        accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
        let plan = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).fold(&accounts);
        assert_eq!(on.store.maintenance().purge(plan).unwrap().events_removed, 5);
        error(accounts.without_snapshots().replay("a"))
    }),
    ("a backup over a file", ErrorKind::InvalidInput, &["backup", "already", "choose another name"], |on| {
        error(on.store.backup(on.place.file(), |_| Continue(())))
    }),
];

const ERASURE: Case =
    ("an aggregate that was erased", ErrorKind::Erased, &["replay", "erased", "account \"a\"", "forget_name"], |on| {
        on.store.maintenance().erase(Erase::aggregate("account", "a")).unwrap();
        error(on.store.aggregates::<Account>().replay("a"))
    });

const DELIVERY: &[Case] = &[
    ("a handler that fails", ErrorKind::Handler, &["run", "the mail server is down", "position 1"], |on| {
        error(on.store.subscription("mails").run_to_end(|_| Err("the mail server is down".into())))
    }),
    ("a handler that panics", ErrorKind::Handler, &["panicked", "position 1"], |on| {
        error(on.store.subscription("mails").run_to_end(|_| panic!("on purpose")))
    }),
    ("a wait for a reader that stopped", ErrorKind::Handler, &["wait", "mails", "skip_failed"], |on| {
        on.store.subscription("mails").run_to_end(|_| Err("no".into())).unwrap_err();
        error(on.store.subscription("mails").wait_until(5, Duration::from_millis(1)))
    }),
    ("a wait that is over", ErrorKind::Busy, &["wait", "only reached position 5", "position 6", "wait longer"], |on| {
        on.store.subscription("mails").run_to_end(|_| Ok(())).unwrap();
        error(on.store.subscription("mails").wait_until(6, Duration::from_millis(1)))
    }),
    ("a paused reader", ErrorKind::Busy, &["mails", "is paused", "resume"], |on| {
        on.store.subscription("mails").run_to_end(|_| Ok(())).unwrap();
        on.store.subscription("mails").pause().unwrap();
        error(on.store.subscription("mails").run_to_end(|_| Ok(())))
    }),
    ("two runners", ErrorKind::Busy, &["mails", "break_lease"], |on| {
        let outer = on.store.subscription("mails");
        let (inner, mut met) = (on.store.subscription("mails").lease(Duration::from_millis(100)), None);
        outer
            .run_to_end(|_| {
                met = met.take().or_else(|| error(inner.run_to_end(|_| Ok(()))));
                Ok(())
            })
            .unwrap();
        met
    }),
    ("a reader that is not there", ErrorKind::NotFound, &["there is no subscription \"mails\"", "check the name"], |on| {
        error(on.store.subscription("mails").status())
    }),
    ("a reader that has not stopped", ErrorKind::NotFound, &["skip", "mails", "has not stopped"], |on| {
        on.store.subscription("mails").run_to_end(|_| Ok(())).unwrap();
        error(on.store.subscription("mails").skip_failed())
    }),
    ("a dead letter that is not there", ErrorKind::NotFound, &["no dead letter", "position 4"], |on| {
        on.store.outbox("out").publisher(|_: &Message<'_>| Ok::<(), PublishError>(())).run_to_end().unwrap();
        error(on.store.outbox("out").dead_letters().unwrap().retry(4))
    }),
    ("the name of another kind", ErrorKind::InvalidInput, &["mails", "handler"], |on| {
        on.store.subscription("mails").run_to_end(|_| Ok(())).unwrap();
        error(on.store.outbox("mails").publisher(|_: &Message<'_>| Ok::<(), PublishError>(())).run_to_end())
    }),
    ("a changed filter", ErrorKind::InvalidInput, &["mails", "has changed", "on_filter_change"], |on| {
        on.store.subscription("mails").run_to_end(|_| Ok(())).unwrap();
        error(on.store.subscription("mails").filter(Filter::new().tag("t")).run_to_end(|_| Ok(())))
    }),
    ("a place behind the end", ErrorKind::InvalidInput, &["log ends at position 5", "reached"], |on| {
        error(on.store.subscription("mails").start_from(StartFrom::After(9.into())).run_to_end(|_| Ok(())))
    }),
    ("the checkpoint of a projection", ErrorKind::InvalidInput, &["seek", "belongs to its tables", "rebuild"], |on| {
        on.store.projection(documents("docs", 1)).unwrap().run_to_end().unwrap();
        error(on.store.subscription("docs").seek(1))
    }),
    ("a projection of another version", ErrorKind::ProjectionOutdated, &["docs", "version", "rebuild"], |on| {
        on.store.projection(documents("docs", 1)).unwrap().run_to_end().unwrap();
        error(on.store.projection(documents("docs", 2)).unwrap().run_to_end())
    }),
    ("an older program's projection", ErrorKind::ProjectionOutdated, &["docs", "update the application"], |on| {
        on.store.projection(documents("docs", 2)).unwrap().run_to_end().unwrap();
        error(on.store.projection(documents("docs", 1)).unwrap().run_to_end())
    }),
    ("the name of a table", ErrorKind::InvalidInput, &["docs__x", "letters, digits"], |on| {
        error(on.store.projection(documents("docs__x", 1)).and_then(|runner| runner.run_to_end()))
    }),
    ("a table that is there already", ErrorKind::InvalidInput, &["already exists", "choose another name"], |on| {
        raw(&on.place.file()).execute_batch("CREATE TABLE mine (x)").unwrap();
        error(on.store.projection(documents("mine", 1)).and_then(|runner| runner.run_to_end()))
    }),
    ("the version zero of a projection", ErrorKind::InvalidInput, &["is 0; the first is 1"], |on| {
        error(on.store.projection(documents("docs", 0)).and_then(|runner| runner.run_to_end()))
    }),
    ("documents that are not there", ErrorKind::NotFound, &["no documents \"docs\"", "Store::projection"], |on| {
        error(on.store.document("docs", "a"))
    }),
];

/// Kinds that this process cannot produce by itself, and the tests that do.
const ELSEWHERE: [(ErrorKind, &str); 5] = [
    (ErrorKind::EventsLost, "data::repairing"),
    (ErrorKind::DiskFull, "short::faults"),
    (ErrorKind::OutcomeUnknown, "short::faults"),
    (ErrorKind::Forked, "short::fork"),
    (ErrorKind::FeatureMissing, "only of a build without a feature"),
];

#[test]
fn each_says_what_failed_why_where_and_what_to_do() {
    let mut wrong = Vec::new();
    for (name, kind, parts, make) in LOG.iter().chain(FILES).chain([&ERASURE]).chain(DELIVERY) {
        let Some(error) = make(&ground()) else {
            wrong.push(format!("{name}: it did not fail"));
            continue;
        };
        let message = error.to_string();
        println!("{name}\n    {:<22} {message}", kind.as_str());
        let missing: Vec<_> = parts.iter().filter(|part| !message.contains(**part)).collect();
        if error.kind() != *kind || !missing.is_empty() {
            wrong.push(format!("{name}: {:?}: {message:?} lacks {missing:?}", error.kind()));
        }
        // The next step; where the input itself is wrong, the reason is enough.
        let is_input = [ErrorKind::InvalidInput, ErrorKind::Codec, ErrorKind::Handler].contains(kind);
        if !is_input && !message.contains("; ") {
            wrong.push(format!("{name}: {message:?} says no next step"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_kind_is_left_out() {
    let source = include_str!("../../src/model/error.rs");
    let body = source.split("pub enum ErrorKind {").nth(1).unwrap().split("\n}").next().unwrap();
    let kinds: BTreeSet<String> = body
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.trim_end_matches(',').to_owned())
        .collect();
    let here = LOG.iter().chain(FILES).chain([&ERASURE]).chain(DELIVERY).map(|(_, kind, ..)| format!("{kind:?}"));
    let elsewhere = ELSEWHERE.iter().map(|(kind, _)| format!("{kind:?}"));
    // A bug has no test.
    let produced: BTreeSet<String> = here.chain(elsewhere).chain(["Internal".to_owned()]).collect();
    assert_eq!(kinds, produced);
}

#[test]
fn metadata_that_is_written_wrong_says_so() {
    let message = error(NewEvent::new("Noted", &1).unwrap().metadata(&Metadata::new().extra("userId", 1).user_id("u")))
        .unwrap()
        .to_string();
    println!("{message}");
    assert!(message.contains("userId"), "{message}");
}
