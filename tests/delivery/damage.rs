//! Damaged checkpoints and deliveries: noticed when read, named by verify, mended by a reset or a seek.

use foldlog::rusqlite::Connection;
use foldlog::{Error, ErrorKind, Filter, Message, PublishError, Store};

use super::outbox::eager;
use super::projections::Sums;
use super::{count, store};

/// Runs statements on the file behind the store's back.
fn damage(directory: &tempfile::TempDir, sql: &str) {
    let file = Connection::open(directory.path().join("events.db")).unwrap();
    file.execute_batch(sql).unwrap();
}

fn reopened(directory: &tempfile::TempDir) -> Store {
    Store::open(directory.path().join("events.db")).unwrap()
}

/// What verify says, in one text.
fn complaints(store: &Store) -> String {
    let report = store.maintenance().verify(|_| std::ops::ControlFlow::Continue(())).unwrap();
    report.damages.iter().map(|damage| format!("{damage}\n")).collect()
}

fn is_named(error: &Error, name: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(name), "{error}");
}

#[test]
fn a_changed_position_loses_no_event_in_silence() {
    let (directory, store) = store();
    count(&store, 0, 10);
    let publish = |_: &Message<'_>| Ok(());
    eager(&store).filter(Filter::new()).publisher(publish).run_to_end().unwrap();
    let outbox = store.outbox("out");
    outbox.seek(5).unwrap();
    drop((outbox, store));
    // One flipped bit: 5 becomes 13 in a log of 10.
    damage(&directory, "UPDATE subscriptions SET position = 13");
    let store = reopened(&directory);
    is_named(&eager(&store).publisher(publish).run_to_end().unwrap_err(), "\"out\"");
    is_named(&store.outbox("out").status().unwrap_err(), "\"out\"");
    is_named(&store.subscriptions().unwrap_err(), "\"out\"");
    is_named(&store.outbox("out").wait_until(1, std::time::Duration::MAX).unwrap_err(), "\"out\"");
    is_named(&store.maintenance().purge(super::purging::everything()).unwrap_err(), "\"out\"");
    assert!(complaints(&store).contains("\"out\" is damaged"), "{}", complaints(&store));
    store.outbox("out").seek(5).unwrap();
    assert_eq!(complaints(&store), "");
    assert_eq!(eager(&store).publisher(publish).run_to_end().unwrap(), 5);
}

#[test]
fn every_column_of_a_subscription_counts() {
    let changes = [
        "id = 7",
        "tenant = 'other'",
        "name = 'outs'",
        "kind = 'handler'",
        "filter = '{\"tags\":[\"x\"]}'",
        "tables = '[\"x\"]'",
        "paused = 1",
        "position = 4",
        "leader = x'00112233445566778899aabbccddeeff'",
        "fence = fence + 1",
        "heartbeat = heartbeat + 2",
        "lease_millis = 1",
        "in_hand = 6",
        "deaths = 1",
        "failed_position = 6",
        "failure = 'x'",
        "version = 2",
        "generation = 2",
        "rebuild_version = 1",
        "rebuild_position = 1",
        "deliveries = 1",
    ];
    for change in changes {
        let (directory, store) = store();
        count(&store, 0, 10);
        eager(&store).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap();
        drop(store);
        damage(&directory, &format!("UPDATE subscriptions SET {change}"));
        let store = reopened(&directory);
        assert!(complaints(&store).contains("is damaged"), "{change}: {}", complaints(&store));
        let error = eager(&store).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{change}");
    }
}

#[test]
fn a_damaged_subscription_is_in_nobody_elses_way() {
    let (directory, store) = store();
    count(&store, 0, 10);
    store.subscription("whole").run_to_end(|_| Ok(())).unwrap();
    store.subscription("broken").run_to_end(|_| Ok(())).unwrap();
    drop(store);
    damage(&directory, "UPDATE subscriptions SET position = 3 WHERE name = 'broken'");
    let store = reopened(&directory);
    assert_eq!(store.subscription("whole").run_to_end(|_| Ok(())).unwrap(), 0);
    is_named(&store.subscription("broken").run_to_end(|_| Ok(())).unwrap_err(), "\"broken\"");
    // A name that cannot be found may be that of the damaged one.
    is_named(&store.subscription("new").run_to_end(|_| Ok(())).unwrap_err(), "\"broken\"");
    store.subscription("broken").remove().unwrap();
    assert_eq!(store.subscription("new").run_to_end(|_| Ok(())).unwrap(), 10);
    assert_eq!(complaints(&store), "");
}

#[test]
fn a_damaged_projection_is_reset_and_rebuilt() {
    let (directory, store) = store();
    count(&store, 0, 10);
    store.projection(Sums::new(1)).unwrap().run_to_end().unwrap();
    drop(store);
    damage(&directory, "UPDATE subscriptions SET position = 3");
    let store = reopened(&directory);
    is_named(&store.projection(Sums::new(1)).unwrap_err(), "\"sums\"");
    let by_name = store.subscription("sums");
    assert_eq!(by_name.seek(3).unwrap_err().kind(), ErrorKind::InvalidInput);
    by_name.reset().unwrap();
    let runner = store.projection(Sums::new(1)).unwrap();
    assert_eq!(runner.run_to_end().unwrap_err().kind(), ErrorKind::ProjectionOutdated);
    assert!(runner.rebuild(|_| std::ops::ControlFlow::Continue(())).unwrap().finished);
    let events: u64 = store.query_read_model("SELECT sum(events) FROM sums", [], |row| row.get(0)).unwrap()[0];
    assert_eq!((events, complaints(&store).as_str()), (10, ""));
}

/// An outbox with a dead letter at position 3, what waits behind it, and one to be tried again at 5.
fn troubled() -> tempfile::TempDir {
    let (directory, store) = store();
    count(&store, 0, 20);
    let answer = |message: &Message<'_>| match message.event.position.get() {
        3 => Err(PublishError::Reject("no".into())),
        5 => Err(PublishError::RetryAfter("later".into(), std::time::Duration::from_secs(3_600))),
        _ => Ok(()),
    };
    store.outbox("out").publisher(answer).run_to_end().unwrap();
    assert_eq!(complaints(&store), "");
    directory
}

#[test]
fn every_column_of_a_delivery_counts() {
    let changes = [
        "subscription = 9",
        "position = 4",
        "aggregate = 1",
        "state = 'retry'",
        "attempts = 9",
        "due_at = 5",
        "last_error = 'yes'",
        "last_error = NULL",
    ];
    for change in changes {
        let directory = troubled();
        damage(&directory, &format!("UPDATE deliveries SET {change} WHERE position = 3"));
        let store = reopened(&directory);
        assert!(complaints(&store).contains("is damaged"), "{change}: {}", complaints(&store));
    }
    let directory = troubled();
    damage(&directory, "UPDATE deliveries SET attempts = 0 WHERE position = 3");
    let store = reopened(&directory);
    let letters = store.outbox("out").dead_letters().unwrap();
    is_named(&letters.iter().next().unwrap().unwrap_err(), "\"out\"");
    is_named(&letters.retry(3).unwrap_err(), "\"out\"");
    store.outbox("out").seek(2).unwrap();
    assert_eq!(complaints(&store), "");
}

#[test]
fn a_delivery_without_its_event_or_outbox_or_in_the_wrong_place_is_named() {
    for (sql, said) in [
        ("DELETE FROM subscriptions", "belongs to no subscription"),
        ("DELETE FROM events WHERE position = 5", "an event that never was"),
    ] {
        let directory = troubled();
        damage(&directory, sql);
        let store = reopened(&directory);
        assert!(complaints(&store).contains(said), "{}", complaints(&store));
    }
}

/// Runs statements on the file while an index is away, which then knows nothing of them.
fn behind_the_back_of(index: &str, directory: &tempfile::TempDir, sql: &str) {
    let file = Connection::open(directory.path().join("events.db")).unwrap();
    let row = file
        .query_row("SELECT rootpage, sql FROM sqlite_schema WHERE name = ?1", [index], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .unwrap();
    file.execute_batch(&format!(
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = '{index}'; PRAGMA writable_schema = RESET"
    ))
    .unwrap();
    file.execute_batch(sql).unwrap();
    file.execute_batch("PRAGMA writable_schema = ON").unwrap();
    file.execute(
        "INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql) VALUES ('index', ?1, 'deliveries', ?2, ?3)",
        foldlog::rusqlite::params![index, row.0, row.1],
    )
    .unwrap();
}

#[test]
fn what_an_index_hides_is_counted_all_the_same() {
    let shown = |store: &Store| {
        let (status, letters) = (store.outbox("out").status().unwrap(), store.outbox("out").dead_letters().unwrap());
        let positions: Vec<_> = letters.iter().map(|letter| letter.unwrap().position).collect();
        (status.to_retry, status.waiting, status.dead, letters.count().unwrap(), positions)
    };
    for index in ["deliveries_due", "deliveries_aggregate"] {
        let directory = troubled();
        let before = shown(&reopened(&directory));
        assert!(before.1 > 0 && before.2 > 0, "{before:?}");
        damage(&directory, "CREATE TABLE kept AS SELECT * FROM deliveries; DELETE FROM deliveries");
        behind_the_back_of(index, &directory, "INSERT INTO deliveries SELECT * FROM kept; DROP TABLE kept");
        let store = reopened(&directory);
        assert!(complaints(&store).contains("an index of the deliveries hides one"), "{}", complaints(&store));
        assert_eq!(shown(&store), before, "{index}");
    }
}

#[test]
fn a_damaged_delivery_is_not_counted() {
    let directory = troubled();
    damage(&directory, "UPDATE deliveries SET state = 'waiting' WHERE position = 5");
    let store = reopened(&directory);
    is_named(&store.outbox("out").status().unwrap_err(), "\"out\" is damaged");
    is_named(&store.outbox("out").dead_letters().unwrap().count().unwrap_err(), "\"out\" is damaged");
}

/// A store whose outbox has lost a delivery.
fn without(position: u64) -> (tempfile::TempDir, Store) {
    let directory = troubled();
    damage(&directory, &format!("DELETE FROM deliveries WHERE position = {position}"));
    let store = reopened(&directory);
    (directory, store)
}

const LOST: &str = "the outbox \"out\" should have";

#[test]
fn a_lost_delivery_lets_nothing_out_of_turn() {
    // The dead letter that holds its aggregate.
    let (_directory, store) = without(3);
    let mut published = Vec::new();
    let publish = |message: &Message<'_>| {
        published.push(message.event.position.get());
        Ok(())
    };
    is_named(&eager(&store).publisher(publish).run_to_end().unwrap_err(), LOST);
    assert_eq!(published, [0; 0]);
    store.outbox("out").seek(2).unwrap();
    assert_eq!(complaints(&store), "");
    assert_eq!(eager(&store).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 18);
}

#[test]
fn a_lost_delivery_is_missed_by_a_count() {
    let (_directory, store) = without(5);
    is_named(&store.outbox("out").status().unwrap_err(), LOST);
    is_named(&store.outbox("out").dead_letters().unwrap().count().unwrap_err(), LOST);
}

#[test]
fn a_lost_dead_letter_is_missed_among_the_others() {
    let (_directory, store) = without(3);
    is_named(&store.outbox("out").dead_letters().unwrap().iter().next().unwrap().unwrap_err(), LOST);
}

#[test]
fn a_lost_delivery_is_named_by_verify() {
    let (_directory, store) = without(13);
    assert!(complaints(&store).contains(LOST), "{}", complaints(&store));
    store.outbox("out").reset().unwrap();
    assert_eq!(complaints(&store), "");
}

#[test]
fn an_index_that_hides_a_delivery_is_named() {
    for index in ["deliveries_due", "deliveries_aggregate"] {
        let directory = troubled();
        // The index still has its entry.
        behind_the_back_of(index, &directory, "DELETE FROM deliveries WHERE position = 13");
        let store = reopened(&directory);
        assert!(complaints(&store).contains(&format!("the index {index} has")), "{}", complaints(&store));
    }
}
