//! The audit chain: what it proves, and that nothing but a change of the file breaks it.

use std::ops::ControlFlow::Continue;

use foldlog::{
    Archive, AuditDigest, Batch, Durability, ErrorKind, Expected, Import, Metadata, NewEvent, Options, Purge, Query,
    SnapshotReason, Store, VerifyReport,
};
use rusqlite::params;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{Place, at, fast, noted, notes};

fn audited(place: &Place) -> Store {
    fast().audit(true).open(place.file()).unwrap()
}

fn verify(store: &Store) -> VerifyReport {
    store.maintenance().verify(|_| Continue(())).unwrap()
}

fn clean(store: &Store) -> VerifyReport {
    let report = verify(store);
    assert!(report.is_clean(), "{:?}", report.damages);
    report
}

/// Three aggregates, whose events take turns.
fn fill(store: &Store, events: u64) {
    for n in 0..events {
        store.append("note", format!("n-{}", n % 3), Expected::Any, [noted(n).tag("all").created_at(at(n as i64))]).unwrap();
    }
}

fn rows(place: &Place) -> i64 {
    place.raw().query_row("SELECT count(*) FROM chain", [], |row| row.get(0)).unwrap()
}

#[test]
fn every_event_from_the_first_opening_with_the_option_on_has_a_link() {
    let place = Place::new();
    let plain = place.open();
    fill(&plain, 10);
    assert_eq!((rows(&place), plain.maintenance().checkpoint_digest().unwrap()), (0, None));
    assert_eq!((clean(&plain).chain_links, clean(&plain).events_proven), (0, 0));
    drop(plain);

    let store = audited(&place);
    fill(&store, 5);
    let mut batch = Batch::new();
    batch = batch.append("note", "n-1", Expected::Any, notes(0..20)).append("other", "o", Expected::New, notes(0..3));
    store.commit(batch).unwrap();
    let report = clean(&store);
    assert_eq!((report.events, report.chain_links, report.events_proven), (38, 1 + 28, 28));
    assert_eq!(store.maintenance().checkpoint_digest().unwrap().unwrap().position, 38);
    drop(store);
    // Opened again, it is the same chain.
    assert_eq!(clean(&audited(&place)).chain_links, 29);
}

#[test]
fn whoever_appends_keeps_it_up() {
    let place = Place::new();
    let before = place.open();
    let audited = audited(&place);
    let later = place.open();
    for (n, store) in [&before, &audited, &later, &before, &later, &audited].into_iter().enumerate() {
        fill(store, 4);
        assert_eq!(clean(store).events_proven, 4 * (n as u64 + 1));
    }
    // A refused append and a rolled back one leave no link behind.
    audited.append("note", "n-0", Expected::New, [noted(0)]).unwrap_err();
    audited.json_aggregates("note").preview("n-0", |_| Ok::<_, String>([noted(0)])).unwrap();
    fill(&later, 2);
    assert_eq!(clean(&audited).events_proven, 26);
}

/// Computed anew from the file's rows, as docs/audit.md says.
#[test]
fn anybody_can_check_it() {
    let place = Place::new();
    let store = audited(&place);
    fill(&store, 7);
    let event = NewEvent::new("Said", &json!({ "text": "ä" })).unwrap().metadata(&Metadata::new().user_id("ada")).unwrap();
    store.tenant("acme").append("note", "n-0", Expected::New, [event, noted(1)]).unwrap();
    let raw = place.raw();
    let mut links: Vec<(i64, [u8; 32])> = Vec::new();
    let mut statement = raw.prepare("SELECT position, key, salt, commitment, link FROM chain ORDER BY position").unwrap();
    let mut chain = statement.query([]).unwrap();
    while let Some(row) = chain.next().unwrap() {
        let (position, key): (i64, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
        let (salt, mut commitment, link): (Option<[u8; 16]>, [u8; 32], [u8; 32]) =
            (row.get(2).unwrap(), row.get(3).unwrap(), row.get(4).unwrap());
        if let Some(salt) = salt {
            let event = store
                .read(Query::matching(foldlog::Filter::new().all_tenants()))
                .map(Result::unwrap)
                .find(|event| event.position == position as u64)
                .unwrap();
            let mut sum = Sha256::new();
            sum.update(b"foldlog event 1\0");
            sum.update(salt);
            sum.update(event.id.as_bytes());
            sum.update(event.origin.as_bytes());
            sum.update(u64::from(event.schema_version).to_le_bytes());
            sum.update(event.commit_id.get().to_le_bytes());
            sum.update(event.created_at.timestamp_micros().to_le_bytes());
            let tags = (!event.tags.is_empty()).then(|| json!(event.tags).to_string());
            let metadata = event.metadata.as_ref().map(|metadata| metadata.as_str());
            let fields = [
                Some(&*event.tenant),
                Some(&*event.aggregate_type),
                Some(&*event.aggregate_id),
                Some(&*event.event_type),
                tags.as_deref(),
                metadata,
                Some(event.data.as_str()),
            ];
            fields.iter().for_each(|field| sum.update(field.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes()));
            fields.iter().for_each(|field| sum.update(field.unwrap_or_default()));
            let computed: [u8; 32] = sum.finalize().into();
            assert_eq!(computed, commitment, "position {position}");
            commitment = computed;
        }
        let of = |wanted: i64| links.iter().find(|(key, _)| *key == wanted).map_or([0; 32], |(_, link)| *link);
        let mut sum = Sha256::new();
        sum.update(b"foldlog link 1\0\0");
        sum.update(links.last().map_or([0; 32], |(_, link)| *link));
        sum.update(if key & 0xFFFF_FFFF > 1 { of(key - 1) } else { [0; 32] });
        sum.update(position.to_le_bytes());
        sum.update((key & 0xFFFF_FFFF).to_le_bytes());
        sum.update(commitment);
        let computed: [u8; 32] = sum.finalize().into();
        assert_eq!(computed, link, "position {position}");
        links.push((key, link));
    }
    assert_eq!(links.len(), 10);
}

/// Changes a file as somebody would who knows the format, checksums and all.
fn forged(change: impl FnOnce(&Place)) -> (Place, Vec<String>, AuditDigest) {
    let place = Place::new();
    let store = audited(&place);
    fill(&store, 30);
    let digest = store.maintenance().checkpoint_digest().unwrap().unwrap();
    clean(&store);
    drop(store);
    change(&place);
    let store = place.open();
    let found = verify(&store).damages.iter().map(ToString::to_string).collect();
    drop(store);
    (place, found, digest)
}

/// Deletes an event and appends another in its place through the library itself, so that all checksums are right.
fn replace_last_event(place: &Place) {
    let raw = place.raw();
    raw.execute_batch("DELETE FROM event_tags WHERE position = 30; DELETE FROM events WHERE position = 30;").unwrap();
    let link: (i64, i64, Vec<u8>, Vec<u8>, Vec<u8>) = raw
        .query_row("SELECT position, key, salt, commitment, link FROM chain WHERE position = 30", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .unwrap();
    raw.execute("DELETE FROM chain WHERE position = 30", []).unwrap();
    drop(raw);
    let store = place.open();
    store.append("note", "n-2", Expected::Any, [noted(999).tag("all")]).unwrap();
    drop(store);
    // The chain that was computed anew goes, the old link comes back.
    let raw = place.raw();
    raw.execute("DELETE FROM chain WHERE position = 30", []).unwrap();
    let (position, key, salt, commitment, link) = link;
    raw.execute("INSERT INTO chain VALUES (?1, ?2, ?3, ?4, ?5)", params![position, key, salt, commitment, link]).unwrap();
}

#[test]
fn a_changed_event_is_found_although_its_checksum_is_right() {
    let (_place, found, _) = forged(replace_last_event);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("the event is not the one that was appended"), "{found:#?}");
    assert!(found[0].contains("n-2") && found[0].contains("position 30"), "{found:#?}");
}

#[test]
fn any_change_of_the_chain_is_found() {
    let changes = [
        ("UPDATE chain SET link = randomblob(32) WHERE position = 30", "does not follow"),
        ("UPDATE chain SET commitment = randomblob(32) WHERE position = 7", "does not follow"),
        ("UPDATE chain SET salt = randomblob(16) WHERE position = 7", "not the one that was appended"),
        ("UPDATE chain SET salt = NULL WHERE position = 7", "says that the event was removed"),
        ("DELETE FROM chain WHERE position = 7", "lacks the positions 7 to 7"),
        ("DELETE FROM chain WHERE position = 30", "the audit chain ends at position 29, and the log at 30"),
        ("DELETE FROM chain WHERE position < 10", "lost its beginning"),
        ("UPDATE chain SET key = -position WHERE position IN (7, 8)", "does not follow"),
    ];
    for (sql, expected) in changes {
        let (_place, found, _) = forged(|place| assert!(place.raw().execute(sql, []).unwrap() > 0));
        assert!(found.iter().any(|found| found.contains(expected)), "{sql}: {found:#?}");
    }
}

#[test]
fn an_append_behind_a_chain_that_ends_too_early_is_refused() {
    let (place, _, _) = forged(|place| place.raw().execute_batch("DELETE FROM chain WHERE position = 30").unwrap());
    let store = place.open();
    let error = store.append("note", "n-0", Expected::Any, [noted(0)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("the audit chain ends at position 29"), "{error}");
    assert_eq!(store.last_position().unwrap(), 30);
}

/// Whoever can write the file can compute a whole chain; a digest that was kept elsewhere shows it.
#[test]
fn a_digest_that_was_kept_elsewhere_shows_a_chain_that_was_made_anew() {
    let place = Place::new();
    let store = audited(&place);
    fill(&store, 9);
    let early = store.maintenance().checkpoint_digest().unwrap().unwrap();
    fill(&store, 9);
    store.maintenance().check_digest(&early).unwrap();
    let text: AuditDigest = early.to_string().parse().unwrap();
    assert_eq!(text, early);
    assert_eq!(serde_json::from_value::<AuditDigest>(json!(early)).unwrap(), early);
    let mut later = early;
    later.position = 99.into();
    store.maintenance().check_digest(&later).unwrap_err();

    // The same events again, all but one.
    let other = Place::new();
    let forged = audited(&other);
    fill(&forged, 8);
    forged.append("note", "n-2", Expected::Any, [noted(1_000)]).unwrap();
    fill(&forged, 9);
    clean(&forged);
    let error = forged.maintenance().check_digest(&early).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("up to position 9 is not the one"), "{error}");
    let none = Store::in_memory().unwrap().maintenance().check_digest(&early).unwrap_err();
    assert!(none.to_string().contains("no audit chain"), "{none}");
    for text in ["", "5", "5:ab", ":", &early.to_string()[1..], &format!("{early}0")] {
        assert_eq!(text.parse::<AuditDigest>().unwrap_err().kind(), ErrorKind::InvalidInput, "{text}");
    }
}

#[test]
fn purge_and_archive_keep_it_provable() {
    let place = Place::new();
    let store = audited(&place);
    fill(&store, 1_200);
    let digest = store.maintenance().checkpoint_digest().unwrap().unwrap();
    let handle = store.json_aggregates("note");
    for id in ["n-0", "n-1", "n-2"] {
        handle.create_snapshot(id, SnapshotReason::Manual).unwrap();
    }
    let moved = store.maintenance().archive(Archive::all_but_newest(300)).unwrap().events_archived;
    assert_eq!(moved, 300);
    assert_eq!((clean(&store).events_proven, clean(&store).chain_links), (1_200, 1_201));
    let plan = Purge::created_before(at(100)).fold(&handle);
    let purged = store.maintenance().purge(plan).unwrap().events_removed;
    assert_eq!(purged, 100);
    assert_eq!((clean(&store).events_proven, clean(&store).chain_links), (1_100, 1_201));
    // What was purged cannot be guessed from what is left.
    let with_salt: i64 =
        place.raw().query_row("SELECT count(*) FROM chain WHERE salt IS NOT NULL", [], |row| row.get(0)).unwrap();
    assert_eq!(with_salt, 1_100);
    store.maintenance().check_digest(&digest).unwrap();
    fill(&store, 3);
    store.maintenance().unarchive().unwrap();
    assert_eq!(clean(&store).events_proven, 1_103);
    store.maintenance().reindex(|_| Continue(())).unwrap();
    clean(&store);
    // Every event of an aggregate is gone; its next one still follows from its last.
    store.maintenance().purge(Purge::created_before(at(5_000)).fold(&handle)).unwrap();
    fill(&store, 6);
    assert_eq!(clean(&store).chain_links, 1_210);
}

#[test]
fn copies_take_it_along_and_an_import_begins_its_own() {
    let place = Place::new();
    let store = audited(&place);
    fill(&store, 20);
    let digest = store.maintenance().checkpoint_digest().unwrap().unwrap();
    store.backup(place.join("backup.db"), |_| Continue(())).unwrap();
    Store::restore(place.join("backup.db"), place.join("restored.db"), |_| Continue(())).unwrap();
    let restored = Options::new().durability(Durability::Fast).open(place.join("restored.db")).unwrap();
    restored.maintenance().check_digest(&digest).unwrap();
    fill(&restored, 2);
    assert_eq!(clean(&restored).events_proven, 22);

    let mut lines = Vec::new();
    store.export(Query::new(), &mut lines, |_| Continue(())).unwrap();
    let copy = fast().audit(true).open(place.join("copy.db")).unwrap();
    copy.import(&Import::new(), &*lines, |_| Continue(())).unwrap();
    copy.import(&Import::new(), &*lines, |_| Continue(())).unwrap();
    assert_eq!(clean(&copy).events_proven, 20);
    copy.maintenance().check_digest(&digest).unwrap_err();
    assert_eq!(clean(&Options::new().audit(true).in_memory().unwrap()).chain_links, 1);
}
