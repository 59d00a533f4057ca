//! Indexes and keys that do not say what the rows say: SQLite follows them without a word.

use foldlog::{ErrorKind, EventId, Purge, Query, Result, SnapshotReason, Store};

use crate::support::{Place, noted, notes, refused, says};

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
fn before_the_error(store: &Store, query: Query) -> Vec<u64> {
    let mut given = Vec::new();
    for event in store.read(query) {
        match event {
            Ok(event) => given.push(event.position.get()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                says(&error, &["index disagrees"]);
                return given;
            }
        }
    }
    panic!("the damage was not noticed: {given:?}");
}

/// The row is there, and its aggregate's history is whole; but the log is read along an index.
#[test]
fn an_event_that_its_index_has_lost_is_reported() {
    let place = Place::new();
    place.open().append("list", "a", 0, notes(1..=9)).unwrap();
    let lose = "CREATE TABLE lost AS SELECT * FROM events WHERE position = 5; DELETE FROM events WHERE position = 5";
    place.raw().execute_batch(lose).unwrap();
    past_the_indexes(&place, "INSERT INTO events SELECT * FROM lost; DROP TABLE lost");
    let store = place.open();
    assert_eq!(store.json_aggregates("list").replay("a").unwrap().version, 9);
    let q = Query::new;
    let ends = [q().up_to_position(5), q().after_position(4).newest_first()];
    for query in [q(), q().newest_first(), q().after_position(3)].into_iter().chain(ends) {
        before_the_error(&store, query);
    }
    assert!(!store.verify(|_| {}).unwrap().is_clean());
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
        assert_eq!(store.purge(purge).unwrap().events_removed, 3);
    }
    store.checkpoint().unwrap();
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
    assert!(!store.verify(|_| {}).unwrap().is_clean());
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

/// Changes the index of positions, which is one page.
fn change_leaf(place: &Place, change: impl FnOnce(&mut [u8])) {
    let root = "SELECT s.rootpage FROM sqlite_schema s, pragma_index_info(s.name) i
                WHERE s.tbl_name = 'events' AND s.type = 'index' AND i.name = 'position'";
    let raw = place.raw();
    let page: usize = raw.query_row(root, [], |row| row.get(0)).unwrap();
    let size: usize = raw.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    drop(raw);
    let mut bytes = std::fs::read(place.file()).unwrap();
    let leaf = &mut bytes[(page - 1) * size..page * size];
    assert_eq!(leaf[0], 10, "a leaf of an index");
    change(leaf);
    std::fs::write(place.file(), bytes).unwrap();
}

/// Positions 5 and 8 stand in each other's place in the index, each with its own row. Where events were removed positions may
/// have holes, so that 8 after 4 is no wonder until 6 comes.
#[test]
fn entries_in_each_other_s_place_are_reported() {
    for purged in [false, true] {
        let place = fifteen(purged);
        // Two bytes for each entry, after a head of eight.
        change_leaf(&place, |leaf| (0..2).for_each(|byte| leaf.swap(8 + 2 * 4 + byte, 8 + 2 * 7 + byte)));
        nothing_is_out_of_its_place(&place, purged);
    }
}

/// The entry of position 5 says 127: a reading upwards takes it for the end.
#[test]
fn an_entry_that_ends_a_reading_too_early_is_reported() {
    for purged in [false, true] {
        let place = fifteen(purged);
        change_leaf(&place, |leaf| {
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
    says(&refused(store.append("list", "a", 4, [fifth()]), ErrorKind::Corrupt), &["index disagrees"]);
    assert_eq!(store.last_position().unwrap(), 8);
}

/// A key is an aggregate's number and a version. One that has lost its upper half is found at the end of the rows before
/// version 10, and its lower half would pass for a version that follows.
#[test]
fn a_key_that_has_lost_its_upper_half_is_not_folded() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=12)).unwrap();
    store.checkpoint().unwrap();
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
    for version in 9..=12 {
        let replayed: Result<_> = lists.replay_to_version("a", version);
        refused(replayed, ErrorKind::Corrupt);
    }
    assert_eq!(lists.replay_to_version("a", 8).unwrap().version, 8);
    let given: Vec<_> =
        store.read(Query::new().aggregate("list", "a")).map_while(Result::ok).map(|event| event.version).collect();
    assert_eq!(given.len(), 9, "{given:?}");
}
