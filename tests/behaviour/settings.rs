//! Each default that the docs name, and what comes after the first page of upkeep: told from one that is ignored or doubled.

use std::ops::ControlFlow::Continue;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use foldlog::metrics::{Bound, LabelBounds};
use foldlog::{
    Archive, Durability, Executed, Expected, HandlerError, Import, NewEvent, Options, Projection, Purge, ReadModel,
    RecordedEvent, SnapshotPolicy, SnapshotReason, Store,
};

use crate::domain::{Account, AccountEvent, deposits};
use crate::support::{Place, at, fast, noted};

#[test]
fn every_option_has_its_default_until_it_is_set() {
    type Told = (Durability, Option<u64>, u32, Duration, [usize; 4], u64, bool, u32, String);
    let told = |options: &Options| -> Told {
        let (snapshots, bounds) = (options.get_snapshots(), options.get_label_bounds());
        (
            options.get_durability(),
            snapshots.threshold(),
            snapshots.retained(),
            options.get_busy_timeout(),
            [
                options.get_max_event_bytes(),
                options.get_max_batch_events(),
                options.get_max_name_bytes(),
                options.get_cache_bytes(),
            ],
            options.get_wal_limit(),
            options.get_reserve(),
            options.get_execute_attempts(),
            format!("{bounds:?}"),
        )
    };
    let thousand = Bound::AtMost(1_000);
    let default = (
        Durability::Durable,
        Some(100),
        5,
        Duration::from_secs(5),
        [16 << 20, 100_000, 1_024, 6 << 20],
        16 << 20,
        false,
        5,
        format!("{:?}", LabelBounds::default().aggregates(thousand).tenants(thousand).event_types(thousand)),
    );
    assert_eq!(told(&Options::new()), default);
    let set = Options::new()
        .durability(Durability::Fast)
        .snapshots(SnapshotPolicy::every(7).retain(3))
        .busy_timeout(Duration::from_millis(11))
        .max_event_bytes(101)
        .max_batch_events(102)
        .max_name_bytes(103)
        .cache_bytes(104)
        .wal_limit(1 << 20)
        .reserve(true)
        .execute_attempts(9)
        .label_bounds(LabelBounds::default().aggregates(Bound::AtMost(1)).tenants(Bound::AtMost(2)).event_types(Bound::Off));
    let expected = (
        Durability::Fast,
        Some(7),
        3,
        Duration::from_millis(11),
        [101, 102, 103, 104],
        1 << 20,
        true,
        9,
        "LabelBounds { aggregates: AtMost(1), tenants: AtMost(2), event_types: Off }".to_owned(),
    );
    assert_eq!(told(&set), expected);
    assert_eq!(SnapshotPolicy::manual().threshold(), None);
    for (events, threshold) in [(0, 1), (1, 1), (2, 2), (u64::MAX, u64::MAX)] {
        assert_eq!(SnapshotPolicy::every(events).threshold(), Some(threshold));
    }
    for (snapshots, kept) in [(0, 1), (1, 1), (2, 2), (u32::MAX, u32::MAX)] {
        assert_eq!(SnapshotPolicy::manual().retain(snapshots).retained(), kept);
    }
    assert_eq!((SnapshotPolicy::every(9).retained(), SnapshotPolicy::manual().retained()), (5, 5));
    assert_eq!(
        (Options::new().execute_attempts(0).get_execute_attempts(), Options::new().execute_attempts(1).get_execute_attempts()),
        (1, 1)
    );
    assert_eq!(Options::new().max_event_bytes(usize::MAX).get_max_event_bytes(), 512 << 20);
}

/// Asks the connection that writes for the size of its cache.
#[derive(Clone, Default)]
struct CacheOfWriter(Arc<AtomicI64>);

impl Projection for CacheOfWriter {
    fn name(&self) -> &str {
        "cache"
    }

    fn tables(&self) -> Vec<String> {
        Vec::new()
    }

    fn create(&self, _: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn apply(&self, _: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let size = model.query_row("SELECT cache_size FROM pragma_cache_size", [], |row| row.get(0))?;
        self.0.store(size.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn each_connection_has_the_cache_that_is_set() {
    for (options, kibibytes) in [
        (fast(), 6 << 10),
        (fast().cache_bytes(1 << 20), 1 << 10),
        (fast().cache_bytes(0), 64),
        (fast().cache_bytes(usize::MAX), 1 << 30),
    ] {
        let place = Place::new();
        let store = options.open(place.file()).unwrap();
        let of_writer = CacheOfWriter::default();
        store.project_inline(of_writer.clone()).unwrap();
        store.append("list", "a", 0, [noted(1)]).unwrap();
        let of_reader: i64 = store.query_read_model("SELECT cache_size FROM pragma_cache_size", [], |row| row.get(0)).unwrap()[0];
        // SQLite tells kibibytes by a minus.
        assert_eq!((of_writer.0.load(Ordering::Relaxed), of_reader), (-kibibytes, -kibibytes));
    }
}

#[test]
fn a_lock_is_waited_for_for_five_seconds() {
    let place = Place::new();
    let store = fast().open(place.file()).unwrap();
    store.append("list", "a", 0, [noted(1)]).unwrap();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    store.append("list", "a", 1, [noted(2)]).unwrap_err();
    let waited = began.elapsed();
    assert!((4_900..9_000).contains(&waited.as_millis()), "{waited:?}");
}

#[test]
fn a_snapshot_comes_every_hundred_events_and_five_are_kept() {
    let store = Place::new();
    let store = fast().open(store.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    let mut made = Vec::new();
    for version in 1..=700u64 {
        accounts.append("a", version - 1, deposits(1)).unwrap();
        let newest = accounts.latest_snapshot("a").unwrap().map_or(0, |snapshot| snapshot.version.get());
        if made.last() != Some(&newest) {
            made.push(newest);
        }
    }
    assert_eq!(made, [0, 100, 200, 300, 400, 500, 600, 700]);
    let kept: Vec<u64> = accounts.snapshots("a").unwrap().iter().map(|snapshot| snapshot.version.get()).collect();
    assert_eq!(kept.len(), 5);
    assert!(kept.iter().all(|version| *version >= 300), "{kept:?}");
}

#[test]
fn a_decision_is_tried_five_times() {
    let store = fast().in_memory().unwrap();
    let accounts = store.aggregates::<Account>();
    let mut rounds = 0;
    let done: Executed<Account> = accounts
        .execute("a", |_| {
            rounds += 1;
            if rounds < 5 {
                accounts.append("a", Expected::Any, deposits(1)).unwrap();
            }
            Ok::<_, String>([AccountEvent::Deposited { cents: 10 }])
        })
        .unwrap();
    assert_eq!((rounds, done.attempts, done.state.cents), (5, 5, 14));
}

#[test]
fn an_import_appends_a_thousand_lines_at_once() {
    const LINE: &str = r#"{"aggregateType":"l","aggregateId":"a","eventType":"N","data":1}"#;
    let lines = |events: usize| format!("{LINE}\n").repeat(events);
    for (import, events, commits) in [
        (Import::new(), 1_000, 1),
        (Import::new(), 1_001, 2),
        (Import::new(), 2_001, 3),
        (Import::new().events_per_commit(7), 14, 2),
        (Import::new().events_per_commit(7), 15, 3),
        (Import::new().events_per_commit(0), 3, 3),
    ] {
        let store = fast().in_memory().unwrap();
        let done = store.import(&import, lines(events).as_bytes(), |_| Continue(())).unwrap();
        assert_eq!((done.appended, done.commits, done.lines), (events as u64, commits, events as u64));
    }
}

/// More aggregates than one step of any upkeep takes, each with six events and a snapshot.
fn many(aggregates: u64) -> (Place, Store) {
    let place = Place::new();
    let store = fast().open(place.file()).unwrap();
    let lists = store.json_aggregates("list");
    for number in 0..aggregates {
        let events: Vec<NewEvent> = (0..6).map(|n| noted(n).created_at(at(n.cast_signed()))).collect();
        store.append("list", number, Expected::New, events).unwrap();
        lists.create_snapshot(number, SnapshotReason::Manual).unwrap();
    }
    (place, store)
}

#[test]
fn upkeep_goes_on_after_its_first_page() {
    let (_place, store) = many(200);
    let lists = store.json_aggregates("list");
    let clean = |store: &Store| store.maintenance().verify(|_| Continue(())).unwrap();
    let archived = store.maintenance().archive(Archive::created_before(at(100))).unwrap();
    // Two full blocks of 512 positions.
    assert_eq!((archived.events_archived, archived.finished), (1_024, true));
    assert!(clean(&store).is_clean());
    assert_eq!(store.maintenance().unarchive().unwrap(), 1_024);
    let mut steps = 0;
    let tried = store.maintenance().purge(Purge::created_before(at(100)).fold(&lists).dry_run()).unwrap();
    let purged = store
        .maintenance()
        .purge_by_steps(Purge::created_before(at(100)).fold(&lists), |_| {
            steps += 1;
            Continue(())
        })
        .unwrap();
    assert_eq!((purged.events_removed, purged.aggregates_purged, purged.events_kept), (1_200, 200, 0));
    assert_eq!((tried.events_removed, tried.aggregates_purged), (1_200, 200));
    assert!(steps > 1, "{steps}");
    let report = clean(&store);
    assert!(report.is_clean(), "{:?}", report.damages);
    assert_eq!((report.aggregates, report.snapshots), (200, 200));
}

#[test]
fn old_snapshots_go_however_many_there_are_and_a_report_names_a_thousand() {
    let (_place, store) = many(1_100);
    // Without a fold nothing goes: all are counted, a thousand are named.
    let report = store.maintenance().purge(Purge::created_before(at(100))).unwrap();
    assert_eq!((report.events_kept, report.kept.len(), report.events_removed), (6_600, 1_000, 0));
    let mut told = Vec::new();
    let done = store
        .maintenance()
        .expire_snapshots(Duration::ZERO, |progress| {
            told.push(progress.expired);
            Continue(())
        })
        .unwrap();
    assert_eq!((done.expired, done.finished, store.file_statistics().unwrap().snapshots), (1_100, true, 0));
    assert!(told.is_sorted() && told.last() == Some(&1_100), "{told:?}");
}
