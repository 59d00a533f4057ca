//! Appending the same events again after a purge.

use foldlog::{Archive, Batch, ErrorKind, EventId, Expected, NewEvent, Purge, PurgeReport, SnapshotReason, Store};
use std::ops::ControlFlow::Continue;

use crate::support::{Place, at, noted, refused, says};

fn id(n: u64) -> EventId {
    EventId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n))
}

fn known(n: u64) -> NewEvent {
    noted(n).id(id(n)).created_at(at(n.cast_signed())).tag("t").tag(format!("n:{n}"))
}

/// Three appends: 1 and 2 of a with 3 of b; 4 of a; one without an id.
fn filled() -> (Place, Store) {
    let place = Place::new();
    let store = place.open_any_version();
    store.commit(first()).unwrap();
    store.append("list", "a", 2, [known(4)]).unwrap();
    store.append("list", "a", 3, [noted(5).created_at(at(5))]).unwrap();
    (place, store)
}

fn first() -> Batch {
    Batch::new().append("list", "a", Expected::New, [known(1), known(2)]).append("list", "b", Expected::New, [known(3)])
}

fn plan(store: &Store, second: i64) -> Purge {
    let lists = store.json_aggregates("list");
    for id in ["a", "b"] {
        lists.create_snapshot(id, SnapshotReason::Manual).unwrap();
    }
    Purge::created_before(at(second)).fold(&lists)
}

fn purge(store: &Store, plan: Purge) -> PurgeReport {
    let report = store.maintenance().purge(plan).unwrap();
    is_clean(store);
    report
}

fn is_clean(store: &Store) {
    let verified = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(verified.is_clean(), "{:?}", verified.damages);
}

#[test]
fn a_repeat_of_a_purged_append_is_a_repeat() {
    let (place, store) = filled();
    let results = store.commit(first()).unwrap();
    let report = purge(&store, plan(&store, 100));
    assert_eq!((report.events_removed, report.ids_kept, report.ids_forgotten), (5, 4, 0));
    assert_eq!(store.event(id(1)).unwrap(), None);
    drop(store);
    let store = place.open_any_version();
    for batch in [first(), first().skip_existing()] {
        assert_eq!(store.commit(batch).unwrap(), results);
    }
    let again = store.append("list", "a", 2, [known(4)]).unwrap();
    assert!(again.was_duplicate);
    assert_eq!((again.version.get(), again.position.get(), again.commit_id.get(), again.skipped), (3, 4, 4, 1));
    assert_eq!(store.last_position().unwrap(), 5);
    // The indexes are recreated with them.
    store.maintenance().reindex(|_| Continue(())).unwrap();
    is_clean(&store);
    assert_eq!(store.commit(first()).unwrap(), results);
    assert_eq!(store.copy_to_memory().unwrap().commit(first()).unwrap(), results);
}

#[test]
fn an_append_of_which_only_the_first_event_was_purged_is_a_repeat() {
    let (_place, store) = filled();
    let results = store.commit(first()).unwrap();
    assert_eq!(purge(&store, plan(&store, 2)).ids_kept, 1);
    assert_eq!(store.commit(first()).unwrap(), results);
    // And an import goes on with other borders.
    let batch = Batch::new().append("list", "a", 0, [known(1), known(2), known(4)]).skip_existing();
    assert_eq!(store.commit(batch).unwrap()[0].skipped, 3);
    // A part is still no repeat of the whole, whether what follows is there or purged.
    for through in [2, 100] {
        purge(&store, plan(&store, through));
        says(&refused(store.append("list", "a", 0, [known(1)]), ErrorKind::DuplicateEventId), &["part of a larger append"]);
        refused(store.append("list", "a", 0, [known(2)]), ErrorKind::DuplicateEventId);
    }
    assert_eq!(store.last_position().unwrap(), 5);
}

#[test]
fn other_content_under_the_id_of_a_purged_event_is_refused() {
    let (_place, store) = filled();
    purge(&store, plan(&store, 100));
    let acme = store.tenant("acme");
    let four = || noted(4).id(id(4)).created_at(at(4)).tag("n:4").tag("t");
    let others = [
        ("a", noted(7).id(id(4)).created_at(at(4)).tag("n:4").tag("t"), "other data"),
        ("b", four(), "belonged to list \"a\""),
        ("a", four().tag("more"), "other tags"),
        ("a", four().created_at(at(5)), "another time"),
        ("a", four().schema_version(2), "the schema version 1"),
        ("a", NewEvent::new("Other", &serde_json::json!({"n": 4})).unwrap().id(id(4)).tag("n:4").tag("t"), "another type"),
    ];
    for (aggregate_id, event, differs) in others {
        let error = refused(store.append("list", aggregate_id, Expected::Any, [event]), ErrorKind::DuplicateEventId);
        says(&error, &["append", &id(4).to_string(), "already in the log", differs, "purged", "new ids"]);
        assert_eq!(error.position(), Some(4.into()));
    }
    // In any order and way of writing it is the same, and another tenant's id is another id.
    assert!(store.append("list", "a", 2, [four()]).unwrap().was_duplicate);
    assert!(!acme.append("list", "a", Expected::New, [four()]).unwrap().was_duplicate);
    is_clean(&store);
}

#[test]
fn ids_are_forgotten_on_purpose() {
    let (place, store) = filled();
    store.tenant("acme").append("list", "a", 0, [known(1)]).unwrap();
    let acme = store.tenant("acme");
    assert_eq!(purge(&acme, plan_of(&acme)).ids_kept, 1);
    assert_eq!(purge(&store, plan(&store, 3)).ids_kept, 2);
    let tried = store.maintenance().purge(plan(&store, 100).forget_ids().dry_run()).unwrap();
    assert_eq!((tried.events_removed, tried.ids_kept, tried.ids_forgotten, tried.finished), (3, 0, 4, true));
    assert!(store.append("list", "a", 2, [known(4)]).unwrap().was_duplicate);
    // Only what is selected: of one aggregate, and what is old enough.
    let only = Purge::created_before(at(2)).aggregate("list", "a").forget_ids();
    assert_eq!(purge(&store, only).ids_forgotten, 1);
    let only = Purge::created_before(at(100)).aggregate_type("other").forget_ids();
    assert_eq!(purge(&store, only).ids_forgotten, 0);
    let report = purge(&store, plan(&store, 100).forget_ids());
    assert_eq!((report.events_removed, report.ids_kept, report.ids_forgotten), (3, 0, 3));
    assert!(!store.append("list", "a", Expected::Any, [known(4)]).unwrap().was_duplicate);
    assert!(acme.append("list", "a", 0, [known(1)]).unwrap().was_duplicate, "another tenant's stay");
    let left: u64 = place.raw().query_row("SELECT count(*) FROM removed_ids", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 1);
    is_clean(&store);
}

fn plan_of(store: &Store) -> Purge {
    let lists = store.json_aggregates("list");
    lists.create_snapshot("a", SnapshotReason::Manual).unwrap();
    Purge::created_before(at(100)).fold(&lists)
}

/// More ids than one step looks at. The documentation says what they take.
#[test]
fn many_ids_are_forgotten_in_steps() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, (1..=2_500).map(known).collect::<Vec<_>>()).unwrap();
    assert_eq!(purge(&store, plan_of(&store).aggregate("list", "a")).ids_kept, 99);
    let lists = store.json_aggregates("list");
    assert_eq!(purge(&store, Purge::created_before(at(9_999)).fold(&lists)).ids_kept, 2_401);
    let used = || {
        let number = |what: &str| place.raw().query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, i64>(0)).unwrap();
        number("page_count") - number("freelist_count")
    };
    let used_with_ids = used();
    let mut steps = 0;
    let plan = || Purge::created_before(at(2_000)).forget_ids();
    let stopped = store.maintenance().purge_by_steps(plan(), |report| {
        steps += 1;
        if report.ids_forgotten > 0 { std::ops::ControlFlow::Break(()) } else { Continue(()) }
    });
    let stopped = stopped.unwrap();
    assert_eq!((steps, stopped.ids_forgotten, stopped.finished), (2, 1_024, false));
    let rest = purge(&store, plan());
    assert_eq!((rest.ids_forgotten, rest.finished), (1_999 - 1_024, true));
    let each = (used_with_ids - used()) * 4_096 / 1_999;
    assert!((80..=110).contains(&each), "an id takes {each} bytes");
    assert!(store.append("list", "a", Expected::Any, [known(2_000)]).is_err(), "a part of the append");
    assert!(!store.append("list", "a", Expected::Any, [known(1_999)]).unwrap().was_duplicate);
}

#[test]
fn archived_events_are_recognised_and_purged_with_their_ids() {
    let (_place, store) = filled();
    // Only full blocks are archived.
    store.append("list", "c", 0, (0..600).map(noted).collect::<Vec<_>>()).unwrap();
    let results = store.commit(first()).unwrap();
    let plan = plan(&store, 100);
    let archived = store.maintenance().archive(Archive::created_before(at(100))).unwrap();
    assert_eq!(archived.events_archived, 5);
    for batch in [first(), first().skip_existing()] {
        assert_eq!(store.commit(batch).unwrap(), results);
    }
    assert_eq!(purge(&store, plan).ids_kept, 4);
    assert_eq!(store.commit(first()).unwrap(), results);
    store.maintenance().reindex(|_| Continue(())).unwrap();
    is_clean(&store);
    assert_eq!(store.commit(first()).unwrap(), results);
}

#[test]
fn damage_to_the_kept_ids_is_named() {
    let damages = [
        ("UPDATE removed_ids SET digest = digest + 1 WHERE position = 4", "cannot be read"),
        ("UPDATE removed_ids SET event_id = zeroblob(16) WHERE position = 4", "cannot be read"),
        ("DELETE FROM removed_ids WHERE position = 4", "does not have the id"),
        ("DELETE FROM event_ids WHERE position = 4", "missing from the index of ids"),
    ];
    for (sql, named) in damages {
        let (place, store) = filled();
        purge(&store, plan(&store, 100));
        assert_eq!(place.raw().execute(sql, []).unwrap(), 1);
        let verified = store.maintenance().verify(|_| Continue(())).unwrap();
        assert!(verified.damages.iter().any(|damage| damage.what.contains(named)), "{sql}: {:?}", verified.damages);
        if !sql.contains("event_ids") {
            refused(store.append("list", "a", 2, [known(4)]), ErrorKind::Corrupt);
        }
        store.maintenance().reindex(|_| Continue(())).unwrap();
        let is_clean = store.maintenance().verify(|_| Continue(())).unwrap().is_clean();
        assert_eq!(is_clean, sql.starts_with("DELETE"), "{sql}");
    }
    // A row of an event that was not purged.
    let (place, store) = filled();
    purge(&store, plan(&store, 4));
    let raw = place.raw();
    raw.execute("DELETE FROM holes WHERE first = 1", []).unwrap();
    let verified = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(verified.damages.iter().any(|damage| damage.what.contains("the event was not purged")), "{:?}", verified.damages);
}

/// What the documentation of `Purge` says, measured: `-- --nocapture` prints it.
#[test]
fn an_id_of_a_purged_event_takes_as_many_bytes_as_is_said() {
    const EVENTS: u64 = 20_000;
    type Make = fn() -> EventId;
    let made: [(&str, Make); 2] = [("UUIDs of version 4", EventId::new_v4), ("UUIDs of version 7", EventId::now_v7)];
    for (what, id) in made {
        let place = Place::new();
        let store = place.open_any_version();
        for from in (0..EVENTS).step_by(1_000) {
            let events = (from..from + 1_000).map(|n| noted(n).id(id()).created_at(at(n.cast_signed())));
            store.append("list", "a", from, events).unwrap();
        }
        let plan = || Purge::created_before(at(1_000_000)).even_if_replay_breaks();
        assert_eq!(store.maintenance().purge(plan()).unwrap().ids_kept, EVENTS);
        let sizes = store.table_sizes().unwrap();
        let bytes: u64 =
            sizes.iter().filter(|size| ["removed_ids", "event_ids"].contains(&&*size.table)).map(|size| size.bytes).sum();
        println!("{what}: {} bytes an event", bytes / EVENTS);
        assert!((88..=94).contains(&(bytes / EVENTS)), "{what}: {}", bytes / EVENTS);
        assert_eq!(store.maintenance().purge(plan().forget_ids()).unwrap().ids_forgotten, EVENTS);
    }
}
