//! Indexes and keys that do not say what the rows say: SQLite follows them without a word. Nothing changed is returned; what
//! is missing is named by `verify`, and made whole by `reindex`.

use std::ops::ControlFlow::Continue;

use foldlog::{ErrorKind, EventId, Expected, Filter, Purge, Query, Result, SnapshotReason, Store};

use crate::support::{Place, noted, notes, refused};

/// Runs statements that change the table `events` and leave its indexes as they are.
fn past_the_indexes(place: &Place, sql: &str) {
    place
        .raw()
        .execute_batch(
            "PRAGMA writable_schema = ON; CREATE TABLE theirs AS SELECT * FROM sqlite_schema WHERE tbl_name = 'events';
             UPDATE sqlite_schema SET sql = replace(sql, ' UNIQUE', '') WHERE name = 'events';
             DELETE FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'events'",
        )
        .unwrap();
    place.raw().execute_batch(sql).unwrap();
    place
        .raw()
        .execute_batch(
            "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE tbl_name = 'events';
             INSERT INTO sqlite_schema SELECT * FROM theirs",
        )
        .unwrap();
    place.raw().execute_batch("DROP TABLE theirs").unwrap();
}

/// What a reading gave before its error, which must be one of damage.
fn before_the_error(store: &Store, query: impl Into<Query>) -> Vec<u64> {
    let mut given = Vec::new();
    for event in store.read(query) {
        match event {
            Ok(event) => given.push(event.position.get()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                return given;
            }
        }
    }
    panic!("the damage was not noticed: {given:?}");
}

/// Fifteen events, closed; purged ones at positions 10 to 12.
fn fifteen(purged: bool) -> Place {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=9)).unwrap();
    store.append("list", "gone", 0, notes(1..=3)).unwrap();
    store.append("list", "a", 9, notes(10..=12)).unwrap();
    if purged {
        store.json_aggregates("list").create_snapshot("gone", SnapshotReason::Manual).unwrap();
        let purge = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).aggregate("list", "gone");
        let purge = purge.fold(&store.json_aggregates("list"));
        assert_eq!(store.maintenance().purge(purge).unwrap().events_removed, 3);
    }
    store.maintenance().checkpoint().unwrap();
    place
}

/// Whatever comes before the error is what a sound file would give.
fn nothing_is_out_of_its_place(place: &Place, purged: bool) {
    let store = place.open();
    let mut sound: Vec<u64> = (1..=15).filter(|position| !purged || !(10..=12).contains(position)).collect();
    let forward = before_the_error(&store, Query::new());
    assert!(sound.starts_with(&forward), "purged {purged}: {forward:?}");
    sound.reverse();
    let backward = before_the_error(&store, Query::new().newest_first());
    assert!(sound.starts_with(&backward), "purged {purged}: {backward:?}");
    assert!(!store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

/// The row is there, and its aggregate's history is whole; but the log is read along an index.
#[test]
fn an_event_that_its_index_has_lost_is_reported() {
    for purged in [false, true] {
        let place = fifteen(purged);
        assert_eq!(lose(&place, "position", 4..5), if purged { 12 } else { 15 });
        nothing_is_out_of_its_place(&place, purged);
        let store = place.open();
        assert_eq!(store.json_aggregates("list").replay("a").unwrap().version, 12);
        let q = Query::new;
        let ends = [q().up_to_position(5), q().after_position(4).limit(1), q().after_position(4).newest_first()];
        for query in [q(), q().newest_first(), q().after_position(3)].into_iter().chain(ends) {
            before_the_error(&store, query);
        }
        // Where the damage is not in the way, everything is as it was.
        assert_eq!(store.read(q().up_to_position(4)).map(Result::unwrap).count(), 4);
        assert_eq!(store.read(q().after_position(5)).map(Result::unwrap).count(), if purged { 7 } else { 10 });
    }
}

/// Says what `verify` finds, lets `reindex` mend it, and looks whether it did.
fn named_and_mended(store: &Store, named: &str) {
    let report = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(report.damages.iter().any(|damage| damage.what.contains(named)), "{named}: {:#?}", report.damages);
    assert!(store.maintenance().reindex(|_| Continue(())).unwrap().finished);
    let report = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(report.is_clean(), "{:#?}", report.damages);
}

/// An entry whose name was changed lies beside the place where it belongs: the aggregate is not taken for one that never was,
/// and nobody begins it a second time.
#[test]
fn a_changed_name_beside_its_place_is_reported() {
    for (wanted, changed) in [("b", b'B'), ("b", b'c'), ("d", b'c'), ("a", b'A'), ("e", b'f')] {
        let place = Place::new();
        let store = place.open();
        for id in ["a", "b", "d", "e"] {
            store.append("list", id, 0, notes(1..=3)).unwrap();
        }
        store.maintenance().checkpoint().unwrap();
        drop(store);
        let number = b"abde".iter().position(|name| *name == wanted.as_bytes()[0]).unwrap();
        change_leaf(&place, "aggregate_id", |leaf| {
            let entry = usize::from(leaf[8 + 2 * number]) << 8 | usize::from(leaf[9 + 2 * number]);
            let name = (entry..entry + 12).find(|at| leaf[*at] == wanted.as_bytes()[0]).unwrap();
            leaf[name] = changed;
        });
        let store = place.open();
        let lists = store.json_aggregates("list");
        refused(lists.replay(wanted), ErrorKind::Corrupt);
        refused(store.append("list", wanted, 0, notes(1..=1)), ErrorKind::Corrupt);
        refused(store.append("list", wanted, Expected::Any, notes(1..=1)), ErrorKind::Corrupt);
        refused(lists.ids().collect::<foldlog::Result<Vec<_>>>(), ErrorKind::Corrupt);
        named_and_mended(&store, "not found under its name");
        assert_eq!(lists.replay(wanted).unwrap().version, 3);
    }
}

/// Entries that an index has lost hide what they lead to, and nothing else, until `verify` names them.
#[test]
fn lost_entries_of_names_tags_and_ids_are_named_and_mended() {
    let id = |n: u64| EventId::from_u128(0x4000_8000_0000_0000 << 64 | u128::from(n * 7 % 10 + 1));
    for lost in 0..10 {
        let place = Place::new();
        let store = place.open();
        for n in 0..10 {
            store.append("list", format!("l-{n}"), 0, [noted(n).id(id(n)).tag(format!("t-{n}")).tag("all")]).unwrap();
        }
        store.maintenance().checkpoint().unwrap();
        drop(store);
        let sound = std::fs::read(place.file()).unwrap();
        let damaged = |tree: &str, entry: usize, entries: usize| {
            std::fs::write(place.file(), &sound).unwrap();
            assert_eq!(lose(&place, tree, entry..entry + 1), entries);
            place.open()
        };

        let store = damaged("aggregate_id", lost, 10);
        refused(store.json_aggregates("list").replay(format!("l-{lost}")), ErrorKind::NotFound);
        assert_eq!(store.json_aggregates("list").ids().collect::<foldlog::Result<Vec<_>>>().unwrap().len(), 9);
        named_and_mended(&store, "not found under its name");
        assert_eq!(store.json_aggregates("list").ids().collect::<foldlog::Result<Vec<_>>>().unwrap().len(), 10);

        drop(store);
        let store = damaged("event_tags", lost, 20);
        let tagged = |store: &Store| store.read(Filter::new().tag("all")).map(Result::unwrap).count();
        assert!((9..=10).contains(&tagged(&store)), "where it reads the log it finds all");
        named_and_mended(&store, "missing from the index of tags");
        assert_eq!(tagged(&store), 10);

        drop(store);
        let store = damaged("event_ids", lost, 10);
        let found = |store: &Store| (0..10).filter(|n| store.event(id(*n)).unwrap().is_some()).count();
        assert_eq!(found(&store), 9);
        named_and_mended(&store, "missing from the index of ids");
        assert_eq!(found(&store), 10);
    }
}

/// An id that the store made holds its position: it is found without an index of ids.
#[test]
fn an_id_that_the_store_made_needs_no_index_of_ids() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=9)).unwrap();
    drop(store);
    assert_eq!(place.raw().query_row("SELECT count(*) FROM event_ids", [], |row| row.get::<_, u64>(0)).unwrap(), 0);
    let store = place.open();
    for event in store.read(Query::new()) {
        let event = event.unwrap();
        assert_eq!(store.event(event.id).unwrap().unwrap(), event);
        // The same position, another salt.
        let other = EventId::from_u128(event.id.as_u128() ^ 1);
        assert_eq!(store.event(other).unwrap(), None);
    }
}

/// The entries of positions 5 and 8 lead to each other's rows, which are sound.
#[test]
fn an_entry_that_leads_to_another_event_is_reported() {
    for purged in [false, true] {
        let place = fifteen(purged);
        let swap = "UPDATE events SET position = CASE position WHEN 5 THEN 108 ELSE 105 END WHERE position IN (5, 8);
                    UPDATE events SET position = position - 100 WHERE position > 100";
        place.raw().execute_batch(swap).unwrap();
        past_the_indexes(&place, "UPDATE events SET position = 13 - position WHERE position IN (5, 8)");
        nothing_is_out_of_its_place(&place, purged);
        // One alone: what follows cannot tell.
        assert!(before_the_error(&place.open(), Query::new().after_position(4).limit(1)).is_empty());
    }
}

/// Changes a tree that is one page: the index of a column of `events`, or a table that is an index.
fn change_leaf(place: &Place, tree: &str, change: impl FnOnce(&mut [u8])) {
    let root = "SELECT s.rootpage FROM sqlite_schema s WHERE s.name = ?1 OR (s.tbl_name IN ('events', 'aggregates')
                AND s.type = 'index' AND ?1 IN (SELECT i.name FROM pragma_index_info(s.name) i))";
    let raw = place.raw();
    let page: usize = raw.query_row(root, [tree], |row| row.get(0)).unwrap();
    let size: usize = raw.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    drop(raw);
    let mut bytes = std::fs::read(place.file()).unwrap();
    let leaf = &mut bytes[(page - 1) * size..page * size];
    assert_eq!(leaf[0], 10, "a leaf of an index");
    change(leaf);
    std::fs::write(place.file(), bytes).unwrap();
}

/// Takes entries out of the list of a tree that is one page: the first is number 0. Returns how many there were.
fn lose(place: &Place, tree: &str, entries: std::ops::Range<usize>) -> usize {
    let mut count = 0;
    change_leaf(place, tree, |leaf| {
        count = usize::from(leaf[3]) << 8 | usize::from(leaf[4]);
        // Two bytes for each entry, after a head of eight.
        leaf.copy_within(8 + 2 * entries.end..8 + 2 * count, 8 + 2 * entries.start);
        let left = u16::try_from(count - entries.len()).unwrap().to_be_bytes();
        leaf[3..5].copy_from_slice(&left);
    });
    count
}

/// Positions 5 and 8 stand in each other's place in the index, each with its own row. Where events were removed positions may
/// have holes, so that 8 after 4 is no wonder until 6 comes.
#[test]
fn entries_in_each_other_s_place_are_reported() {
    for purged in [false, true] {
        let place = fifteen(purged);
        // Two bytes for each entry, after a head of eight.
        change_leaf(&place, "position", |leaf| (0..2).for_each(|byte| leaf.swap(8 + 2 * 4 + byte, 8 + 2 * 7 + byte)));
        nothing_is_out_of_its_place(&place, purged);
    }
}

/// The entry of position 5 says 127: a reading upwards takes it for the end.
#[test]
fn an_entry_that_ends_a_reading_too_early_is_reported() {
    for purged in [false, true] {
        let place = fifteen(purged);
        change_leaf(&place, "position", |leaf| {
            let entry = usize::from(leaf[8 + 2 * 4]) << 8 | usize::from(leaf[8 + 2 * 4 + 1]);
            // Its length, the length of its head, the head, the position.
            let position = entry + 1 + usize::from(leaf[entry + 1]);
            assert_eq!(leaf[position], 5);
            leaf[position] = 127;
        });
        nothing_is_out_of_its_place(&place, purged);
    }
}

/// The event that is known by an id says another position, at which another event stands: neither is taken for it.
#[test]
fn an_id_that_leads_to_another_event_is_reported() {
    let id = EventId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0005);
    let fifth = || noted(5).id(id);
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=4)).unwrap();
    store.append("list", "a", 4, [fifth()]).unwrap();
    store.append("list", "a", 5, notes(6..=7)).unwrap();
    // The same event but for its id.
    store.append("list", "a", 7, [noted(5)]).unwrap();
    drop(store);
    past_the_indexes(&place, "UPDATE events SET position = 8 WHERE position = 5");
    let store = place.open();
    refused(store.append("list", "a", 4, [fifth()]), ErrorKind::Corrupt);
    assert_eq!(store.last_position().unwrap(), 8);
}

/// A key is an aggregate's number and a version. One that has lost its upper half is found at the end of the rows before
/// version 10, and its lower half would pass for a version that follows.
#[test]
fn a_key_that_has_lost_its_upper_half_is_not_folded() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=12)).unwrap();
    store.maintenance().checkpoint().unwrap();
    drop(store);
    let mut bytes = std::fs::read(place.file()).unwrap();
    // Version 10 of aggregate 1 as SQLite writes the key of a row.
    let key = [0x90, 0x80, 0x80, 0x80, 0x0A];
    let found: Vec<usize> = (0..bytes.len()).filter(|start| bytes[*start..].starts_with(&key)).collect();
    let [place_of_key] = found[..] else { panic!("the key stands at {found:?}") };
    bytes[place_of_key] = 0x80;
    std::fs::write(place.file(), bytes).unwrap();
    let store = place.open();
    let lists = store.json_aggregates("list");
    for version in 10..=12 {
        let replayed: Result<_> = lists.replay_to_version("a", version);
        refused(replayed, ErrorKind::Corrupt);
    }
    assert_eq!(lists.replay_to_version("a", 8).unwrap().version, 8);
    let given: Vec<_> = store.read(Query::aggregate("list", "a")).map_while(Result::ok).map(|event| event.version).collect();
    assert_eq!(given.len(), 9, "{given:?}");
}

/// A page of events from before a purge: all that is in it is sound, and nothing of it is there any more.
#[test]
fn a_purged_event_that_is_back_is_named() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=3)).unwrap();
    let secret = EventId::from_u128(7);
    store.append("list", "gone", 0, [noted(4).tag("t").id(secret), noted(5).tag("t")]).unwrap();
    store.append("list", "a", 3, notes(6..=8)).unwrap();
    store.maintenance().checkpoint().unwrap();
    std::fs::copy(place.file(), place.join("before.db")).unwrap();
    let all = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
    assert_eq!(store.maintenance().purge(all.aggregate("list", "gone")).unwrap().events_removed, 2);
    drop(store);
    let raw = place.raw();
    raw.execute("ATTACH ?1 AS before", [place.join("before.db").to_str().unwrap()]).unwrap();
    for table in ["events", "event_tags", "event_ids"] {
        raw.execute(&format!("INSERT OR REPLACE INTO {table} SELECT * FROM before.{table}"), []).unwrap();
    }
    drop(raw);
    let store = place.open();
    // None of it is changed; that it is there again is named.
    assert!(!store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

/// SQLite's own check passes over it.
#[test]
fn an_index_of_an_empty_table_that_lies_on_the_page_of_another_is_named() {
    for index in ["holes_archived", "erasures_aggregate"] {
        let place = Place::new();
        place.open().append("list", "a", 0, (0..20).map(noted)).unwrap();
        let page = |name: &str| {
            let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
            (place.raw().query_row(sql, [name], |row| row.get::<_, usize>(0)).unwrap() - 1) * 4_096
        };
        let (from, to) = (page("aggregates"), page(index));
        let mut file = std::fs::read(place.file()).unwrap();
        file.copy_within(from..from + 4_096, to);
        std::fs::write(place.file(), file).unwrap();
        let report = place.open().maintenance().verify(|_| Continue(())).unwrap();
        assert!(report.damages.iter().any(|damage| damage.what.contains(index)), "{:?}", report.damages);
    }
}
