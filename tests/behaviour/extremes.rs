//! Every public function that takes a number, a duration, a time or a place in the log, with the ends of its type, with 0, 1, and
//! with what lies beside them: no panic, no `Internal`, no wait without an end. And no thread that never sleeps.
//!
//! The sources are searched for such functions: a new one must be called here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use foldlog::{
    Annotated, Archive, Batch, Clock, Documents, Error, ErrorKind, Expected, Filter, Import, Message, NewEvent, Options, Outbox,
    Position, PublishError, Purge, Query, SnapshotExpiry, SnapshotPolicy, SnapshotReason, StartFrom, Store, Upcasters, Upkeep,
    Version,
};
use proptest::prelude::*;

use crate::domain::{Account, AccountEvent};
use crate::layers::sources;
use crate::support::{at, fast, noted, notes};

/// What a call is made with: one of each kind.
#[derive(Clone, Copy, Debug)]
struct Given {
    number: u64,
    duration: Duration,
    time: DateTime<Utc>,
}

impl Given {
    fn small(self) -> u32 {
        u32::try_from(self.number).unwrap_or(u32::MAX)
    }

    fn size(self) -> usize {
        usize::try_from(self.number).unwrap_or(usize::MAX)
    }

    fn place(self) -> Position {
        Position::new(self.number)
    }
}

const NUMBERS: [u64; 21] = [
    0,
    1,
    2,
    5,
    6,
    7,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 2,
    (1 << 32) - 1,
    1 << 32,
    (1 << 32) + 1,
    (1 << 32) + 5,
    1 << 40,
    1 << 48,
    (1 << 63) - 2,
    (1 << 63) - 1,
    1 << 63,
    (1 << 63) + 1,
    u64::MAX - 1,
    u64::MAX,
];

fn durations() -> Vec<Duration> {
    let (nano, milli) = (Duration::from_nanos(1), Duration::from_millis(1));
    let around = |middle: Duration| [middle.saturating_sub(nano), middle, middle.saturating_add(nano)];
    let ends = [i64::MAX as u64, i64::MAX as u64 / 1_000, i64::MAX as u64 / 1_000_000, i64::MAX as u64 / 1_000_000_000];
    let mut all = vec![Duration::ZERO, nano];
    for middle in [milli, Duration::from_secs(1), Duration::from_secs(86_400), Duration::MAX] {
        all.extend(around(middle));
    }
    ends.into_iter().for_each(|seconds| all.extend(around(Duration::from_secs(seconds))));
    all
}

fn times() -> Vec<DateTime<Utc>> {
    let micro = TimeDelta::microseconds(1);
    let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    let nanos_end = DateTime::from_timestamp_nanos(i64::MAX);
    let epoch = DateTime::UNIX_EPOCH;
    vec![first, first + micro, epoch - micro, epoch, epoch + micro, at(2), nanos_end, nanos_end + micro, last - micro, last]
}

fn given() -> impl Strategy<Value = Given> {
    let number = prop_oneof![4 => prop::sample::select(NUMBERS.to_vec()), 1 => any::<u64>()];
    let duration = prop_oneof![4 => prop::sample::select(durations()), 1 => any::<Duration>()];
    (number, duration, prop::sample::select(times())).prop_map(|(number, duration, time)| Given { number, duration, time })
}

type Outcome = Result<(), Error>;
/// The functions that a call is about, as `file::function`, and the call.
type Call = (&'static [&'static str], fn(&Store, Given) -> Outcome);

/// Six events: five of the list "a", with a snapshot, and one account.
fn filled(options: Options) -> Result<Store, Error> {
    let store = options.in_memory()?;
    store.append("list", "a", Expected::Any, (0..5).map(|n| noted(n).created_at(at(n.cast_signed()))))?;
    store.json_aggregates("list").create_snapshot("a", SnapshotReason::Manual)?;
    store.aggregates::<Account>().append("b", Expected::Any, [AccountEvent::Deposited { cents: 1 }])?;
    Ok(store)
}

/// A day of an application under these options.
fn lives_with(options: Options) -> Outcome {
    let store = filled(options)?;
    store.aggregates::<Account>().execute("b", |_| Ok::<_, String>([AccountEvent::Deposited { cents: 1 }])).map_err(|error| {
        match error {
            foldlog::ExecuteError::Store(error) => error,
            foldlog::ExecuteError::Decision(refused) => panic!("{refused}"),
        }
    })?;
    store.subscription("s").run_to_end(|_| Ok(()))?;
    failing(store.outbox("o")).run_to_end()?;
    store.maintenance().expire_snapshots(Duration::ZERO, |_| Continue(()))?;
    store.maintenance().checkpoint()?;
    assert!(store.maintenance().verify(|_| Continue(()))?.is_clean());
    Ok(())
}

fn failing(outbox: Outbox) -> Outbox<impl FnMut(&Message<'_>) -> Result<(), PublishError>> {
    outbox.publisher(|_: &Message<'_>| Err(PublishError::Retry("down".into())))
}

fn all(store: &Store, query: impl Into<Query>) -> Outcome {
    let query = query.into();
    for query in [query.clone(), query.newest_first()] {
        store.read(query.clone()).try_for_each(|event| event.map(drop))?;
        store.count(query)?;
    }
    Ok(())
}

/// A wait is short, or something ends it: an append of another thread.
fn waits(store: &Store, given: Given, wait: impl FnOnce(Position, Duration) -> Outcome + Send) -> Outcome {
    let (position, timeout) = match given.duration < Duration::from_millis(5) {
        true => (given.place(), given.duration),
        false => (Position::new(given.number.min(7)), given.duration),
    };
    thread::scope(|scope| {
        let waiting = scope.spawn(move || wait(position, timeout));
        thread::sleep(Duration::from_millis(2));
        store.append("list", "c", Expected::Any, [noted(1)])?;
        store.subscription("s").run_to_end(|_| Ok(()))?;
        waiting.join().unwrap()
    })
}

fn upcasters(made: Upcasters) -> Outcome {
    lives_with(fast().upcasters(made)?)
}

const CALLS: &[Call] = &[
    (&["options.rs::busy_timeout"], |_, given| lives_with(fast().busy_timeout(given.duration))),
    (&["options.rs::max_event_bytes"], |_, given| lives_with(fast().max_event_bytes(given.size()))),
    (&["options.rs::max_batch_events"], |_, given| lives_with(fast().max_batch_events(given.size()))),
    (&["options.rs::max_name_bytes"], |_, given| lives_with(fast().max_name_bytes(given.size()))),
    (&["options.rs::cache_bytes"], |_, given| lives_with(fast().cache_bytes(given.size()))),
    (&["options.rs::wal_limit"], |_, given| lives_with(fast().wal_limit(given.number))),
    (&["options.rs::execute_attempts"], |_, given| lives_with(fast().execute_attempts(given.small()))),
    (&["options.rs::every", "options.rs::retain"], |_, given| {
        lives_with(fast().snapshots(SnapshotPolicy::every(given.number)))?;
        lives_with(fast().snapshots(SnapshotPolicy::every(1).retain(given.small())))
    }),
    (&["model/clock.rs::fixed", "model/clock.rs::set"], |_, given| {
        let clock = Clock::fixed(given.time);
        lives_with(fast().clock(clock.clone()))?;
        let store = filled(fast().clock(clock.clone()))?;
        failing(store.outbox("o").backoff(given.duration, given.duration)).run_to_end()?;
        clock.set(at(0));
        store.subscription("s").run_to_end(|_| Ok(()))?;
        clock.set(given.time);
        failing(store.outbox("o")).run_to_end()?;
        store.maintenance().expire_snapshots(given.duration, |_| Continue(()))?;
        store.maintenance().archive(Archive::older_than(given.duration).dry_run()).map(drop)
    }),
    (&["model/place.rs::new"], |_, given| {
        assert_eq!((Position::new(given.number).get(), Version::new(given.number).get()), (given.number, given.number));
        Ok(())
    }),
    (&["metrics/names.rs::event_count_class"], |_, given| {
        assert!(!foldlog::metrics::event_count_class(given.number).is_empty());
        Ok(())
    }),
    (&["model/filter.rs::from", "model/filter.rs::to"], |store, given| {
        all(store, Filter::new().from(given.time))?;
        all(store, Filter::new().to(given.time))?;
        all(store, Filter::new().from(given.time).to(given.time))
    }),
    (
        &[
            "log/query.rs::after_position",
            "log/query.rs::up_to_position",
            "log/query.rs::after_version",
            "log/query.rs::up_to_version",
            "log/query.rs::limit",
        ],
        |store, given| {
            all(store, Query::new().after_position(given.number))?;
            all(store, Query::new().up_to_position(given.number))?;
            all(store, Query::new().after_position(given.number).up_to_position(given.number))?;
            all(store, Query::aggregate("list", "a").after_version(given.number))?;
            all(store, Query::aggregate("list", "a").up_to_version(given.number))?;
            all(store, Query::new().limit(given.number))?;
            all(store, Query::aggregate("list", "a").limit(given.number))?;
            let (of_five, of_six) = (given.number.min(5), given.number.min(6));
            let list = || Query::aggregate("list", "a");
            assert_eq!(store.count(list().after_version(given.number))?, 5 - of_five);
            assert_eq!(store.count(list().up_to_version(given.number))?, of_five);
            assert_eq!(store.read(list().after_version(given.number)).count() as u64, 5 - of_five);
            assert_eq!(store.read(Query::new().after_position(given.number)).count() as u64, 6 - of_six);
            assert_eq!(store.read(Query::new().up_to_position(given.number)).count() as u64, of_six);
            assert_eq!(store.read(Query::new().limit(given.number)).count() as u64, of_six);
            Ok(())
        },
    ),
    (&["log/watch.rs::after"], |store, given| {
        store.watch(Filter::new())?.after(given.number).next_within(Duration::ZERO).map(drop)
    }),
    (&["log/watch.rs::next_within"], |store, given| {
        let mut watch = store.watch(Filter::new())?;
        waits(store, given, move |_, timeout| watch.next_within(timeout).map(drop))
    }),
    (&["store/mod.rs::wait_for"], |store, given| {
        waits(store, given, |position, timeout| store.wait_for(position, timeout).map(drop))
    }),
    (&["delivery/control.rs::wait_until"], |store, given| {
        store.subscription("s").run_to_end(|_| Ok(()))?;
        waits(store, given, |position, timeout| store.subscription("s").wait_until(position, timeout))
    }),
    (&["delivery/control.rs::seek"], |store, given| {
        store.subscription("s").run_to_end(|_| Ok(()))?;
        failing(store.outbox("o")).run_to_end()?;
        store.outbox("o").seek(given.number)?;
        store.subscription("s").seek(given.number)
    }),
    (&["delivery/subscription.rs::start_from", "delivery/outbox/mod.rs::start_from"], |store, given| {
        failing(store.outbox("o").start_from(StartFrom::After(given.place()))).run_to_end()?;
        store.subscription("s").start_from(StartFrom::After(given.place())).run_to_end(|_| Ok(())).map(drop)
    }),
    (&["delivery/subscription.rs::checkpoint_every"], |store, given| {
        assert_eq!(store.subscription("s").checkpoint_every(given.number).run_to_end(|_| Ok(()))?, 6);
        assert_eq!(store.subscription("s").status()?.position, 6);
        Ok(())
    }),
    (
        &["delivery/subscription.rs::lease", "delivery/outbox/mod.rs::lease", "delivery/projection/mod.rs::lease"],
        |store, given| {
            assert_eq!(store.subscription("s").lease(given.duration).run_to_end(|_| Ok(()))?, 6);
            failing(store.outbox("o").lease(given.duration)).run_to_end()?;
            assert_eq!(store.projection(documents(1))?.lease(given.duration).run_to_end()?, 6);
            Ok(())
        },
    ),
    (&["delivery/outbox/mod.rs::max_attempts", "delivery/outbox/mod.rs::backoff"], |store, given| {
        // No attempt follows at once, or there are few.
        let pause = given.duration.max(Duration::from_secs(1));
        failing(store.outbox("o").max_attempts(given.small()).backoff(pause, Duration::MAX)).run_to_end()?;
        failing(store.outbox("p").max_attempts(2).backoff(given.duration, given.duration)).run_to_end()?;
        failing(store.outbox("q").max_attempts(2).backoff(Duration::MAX, given.duration)).run_to_end().map(drop)
    }),
    (&["delivery/outbox/dead_letters.rs::retry", "delivery/outbox/dead_letters.rs::discard"], |store, given| {
        failing(store.outbox("o").max_attempts(1)).run_to_end()?;
        let letters = store.outbox("o").dead_letters()?;
        letters.retry(given.number).or_else(|_| letters.discard(given.number))
    }),
    (&["delivery/documents.rs::new"], |store, given| {
        assert_eq!(store.projection(documents(given.small()))?.run_to_end()?, 6);
        store.projection(documents(given.small()))?.rebuild(|_| Continue(())).map(drop)
    }),
    (&["maintenance/archive.rs::older_than", "maintenance/archive.rs::created_before"], |store, given| {
        store.maintenance().archive(Archive::created_before(given.time).dry_run())?;
        store.maintenance().archive(Archive::older_than(given.duration).dry_run()).map(drop)
    }),
    (&["maintenance/archive.rs::all_but_newest", "maintenance/archive.rs::keep_newest"], |store, given| {
        store.maintenance().archive(Archive::all_but_newest(given.number).dry_run())?;
        store.maintenance().archive(Archive::created_before(given.time).keep_newest(given.number).dry_run()).map(drop)
    }),
    (&["maintenance/purge.rs::created_before"], |store, given| {
        let lists = store.json_aggregates("list");
        let plan = || Purge::created_before(given.time).fold(&lists);
        store.maintenance().purge(plan().dry_run())?;
        store.maintenance().purge(plan().even_if_replay_breaks().even_if_younger_before().forget_ids()).map(drop)
    }),
    (&["store/maintenance.rs::expire_snapshots"], |store, given| {
        store.maintenance().expire_snapshots(given.duration, |_| Continue(())).map(drop)
    }),
    (&["maintenance/clean_up.rs::every", "maintenance/clean_up.rs::older_than"], |store, given| {
        let plan = SnapshotExpiry::weekly().every(given.duration).older_than(given.duration);
        let task = store.maintenance().schedule_snapshot_expiry(plan)?;
        thread::sleep(Duration::from_millis(2));
        assert_eq!(task.last_failure(), None);
        Ok(())
    }),
    (&["maintenance/upkeep.rs::every", "maintenance/upkeep.rs::snapshots_older_than"], |store, given| {
        let upkeep = || Upkeep::new().every(given.duration).snapshots_older_than(given.duration);
        store.maintenance().maintain(upkeep(), |_| Continue(()))?;
        let task = store.maintenance().schedule(upkeep())?;
        thread::sleep(Duration::from_millis(2));
        assert_eq!(task.last_failure(), None);
        Ok(())
    }),
    (&["store/erase.rs::erasures", "store/storage.rs::removed_aggregates"], |store, given| {
        store.erasures(given.number)?;
        store.removed_aggregates(given.size()).map(drop)
    }),
    (&["model/event.rs::schema_version"], |store, given| {
        store.append("list", "c", Expected::Any, [noted(1).schema_version(given.small())]).map(drop)
    }),
    (&["model/event.rs::created_at", "model/annotated.rs::created_at"], |store, given| {
        store.append("list", "c", Expected::Any, [noted(1).created_at(given.time)])?;
        let event = Annotated::new(AccountEvent::Deposited { cents: 1 }).created_at(given.time);
        store.aggregates::<Account>().append("c", Expected::Any, [event])?;
        all(store, Query::new())?;
        assert!(store.maintenance().verify(|_| Continue(()))?.is_clean());
        store.aggregates::<Account>().replay_to_time("c", given.time).map(drop)
    }),
    (&["model/upcast/mod.rs::data", "model/upcast/mod.rs::convert", "model/upcast/mod.rs::add_field"], |_, given| {
        let from = given.small();
        upcasters(Upcasters::new().data("Noted", from, Ok)).and(Ok(())).or_else(invalid)?;
        upcasters(Upcasters::new().convert::<serde_json::Value, serde_json::Value>("Noted", from)).or_else(invalid)?;
        upcasters(Upcasters::new().add_field("Noted", from, "x", 1)).or_else(invalid)
    }),
    (
        &[
            "model/upcast/mod.rs::rename_field",
            "model/upcast/mod.rs::remove_field",
            "model/upcast/mod.rs::compatible",
            "model/upcast/mod.rs::discard",
            "model/upcast/mod.rs::revision",
        ],
        |_, given| {
            let from = given.small();
            upcasters(Upcasters::new().rename_field("Noted", from, "n", "m")).or_else(invalid)?;
            upcasters(Upcasters::new().remove_field("Noted", from, "n")).or_else(invalid)?;
            upcasters(Upcasters::new().compatible("Noted", from)).or_else(invalid)?;
            upcasters(Upcasters::new().discard("Noted", from)).or_else(invalid)?;
            upcasters(Upcasters::new().compatible("Noted", 1).revision(from)).or_else(invalid)
        },
    ),
    (&["model/upcast/mod.rs::rename_type", "model/upcast/mod.rs::split"], |_, given| {
        for (from, to) in [(given.small(), 1), (1, given.small())] {
            upcasters(Upcasters::new().rename_type("Gone", from, "Noted", to)).or_else(invalid)?;
            upcasters(Upcasters::new().split("Gone", from, [("Noted", to)], |_| Ok(Vec::new()))).or_else(invalid)?;
        }
        Ok(())
    }),
    (&["store/aggregates.rs::fold_with"], |store, given| {
        let lists = store.json_aggregates("list").fold_with("count", given.small(), |_, _, _| Ok(()));
        lists.create_snapshot("a", SnapshotReason::Manual)?;
        lists.replay("a").map(drop)
    }),
    (
        &[
            "store/aggregates.rs::replay_to_version",
            "store/aggregates.rs::replay_to_position",
            "store/aggregates.rs::replay_to_time",
            "store/aggregates.rs::steps",
            "store/snapshots.rs::create_snapshot_at",
        ],
        |store, given| {
            let lists = store.json_aggregates("list");
            let versions = lists.replay_to_version("a", given.number).ok().map(|replayed| replayed.version.get());
            assert_eq!(versions, Some(given.number).filter(|number| (1..=5).contains(number)));
            lists.replay_to_version("a", given.number).map(drop).or_else(of_data)?;
            lists.replay_to_position("a", given.number).map(drop).or_else(of_data)?;
            lists.replay_to_time("a", given.time).map(drop).or_else(of_data)?;
            lists.create_snapshot_at("a", given.number, SnapshotReason::Manual).map(drop).or_else(of_data)?;
            lists.steps("a", given.number)?.try_for_each(|step| step.map(drop)).or_else(of_data)
        },
    ),
    (&["store/each.rs::to_position", "store/each.rs::to_time"], |store, given| {
        let lists = store.json_aggregates("list");
        lists.replay_each().to_position(given.number).run(|_, _| Ok::<(), String>(()), |_| Continue(()))?;
        lists.replay_each().to_time(given.time).run(|_, _| Ok::<(), String>(()), |_| Continue(())).map(drop)
    }),
    (&["store/storage.rs::size_report"], |store, given| store.size_report(given.size(), |_| Continue(())).map(drop)),
    (&["store/mod.rs::recent_events"], |store, given| store.recent_events(given.number).map(drop)),
    (&["store/mod.rs::count_by_time"], |store, given| {
        for spans in [given.size(), given.size() % 1_000] {
            store.count_by_time(&Filter::new(), given.time, given.duration, spans).map(drop).or_else(invalid)?;
        }
        Ok(())
    }),
    (&["transfer/import.rs::events_per_commit"], |_, given| {
        let lines = r#"{"aggregateType":"list","aggregateId":"x","eventType":"Noted","data":{}}"#;
        let into = fast().in_memory()?;
        into.import(&Import::new().events_per_commit(given.size()), lines.as_bytes(), |_| Continue(()))?;
        assert_eq!(into.last_position()?, 1);
        Ok(())
    }),
    (
        &[
            "log/append.rs::append",
            "log/append.rs::expect",
            "store/batch.rs::append_to",
            "store/batch.rs::expect_of",
            "store/mod.rs::append",
            "store/aggregates.rs::append",
            "store/aggregates.rs::append_events",
        ],
        |store, given| {
            let expected = Expected::from(given.number);
            store.append("list", "a", expected, notes([1])).map(drop).or_else(of_data)?;
            store.commit(Batch::new().append("list", "a", expected, notes([1]))).map(drop).or_else(of_data)?;
            let accounts = store.aggregates::<Account>();
            let typed = Batch::new().append_to(&accounts, "d", expected, [AccountEvent::Closed])?;
            store.commit(typed.expect_of(&accounts, "b", expected)).map(drop).or_else(of_data)?;
            store
                .commit(Batch::new().expect("list", "a", expected).append("list", "e", Expected::Any, [noted(1)]))
                .map(drop)
                .or_else(of_data)?;
            accounts.append("a", expected, [AccountEvent::Closed]).map(drop).or_else(of_data)?;
            store.aggregates::<Account>().append_events("a", expected, [NewEvent::of(&AccountEvent::Closed)?]).map(drop)
        },
    ),
];

fn documents(version: u32) -> Documents {
    Documents::new(
        "docs",
        version,
        |event| Some(event.aggregate_id.to_string()),
        |document, _| {
            *document = serde_json::json!(1);
            Ok(())
        },
    )
}

fn invalid(error: Error) -> Outcome {
    expects(error, &[ErrorKind::InvalidInput, ErrorKind::SchemaVersionTooNew, ErrorKind::LimitExceeded])
}

/// An error that the data explains: there is no such version, or the expected one is another.
fn of_data(error: Error) -> Outcome {
    expects(error, &[ErrorKind::NotFound, ErrorKind::Conflict, ErrorKind::InvalidInput, ErrorKind::LimitExceeded])
}

fn expects(error: Error, kinds: &[ErrorKind]) -> Outcome {
    if kinds.contains(&error.kind()) { Ok(()) } else { Err(error) }
}

/// Makes a call on a thread of its own, so that one that does not come back is told by its name.
fn call((names, call): &'static Call, given: Given) -> Result<(), String> {
    let (told, outcome) = mpsc::channel();
    let calling = thread::spawn(move || {
        let done = filled(fast()).and_then(|store| call(&store, given));
        told.send(done).unwrap();
    });
    let fine = [
        ErrorKind::InvalidInput,
        ErrorKind::LimitExceeded,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Busy,
        ErrorKind::SchemaVersionTooNew,
    ];
    match outcome.recv_timeout(Duration::from_secs(60)) {
        Ok(Ok(())) => calling.join().map_err(|_| format!("{names:?} with {given:?} panics")),
        Ok(Err(error)) if fine.contains(&error.kind()) => Ok(()),
        Ok(Err(error)) => Err(format!("{names:?} with {given:?}: {error}")),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("{names:?} with {given:?} does not come back")),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(format!("{names:?} with {given:?} panics")),
    }
}

#[test]
fn at_each_end_of_each_type() {
    let (durations, times) = (durations(), times());
    let most = NUMBERS.len().max(durations.len()).max(times.len());
    let mut wrong = Vec::new();
    for of in CALLS {
        let number = |n: usize| NUMBERS[n % NUMBERS.len()];
        let all = (0..most).map(|n| Given {
            number: number(n),
            duration: durations[n % durations.len()],
            time: times[n % times.len()],
        });
        // One for each function.
        wrong.extend(all.map(|given| call(of, given)).find_map(Result::err));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn with_one_end_beside_another(of in 0..CALLS.len(), given in given()) {
        prop_assert_eq!(call(&CALLS[of], given), Ok(()));
    }
}

/// What a parameter's type must name for its function to be called here.
const KINDS: [&str; 15] = [
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
    "i32",
    "i64",
    "f64",
    "Duration",
    "DateTime",
    "TimeDelta",
    "Position",
    "Version",
    "StartFrom",
];

#[test]
fn every_such_function_is_called() {
    let called: BTreeSet<&str> = CALLS.iter().flat_map(|(names, _)| *names).copied().collect();
    let mut found = BTreeMap::new();
    for (file, code) in sources() {
        for (name, parameters) in public_functions(&code) {
            let words: Vec<&str> = parameters.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
            let is_one = KINDS.iter().any(|kind| words.contains(kind)) || parameters.contains("Into<Expected>");
            // Bytes are not a number.
            if is_one && !parameters.contains("&[u8]") {
                found.insert(format!("{file}::{name}"), parameters.to_owned());
            }
        }
    }
    assert!(found.len() > 60, "the search finds them: {}", found.len());
    let missing: Vec<_> = found.iter().filter(|(name, _)| !called.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "call these with the ends of their types: {missing:#?}");
    let gone: Vec<_> = called.iter().filter(|name| !found.contains_key(**name)).collect();
    assert!(gone.is_empty(), "there are no such functions: {gone:?}");
}

/// The names of the public functions of a source file, each with the text of its parameters.
fn public_functions(code: &str) -> Vec<(&str, &str)> {
    let parts = code.split("pub fn ").chain(code.split("pub const fn ")).map(|part| (part, part));
    let mut found = Vec::new();
    for (part, _) in parts.filter(|(part, _)| part.starts_with(|c: char| c.is_ascii_lowercase())) {
        let Some(name) = part.split(|c: char| !(c.is_alphanumeric() || c == '_')).next() else { continue };
        // Up to the body: generics, parameters, result and bounds. Results hold no such types alone that are not worth a call.
        let signature = part.split('{').next().unwrap_or(part);
        let Some(open) = signature[name.len()..].find('(') else { continue };
        let mut depth = 0;
        let from = name.len() + open;
        let end = signature[from..].char_indices().find_map(|(at, c)| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            (depth == 0).then_some(from + at + 1)
        });
        if let Some(end) = end {
            found.push((name, &signature[from..end]));
        }
    }
    found
}

/// The processor time that the threads with such names have used, in ticks of a hundredth of a second.
#[cfg(target_os = "linux")]
fn ticks_of(names: &[&str]) -> u64 {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread may end meanwhile.
        let Ok(stat) = std::fs::read_to_string(Path::new(&task.path()).join("stat")) else { continue };
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        if names.contains(&name) {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    ticks
}

/// Nobody has anything to do for a second; a thread that never sleeps would use up to a hundred ticks of it.
#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_busy_while_there_is_nothing_to_do() {
    let store = filled(fast()).unwrap();
    let mut followers = Vec::new();
    for (n, lease) in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX].into_iter().enumerate() {
        for every in [0, u64::MAX] {
            let subscription = store.subscription(&format!("edge{n}-{every}")).lease(lease).checkpoint_every(every);
            followers.push(subscription.follow(|_| Ok(())).unwrap());
        }
        let outbox = store.outbox(&format!("out{n}")).lease(lease).backoff(Duration::from_secs(60), Duration::MAX);
        followers.push(outbox.publisher(|_: &Message<'_>| Err(PublishError::Retry("down".into()))).follow().unwrap());
    }
    let names = [
        "foldlog-edge0-0",
        "foldlog-edge0-1",
        "foldlog-edge1-0",
        "foldlog-edge1-1",
        "foldlog-edge2-0",
        "foldlog-edge2-1",
        "foldlog-out0",
        "foldlog-out1",
        "foldlog-out2",
        "foldlog-heartbe",
    ];
    let leads = |followers: &[foldlog::Follower]| followers.iter().all(foldlog::Follower::is_leading);
    for _ in 0..1_000 {
        if leads(&followers) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(leads(&followers));
    thread::sleep(Duration::from_millis(200));
    let before = ticks_of(&names);
    thread::sleep(Duration::from_secs(1));
    let used = ticks_of(&names) - before;
    assert!(used < 30, "{used} hundredths of a second");

    // The clean-up runs as often as its shortest interval and no more.
    let tasks = [Duration::ZERO, Duration::from_nanos(1)]
        .map(|every| store.maintenance().schedule_snapshot_expiry(SnapshotExpiry::weekly().every(every)).unwrap());
    let before = ticks_of(&["foldlog-clean-u"]);
    thread::sleep(Duration::from_secs(1));
    let used = ticks_of(&["foldlog-clean-u"]) - before;
    assert!(used < 20, "{used} hundredths of a second");
    assert!(tasks.iter().all(|task| task.last_failure().is_none()));
}
