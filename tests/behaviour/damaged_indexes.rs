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
                assert!(
                    ["the file was damaged", "the file again"].iter().any(|said| error.to_string().contains(said)),
                    "{error}"
                );
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

/// The newest events are not seen any more: what is appended would get their positions.
#[test]
fn an_index_that_has_lost_its_end_takes_no_more_events() {
    for purged in [false, true] {
        let place = fifteen(purged);
        let count = lose(&place, "position", 0..0);
        lose(&place, "position", count - 2..count);
        let store = place.open();
        for error in [store.last_position().unwrap_err(), store.append("list", "a", 12, notes(13..=13)).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            says(&error, &["the log ends at position 15", "newest event is at 13"]);
        }
        before_the_log(&store);
        assert!(!store.verify(|_| {}).unwrap().is_clean());
    }
}

/// The last events were removed, and the end of the log is noted as if they had never been: their positions are not given
/// a second time.
#[test]
fn an_end_that_is_noted_too_low_is_reported() {
    for noted in [14, 12, 11] {
        let place = Place::new();
        let store = place.open();
        store.append("list", "a", 0, notes(1..=12)).unwrap();
        store.append("list", "gone", 0, notes(1..=3)).unwrap();
        let all = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
        store.purge(all.aggregate("list", "gone")).unwrap();
        assert_eq!(store.last_position().unwrap(), 15);
        drop(store);
        place.raw().execute("UPDATE log_state SET position_floor = ?1", [noted]).unwrap();
        let store = place.open();
        for error in [store.last_position().unwrap_err(), store.append("list", "a", 12, notes(13..=13)).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            says(&error, &[&format!("the log ends at position {noted}"), "newest event is at 12"]);
        }
    }
}

/// A reading does not even begin.
fn before_the_log(store: &Store) {
    refused(store.read(Query::new()).next().unwrap(), ErrorKind::Corrupt);
}

/// An aggregate that is not found under its name is not one that never was: nobody begins it a second time.
#[test]
fn a_name_that_its_index_has_lost_is_reported() {
    for lost in [0..1, 2..3, 3..5, 4..5] {
        let place = Place::new();
        let store = place.open();
        for id in ["a", "b", "c", "d", "e"] {
            store.append("list", id, 0, notes(1..=3)).unwrap();
        }
        store.checkpoint().unwrap();
        drop(store);
        assert_eq!(lose(&place, "aggregate_names", lost.clone()), 6, "five and the end");
        let store = place.open();
        let lists = store.json_aggregates("list");
        for (number, id) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            match lost.contains(&number) {
                false => assert_eq!(lists.replay(id).unwrap().version, 3),
                true => {
                    refused(lists.replay(id), ErrorKind::Corrupt);
                    refused(store.append("list", id, 0, notes(1..=1)), ErrorKind::Corrupt);
                    refused(store.append("list", id, foldlog::Expected::Any, notes(1..=1)), ErrorKind::Corrupt);
                }
            }
        }
        refused(lists.ids(None, 10), ErrorKind::Corrupt);
        refused(lists.ids(None, lost.start + 1), ErrorKind::Corrupt);
        // What does not lie there is still known not to be there.
        let absent = if lost.start == 0 { "f" } else { "A" };
        refused(lists.replay(absent), ErrorKind::NotFound);
        store.append("list", absent, 0, notes(1..=1)).unwrap();
        assert!(!store.verify(|_| {}).unwrap().is_clean());
    }
}

/// Events with the tags t-0 to t-2, one after the other; those of an aggregate are purged.
fn tagged(purged: bool) -> Place {
    let place = Place::new();
    let store = place.open();
    let event = |n: u64| noted(n).tag(format!("t-{}", n % 3));
    for n in 0..15 {
        store.append("list", if n < 6 { "gone" } else { "a" }, foldlog::Expected::Any, [event(n)]).unwrap();
    }
    if purged {
        store.json_aggregates("list").create_snapshot("gone", SnapshotReason::Manual).unwrap();
        let purge = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).aggregate("list", "gone");
        assert_eq!(store.purge(purge).unwrap().events_removed, 6);
    }
    assert!(store.verify(|_| {}).unwrap().is_clean());
    store.checkpoint().unwrap();
    place
}

/// A query by a tag gives what comes before the lost entry and then an error, upwards and downwards; other tags are whole.
#[test]
fn an_event_that_the_index_of_tags_has_lost_is_reported() {
    for purged in [false, true] {
        let each = if purged { 3 } else { 5 };
        for lost in 0..each {
            let place = tagged(purged);
            // Entries of t-0, then those of t-1, then those of t-2, then the end.
            assert_eq!(lose(&place, "event_tags", each + lost..each + lost + 1), 3 * each + 1);
            let store = place.open();
            let q = |tag: &str| Query::new().tag(tag);
            assert_eq!(before_the_error(&store, q("t-1")).len(), lost);
            assert_eq!(before_the_error(&store, q("t-1").newest_first()).len(), each - 1 - lost);
            assert_eq!(store.read(q("t-0")).map_while(Result::ok).count(), each);
            // Beside the lost entry there may have been another one of the tag: that ends in an error as well.
            assert_eq!(store.read(q("t-2").newest_first()).map_while(Result::ok).count(), each);
            assert!(!store.verify(|_| {}).unwrap().is_clean());
        }
        // A whole tag.
        let place = tagged(purged);
        lose(&place, "event_tags", each..2 * each);
        let store = place.open();
        assert!(before_the_error(&store, Query::new().tag("t-1")).is_empty());
        assert!(before_the_error(&store, Query::new().tag("t-1").newest_first()).is_empty());
        assert!(before_the_error(&store, Query::new().tag("t-10")).is_empty(), "nor is it known what else is lost there");
        assert_eq!(store.read(Query::new().tag("t")).count(), 0);
    }
}

/// The event is there, and its id is not found: it is neither said not to exist nor appended again. Ids in no order.
#[test]
fn an_id_that_its_index_has_lost_is_reported() {
    let id = |n: u64| EventId::from_u128(0x4000_8000_0000_0000 << 64 | u128::from(n * 7 % 10 + 1));
    for lost in 0..10 {
        let place = Place::new();
        let store = place.open();
        for n in 0..10 {
            store.append("list", "a", n, [noted(n).id(id(n))]).unwrap();
        }
        store.checkpoint().unwrap();
        drop(store);
        assert_eq!(lose(&place, "event_id", lost..lost + 1), 10);
        let store = place.open();
        let mut missed = 0;
        for n in 0..10 {
            match store.event(id(n)) {
                Ok(found) => assert_eq!(found.unwrap().version, n + 1),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    refused(store.append("list", "a", n, [noted(n).id(id(n))]), ErrorKind::Corrupt);
                    missed += 1;
                }
            }
        }
        assert_eq!(missed, 1);
        assert!(!store.verify(|_| {}).unwrap().is_clean());
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
    let root = "SELECT s.rootpage FROM sqlite_schema s WHERE s.name = ?1 OR (s.tbl_name = 'events' AND s.type = 'index'
                AND ?1 IN (SELECT i.name FROM pragma_index_info(s.name) i))";
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

/// Positions of x: 2, 8, 11; of y: 2, 3, 10; of z: 6, 12.
fn of_three_tags() -> Place {
    let place = Place::new();
    let store = place.open();
    let tags =
        |n: u64| [("x", &[2, 8, 11][..]), ("y", &[2, 3, 10]), ("z", &[6, 12])].into_iter().filter(move |(_, of)| of.contains(&n));
    let events = (1..=12).map(|n| tags(n).fold(noted(n), |event, (tag, _)| event.tag(tag)));
    store.append("list", "a", 0, events.collect::<Vec<_>>()).unwrap();
    store.checkpoint().unwrap();
    place
}

/// The entries of x at 2 and of y at 2 are in each other's place: the event carries both, and lies before the range.
#[test]
fn an_entry_of_another_tag_is_not_one_beyond_the_range() {
    let place = of_three_tags();
    change_leaf(&place, "event_tags", |leaf| (0..2).for_each(|byte| leaf.swap(8 + byte, 8 + 2 * 3 + byte)));
    let query = Query::new().tag("x").after_position(2).up_to_position(8).newest_first();
    assert_eq!(before_the_error(&place.open(), query), [8]);
}

/// What is put in right before a lost entry would take over the link that tells of it.
#[test]
fn a_tag_beside_a_lost_entry_is_refused() {
    for tag in ["w", "x"] {
        let place = of_three_tags();
        lose(&place, "event_tags", if tag == "w" { 0..1 } else { 3..4 });
        let store = place.open();
        refused(store.append("list", "a", 12, [noted(13).tag(tag)]), ErrorKind::Corrupt);
        assert_eq!(store.last_position().unwrap(), 12);
        let lost_from = if tag == "w" { "x" } else { "y" };
        assert!(before_the_error(&store, Query::new().tag(lost_from)).is_empty());
    }
}

/// The same for ids: one that the store makes is greater than those that there are, and less than the lost one.
#[test]
fn an_id_beside_a_lost_one_is_refused() {
    let place = Place::new();
    let store = place.open();
    let greatest = EventId::from_u128(u128::MAX - 1);
    store.append("list", "a", 0, [noted(1).id(greatest)]).unwrap();
    store.append("list", "a", 1, notes(2..=3)).unwrap();
    store.checkpoint().unwrap();
    drop(store);
    assert_eq!(lose(&place, "event_id", 2..3), 3);
    let store = place.open();
    refused(store.append("list", "a", 3, notes(4..=4)), ErrorKind::Corrupt);
    refused(store.event(greatest), ErrorKind::Corrupt);
    refused(store.append("list", "a", 3, [noted(1).id(greatest)]), ErrorKind::Corrupt);
}

/// A page of events from before a purge: all that is in it is sound, and nothing of it is there any more.
#[test]
fn a_purged_event_does_not_come_back() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=3)).unwrap();
    let secret = EventId::from_u128(7);
    store.append("list", "gone", 0, [noted(4).tag("t").id(secret), noted(5).tag("t")]).unwrap();
    store.append("list", "a", 3, notes(6..=8)).unwrap();
    store.checkpoint().unwrap();
    std::fs::copy(place.file(), place.join("before.db")).unwrap();
    let all = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
    assert_eq!(store.purge(all.aggregate("list", "gone")).unwrap().events_removed, 2);
    drop(store);
    let raw = place.raw();
    raw.execute("ATTACH ?1 AS before", [place.join("before.db").to_str().unwrap()]).unwrap();
    for table in ["events", "event_tags"] {
        raw.execute(&format!("INSERT OR REPLACE INTO {table} SELECT * FROM before.{table}"), []).unwrap();
    }
    drop(raw);
    let store = place.open();
    assert_eq!(before_the_error(&store, Query::new()), [1, 2, 3]);
    assert_eq!(before_the_error(&store, Query::new().newest_first()), [8, 7, 6]);
    assert!(before_the_error(&store, Query::new().tag("t")).is_empty());
    says(&refused(store.event(secret), ErrorKind::Corrupt), &["was removed, and is in the file again", "position 4"]);
    refused(store.json_aggregates("list").replay("gone"), ErrorKind::Corrupt);
    assert!(!store.verify(|_| {}).unwrap().is_clean());
}

/// The end of the order of ids is not the one that was written: nobody writes it anew as if it were.
#[test]
fn a_wrong_end_of_the_ids_is_not_mended() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=2)).unwrap();
    store.append("list", "gone", 0, notes(3..=4)).unwrap();
    drop(store);
    place.raw().execute("UPDATE log_state SET ids_link = ids_link + 1", []).unwrap();
    let store = place.open();
    let all = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
    refused(store.purge(all.aggregate("list", "gone")), ErrorKind::Corrupt);
    refused(store.append("list", "a", 2, notes(3..=3)), ErrorKind::Corrupt);
    refused(store.event(EventId::from_u128(u128::MAX - 1)), ErrorKind::Corrupt);
    assert_eq!(store.event(EventId::from_u128(1)).unwrap(), None, "between two that are linked");
    assert_eq!(store.read(Query::new()).map(Result::unwrap).count(), 4);
    assert!(!store.verify(|_| {}).unwrap().is_clean());
}

/// What is taken out right before a lost entry would take the link that tells of it along.
#[test]
fn a_tag_before_a_lost_entry_is_not_purged() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "gone", 0, [noted(1).tag("x")]).unwrap();
    store.append("list", "a", 0, [noted(2).tag("x"), noted(3).tag("x")]).unwrap();
    store.checkpoint().unwrap();
    drop(store);
    assert_eq!(lose(&place, "event_tags", 1..2), 4);
    let store = place.open();
    let all = || Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
    refused(store.purge(all().aggregate("list", "gone")), ErrorKind::Corrupt);
    assert_eq!(before_the_error(&store, Query::new().tag("x")), [1]);
    refused(store.purge(all().aggregate("list", "a")), ErrorKind::Corrupt);
    assert_eq!(store.read(Query::new()).map(Result::unwrap).count(), 3);
}
